//! How long what one side says is under way to the other.
//!
//! A chunk is stamped when it arrives, and passed on when it is due: what follows in the meantime travels along with it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use tare_alarm::Alarm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::select;
use tokio::sync::{mpsc, watch};

use super::State;
use crate::Network;

/// Bytes passed on at a time, at most.
const CHUNK: usize = 16 * 1024;
/// Chunks under way on a connection in one direction, at most: what the window of a connection is on a long way.
const UNDER_WAY: usize = 512;

/// How long the thread waits for more without falling asleep.
const AWAKE: Duration = Duration::from_micros(200);

/// What all connections share in one direction: the end of the last transmission.
#[derive(Clone, Default)]
pub(super) struct Link(Arc<Mutex<Option<Instant>>>);

impl Link {
    /// When `bytes` that arrive now have been transmitted, behind what is being transmitted.
    fn transmit(&self, now: Instant, bytes: usize, bandwidth: Option<u64>) -> Instant {
        let Some(bandwidth) = bandwidth else { return now };
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = free.map_or(now, |free| free.max(now));
        let ends = begins + Duration::from_secs_f64(bytes as f64 * 8.0 / bandwidth as f64);
        *free = Some(ends);
        ends
    }
}

/// Draws half a round trip each time.
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn seeded(seed: u64) -> Self {
        Self(Rng::with_seed(seed))
    }

    pub(super) fn one_way(&mut self, Network { round_trip, jitter, .. }: Network) -> Duration {
        // Half of the jitter longer or shorter, so that both ways together are all of it.
        let jittered = if jitter.is_zero() { Duration::ZERO } else { jitter.mul_f64(self.0.f64()) };
        (round_trip / 2 + jittered).saturating_sub(jitter / 2)
    }
}

/// One direction of a connection.
pub(super) struct Passage {
    pub(super) state: watch::Receiver<State>,
    pub(super) link: Link,
    pub(super) dice: Dice,
    /// Until then nothing can have been sent: TCP's handshake is under way.
    pub(super) opens: Instant,
}

/// What one side said: bytes, or none when it has no more to say, or that it broke off; and when the other hears of it.
type Said = (io::Result<Bytes>, Instant);

impl Passage {
    /// Passes on what one side says, when it is due. `heard` is told of each chunk when it arrives, `told` when it is passed on:
    /// before that, so that whoever has seen its effect also sees it counted.
    pub(super) async fn pass(
        mut self,
        from: ReadHalf<'_>,
        to: WriteHalf<'_>,
        heard: impl Fn(usize),
        told: impl Fn(usize),
    ) -> io::Result<()> {
        let (sender, receiver) = mpsc::channel(UNDER_WAY);
        let state = self.state.clone();
        let alarm = Alarm::new()?;
        select! {
            // There is nothing to be heard from who has been told of the end, and nobody to hear it once it broke.
            delivered = deliver(to, &alarm, receiver, &state, told) => delivered,
            () = self.receive(from, sender, heard) => unreachable!("what is received ends only when all is delivered"),
        }
    }

    async fn receive(&mut self, mut from: ReadHalf<'_>, sender: mpsc::Sender<Said>, heard: impl Fn(usize)) {
        let mut chunk = BytesMut::new();
        let mut latest = self.opens;
        loop {
            chunk.reserve(CHUNK);
            let said = from.read_buf(&mut chunk).await.map(|_| chunk.split().freeze());
            let bytes = said.as_ref().map_or(0, Bytes::len);
            if bytes > 0 {
                heard(bytes);
            }
            let network = self.state.borrow().network;
            let sent = self.link.transmit(Instant::now().max(self.opens), bytes, network.bandwidth);
            // What is sent later does not arrive earlier.
            latest = latest.max(sent + self.dice.one_way(network));
            let is_end = bytes == 0;
            if sender.send((said, latest)).await.is_err() || is_end {
                drop(sender);
                return std::future::pending().await;
            }
        }
    }
}

async fn deliver(
    mut to: WriteHalf<'_>,
    alarm: &Alarm,
    mut receiver: mpsc::Receiver<Said>,
    state: &watch::Receiver<State>,
    told: impl Fn(usize),
) -> io::Result<()> {
    // Bytes passed on since the connection is to be cut.
    let mut passed = 0;
    loop {
        let near = state.borrow().network.round_trip.is_zero();
        let next = select! {
            biased;
            next = receiver.recv() => next,
            () = stay_awake(), if near => receiver.recv().await,
        };
        let Some((said, due)) = next else { break };
        alarm.at(due).await?;
        let said = said?;
        if said.is_empty() {
            let _ = to.shutdown().await;
            break;
        }
        let cut = state.borrow().cut;
        let left = cut.map(|after| after.saturating_sub(passed));
        if let Some(left) = left.filter(|left| *left <= said.len()) {
            told(left);
            to.write_all(&said[..left]).await?;
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        passed = if cut.is_some() { passed + said.len() } else { 0 };
        told(said.len());
        if to.write_all(&said).await.is_err() {
            // Whoever listened is gone. It may have said why: the other direction reads that, and how it ended.
            break;
        }
    }
    Ok(())
}

/// Keeps the thread from falling asleep for a while: waking up takes longer than passing a chunk on, and answers to what
/// was passed on come soon where there is no distance.
async fn stay_awake() {
    let until = Instant::now() + AWAKE;
    while Instant::now() < until {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_takes_half_the_round_trip_give_or_take_half_the_jitter() {
        let network: Network = "rtt=80ms,jitter=20ms".parse().unwrap();
        let drawn = |seed| {
            let mut dice = Dice::seeded(seed);
            (0..1_000).map(|_| dice.one_way(network)).collect::<Vec<_>>()
        };
        let ways = drawn(1);
        let (least, most) = (ways.iter().min().unwrap(), ways.iter().max().unwrap());
        assert!(*least >= Duration::from_millis(30) && *most <= Duration::from_millis(50), "{least:?} to {most:?}");
        assert!(*most - *least > Duration::from_millis(19), "all of the jitter is used: {least:?} to {most:?}");
        assert_eq!(drawn(1), ways, "the same seed draws the same");
        assert_ne!(drawn(2), ways);
        assert_eq!(Dice::seeded(1).one_way(Network::at(Duration::from_millis(50))), Duration::from_millis(25));
    }

    #[test]
    fn what_is_sent_waits_for_what_is_being_transmitted() {
        let (link, start) = (Link::default(), Instant::now());
        let milliseconds = |ms| start + Duration::from_millis(ms);
        let transmit = |at, bytes| link.transmit(at, bytes, Some(8_000_000));
        assert_eq!(transmit(start, 10_000), milliseconds(10));
        assert_eq!(transmit(start, 5_000), milliseconds(15));
        assert_eq!(transmit(milliseconds(40), 1_000), milliseconds(41));
        assert_eq!(Link::default().transmit(start, 10_000, None), start);
    }
}
