//! What passed through a relay.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What passed through a relay, on one connection or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections taken. One counts from when the relay takes it, which is before its first byte is passed on.
    pub connections: u64,
    /// Connections that are open now: at least one side has not ended yet.
    pub open: u64,
    /// Round trips as the client sees them: it spoke, then the server answered. One counts as soon as the answer begins to
    /// arrive, for all the client said before. TCP's own handshake, which every connection begins with, is not among them.
    pub round_trips: u64,
    /// Bytes from the client to the server.
    pub bytes_up: u64,
    /// Bytes from the server to the client.
    pub bytes_down: u64,
}

impl Counts {
    /// Round trips with TCP's handshakes, one for each connection: what a client that connects waits for.
    pub fn round_trips_with_tcp(self) -> u64 {
        self.connections + self.round_trips
    }

    /// What has passed since `earlier` was read; `open` stays as it is now.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            connections: self.connections - earlier.connections,
            open: self.open,
            round_trips: self.round_trips - earlier.round_trips,
            bytes_up: self.bytes_up - earlier.bytes_up,
            bytes_down: self.bytes_down - earlier.bytes_down,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            open: self.open + other.open,
            round_trips: self.round_trips + other.round_trips,
            bytes_up: self.bytes_up + other.bytes_up,
            bytes_down: self.bytes_down + other.bytes_down,
        }
    }
}

/// The counts of every connection there has been.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Vec<Line>>>);

struct Line {
    client: Option<SocketAddr>,
    established: Instant,
    counts: Counts,
    /// The client has spoken, and the server not since.
    awaits_answer: bool,
}

impl Ledger {
    /// Enters a new connection.
    pub(super) fn open(&self, client: Option<SocketAddr>, established: Instant) -> Entry {
        let mut lines = self.lines();
        let counts = Counts { connections: 1, open: 1, ..Counts::default() };
        lines.push(Line { client, established, counts, awaits_answer: false });
        Entry { ledger: self.clone(), index: lines.len() - 1 }
    }

    /// When the latest connection of `client` is established.
    pub(super) fn established(&self, client: SocketAddr) -> Option<Instant> {
        self.lines().iter().rev().find(|line| line.client == Some(client)).map(|line| line.established)
    }

    /// How many there have been.
    pub(super) fn len(&self) -> usize {
        self.lines().len()
    }

    pub(super) fn total(&self) -> Counts {
        self.lines().iter().fold(Counts::default(), |total, line| total.plus(line.counts))
    }

    pub(super) fn each(&self) -> Vec<Counts> {
        self.lines().iter().map(|line| line.counts).collect()
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection's place in a ledger.
pub(super) struct Entry {
    ledger: Ledger,
    index: usize,
}

impl Entry {
    pub(super) fn client_spoke(&self, bytes: usize) {
        let line = &mut self.ledger.lines()[self.index];
        line.counts.bytes_up += bytes as u64;
        line.awaits_answer = true;
    }

    pub(super) fn server_spoke(&self, bytes: usize) {
        let line = &mut self.ledger.lines()[self.index];
        line.counts.bytes_down += bytes as u64;
        line.counts.round_trips += u64::from(std::mem::take(&mut line.awaits_answer));
    }

    pub(super) fn close(&self) {
        self.ledger.lines()[self.index].counts.open = 0;
    }
}
