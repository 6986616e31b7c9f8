//! A JWKS file, read again when it changed.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, Guard};
use jsonwebtoken::Validation;

use super::keys::{KeySet, KeysError};

/// How long a file must have been left alone before its time of change tells every later change. File systems round that
/// time, the coarsest to two seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// The file, and the keys that were read from it last.
pub(super) struct JwksFile {
    path: PathBuf,
    rules: Validation,
    look_every: Duration,
    opened: Instant,
    /// When the file was last looked at, in nanoseconds since `opened`.
    looked: AtomicU64,
    seen: Mutex<Seen>,
    keys: ArcSwap<KeySet>,
}

/// What is known of the file, and what has been said of it already.
#[derive(Default)]
struct Seen {
    /// The state that was read; none when another may look the same, or when it was no good, so that it is read again.
    state: Option<State>,
    ignored: Vec<String>,
    complaint: Option<String>,
}

/// What tells one state of a file from another, whether it was written over or exchanged.
#[derive(PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds since 1970.
    changed: (i64, i64),
}

impl JwksFile {
    /// Reads the file, which from then on is looked at when keys are asked for, but only every so often.
    pub fn open(path: PathBuf, rules: Validation, look_every: Duration) -> Result<Self, KeysError> {
        let mut seen = Seen::default();
        let opened = Instant::now();
        let keys = seen.read(&path, &rules)?;
        if keys.is_empty() {
            let wrong = "it holds no key that tokens can be checked with".into();
            return Err(KeysError::Unusable { path, wrong });
        }
        let keys = ArcSwap::from_pointee(keys);
        Ok(Self { path, rules, look_every, opened, looked: AtomicU64::new(0), seen: Mutex::new(seen), keys })
    }

    /// The keys as the file has them now, or had them at most `look_every` ago.
    ///
    /// One request does the looking, and the reading when there is need; meanwhile the others go on with the keys there are.
    /// Only when the last look is so long past that these may have been removed long ago do all wait for it.
    pub fn keys(&self) -> Guard<Arc<KeySet>> {
        let age = self.age();
        if age >= self.look_every {
            let seen = match age < 2 * self.look_every {
                true => self.seen.try_lock().ok(),
                false => Some(self.seen.lock().unwrap_or_else(PoisonError::into_inner)),
            };
            if let Some(mut seen) = seen
                && self.age() >= self.look_every
            {
                let now = self.opened.elapsed().as_nanos() as u64;
                self.look(&mut seen);
                self.looked.store(now, Ordering::Release);
            }
        }
        self.keys.load()
    }

    /// How long ago the file was looked at.
    fn age(&self) -> Duration {
        self.opened.elapsed().saturating_sub(Duration::from_nanos(self.looked.load(Ordering::Acquire)))
    }

    fn look(&self, seen: &mut Seen) {
        if seen.state.is_some() && fs::metadata(&self.path).ok().map(|now| State::of(&now)) == seen.state {
            return;
        }
        match seen.read(&self.path, &self.rules) {
            Ok(keys) => {
                if keys.is_empty() && !self.keys.load().is_empty() {
                    tracing::error!(path = %self.path.display(), "there is no key left: every token is refused");
                }
                if seen.complaint.take().is_some() {
                    tracing::info!(path = %self.path.display(), "the keys of tokens were read again");
                }
                self.keys.store(Arc::new(keys));
            }
            Err(error) => {
                let complaint = error.to_string();
                if seen.complaint.as_ref() != Some(&complaint) {
                    tracing::error!("{complaint}; the keys that were read before stay in use");
                }
                seen.complaint = Some(complaint);
            }
        }
    }
}

impl Seen {
    fn read(&mut self, path: &Path, rules: &Validation) -> Result<KeySet, KeysError> {
        self.state = None;
        let now = SystemTime::now();
        let (state, text) = read(path).map_err(|cause| KeysError::Unreadable { path: path.into(), cause })?;
        let keys = KeySet::parse(&text, rules).map_err(|wrong| KeysError::Unusable { path: path.into(), wrong })?;
        self.state = state.is_settled(now).then_some(state);
        if self.ignored != keys.ignored {
            for ignored in &keys.ignored {
                tracing::warn!(path = %path.display(), "{ignored}");
            }
            self.ignored.clone_from(&keys.ignored);
        }
        Ok(keys)
    }
}

/// What is in a file, and the state that it was in before it was read.
fn read(path: &Path) -> io::Result<(State, Vec<u8>)> {
    let mut file = File::open(path)?;
    let state = State::of(&file.metadata()?);
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    Ok((state, text))
}

impl State {
    fn of(file: &Metadata) -> Self {
        Self { device: file.dev(), inode: file.ino(), size: file.size(), changed: (file.ctime(), file.ctime_nsec()) }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let changed = Duration::from_secs(self.changed.0.max(0).unsigned_abs());
        now.duration_since(UNIX_EPOCH + changed).is_ok_and(|past| past > SETTLED)
    }
}
