//! Rows of numbers as ASCII: what a frame's index has no room for stands behind the frame's text, in the same `str`.

/// How many bytes a number takes: each holds seven bits.
const DIGITS: usize = 5;

/// `N` numbers.
pub(super) type Row<const N: usize> = [[u8; DIGITS]; N];

/// How many bytes so many rows take.
pub(super) const fn len<const N: usize>(rows: usize) -> usize {
    rows * N * DIGITS
}

pub(super) fn write<const N: usize>(out: &mut String, numbers: [u32; N]) {
    for number in numbers {
        out.extend((0..DIGITS).map(|digit| char::from((number >> (7 * digit)) as u8 & 0x7f)));
    }
}

pub(super) fn read<const N: usize>(row: &Row<N>) -> [u32; N] {
    row.map(|digits| digits.iter().rev().fold(0, |number, digit| number << 7 | u32::from(*digit)))
}

/// The rows that these bytes are.
pub(super) fn rows<const N: usize>(bytes: &[u8]) -> &[Row<N>] {
    bytes.as_chunks::<DIGITS>().0.as_chunks::<N>().0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let (first, second) = ([0, 1, 127, 128], [1 << 28, u32::MAX, u32::MAX - 1, 0x1234_5678]);
        let mut out = String::new();
        write(&mut out, first);
        write(&mut out, second);
        assert_eq!(out.len(), len::<4>(2));
        assert!(out.is_ascii());
        assert_eq!(rows::<4>(out.as_bytes()).iter().map(read).collect::<Vec<_>>(), [first, second]);
    }
}
