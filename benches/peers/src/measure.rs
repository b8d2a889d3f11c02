//! What a measured process says of its work: one line of `name=value`.

use std::fmt::Display;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The CPU time of this process so far, user and system.
pub(crate) fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Runs the work and prints what it took and what it found.
pub(crate) fn timed<T: Display>(work: impl FnOnce() -> T) {
    let before = cpu();
    let found = work();
    report((cpu() - before).as_secs_f64(), found);
}

/// Prints the figure that is compared and what was found.
pub(crate) fn report(figure: f64, found: impl Display) {
    println!("figure={figure} {found}");
}

/// The memory that this process has in use, in kilobytes.
pub(crate) fn resident_kb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("the kernel's word");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident size");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// The CPU time of the thread of this process that has this name, in seconds.
pub(crate) fn thread_cpu(name: &str) -> f64 {
    let mut seconds = 0.0;
    for thread in std::fs::read_dir("/proc/self/task").expect("the kernel's word") {
        let path = thread.expect("a thread").path();
        if std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name) {
            let times = std::fs::read_to_string(path.join("schedstat")).expect("the kernel's word");
            let nanoseconds = times.split_whitespace().next().expect("a number");
            seconds += nanoseconds.parse::<f64>().expect("a number") / 1e9;
        }
    }
    seconds
}
