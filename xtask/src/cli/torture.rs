//! What goes wrong, for how long.

use std::time::Duration;

use clap::Args;
use tare_torture::Fault;

use super::Format;

#[derive(Debug, Args)]
pub struct Torture {
    /// Go on for so many minutes, with every fault once at least.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=24 * 60), conflicts_with = "once")]
    pub minutes: u32,

    /// Every fault once, and no more.
    #[arg(long)]
    pub once: bool,

    /// What the order of faults, the callers and what they ask for are drawn from; told in the end, and drawn by itself when left
    /// out. The rounds after the first have the seeds that follow.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u32>,

    /// Only these faults; all when left out.
    #[arg(long, value_delimiter = ',', value_name = "FAULTS")]
    pub only: Vec<Fault>,

    /// How long a fault lasts: 500ms, 3s; a lock is held ten times as long.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = super::load::time)]
    pub hold: Duration,

    /// Keep the audit queue in memory, which a killed server loses: to see what that costs.
    #[arg(long)]
    pub queue_in_memory: bool,

    /// How it is told in the end.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}
