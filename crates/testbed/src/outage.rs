//! A PostgreSQL of ours that goes away on demand, and comes back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::provider::{Cluster, Owned};
use crate::{Error, Server, server};

/// How a PostgreSQL goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It is shut down, which ends all connections and loses nothing.
    Stopped,
    /// Its first process is killed with `-9`; the others notice.
    Killed,
    /// All of its processes are paused: connections stay open, and nothing answers.
    Paused,
}

impl Server {
    /// Takes the server away; [`bring_back`](Self::bring_back) starts it again. Dropped in between, it vanishes as ever.
    ///
    /// # Errors
    /// It is not a private cluster from the system's own binaries: others are not ours to break.
    pub async fn take_away(&self, outage: Outage) -> Result<(), Error> {
        let cluster = self.cluster()?;
        match outage {
            Outage::Stopped => send(Signal::SIGINT, locked(&cluster).processes().first())?,
            Outage::Killed => send(Signal::SIGKILL, locked(&cluster).processes().first())?,
            // The first process is paused first, so that it starts no others meanwhile.
            Outage::Paused => return send(Signal::SIGSTOP, &locked(&cluster).processes()),
        }
        while !locked(&cluster).has_ended() {
            tokio::time::sleep(server::AGAIN).await;
        }
        Ok(())
    }

    /// Has it serve again, and waits until it does.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn bring_back(&self) -> Result<(), Error> {
        let cluster = self.cluster()?;
        if !locked(&cluster).has_ended() {
            return send(Signal::SIGCONT, &locked(&cluster).processes());
        }
        // Processes that a killed one has left keep its memory for a moment, and until then it cannot be started.
        let mut attempts = 100;
        loop {
            attempts -= 1;
            locked(&cluster).launch()?;
            let ended = || locked(&cluster).has_ended();
            match server::wait_until_ready(&self.started.admin, self.root_certificate(), ended).await {
                Err(_) if attempts > 0 && ended() => tokio::time::sleep(server::AGAIN).await,
                ready => return ready,
            }
        }
    }

    fn cluster(&self) -> Result<Arc<Mutex<Cluster>>, Error> {
        match &self.started.owned {
            Owned::Cluster(cluster) => Ok(cluster.clone()),
            Owned::Nothing | Owned::Container(_) => Err(Error::NotOurs(self.provider())),
        }
    }
}

fn locked(cluster: &Mutex<Cluster>) -> MutexGuard<'_, Cluster> {
    cluster.lock().unwrap_or_else(PoisonError::into_inner)
}

fn send<'a>(signal: Signal, processes: impl IntoIterator<Item = &'a u32>) -> Result<(), Error> {
    for process in processes {
        match kill(Pid::from_raw(*process as i32), signal) {
            // It ended by itself.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(Error::io(format!("sending {signal} to PostgreSQL"))(error.into())),
        }
    }
    Ok(())
}
