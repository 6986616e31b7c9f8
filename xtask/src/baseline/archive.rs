//! A baseline as one file, and back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::de::IgnoredAny;
use tar::{Archive, Builder, EntryType, Header};

use super::{name, saved};
use crate::criterion::{self, COUNTS};

/// What Criterion keeps of an id, and reads again. What a bench counted comes last: it is as new as the rest.
const FILES: [&str; 5] = ["benchmark.json", "estimates.json", "sample.json", "tukey.json", COUNTS];
/// Those that each id has.
const NEEDED: &[&str] = FILES.split_at(4).0;
/// Bytes in one file at most: a hundred samples are less than ten thousand.
const FILE: u64 = 4 << 20;
/// Bytes in all of them at most.
const WHOLE: u64 = 128 << 20;

/// A packed baseline, read and found to be one.
#[derive(Debug)]
pub struct Packed {
    pub name: String,
    /// What each is, by where it belongs in Criterion's home.
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Packed {
    /// The ids it holds.
    pub fn ids(&self) -> usize {
        self.folders().len()
    }

    /// `group/bench` of each id.
    fn folders(&self) -> BTreeSet<&Path> {
        self.files.keys().filter_map(|path| path.parent()?.parent()).collect()
    }

    /// What `home` keeps as `name`.
    pub fn of(home: &Path, name: &str) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut keep = |path: PathBuf| {
            let what = || format!("cannot read {}", path.display());
            let bytes = fs::read(&path).with_context(what)?;
            files.insert(path.strip_prefix(home).with_context(what)?.to_owned(), bytes);
            Ok::<_, anyhow::Error>(())
        };
        for bench in criterion::benches(home).map(|bench| bench.join(name)).filter(|bench| criterion::is_kept(bench)) {
            for file in NEEDED {
                keep(bench.join(file))?;
            }
            if let Some(counts) = criterion::counts(&bench) {
                keep(counts)?;
            }
        }
        let saved = saved::path(home, name);
        if saved.is_file() {
            keep(saved)?;
        }
        let packed = Self { name: name.to_owned(), files };
        ensure!(
            packed.ids() > 0,
            "there is no baseline {name:?} in {}; save one with --save-baseline {name}, `cargo xtask baseline list` tells which \
             there are",
            home.display()
        );
        Ok(packed)
    }

    /// The same files always give the same archive.
    pub fn write(&self, to: impl Write) -> io::Result<()> {
        let mut archive = Builder::new(GzEncoder::new(to, Compression::default()));
        for (path, bytes) in &self.files {
            let mut header = Header::new_gnu();
            header.set_entry_type(EntryType::Regular);
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, path, &**bytes)?;
        }
        archive.into_inner()?.finish()?.flush()
    }

    /// Understands what [`write`](Self::write) wrote, and refuses everything else.
    pub fn read(from: impl Read) -> Result<Self> {
        let mut archive = Archive::new(GzDecoder::new(from).take(WHOLE));
        let mut files = BTreeMap::new();
        let mut names = BTreeSet::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path_bytes().into_owned();
            let path = String::from_utf8(path).context("it holds a path that is no text")?;
            ensure!(entry.header().entry_type() == EntryType::Regular, "{path:?} in it is no plain file");
            let (name, place) = place(&path).with_context(|| format!("{path:?} in it is no part of a baseline"))?;
            ensure!(entry.size() <= FILE, "{path:?} in it is larger than any part of a baseline");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            let understood = match place == saved::path(Path::new(""), &name) {
                true => saved::parse(&bytes).map(drop),
                false => serde_json::from_slice::<IgnoredAny>(&bytes).map(drop).map_err(Into::into),
            };
            understood.with_context(|| format!("{path:?} in it is broken"))?;
            names.insert(name);
            ensure!(files.insert(place, bytes).is_none(), "{path:?} is in it more than once");
        }
        // The checksum comes last.
        let mut rest = archive.into_inner();
        io::copy(&mut rest, &mut io::sink())?;
        ensure!(rest.limit() > 0, "it is larger than any baseline");
        let mut names = names.into_iter();
        let name = match (names.next(), names.next()) {
            (Some(name), None) => name,
            (None, _) => bail!("there is nothing in it"),
            (Some(one), Some(other)) => bail!("it holds more than one baseline: {one} and {other}"),
        };
        let packed = Self { name, files };
        ensure!(packed.ids() > 0, "no bench is in it");
        for folder in packed.folders() {
            for file in NEEDED {
                let path = folder.join(&packed.name).join(file);
                ensure!(packed.files.contains_key(&path), "{} is missing in it", path.display());
            }
        }
        Ok(packed)
    }

    /// Puts it into `home`, in place of all that is kept under its name there: whole, or not at all.
    pub fn put(&self, home: &Path) -> Result<()> {
        let what = || format!("cannot put the baseline into {}", home.display());
        fs::create_dir_all(home).with_context(what)?;
        let beside = tempfile::Builder::new().prefix(".baseline-").tempdir_in(home).with_context(what)?;
        let (new, old) = (beside.path().join("new"), beside.path().join("old"));
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|(path, _)| FILES.iter().position(|file| path.ends_with(file)));
        for (place, bytes) in files {
            write(&new.join(place), bytes).with_context(what)?;
        }
        let saved = saved::path(Path::new(""), &self.name);
        let there = criterion::benches(home).map(|bench| bench.join(&self.name)).chain([home.join(&saved)]);
        let there = there
            .filter_map(|path| Some(path.strip_prefix(home).ok()?.to_owned()))
            .filter(|place| home.join(place).exists());
        let away = there.map(|place| (home.join(&place), old.join(&place)));
        let places = self.folders().into_iter().map(|folder| folder.join(&self.name));
        let places = places.chain(self.files.contains_key(&saved).then_some(saved));
        let into_place = places.map(|place| (new.join(&place), home.join(&place)));
        let moves: Vec<_> = away.chain(into_place).collect();
        move_all(&moves).with_context(what)
    }
}

/// The baseline that a file of an archive belongs to, and where it belongs in Criterion's home; nothing for what is no part of
/// one. Only these places are ever written to.
fn place(path: &str) -> Option<(String, PathBuf)> {
    let is_plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.contains(|c: char| c == '\\' || c == ':' || c.is_control())
    };
    let parts: Vec<_> = path.split('/').collect();
    if !parts.iter().all(|part| is_plain(part)) {
        return None;
    }
    let named = match parts[..] {
        [file] => file.strip_prefix("baseline-")?.strip_suffix(".json")?,
        [_, _, named, file] if FILES.contains(&file) => named,
        _ => return None,
    };
    Some((name(named).ok()?, parts.iter().collect()))
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(path, bytes)
}

/// Does all of `moves`, or none.
fn move_all(moves: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    let one = |(from, to): &(PathBuf, PathBuf)| {
        fs::create_dir_all(to.parent().unwrap_or(Path::new(".")))?;
        fs::rename(from, to)
    };
    for (done, next) in moves.iter().enumerate() {
        if let Err(error) = one(next) {
            for (from, to) in moves[..done].iter().rev() {
                fs::rename(to, from)?;
            }
            return Err(error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
