//! What load to send, and where.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use tare_gateway::Strategy;
use tare_stress::{Pace, Share};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Judged, Postgres};

/// What to send, and where.
#[derive(Debug, Clone, Args)]
pub struct Subject {
    /// Send to this URL instead of the built-in server. The bearer token comes from TEST_JWT in the environment.
    #[arg(long)]
    pub url: Option<String>,

    /// The method; POST when there is a body, else GET.
    #[arg(long, requires = "url")]
    pub method: Option<String>,

    /// A header, `Name: value`; may be given more than once. A value that must not be seen in the list of processes comes
    /// from the environment: 'X-Api-Key: {{ env("KEY") }}'.
    #[arg(long = "header", short = 'H', value_name = "HEADER", requires = "url", value_parser = header)]
    pub headers: Vec<(String, String)>,

    /// The body, or `@FILE` with it. It may be a template: {{ uuid() }}, {{ seq() }}, {{ pick("ids.txt") }},
    /// {{ random_int(1, 9) }} and {{ env("NAME") }} are different in each request.
    #[arg(long, requires = "url")]
    pub body: Option<String>,

    /// A JSON pointer to something the body of a success holds, like `/result/id`; may be given more than once. Without
    /// one every answer of 200 to 299 is a success.
    #[arg(long = "expect", value_name = "POINTER", requires = "url")]
    pub promises: Vec<String>,

    /// Allow load off this machine. Ask its owner first.
    #[arg(long, requires = "url")]
    pub allow_remote: bool,

    /// Certificates to trust for an https --url, PEM; the operating system's when left out.
    #[arg(long, value_name = "FILE", requires = "url")]
    pub root_certificate: Option<PathBuf>,

    /// Speak HTTP/2: agreed on by TLS, and without it taken as known.
    #[arg(long, requires = "url")]
    pub http2: bool,

    /// The action to ask of the built-in server.
    #[arg(long, default_value = "view_part_details", conflicts_with = "url")]
    pub action: String,

    /// The fixes of the built-in server: `before`, `after`, or fixes joined by `+`.
    #[arg(long, default_value = "after", conflicts_with = "url")]
    pub strategy: Strategy,
}

const EXAMPLES: &str = "\x1b[1mExamples\x1b[0m
  The published load, on the built-in server without any fix:
      cargo xtask stress --strategy before -n 500 -c 10
  500 requests a second for a minute, whether or not the service keeps up:
      cargo xtask stress --url http://127.0.0.1:8080/health --rate 500 -d 60s
  From 100 to 2000 a second, to see where it bends:
      cargo xtask stress --url http://127.0.0.1:8080/health --rate 100..2000:60s -c 200
  The highest rate at which the targets still hold:
      cargo xtask stress --strategy after --find-limit -c 64
  An order with a new key each, as the bearer of TEST_JWT:
      cargo xtask stress --url http://127.0.0.1:8080/v1/orders -H 'Idempotency-Key: {{ uuid() }}' \\
          --body @order.json --expect /id
  Several actions by weight, from a file:
      cargo xtask stress --url http://127.0.0.1:8080 --mix mix.toml -d 30s
  Two machines that send 1000 a second together; on the other with --share 2/2, and then what both measured as one:
      cargo xtask stress --url http://192.0.2.1:8080/health --allow-remote --rate 1000 -d 60s --share 1/2 \\
          --start-at 2026-01-31T12:00:00Z --output one
      cargo xtask stress merge one other";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_long_help = EXAMPLES)]
pub struct Stress {
    #[command(subcommand)]
    pub command: Option<StressCommand>,

    #[command(flatten)]
    pub subject: Subject,

    /// What to send, by weight: a file with `[[actions]]` of name, weight, method, path, headers, body or body_file, and expect.
    #[arg(long, value_name = "FILE", requires = "url", conflicts_with_all = ["body", "method", "headers", "promises"])]
    pub mix: Option<PathBuf>,

    /// Where chance begins: the same seed makes the same requests in the same order, the same uuid() included. Another one
    /// in each run when left out.
    #[arg(long, value_name = "NUMBER", requires = "url")]
    pub seed: Option<u64>,

    /// Requests to count, at most; 500 when there is neither -d nor a rate with an end.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,

    /// How long to send, at most: 10s, 2m. With --find-limit how long each rate is tried, 3s when left out.
    #[arg(long, short = 'd', value_name = "TIME", value_parser = time)]
    pub duration: Option<Duration>,

    /// Send at a rate, answered or not: so many a second, or in stages like 100:10s,100..1000:60s. Latency then counts from
    /// when a request was due. Without it, each request follows the answer to the one before it, and a service that stalls
    /// is asked less, which makes it look faster than its users find it.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Pace>,

