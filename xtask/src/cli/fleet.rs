//! Load from many containers.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use tare_stress::Pace;

use super::load::{Format, concurrency, time};
use super::{Judged, parts};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Fleet {
    #[command(subcommand)]
    pub command: Option<FleetCommand>,

    /// Gateways, each a container.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub gateways: u16,

    /// Workers that send, each a container.
    #[arg(long, value_name = "NUMBER", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub workers: u16,

    /// The action to ask of the gateways.
    #[arg(long, default_value = "view_part_details")]
    pub action: String,

    /// Requests to count, of all workers together; 500 when there is neither -d nor a rate with an end.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// How long to send, at most: 10s, 2m.
    #[arg(long, short = 'd', value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,

    /// Send at a rate, answered or not, of all workers together: so many a second, or in stages like 100:10s,100..1000:60s.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Pace>,

    /// Requests at a time, of all workers together.
    #[arg(long, short = 'c', default_value_t = 10, value_parser = concurrency)]
    pub concurrency: usize,

    /// Requests to send before counting begins, of all workers together.
    #[arg(long, default_value_t = 50)]
    pub warmup: u64,

    /// The image that those of gateways and workers are made from: any with the C library that the programs were built with.
    #[arg(long, value_name = "IMAGE", default_value = "debian:12-slim")]
    pub base: String,

    /// The image that PgBouncer's is made from, which installs it unless it has it; that of --base when left out.
    #[arg(long, value_name = "IMAGE")]
    pub pooler_base: Option<String>,

    /// Parts in the fixture, over 5 tenants.
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = parts)]
    pub parts: usize,

    /// What is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,

    #[command(flatten)]
    pub judged: Judged,
}

#[derive(Debug, Subcommand)]
pub enum FleetCommand {
    /// What runs in a container of the fleet: tenants' databases on the server of DATABASE_URL, their logins and what workers send,
    /// until it is stopped.
    Fixture(FleetFixture),
}

#[derive(Debug, Args)]
pub struct FleetFixture {
    /// Where to write what the other containers need. It holds passwords and tokens.
    #[arg(long, value_name = "FOLDER")]
    pub folder: PathBuf,

    /// Where workers leave what they find; the number of audit rows is written beside that in the end.
    #[arg(long, value_name = "FOLDER")]
    pub results: PathBuf,

    /// Where gateways reach the databases: host:port, of a pooler.
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub route: (String, u16),

    /// Parts in the fixture, over 5 tenants.
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000, value_parser = parts)]
    pub parts: usize,

    /// The action that workers are to ask for.
    #[arg(long, default_value = "view_part_details")]
    pub action: String,
}

fn address(given: &str) -> Result<(String, u16), String> {
    let parsed = given.rsplit_once(':').and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)));
    parsed.filter(|(host, _)| !host.is_empty()).ok_or_else(|| "must be host:port, like pooler:6432".into())
}
