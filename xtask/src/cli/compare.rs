//! Flags of `compare`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{BenchName, Judged, Part, Postgres};

#[derive(Debug, Args)]
pub struct Compare {
    /// What to compare with: a branch, a tag or a commit, as git knows it.
    pub base: String,

    /// What to compare; the working tree as it is, with changes and new files, when left out.
    pub head: Option<String>,

    /// Only these parts.
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    pub only: Vec<Part>,

    /// A bench that has another id in the base. May be given more than once.
    #[arg(long, value_name = "OLD=NEW", value_parser = renamed)]
    pub renamed: Vec<(String, String)>,

    /// How long what is timed may be measured; what is not decided by then stays undecided.
    #[arg(long, value_name = "TIME", default_value = "8m", value_parser = super::load::time)]
    pub time_limit: Duration,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

impl Compare {
    /// Whether the bench executable `name` is compared; one that is not known here is, when all are.
    pub fn wants_bench(&self, name: &str) -> bool {
        let is = |part: &Part| match part {
            Part::Benches => true,
            Part::Bench(bench) => bench.name() == name,
            Part::Stress | Part::Profile | Part::Ceiling => false,
        };
        match self.only.as_slice() {
            // It measures what stands for the network, and is no part of a service.
            [] => name != BenchName::Relay.name(),
            only => only.iter().any(is),
        }
    }

    /// As typed, but for where and how it is measured.
    pub fn command(&self) -> String {
        let parts: Vec<_> = self.only.iter().filter_map(ValueEnum::to_possible_value).collect();
        let parts: Vec<_> = parts.iter().map(|part| part.get_name()).collect();
        let only = if parts.is_empty() { String::new() } else { format!(" --only {}", parts.join(",")) };
        let head = self.head.as_ref().map_or_else(String::new, |head| format!(" {head}"));
        format!("compare {}{head}{only}", self.base)
    }

    /// Whether passes of load are compared.
    pub fn wants_stress(&self) -> bool {
        self.only.is_empty() || self.only.contains(&Part::Stress)
    }
}

fn renamed(given: &str) -> Result<(String, String), String> {
    match given.split_once('=') {
        Some((old, new)) if old.contains('/') && new.contains('/') => Ok((old.to_owned(), new.to_owned())),
        _ => Err("must be two ids, as in auth/old=auth/new".into()),
    }
}
