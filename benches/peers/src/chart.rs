//! The table as a picture: how many times theirs is ours, on a logarithmic scale.

use std::fmt::Write as _;

use crate::compare::{Line, Required};

const LABELS: f64 = 470.0;
const WIDTH: f64 = 970.0;
const ROW: f64 = 26.0;

pub(crate) fn svg(lines: &[Line]) -> String {
    let bars: Vec<_> = lines.iter().filter_map(|line| Some((line, line.ratio.filter(|ratio| *ratio > 0.0)?))).collect();
    let most = bars.iter().fold(10.0_f64, |most, (_, ratio)| most.max(*ratio));
    let length = |ratio: f64| (ratio.max(1.0).ln() / most.ln() * (WIDTH - LABELS - 70.0)).max(1.0);
    let height = 34.0 + ROW * bars.len() as f64;
    let mut out = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' font-family='sans-serif' font-size='13'>\n\
         <rect width='{WIDTH}' height='{height}' fill='white'/>\n\
         <text x='8' y='18' font-weight='bold'>How many times more another library takes (logarithmic; the mark is what was aimed at)</text>\n"
    );
    for (number, (line, ratio)) in bars.iter().enumerate() {
        let y = 30.0 + ROW * number as f64;
        let text = y + 15.0;
        let _ = write!(
            out,
            "<text x='{}' y='{text}' text-anchor='end'>{}, {}</text>\n\
             <rect x='{LABELS}' y='{y}' width='{:.1}' height='20' fill='#3b6ea5'/>\n\
             <text x='{:.1}' y='{text}'>{ratio:.1}x</text>\n",
            LABELS - 8.0,
            line.work,
            line.peer,
            length(*ratio),
            LABELS + length(*ratio) + 6.0,
        );
        if let Required::Times(times) = line.required {
            let _ = writeln!(out, "<rect x='{:.1}' y='{y}' width='2' height='20' fill='#e08a1e'/>", LABELS + length(times));
        }
    }
    out + "</svg>\n"
}
