//! `cargo xtask plan`: what a fleet would do.

mod check;
mod cpu;
mod measure;
mod pass;
mod predict;
mod series;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use tare_plan::{Arrival, Calibration, Layout, Model, Routing, Scenario};
use tokio_util::sync::CancellationToken;

use self::measure::from_root;
use crate::Ending;
use crate::cli::{Plan, PlanCommand};

/// `cargo xtask plan`.
pub async fn run(options: Plan, stop: CancellationToken) -> Result<Ending> {
    match options.command {
        Some(PlanCommand::Measure(options)) => measure::run(options, stop).await,
        Some(PlanCommand::Check(options)) => check::run(options, stop).await,
        None => predict::run(&options),
    }
}

/// What was measured earlier.
fn read(file: &Path) -> Result<Calibration> {
    let file = from_root(file);
    let text = fs::read_to_string(&file).with_context(|| {
        format!(
            "cannot read what this machine was measured to do from {}; `cargo xtask plan measure` writes it",
            file.display()
        )
    })?;
    Calibration::parse(&text).with_context(|| not_planned_from(&file))
}

/// The same as what is simulated with.
fn model(file: &Path) -> Result<Model> {
    Model::fit(&read(file)?).with_context(|| not_planned_from(file))
}

fn not_planned_from(file: &Path) -> String {
    format!("{} cannot be planned from; `cargo xtask plan measure` writes one that can", from_root(file).display())
}

/// One instance with everything on the machine that was measured, and `action` asked of it.
fn together(action: &str) -> Scenario {
    Scenario {
        action: action.to_owned(),
        tenants: 1,
        arrival: Arrival::Callers { callers: 1, think_ms: 0.0 },
        instances: 1,
        pool_size: 16,
        budget: pass::BUDGET,
        round_trip_ms: 0.0,
        jitter_ms: 0.0,
        layout: Layout::Together,
        routing: Routing::Any,
    }
}
