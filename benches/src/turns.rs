//! Iterations in turns with another process, which measures another state of the code: as many as whoever started both asks for.
//!
//! A machine changes its pace many times a second. Two processes that each measure for a while do so at different paces; in turns of
//! milliseconds both meet the same.

use std::io::{BufRead, Write, stdin, stdout};
use std::time::Duration;

use tare_testbed::TURNS;

/// The only id that is measured, when it is in turns.
pub fn asked() -> Option<String> {
    std::env::var(TURNS).ok()
}

/// Says `ready`; then reads a number of iterations from standard input, does them and writes how many nanoseconds they took, until
/// there is no more.
pub fn take(mut run: impl FnMut(u64) -> Duration) {
    say("ready");
    for line in stdin().lock().lines() {
        let asked = line.ok().and_then(|line| line.trim().parse().ok());
        let Some(iterations) = asked else {
            eprintln!("a number of iterations was expected");
            std::process::exit(2);
        };
        say(&run(iterations).as_nanos().to_string());
    }
}

fn say(line: &str) {
    let mut stdout = stdout().lock();
    // Whoever asked is gone, and there is nobody to tell.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
