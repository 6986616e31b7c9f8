//! What to take apart.

use clap::Args;

use super::{Format, Judged, Postgres, Subject};

const EXAMPLES: &str = "\x1b[1mExamples\x1b[0m
  An action of the built-in server as published, without any fix:
      cargo xtask profile view_part_details --strategy before
  The same with every fix, its database 50 ms away:
      cargo xtask profile list_parts --network remote
  A service of your own, beside the query behind it, on the database DATABASE_URL:
      cargo xtask profile --url http://127.0.0.1:8080/v1/orders --body @order.json \\
          --sql 'select * from orders where customer = 42'";

#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Profile {
    /// The action of the built-in server: view_part_details when left out.
    #[arg(value_name = "ACTION", conflicts_with_all = ["url", "action"])]
    pub of: Option<String>,

    #[command(flatten)]
    pub subject: Subject,

    /// The query behind --url: one statement without parameters, or `@FILE` with it. It is run on the database beside each
    /// request, in a transaction that is rolled back, and its plan is read.
    #[arg(long, requires = "url")]
    pub sql: Option<String>,

    /// The database behind --url, where it is not DATABASE_URL. Without its password, which others would see in the list of
    /// processes: that comes from PGPASSWORD, or the whole from DATABASE_URL.
    #[arg(long, value_name = "URL", requires = "url")]
    pub database_url: Option<String>,

    /// Requests to count.
    #[arg(long, short = 'n', default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    pub samples: u64,

    /// What is written to standard output.
    #[arg(long, default_value = "text")]
    pub format: Format,

    #[command(flatten)]
    pub postgres: Postgres,
    #[command(flatten)]
    pub judged: Judged,
}
