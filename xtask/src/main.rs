//! The commands: `cargo xtask perf`, `bench`, `stress`, `calibrate`, `profile`, `compare`, `plan`, `torture`, `fleet`, `report`, `history`,
//! `baseline`, `serve`, `db`.
//!
//! Orchestration only. What is measured is in the other crates; here it is put in order, shown while it runs, and judged.

mod bare;
mod baseline;
mod bench;
mod beside;
mod build;
mod calibrate;
mod ceiling;
mod cli;
mod compare;
mod criterion;
mod db;
mod fleet;
mod github;
mod guard;
mod history;
mod kept;
mod limit;
mod load;
mod machine;
mod matrix;
mod merge;
mod pass;
mod perf;
mod plan;
mod profile;
mod progress;
mod report;
mod serve;
mod service;
mod session;
mod stress;
mod torture;
mod watch;
mod worker;
mod workspace;
mod wrk;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Cli, Command};

/// How a command that ran to its end ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// All targets and budgets are met, or none were asked for.
    Met,
    /// Something was measured and missed.
    Missed,
    /// It was stopped before its end.
    Interrupted,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { command } = Cli::parse();
    let stop = CancellationToken::new();
    tokio::spawn(stop_when_told(stop.clone()));
    match run(command, stop).await {
        Ok(Ending::Met) => ExitCode::SUCCESS,
        Ok(Ending::Missed) => ExitCode::from(1),
        Ok(Ending::Interrupted) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn run(command: Command, stop: CancellationToken) -> Result<Ending> {
    match command {
        Command::Perf(options) => perf::run(options, stop).await,
        Command::Bench(options) => bench::run(options, stop).await,
        Command::Stress(options) => stress::run(*options, stop).await,
        Command::Calibrate(options) => calibrate::run(options, stop).await,
        Command::Profile(options) => profile::run(*options, stop).await,
        Command::Compare(options) => compare::run(options, stop).await,
        Command::Torture(options) => torture::run(options, stop).await,
        Command::Fleet(options) => fleet::run(*options, stop).await,
        Command::Plan(options) => plan::run(*options, stop).await,
        Command::Report(options) => report::run(&options),
        Command::History(options) => history::run(&options),
        Command::Baseline(command) => baseline::run(&command),
        Command::Serve(options) => serve::run(options, stop).await,
        Command::Db(options) => db::run(options, stop).await,
    }
}

/// The first Ctrl-C or SIGTERM asks for an orderly end, a second one ends at once.
async fn stop_when_told(stop: CancellationToken) {
    let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    for told in 1.. {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
        stop.cancel();
        if told > 1 {
            std::process::exit(2);
        }
    }
}
