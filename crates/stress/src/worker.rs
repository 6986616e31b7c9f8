//! Those who send: some threads, each with a runtime of its own and a part of the workers.
//!
//! Nothing passes from thread to thread for a request, which costs a load more than the request does.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tare_alarm::Alarm;
use tokio::runtime::Builder;
use tokio::sync::{Mutex as Door, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::outcome::{Outcome, failure};
use crate::tally::{Tally, Timing};
use crate::{Answer, Connection, Line, Load, Mix};

/// How long the thread stays awake before a request is due.
const AWAKE: Duration = Duration::from_micros(100);
/// When requests are further between, staying awake costs little of the processor.
const FAR_BETWEEN: Duration = Duration::from_micros(400);

/// What all workers have in common.
pub(crate) struct Common {
    pub(crate) load: Load,
    /// Requests taken for the warm-up, the first of all included.
    warmed: AtomicU64,
    /// Requests taken for counting.
    begun: AtomicU64,
    began: OnceLock<Instant>,
    /// Cancelled when counting begins.
    counting: CancellationToken,
    stop: CancellationToken,
}

/// The threads of a pass.
pub(crate) struct Crew {
    pub(crate) common: Arc<Common>,
    /// What came of the requests of each.
    pub(crate) tallies: Vec<Arc<Mutex<Tally>>>,
    warm: Vec<oneshot::Receiver<()>>,
    threads: Vec<JoinHandle<()>>,
    /// Ends when every thread has.
    running: mpsc::Receiver<()>,
}

impl Crew {
    pub(crate) fn start(load: Load, stop: &CancellationToken) -> io::Result<Self> {
        let (threads, workers) = (load.threads.clamp(1, load.concurrency), load.concurrency);
        let common = Arc::new(Common {
            load,
            warmed: AtomicU64::new(1),
            begun: AtomicU64::new(0),
            began: OnceLock::new(),
            counting: CancellationToken::new(),
            stop: stop.clone(),
        });
        let (runs, running) = mpsc::channel(1);
        let mut crew = Self { common, tallies: Vec::new(), warm: Vec::new(), threads: Vec::new(), running };
        for nth in 0..threads {
            let (common, tally, runs) = (crew.common.clone(), Arc::<Mutex<Tally>>::default(), runs.clone());
            let (is_warm, warm) = oneshot::channel();
            let first = nth * (workers / threads) + nth.min(workers % threads);
            let workers = workers / threads + usize::from(nth < workers % threads);
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let door = {
                let _within = runtime.enter();
                Alarm::new()?
            };
            crew.tallies.push(tally.clone());
            crew.warm.push(warm);
            crew.threads.push(std::thread::Builder::new().name("load".into()).spawn(move || {
                runtime.block_on(thread(common, first, workers, tally, door, is_warm));
                // Nobody waits for what drives connections that are shared.
                runtime.shutdown_background();
                drop(runs);
            })?);
        }
        Ok(crew)
    }

    /// Returns when every thread is warm, or has ended.
    pub(crate) async fn warm_up(&mut self) {
        for warm in self.warm.drain(..) {
            let _ = warm.await;
        }
    }

    /// Returns when every thread has ended.
    pub(crate) async fn ended(&mut self) {
        while self.running.recv().await.is_some() {}
    }

    /// What came of all their requests.
    ///
    /// # Panics
    /// When one of them did.
    pub(crate) fn end(self) -> (Arc<Common>, Tally) {
        for thread in self.threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
        let mut all = Tally::default();
        for tally in self.tallies {
            all.add(std::mem::take(&mut tally.lock().unwrap_or_else(PoisonError::into_inner)));
        }
        (self.common, all)
    }
}

impl Common {
    /// Counting begins, now.
    pub(crate) fn begin(&self) -> Instant {
        let began = *self.began.get_or_init(Instant::now);
        self.counting.cancel();
        began
    }

    /// The next request to be counted and, where there is a pace, when it is due. Nothing when there were enough.
    fn next(&self, began: Instant) -> Option<(u64, Option<Instant>)> {
        let extent = self.load.extent;
        let nth = self.begun.fetch_add(1, Ordering::Relaxed);
        if nth >= extent.requests {
            return None;
        }
        match &self.load.pace {
            None => (began.elapsed() < extent.time).then_some((nth, None)),
            Some(pace) => {
                let due = pace.due(self.load.share.number(nth)).filter(|due| *due < extent.time)?;
                Some((nth, began.checked_add(due)))
            }
        }
    }
}

async fn thread(
    common: Arc<Common>,
    first: usize,
    workers: usize,
    tally: Arc<Mutex<Tally>>,
    door: Alarm,
    is_warm: oneshot::Sender<()>,
) {
    let stop = common.stop.clone();
    let work = async {
        let connections = connections(&common.load, first, workers);
        let connections = each(connections, |connection| warm_up(common.clone(), connection)).await;
        // Whoever looks on may be gone.
        let _ = is_warm.send(());
        common.counting.cancelled().await;
        let door = Arc::new(Door::new(door));
        let connections = each(connections, |mut connection| {
            let (common, tally, door) = (common.clone(), tally.clone(), door.clone());
            async move {
                let before = connection.opened();
                send(&common, &mut connection, &tally, &door).await;
                connection.opened() - before
            }
        });
        let opened: u64 = connections.await.into_iter().sum();
        tally.lock().unwrap_or_else(PoisonError::into_inner).connections += opened;
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// So many connections, of which `streams` are one where it is HTTP/2, with the addresses of the target in turn. `first` were made
/// before them, and other machines have theirs.
fn connections(load: &Load, first: usize, workers: usize) -> Vec<Connection> {
    let mut connections: Vec<Connection> = Vec::new();
    for nth in 0..workers {
        let connection = match connections.last().filter(|_| !nth.is_multiple_of(load.streams.max(1))) {
            Some(last) => last.shared(),
            None => Connection::new(load.target.clone().at(load.share.number((first + nth) as u64))),
        };
        connections.push(connection);
    }
    connections
}

/// Lets every one of `all` do its work at the same time.
async fn each<A, T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    all: Vec<A>,
    work: impl Fn(A) -> F,
) -> Vec<T> {
    all.into_iter().map(work).collect::<JoinSet<_>>().join_all().await
}

async fn warm_up(common: Arc<Common>, mut connection: Connection) -> Connection {
    loop {
        let nth = common.warmed.fetch_add(1, Ordering::Relaxed);
        if nth > common.load.warmup {
            return connection;
        }
        let number = common.load.share.number(nth);
        attempt(&common.load.mix, &mut connection, number, Duration::ZERO, common.load.timeout).await;
    }
}

/// Sends request after request. Where they are due at times, workers that are idle stand in a queue: the first of them waits
/// until the next request is due, and takes it. When none is idle, the next request is late, and that counts.
async fn send(common: &Common, connection: &mut Connection, tally: &Mutex<Tally>, door: &Door<Alarm>) {
    let load = &common.load;
    let began = *common.began.get().expect("counting has begun");
    let paced = load.pace.is_some();
    loop {
        let (next, now) = match paced {
            false => (common.next(began), Instant::now()),
            true => {
                let alarm = door.lock().await;
                let next = common.next(began);
                if let Some((_, Some(due))) = next {
                    wait_until(due, &alarm).await;
                }
                (next, Instant::now())
            }
        };
        let Some((nth, due)) = next else { return };
        let waited = due.map(|due| now.saturating_duration_since(due));
        let late = waited.unwrap_or_default();
        // Clocks matter only to those who begin together.
        let sent = load.start.map(|_| SystemTime::now());
        let number = load.share.number(load.warmup + 1 + nth);
        let (action, outcome) = attempt(&load.mix, connection, number, late, load.timeout).await;
        let timing = Timing { latency: due.unwrap_or(now).elapsed(), waited };
        let promises = load.mix.action(action).promises();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(sent), Outcome::Answer(answer)) = (sent, &outcome) {
            tally.clock.see(&answer.headers, sent, SystemTime::now());
        }
        let failure = tally.count(action, &outcome, timing, promises);
        if load.every {
            let status = if let Outcome::Answer(answer) = &outcome { Some(answer.status) } else { None };
            let latency_ms = timing.latency.as_secs_f64() * 1e3;
            tally.window.lines.push(Line { nth: nth + 1, action, status, failure, latency_ms });
        }
    }
}

/// Returns at `due`. A timer is some 50 µs late, which would be counted as the service's; so where requests are far between,
/// the thread stays awake for the last of the time, and still takes the answers that come.
async fn wait_until(due: Instant, alarm: &Alarm) {
    let ahead = due.saturating_duration_since(Instant::now());
    let awake = if ahead > FAR_BETWEEN { AWAKE } else { Duration::ZERO };
    // A request sent before it is due would make every figure doubtful.
    alarm.at(due - awake).await.expect("the kernel's timer can be set");
    while Instant::now() < due {
        tokio::task::yield_now().await;
    }
}

/// Sends the request `nth` of `mix`, counted from 0, which has `waited` already: its `timeout` counts that. Also tells the index of its
/// action.
pub(crate) async fn attempt(
    mix: &Mix,
    connection: &mut Connection,
    nth: u64,
    waited: Duration,
    timeout: Duration,
) -> (usize, Outcome) {
    let drawn = mix.nth(nth + 1);
    let request = match drawn.request {
        Ok(request) => request,
        Err(reason) => return (drawn.action, Outcome::NoRequest(reason)),
    };
    let left = timeout.saturating_sub(waited);
    if left.is_zero() {
        return (drawn.action, Outcome::Timeout(timeout));
    }
    let outcome = match tokio::time::timeout(left, connection.send(&request)).await {
        Ok(Ok(answer)) => Outcome::Answer(answer),
        Ok(Err(reason)) => Outcome::NoAnswer(reason),
        Err(_) => Outcome::Timeout(timeout),
    };
    (drawn.action, outcome)
}

/// Sends the request `nth` of `mix` alone and reads the answer. The error says why it is no success.
pub async fn call(mix: &Mix, connection: &mut Connection, nth: u64, timeout: Duration) -> Result<Answer, String> {
    let (action, outcome) = attempt(mix, connection, nth, Duration::ZERO, timeout).await;
    match (failure(&outcome, mix.action(action).promises()), outcome) {
        (None, Outcome::Answer(answer)) => Ok(answer),
        (failure, _) => {
            let (kind, example) = failure.unwrap_or(("body", String::new()));
            Err(mix.redact(&format!("{kind}: {example}")).into_owned())
        }
    }
}
