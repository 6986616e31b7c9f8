//! The states of the code that git knows, and one worktree to check them out in.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use tare_evidence::State;
use tare_testbed::{PrivateFolder, Reaper};
use xshell::{Cmd, Shell, cmd};

use super::compiled::copy;

/// What a hook of git's sets, and would lead us into another repository or index.
const OF_A_HOOK: [&str; 4] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"];

/// The repository that the workspace is in.
pub struct Repository {
    shell: Shell,
    /// The workspace.
    root: PathBuf,
    /// From its top folder to the workspace.
    prefix: PathBuf,
}

/// A state of the code that can be checked out.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub state: State,
    /// What is checked out. With changes it is a commit that nothing refers to.
    commit: String,
    tree: String,
}

impl Source {
    /// Equal when all files are.
    pub fn tree(&self) -> &str {
        &self.tree
    }
}

impl Repository {
    /// The one that the workspace at `root` is in.
    pub fn open(root: &Path) -> Result<Self> {
        let shell = Shell::new()?;
        shell.change_dir(root);
        let mut repository = Self { shell, root: root.to_owned(), prefix: PathBuf::new() };
        let prefix = repository.git(&["rev-parse", "--show-prefix"]).read();
        repository.prefix = prefix.context("there is no git repository to take two states of the code from")?.into();
        Ok(repository)
    }

    fn git(&self, arguments: &[&str]) -> Cmd<'_> {
        let quiet = cmd!(self.shell, "git -c core.hooksPath=/dev/null {arguments...}").quiet().ignore_stderr();
        OF_A_HOOK.iter().fold(quiet, |command, name| command.env_remove(name))
    }

    fn read(&self, arguments: &[&str]) -> Result<String> {
        self.git(arguments).read().with_context(|| format!("git {} failed", arguments.join(" ")))
    }

    /// The commit that `name` means.
    pub fn commit(&self, name: &str) -> Result<Source> {
        let asked = format!("{name}^{{commit}}");
        let commit = self.git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &asked]).read();
        let Ok(commit) = commit else {
            bail!("git knows no commit {name:?} here; fetch it first, as in: git fetch origin {name}")
        };
        let tree = self.read(&["rev-parse", &format!("{commit}^{{tree}}")])?;
        let state = State { name: name.to_owned(), commit: Some(commit.clone()), dirty: false };
        Ok(Source { state, commit, tree })
    }

    /// The working tree as it is, with changes and new files; neither it nor its index is touched.
    pub fn working_tree(&self) -> Result<Source> {
        let head = self.commit("HEAD")?;
        let name = "the working tree".to_owned();
        // An index of our own, begun with the user's: git then need not read every file again.
        let folder = PrivateFolder::new()?;
        let index = folder.path().join("index");
        let of_user = self.read(&["rev-parse", "--path-format=absolute", "--git-path", "index"])?;
        // With its time: a file changed in the moment that the index was written is known by that, and read.
        copy(Path::new(&of_user), &index).with_context(|| format!("cannot read git's index {of_user}"))?;
        let with_index = |arguments: &[&str]| self.git(arguments).env("GIT_INDEX_FILE", &index);
        let top = self.read(&["rev-parse", "--show-toplevel"])?;
        with_index(&["-C", &top, "add", "--all"]).run().context("git cannot read the working tree")?;
        let tree = with_index(&["write-tree"]).read().context("git cannot keep the working tree")?;
        if tree == head.tree {
            return Ok(Source { state: State { name, ..head.state }, ..head });
        }
        let made = self.git(&["commit-tree", &tree, "-p", "HEAD", "-m", "The working tree, to be compared"]);
        // Whoever the user is, the commit is ours, and need not be theirs to make.
        let by_us = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let made = by_us.iter().fold(made, |command, variable| command.env(variable, "tare@localhost"));
        let commit = made.read().context("git cannot keep the working tree")?;
        Ok(Source { state: State { name, commit: head.state.commit, dirty: true }, commit, tree })
    }

    /// Whether both have the same files in every one of `folders`.
    pub fn agree_in(&self, one: &Source, other: &Source, folders: &[&str]) -> bool {
        let of = |source: &Source, folder: &str| {
            let path = self.prefix.join(folder);
            self.git(&["rev-parse", "--verify", "--quiet", &format!("{}:{}", source.tree, path.display())]).read().ok()
        };
        folders.iter().all(|folder| of(one, folder) == of(other, folder))
    }

    /// Whether `source` has the file `path` of the workspace.
    pub fn has(&self, source: &Source, path: &str) -> bool {
        let path = self.prefix.join(path);
        self.git(&["cat-file", "-e", &format!("{}:{}", source.tree, path.display())]).run().is_ok()
    }

    /// How many commits `base` has that `head` has not.
    pub fn only_in(&self, base: &Source, head: &Source) -> u64 {
        let range = format!("{}..{}", head.commit, base.commit);
        self.read(&["rev-list", "--count", &range]).ok().and_then(|count| count.parse().ok()).unwrap_or(0)
    }
}

