//! Something that there is more or less of over time.

/// How much there is, and how much there was on average.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Level {
    now: f64,
    since: f64,
    began: f64,
    area: f64,
    peak: f64,
}

impl Level {
    pub(crate) fn set(&mut self, at: f64, level: f64) {
        self.area += (at - self.since) * self.now;
        (self.since, self.now) = (at, level);
        self.peak = self.peak.max(level);
    }

    pub(crate) fn now(&self) -> f64 {
        self.now
    }

    /// Forgets what was before.
    pub(crate) fn restart(&mut self, at: f64) {
        *self = Self { now: self.now, since: at, began: at, area: 0.0, peak: self.now };
    }

    pub(crate) fn mean(&self, at: f64) -> f64 {
        let length = at - self.began;
        if length > 0.0 { (self.area + (at - self.since) * self.now) / length } else { self.now }
    }

    pub(crate) fn peak(&self) -> f64 {
        self.peak
    }
}

/// For how long the past counts, in seconds.
const MEMORY: f64 = 0.1;

/// How much there was lately: the longer ago, the less it counts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Recent {
    now: f64,
    since: f64,
    mean: f64,
}

impl Recent {
    pub(crate) fn add(&mut self, at: f64, more: f64) {
        self.mean = self.mean(at);
        (self.since, self.now) = (at, self.now + more);
    }

    pub(crate) fn mean(&self, at: f64) -> f64 {
        self.now + (self.mean - self.now) * (-(at - self.since) / MEMORY).exp()
    }
}
