//! Criterion's baselines: what each was saved on, this run beside one, and one as a file.

mod archive;
mod compare;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use anyhow::{Context, Result};

use self::archive::Packed;
pub use self::compare::Beside;
pub use self::saved::{On, keep};
use crate::cli::Baseline;
use crate::{Ending, criterion, session};

/// Folders beside a bench's baselines that Criterion uses for something else.
const TAKEN: [&str; 4] = [criterion::NEW, "base", "change", "report"];
/// Bytes in a name at most.
const LONGEST: usize = 64;

/// A name that a baseline may have: it becomes a folder.
pub fn name(given: &str) -> Result<String, String> {
    let forbidden = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    match given {
        "" => Err("a baseline needs a name".into()),
        taken if TAKEN.iter().any(|one| taken.eq_ignore_ascii_case(one)) => {
            Err(format!("Criterion keeps something else in folders of that name ({}); take another", TAKEN.join(", ")))
        }
        odd if odd.contains(forbidden) || odd.contains("..") || odd.starts_with(['.', '-']) || odd.trim() != odd => {
            Err("it becomes the name of a folder: no `/`, `\\`, `:` or `..` in it, and no `.`, `-` or blank first"
                .into())
        }
        long if long.len() > LONGEST => Err(format!("it is longer than {LONGEST} bytes")),
        good => Ok(good.to_owned()),
    }
}

/// `cargo xtask baseline`.
pub fn run(command: &Baseline) -> Result<Ending> {
    let home = criterion::home();
    match command {
        Baseline::Pack { name, file } => pack(&home, name, file)?,
        Baseline::Unpack { file } => unpack(&home, file)?,
        Baseline::List => session::show(&list(&home)),
    }
    Ok(Ending::Met)
}

fn pack(home: &Path, name: &str, file: &Path) -> Result<()> {
    let packed = Packed::of(home, name)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        let mut written = tempfile::NamedTempFile::new_in(folder)?;
        packed.write(BufWriter::new(&mut written))?;
        written.persist(file).map_err(|error| error.error)
    };
    write().with_context(|| format!("cannot write {}", file.display()))?;
    session::show(&format!("packed {} ids of baseline {name} into {}", packed.ids(), file.display()));
    Ok(())
}

fn unpack(home: &Path, file: &Path) -> Result<()> {
    let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let packed = Packed::read(BufReader::new(opened)).with_context(|| {
        format!("{} is not what `cargo xtask baseline pack` writes, and was left alone", file.display())
    })?;
    packed.put(home)?;
    let name = &packed.name;
    session::show(&format!("unpacked {} ids of baseline {name}; compare with --baseline {name}", packed.ids()));
    Ok(())
}

/// A line for each baseline, by name.
fn list(home: &Path) -> String {
    let mut ids: BTreeMap<String, usize> = BTreeMap::new();
    for kept in criterion::benches(home).flat_map(|bench| criterion::folders(&bench).collect::<Vec<_>>()) {
        let named = kept.file_name().and_then(|named| name(named.to_str()?).ok());
        if let Some(named) = named.filter(|_| criterion::is_kept(&kept)) {
            *ids.entry(named).or_default() += 1;
        }
    }
    let line = |(name, ids): (String, usize)| {
        let saved = saved::read(home, &name).unwrap_or_default();
        let on: BTreeSet<_> = saved.benches.values().map(saved_at).collect();
        let on = if on.is_empty() { "on what is not known".into() } else { Vec::from_iter(on).join("; ") };
        format!("{name}: {ids} ids, saved {on}")
    };
    let lines: Vec<_> = ids.into_iter().map(line).collect();
    if lines.is_empty() { format!("no baselines in {}", home.display()) } else { lines.join("\n") }
}

/// When, and of what.
fn saved_at(on: &On) -> String {
    let commit = on.run.commit.as_ref().map_or("no commit", |commit| &commit[..commit.len().min(9)]);
    let dirty = if on.run.dirty { " and changes" } else { "" };
    format!("{} at {commit}{dirty}", on.run.started_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_folder_may_have_beside_criterions_own() {
        for good in ["main", "v1.2", "never saved", "größer"] {
            assert_eq!(name(good), Ok(good.to_owned()));
        }
        for bad in [
            "", "new", "base", "change", "report", "Report", "a/b", "a\\b", "..", "a..b", ".hidden", "-x", " x", "a\nb",
        ] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(65)).is_err());
    }
}