    /// Find the highest rate at which the targets still hold, by bisection; each rate counts when it came out the same
    /// twice.
    #[arg(long, conflicts_with_all = ["rate", "requests"])]
    pub find_limit: bool,

    /// With --find-limit: the P95 to hold instead of the one in the targets, 500ms.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "find_limit")]
    pub p95: Option<Duration>,

    /// Requests at a time, each on a connection of its own.
    #[arg(long, short = 'c', default_value_t = 10, value_parser = concurrency)]
    pub concurrency: usize,

    /// With --http2: requests at a time that share a connection.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = concurrency, requires = "http2")]
    pub streams: usize,

    /// Open a connection for each request, as services do that keep none.
    #[arg(long, requires = "url")]
    pub no_reuse: bool,

    /// Look at the database DATABASE_URL behind --url meanwhile: what its sessions are at, who waits for whom, what it counts.
    #[arg(long, requires = "url", conflicts_with = "find_limit")]
    pub watch_database: bool,

    /// Be one of several workers that send this load together, as 3/8: of its rate, its requests, its warm-up and its connections
    /// the third of eight shares, which add up exactly. What they find is put together by `stress merge FOLDER…`.
    #[arg(long, value_name = "K/N", requires = "url", conflicts_with_all = ["find_limit", "watch_database"])]
    pub share: Option<Share>,

    /// Begin to count at this moment by the clock: 2026-01-31T12:00:00Z, or seconds since 1970. Connections are opened and
    /// warmed shortly before.
    #[arg(long, value_name = "TIME", requires = "url", conflicts_with = "find_limit", value_parser = moment)]
    pub start_at: Option<SystemTime>,

    /// Threads that send; half of the processors when left out, for the service needs some, too.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Requests to send before counting begins.
    #[arg(long, default_value_t = 50)]
    pub warmup: u64,

    /// After which time a request is given up, since it was due: 30s, 500ms.
    #[arg(long, value_name = "TIME", default_value = "30", value_parser = time)]
    pub timeout: Duration,

    /// Tell of every request.
    #[arg(long, short)]
    pub verbose: bool,

    /// What is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,

    /// Requests that the built-in server works on at a time, as by so many blocking threads; all there are when left out.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "url")]
    pub workers: Option<u16>,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}

#[derive(Debug, Subcommand)]
pub enum StressCommand {
    /// Puts together what several workers measured, on one machine or many: exactly, for every request is counted in their
    /// histograms. Of their folders comes one pass, judged as any other; of .hlog files alone, their sum.
    Merge(Merge),
}

#[derive(Debug, Args)]
pub struct Merge {
    /// The folders of all workers of one load (--share), or one that holds them; or histogram logs (.hlog), which lie beside the
    /// evidence of each pass.
    #[arg(required = true, value_name = "PART")]
    pub parts: Vec<PathBuf>,

    /// Of folders: where evidence is written, a folder for each run; target/perf when left out. Of logs: the file to write the
    /// merged log to.
    #[arg(long, short, value_name = "PATH")]
    pub output: Option<PathBuf>,

    /// Targets that what folders hold is judged by.
    #[arg(long, value_name = "FILE", default_value = "fixtures/perf.toml")]
    pub config: PathBuf,

    /// What is written to standard output of what folders hold.
    #[arg(long, default_value = "text")]
    pub format: Format,
}

/// What a run is told as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// For a pull request.
    Markdown,
    /// The evidence itself.
    Json,
}

/// A time with its unit; without one in seconds.
pub(super) fn time(given: &str) -> Result<Duration, String> {
    let bare = given.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let time = if bare { tare_stress::time(&format!("{given}s")) } else { tare_stress::time(given) };
    time.ok_or("must be a time above 0, like 10s, 500ms or 2m".into())
}

/// A moment by the clock.
fn moment(given: &str) -> Result<SystemTime, String> {
    let bare = given.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let moment = match bare {
        Some(since) => UNIX_EPOCH.checked_add(since),
        None => OffsetDateTime::parse(given, &Rfc3339).ok().map(SystemTime::from),
    };
    moment.ok_or_else(|| "must be a moment like 2026-01-31T12:00:00Z, or seconds since 1970".into())
}

fn header(given: &str) -> Result<(String, String), String> {
    let (name, value) = given.split_once(':').ok_or("a header reads `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

pub(super) fn concurrency(given: &str) -> Result<usize, String> {
    match given.parse() {
        Ok(concurrency @ 1..=10_000) => Ok(concurrency),
        _ => Err("must be a whole number from 1 to 10000".into()),
    }
}
