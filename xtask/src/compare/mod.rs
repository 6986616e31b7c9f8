//! `cargo xtask compare`: two states of the code, measured in turns.

mod compiled;
mod counting;
mod executables;
mod git;
mod sides;
mod stress;
mod turns;

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::{Changes, Method};
use tokio_util::sync::CancellationToken;

use self::git::{Repository, Source, Worktree};
use self::sides::{Side, Sides};
use self::turns::Turns;
use crate::cli::Compare;
use crate::session::{Begin, POSTGRES, Session};
use crate::{Ending, workspace};

/// Where executables are kept.
const BUILT: &str = "built";

/// How long both states take to count what can be counted, usually.
const COUNTING: Duration = Duration::from_secs(60);

/// `cargo xtask compare`.
pub async fn run(options: Compare, stop: CancellationToken) -> Result<Ending> {
    let repository = Repository::open(workspace::root())?;
    let base = repository.commit(&options.base)?;
    let working_tree = repository.working_tree()?;
    let head = match &options.head {
        Some(head) => repository.commit(head)?,
        None => working_tree.clone(),
    };
    let home = workspace::root().join("target/compare");
    let _lock = lock(&home)?;
    let plan = [
        (POSTGRES.to_owned(), Duration::from_secs(6)),
        (building(&base), Duration::from_secs(90)),
        (building(&head), Duration::from_secs(60)),
        (counting::STEP.to_owned(), COUNTING),
        (turns::STEP.to_owned(), options.time_limit),
    ];
    let command = options.command();
    let begin = Begin { command: &command, network: options.postgres.network, quick: false };
    let mut session = Session::begin(begin, &options.judged, &plan, stop)?;
    let changes = Changes {
        base: base.state.clone(),
        head: head.state.clone(),
        method: Method::InTurns,
        threshold: session.config().compare.threshold,
        changes: Vec::new(),
        remarks: remarks(&repository, &base, &head, &working_tree),
    };
    session.evidence.changes = Some(changes);
    let measured = async {
        let testbed = session.testbed(options.postgres).await?;
        let sides = build(&mut session, &repository, [&base, &head], &home).await?;
        let sides = Sides::prepare(&mut session, &repository, &working_tree, sides, &testbed, &options).await?;
        let counted = counting::count(&mut session, &sides, &options).await?;
        let mut turns = Turns::plan(&session, &sides, counted.pairs, &options);
        turns.measure(&mut session, &sides, options.time_limit).await?;
        Ok([&counted.failed, turns.failed()].concat())
    };
    let (measured, failed) = match measured.await {
        Ok(failed) => (Ok(()), failed),
        Err(error) => (Err(error), Vec::new()),
    };
    let ending = session.finish(measured)?;
    if !failed.is_empty() {
        bail!(
            "{} could not be measured in one of the states; why is told above, and the rest is compared",
            failed.join(", ")
        );
    }
    Ok(ending)
}

fn building(source: &Source) -> String {
    format!("build {}", source.state.name)
}

/// Two comparisons at a time would disturb each other, and build in the same place.
fn lock(home: &Path) -> Result<File> {
    let path = home.join("lock");
    let locked = fs::create_dir_all(home).and_then(|()| File::create(&path));
    let locked = locked.with_context(|| format!("cannot write {}", path.display()))?;
    match locked.try_lock() {
        Ok(()) => {
            executables::remove_half_built(&home.join(BUILT));
            Ok(locked)
        }
        Err(TryLockError::WouldBlock) => bail!("another comparison is running in this checkout; let it end first"),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// What a reader should know before looking at figures.
fn remarks(repository: &Repository, base: &Source, head: &Source, working_tree: &Source) -> Vec<String> {
    let mut remarks = Vec::new();
    if base.tree() == head.tree() {
        remarks.push("Both are the same code: what differs is noise.".to_owned());
    }
    if head.state != working_tree.state && working_tree.state.dirty {
        remarks.push(format!(
            "There are changes in the working tree that are not committed and so not in {}; leave HEAD out to compare them.",
            head.state.name
        ));
    }
    match repository.only_in(base, head) {
        0 => {}
        count => remarks.push(format!(
            "{} has {count} commits that {} does not have: what they made better looks like a loss here. To see only your own, \
             compare with: git merge-base {} HEAD",
            base.state.name, head.state.name, base.state.name
        )),
    }
    remarks
}

/// Builds one state after the other, in one place.
async fn build(
    session: &mut Session,
    repository: &Repository,
    sources: [&Source; 2],
    home: &Path,
) -> Result<[Side; 2]> {
    let progress = session.progress.clone();
    let (kept, compiled): (PathBuf, _) = (home.join(BUILT), compiled::folder(home)?);
    let mut sides = Vec::new();
    {
        let worktree = Worktree::new(repository, &home.join("worktree"))?;
        for source in sources {
            let building = executables::of(source, repository, &worktree, &compiled, &kept, &progress);
            let executables = session.step(&self::building(source), building).await?;
            sides.push(Side { source: source.clone(), executables });
        }
    }
    sides.try_into().ok().context("there are two states")
}
