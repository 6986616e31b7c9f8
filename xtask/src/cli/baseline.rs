//! Criterion's baselines.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::baseline::name;

/// How Criterion compares.
#[derive(Debug, Clone, Default, Args)]
pub struct Baselines {
    /// Keep what the benches measure under this name.
    #[arg(long, value_name = "NAME", value_parser = name, conflicts_with = "baseline")]
    pub save_baseline: Option<String>,

    /// Compare the benches with what was kept under this name: exits with 1 when one of them is slower.
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub baseline: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Baseline {
    /// Makes one file of a baseline, as for a cache of the CI.
    Pack {
        /// What it was saved as.
        #[arg(value_parser = name)]
        name: String,
        /// Where to write it.
        #[arg(value_name = "FILE.tar.gz")]
        file: PathBuf,
    },
    /// Puts a packed baseline back. One of the same name that is there is replaced.
    Unpack {
        /// What `pack` wrote.
        #[arg(value_name = "FILE.tar.gz")]
        file: PathBuf,
    },
    /// The baselines that are there, what each was saved on, and when.
    List,
}
