//! The soak: two clients, each a process of its own, write to each other while their network fails, they are killed, and the server
//! starts anew. This process is the server, the faults and the judge.
//!
//! `scripts/soak` makes the long run, `cargo test --test soak` a short one; `--help` says what can be set. A run prints its seed.
//! The last line has the figures; the exit status is 1 where something was lost, came twice or in another order, or where the run
//! was no test.

mod client;
mod faults;
mod journal;
mod options;
mod proxy;
mod run;
#[cfg(xmppkit_sabotage)]
mod sabotage;
#[path = "../it/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the soak needs a part of it")]
mod support;
mod target;

use std::process::ExitCode;

use self::options::Options;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|first| first == client::ARGUMENT) {
        return client::main(arguments.skip(1).collect());
    }
    let options = match Options::parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    match runtime.block_on(run::run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}
