//! Waking up at a moment, to some microseconds. Tokio's own timers are exact to a millisecond, which is much of a distance
//! and of an answer's time.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How long before the moment to wake up a first time: a processor that has fallen asleep takes a while, and is then awake.
const EARLY: Duration = Duration::from_micros(200);
const NOTHING: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// A timer of the kernel's, registered with the runtime it was made on.
pub struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// A timer that is not set.
    ///
    /// # Errors
    /// The process has no descriptor left for it.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is unsafe for the sake of descriptors that are not owned, as this one is"
        )]
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Returns at `due`, or at once when it has passed.
    ///
    /// # Errors
    /// What the kernel says of the timer.
    pub async fn at(&self, due: Instant) -> io::Result<()> {
        for early in [EARLY, Duration::ZERO] {
            let ahead = due.saturating_duration_since(Instant::now()).saturating_sub(early);
            if !ahead.is_zero() {
                self.ring(ahead).await?;
            }
        }
        Ok(())
    }

    async fn ring(&self, ahead: Duration) -> io::Result<()> {
        let it_value = Timespec { tv_sec: ahead.as_secs() as i64, tv_nsec: ahead.subsec_nanos().into() };
        // Setting it forgets an earlier one that nobody waited for to its end.
        let once = Itimerspec { it_interval: NOTHING, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        let mut rung = [0; 8];
        self.0.async_io(Interest::READABLE, |timer| Ok(rustix::io::read(timer, &mut rung)?)).await.map(drop)
    }
}