/// A worktree beside the user's checkout, in which one state after the other is built: at one path, for paths go into what
/// a compiler makes of the same code. It is gone when this is dropped or this process ends in any way.
pub struct Worktree<'a> {
    repository: &'a Repository,
    path: PathBuf,
    reaper: Reaper,
}

impl<'a> Worktree<'a> {
    /// With nothing checked out yet. What an earlier one left at `path` is removed.
    pub fn new(repository: &'a Repository, path: &Path) -> Result<Self> {
        const REMOVE: &str = r#"git -C "$1" worktree remove --force "$2"; rm -rf "$2"; git -C "$1" worktree prune"#;
        let (root, path) = (repository.root.to_string_lossy(), path.to_owned());
        let remove = || Reaper::new(REMOVE, &[&root, &path.to_string_lossy()]);
        // A reaper removes when it is dropped.
        drop(remove().context("starting /bin/sh to clean up")?);
        let reaper = remove().context("starting /bin/sh to clean up after us")?;
        Ok(Self { repository, path, reaper })
    }

    /// Checks `source` out; what it has in common with the one before is left as it is. Returns the workspace in it.
    pub fn check_out(&self, source: &Source) -> Result<PathBuf> {
        let (path, commit) = (self.path.to_string_lossy(), &source.commit);
        let git = match self.path.exists() {
            true => self.repository.git(&["-C", &path, "checkout", "--quiet", "--detach", "--force", commit]),
            false => self.repository.git(&["worktree", "add", "--quiet", "--detach", "--force", &path, commit]),
        };
        let what = || format!("git cannot check {} out in {path}", source.state.name);
        // Were this killed, git would go on writing what is being removed.
        let git = Command::from(git).stdin(Stdio::null()).stdout(self.reaper.hold()?).output().with_context(what)?;
        ensure!(git.status.success(), "{}: {}", what(), String::from_utf8_lossy(&git.stderr).trim());
        Ok(self.path.join(&self.repository.prefix))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    struct Scratch {
        folder: TempDir,
        repository: Repository,
    }

    impl Scratch {
        /// A repository with one commit, in which there are two files.
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let shell = Shell::new().unwrap();
            shell.change_dir(folder.path());
            cmd!(shell, "git init --quiet --initial-branch main").run().unwrap();
            let repository = Repository::open(folder.path()).unwrap();
            let scratch = Self { folder, repository };
            scratch.write("kept", "1");
            scratch.write("changed", "1");
            scratch.commit();
            scratch
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).unwrap();
        }

        fn git(&self, arguments: &[&str]) -> String {
            self.repository.read(arguments).unwrap()
        }

