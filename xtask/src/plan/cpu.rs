//! Processor time, of each process that a request goes through and of all others on the machine.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use tare_plan::Cpu;

/// Ticks a second in what the kernel tells of processes that have ended, and of the whole machine.
const TICKS: f64 = 100.0;

/// What was used until a moment, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    at: Instant,
    load: f64,
    server: f64,
    postgres: f64,
    machine: f64,
}

/// The processes that a request goes through, besides this one.
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    server: u32,
    /// The one that has started all others of PostgreSQL.
    postmaster: u32,
}

impl Processes {
    /// Those of a server that has a connection to `database`.
    pub fn find(server: u32, database: &str) -> Result<Self> {
        let is_backend = |process: &u32| {
            let title = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let mut words = title.split([' ', '\0']);
            words.next() == Some("postgres:") && words.any(|word| word == database)
        };
        let Some(backend) = all().find(is_backend) else {
            bail!(
                "no process of PostgreSQL is found on this machine that serves {database}, and its processor time cannot be counted; \
                 --postgres container or --postgres system start one here"
            );
        };
        let status = fs::read_to_string(format!("/proc/{backend}/status")).unwrap_or_default();
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok());
        Ok(Self { server, postmaster: parent.context("a process of PostgreSQL ended while it was looked at")? })
    }

    /// What they have used until now.
    pub fn used(self) -> Result<Used> {
        let own = getrusage(UsageWho::RUSAGE_SELF).context("the processor time of this process")?;
        let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let postmaster = stat(self.postmaster)?;
        let children = all().filter(|process| stat(*process).is_ok_and(|stat| stat.parent == self.postmaster));
        let alive: f64 = children.filter_map(running).sum();
        Ok(Used {
            at: Instant::now(),
            load: seconds(own.user_time()) + seconds(own.system_time()),
            server: running(self.server).context("the server has ended")?,
            postgres: running(self.postmaster).context("PostgreSQL has ended")? + alive + postmaster.ended_children,
            machine: machine()?,
        })
    }
}

impl Used {
    /// Processor time of one of `requests` since `before`, and how many processors were busy for others meanwhile.
    pub fn since(&self, before: &Self, requests: u64) -> (Cpu, f64) {
        let each = |seconds: f64| seconds.max(0.0) * 1e3 / requests.max(1) as f64;
        let (load, server, postgres) =
            (self.load - before.load, self.server - before.server, self.postgres - before.postgres);
        let others = self.machine - before.machine - load - server - postgres;
        let cpu = Cpu { load: each(load), server: each(server), postgres: each(postgres) };
        (cpu, (others / (self.at - before.at).as_secs_f64()).max(0.0))
    }
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Seconds that the threads of a process have run; to the nanosecond, where the kernel counts so.
fn running(process: u32) -> Option<f64> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).ok()?.flatten();
    let nanoseconds = |thread: fs::DirEntry| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    Some(threads.filter_map(nanoseconds).sum::<f64>() / 1e9)
}

struct Stat {
    parent: u32,
    /// In seconds.
    ended_children: f64,
}

fn stat(process: u32) -> Result<Stat> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(Path::new(&path)).with_context(|| format!("cannot read {path}"))?;
    let not_understood = || format!("{path} is not understood");
    // The name before may hold anything.
    let (_, fields) = text.rsplit_once(") ").with_context(not_understood)?;
    let fields: Vec<_> = fields.split(' ').collect();
    let number = |nth: usize| fields.get(nth)?.parse::<f64>().ok();
    Ok(Stat {
        parent: number(1).with_context(not_understood)? as u32,
        ended_children: (number(13).with_context(not_understood)? + number(14).with_context(not_understood)?) / TICKS,
    })
}

/// Seconds that all processors were busy for anybody.
pub fn machine() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat, by which others are told")?;
    let line = text.lines().next().unwrap_or_default();
    let times: Vec<f64> = line.split_whitespace().skip(1).filter_map(|time| time.parse().ok()).collect();
    // User, nice, system, idle, waiting for disks, interrupts, and what was taken by other machines.
    let busy = |nth: &usize| *nth != 3 && *nth != 4;
    let [_, _, _, _, _, _, _, _, ..] = times[..] else { bail!("/proc/stat is not understood") };
    Ok((0..8).filter(busy).map(|nth| times[nth]).sum::<f64>() / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_run_and_so_has_the_machine() {
        let own = std::process::id();
        assert!(running(own).unwrap() > 0.0 && machine().unwrap() >= running(own).unwrap());
        assert_eq!(stat(own).unwrap().parent, std::os::unix::process::parent_id());
    }

    #[test]
    fn a_database_that_nobody_serves_here_is_said() {
        let error = Processes::find(std::process::id(), "tare_nowhere").unwrap_err().to_string();
        assert!(error.contains("tare_nowhere") && error.contains("--postgres system"), "{error}");
    }

    #[test]
    fn what_was_used_is_divided_by_the_requests() {
        let at = Instant::now();
        let before = Used { at, load: 1.0, server: 2.0, postgres: 3.0, machine: 10.0 };
        let later =
            Used { at: at + std::time::Duration::from_secs(2), load: 1.2, server: 2.4, postgres: 3.6, machine: 12.0 };
        let (cpu, others) = later.since(&before, 1_000);
        assert!((cpu.load - 0.2).abs() < 1e-9 && (cpu.all() - 1.2).abs() < 1e-9, "{cpu:?}");
        assert!((others - 0.4).abs() < 1e-9);
    }
}
