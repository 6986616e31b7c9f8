//! What is calibrated.

use clap::{Args, ValueEnum};

use super::{Judged, Postgres};

#[derive(Debug, Args)]
pub struct Calibrate {
    /// Only these parts; all when none is named.
    #[arg(id = "calibrated", value_name = "PART")]
    pub parts: Vec<CalibrationPart>,

    /// Fewer requests and rounds: some three minutes instead of nine.
    #[arg(long)]
    pub quick: bool,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

/// A part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CalibrationPart {
    /// Percentiles of a service that takes known times.
    Latencies,
    /// Percentiles of a service that stalls for a second, at a rate and in a closed loop.
    Stall,
    /// Memory of a long pass beside that of a short one.
    Memory,
    /// Processor time of the client that the load is made of, beside reqwest.
    Clients,
    /// Requests per second and processor time beside oha and wrk, where they are installed.
    Rivals,
}

impl CalibrationPart {
    pub const ALL: [Self; 5] = [Self::Latencies, Self::Stall, Self::Memory, Self::Clients, Self::Rivals];

    /// The name of its step.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Latencies => "latencies",
            Self::Stall => "stall",
            Self::Memory => "memory",
            Self::Clients => "clients",
            Self::Rivals => "rivals",
        }
    }
}