        fn commit(&self) {
            self.git(&["add", "--all"]);
            let who = ["-c", "user.name=tare", "-c", "user.email=tare@localhost"];
            self.git(&[&who[..], &["commit", "--quiet", "--message", "Change"]].concat());
        }
    }

    #[test]
    fn the_working_tree_is_taken_as_it_is_and_not_touched() {
        let scratch = Scratch::new();
        let clean = scratch.repository.working_tree().unwrap();
        assert!(!clean.state.dirty && clean.tree == scratch.repository.commit("main").unwrap().tree);
        scratch.write("changed", "2");
        scratch.write("new", "1");
        let before = scratch.git(&["status", "--porcelain"]);
        let source = scratch.repository.working_tree().unwrap();
        assert!(source.state.dirty && source.state.commit == clean.state.commit, "{source:?}");
        assert_eq!(scratch.git(&["ls-tree", "--name-only", source.tree()]), "changed\nkept\nnew");
        assert_eq!(scratch.git(&["status", "--porcelain"]), before);
        assert!(!scratch.repository.agree_in(&clean, &source, &["changed"]));
        assert!(scratch.repository.agree_in(&clean, &source, &["kept"]));
        assert!(scratch.repository.has(&source, "new") && !scratch.repository.has(&clean, "new"));
    }

    /// A file that was changed in the same tick as the index was written looks as it did before, but for what is in it.
    #[test]
    fn what_was_changed_in_the_moment_the_index_was_written_is_seen() {
        let scratch = Scratch::new();
        scratch.git(&["config", "core.trustctime", "false"]);
        let (file, index) = (scratch.folder.path().join("changed"), scratch.folder.path().join(".git/index"));
        let at_the_moment = |path: &Path| {
            let moment = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
            fs::File::options().write(true).open(path).unwrap().set_modified(moment).unwrap();
        };
        at_the_moment(&file);
        scratch.git(&["update-index", "--refresh"]);
        scratch.write("changed", "2");
        [&file, &index].into_iter().for_each(|path| at_the_moment(path));
        assert!(scratch.repository.working_tree().unwrap().state.dirty);
    }

    #[test]
    fn what_git_does_not_know_is_told_with_what_to_do() {
        let scratch = Scratch::new();
        let error = scratch.repository.commit("elsewhere").unwrap_err().to_string();
        assert!(error.contains("\"elsewhere\"") && error.contains("git fetch"), "{error}");
        assert!(scratch.repository.commit("--all").is_err(), "an option is no commit");
    }

    #[test]
    fn commits_that_only_the_base_has_are_counted() {
        let scratch = Scratch::new();
        let before = scratch.repository.commit("main").unwrap();
        scratch.write("changed", "2");
        scratch.commit();
        let after = scratch.repository.commit("main").unwrap();
        let only_in = |base, head| scratch.repository.only_in(base, head);
        assert_eq!((only_in(&after, &before), only_in(&before, &after)), (1, 0));
    }

    #[test]
    fn one_state_after_the_other_is_checked_out_and_then_nothing_is_left() {
        let scratch = Scratch::new();
        let before = scratch.repository.commit("main").unwrap();
        scratch.write("changed", "2");
        let changed = scratch.repository.working_tree().unwrap();
        let path = scratch.folder.path().join("beside");
        let worktree = Worktree::new(&scratch.repository, &path).unwrap();
        for (source, expected) in [(&before, "1"), (&changed, "2"), (&before, "1")] {
            let root = worktree.check_out(source).unwrap();
            assert_eq!(fs::read_to_string(root.join("changed")).unwrap(), expected);
        }
        drop(worktree);
        assert!(!path.exists());
        assert_eq!(scratch.git(&["worktree", "list"]).lines().count(), 1);
        assert_eq!(scratch.git(&["branch", "--format", "%(refname:short)"]), "main");
        // What another left behind is in nobody's way.
        fs::create_dir(&path).unwrap();
        let worktree = Worktree::new(&scratch.repository, &path).unwrap();
        worktree.check_out(&changed).unwrap();
    }
}
