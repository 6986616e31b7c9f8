//! `cargo xtask plan`: what a fleet would do.

mod cpu;
mod measure;
mod pass;

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::cli::{Plan, PlanCommand};

/// `cargo xtask plan`.
pub async fn run(options: Plan, stop: CancellationToken) -> Result<Ending> {
    match options.command {
        Some(PlanCommand::Measure(options)) => measure::run(options, stop).await,
        _ => anyhow::bail!("not yet"),
    }
}
