//! How far away the database and the API are, by the cheapest exchange there is.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tare_evidence::units::time;
use tare_evidence::{Distance, Finding, FindingKind, median};
use tokio::net::TcpStream;
use tokio_postgres::Client;

use crate::Error;

/// Exchanges; the figure is their median.
const EXCHANGES: usize = 20;
/// What the guide asks for, in milliseconds.
const GUIDE_MS: f64 = 100.0;

/// The way to a database and back, by queries that ask nothing.
///
/// # Errors
/// The connection broke.
pub async fn to_database(client: &Client) -> Result<Distance, Error> {
    let mut times = Vec::new();
    for _ in 0..EXCHANGES {
        let start = Instant::now();
        client.simple_query("").await.map_err(Error::Database)?;
        times.push(start.elapsed());
    }
    Ok(distance("database", "an empty query", &times))
}

/// The way to a service and back, by TCP's handshake: its kernel answers, and no program.
///
/// # Errors
/// Nothing listens there.
pub async fn to_api(address: SocketAddr) -> Result<Distance, Error> {
    let mut times = Vec::new();
    for _ in 0..EXCHANGES {
        let start = Instant::now();
        TcpStream::connect(address).await.map_err(|reason| Error::Unreached { address, reason })?;
        times.push(start.elapsed());
    }
    Ok(distance("API", "TCP's handshake", &times))
}

fn distance(to: &str, by: &str, times: &[Duration]) -> Distance {
    let times = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
    Distance { to: to.into(), round_trip_ms: median(times), by: by.into() }
}

/// What stands out about a distance: that it is longer than the guide has it.
pub fn finding(distance: &Distance) -> Option<Finding> {
    let ms = distance.round_trip_ms.estimate;
    (ms >= GUIDE_MS).then(|| Finding {
        kind: FindingKind::Distance,
        what: format!("A round trip to the {} takes {}; the guide asks for less than 100 ms.", distance.to, time(ms)),
        at: distance.to.clone(),
        share: None,
        advice: "Put both in one region, or make fewer round trips.".into(),
        proof: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_far_is_told() {
        let of = |ms| finding(&distance("database", "an empty query", &[Duration::from_millis(ms)]));
        assert_eq!(of(99), None);
        assert!(of(120).unwrap().what.starts_with("A round trip to the database takes 120 ms"));
    }

    #[tokio::test]
    async fn nothing_that_listens_is_named() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(to_api(address).await.unwrap().to, "API");
        drop(listener);
        assert!(to_api(address).await.unwrap_err().to_string().contains(&address.to_string()));
    }
}
