//! A disk that is waited for: whoever comes while it writes is in the next group.

use super::JobId;
use super::level::Level;

/// Who waits for which group.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    writing: Vec<JobId>,
    next: Vec<(JobId, f64, f64)>,
    pub(crate) busy: Level,
    /// Seconds that jobs have waited for the group before theirs, in all.
    pub(crate) waited: f64,
}

impl Disk {
    /// How long the write takes that begins for this one; nothing when it is in the next group.
    pub(crate) fn arrive(&mut self, now: f64, job: JobId, seconds: f64) -> Option<f64> {
        if !self.writing.is_empty() {
            self.next.push((job, seconds, now));
            return None;
        }
        self.writing.push(job);
        self.busy.set(now, 1.0);
        Some(seconds)
    }

    /// A group is on the disk: who was in it, and how long the next takes, which is as long as its first would alone.
    pub(crate) fn end(&mut self, now: f64) -> (Vec<JobId>, Option<f64>) {
        let written = std::mem::take(&mut self.writing);
        let seconds = self.next.first().map(|(_, seconds, _)| *seconds);
        for (job, _, since) in self.next.drain(..) {
            self.waited += now - since;
            self.writing.push(job);
        }
        self.busy.set(now, f64::from(u8::from(seconds.is_some())));
        (written, seconds)
    }
}
