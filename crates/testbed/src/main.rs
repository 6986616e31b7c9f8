//! A fixture in the server of DATABASE_URL for other processes, until standard input ends.
//!
//! Made by the code of its own state, so that two states of it can be measured side by side in one server.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use tare_testbed::{Error, Fixture, Provider, Server, Size};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let handover = arguments.next().map(PathBuf::from);
    let parts = arguments.next().and_then(|parts| parts.to_str()?.parse().ok());
    let (Some(handover), Some(parts)) = (handover, parts) else {
        eprintln!("usage: tare-testbed HANDOVER PARTS; the server is DATABASE_URL's");
        return ExitCode::from(2);
    };
    match hand_over(&handover, Size::with_parts(parts)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn hand_over(path: &std::path::Path, size: Size) -> Result<(), Error> {
    let server = Server::start(Some(Provider::Url), &|_| ()).await?;
    let fixture = Fixture::create(server, size).await?;
    fixture.hand_over(path)?;
    println!("ready");
    let _ = std::io::stdout().flush();
    // Whoever started this is done, or gone.
    let waiting = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    let _ = waiting.await;
    Ok(())
}
