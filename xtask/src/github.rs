//! What GitHub Actions shows of a run: annotations above the job, and its summary.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use tare_evidence::Evidence;

use crate::cli::Format;
use crate::session::show;

/// What the summary of a step may hold, in bytes.
const MOST: usize = 1 << 20;
/// Follows what was cut.
const CUT: &str = "\nThis is shortened; `summary.md` beside the evidence has all of it.\n";

/// Within GitHub Actions, prints annotations and adds to the step's summary: what changed, or `summary` where nothing was
/// compared. Does nothing elsewhere.
pub fn tell(evidence: &Evidence, summary: &str, format: Format) {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|on| on == "true") {
        let annotations = tare_report::annotations(evidence);
        match format {
            _ if annotations.is_empty() => {}
            Format::Text => show(&annotations),
            // Whoever reads these finds nothing else in them; GitHub reads both.
            Format::Markdown | Format::Json => eprint!("{annotations}"),
        }
        let pull_request = evidence.changes.is_some().then(|| tare_report::pull_request(evidence));
        let path = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty());
        let added = path.map(|path| add(Path::new(&path), pull_request.as_deref().unwrap_or(summary)));
        // The run was measured and is judged all the same.
        if let Some(Err(error)) = added {
            eprintln!("warning: {error:#}");
        }
    }
}

/// Adds `text`, or as much of it as there is room for, to the summary of the step.
fn add(path: &Path, text: &str) -> Result<()> {
    let write = || {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let before = usize::try_from(file.metadata()?.len()).unwrap_or(MOST);
        let separated = if before > 0 { format!("\n{text}") } else { text.to_owned() };
        file.write_all(within(&separated, MOST.saturating_sub(before)).as_bytes())
    };
    write().with_context(|| format!("cannot add to the summary of the step, {} (GITHUB_STEP_SUMMARY)", path.display()))
}

/// All of `text` where it is no longer than `most` bytes, or its beginning: whole sections where there are, or whole lines.
fn within(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut room = most.saturating_sub(CUT.len() + 1);
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    let beginning = &text[..room];
    let end = beginning.rfind("\n## ").or_else(|| beginning.rfind('\n')).unwrap_or(0);
    match beginning[..end].trim_end() {
        "" => String::new(),
        kept => format!("{kept}\n{CUT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_before_a_section_or_a_line() {
        assert_eq!(within("# a\n\nb\n", 100), "# a\n\nb\n");
        let sections = format!("# a\n\nb\n\n## c\n\n```text\n{}\n```\n", "d\n".repeat(100));
        assert_eq!(within(&sections, 150), format!("# a\n\nb\n{CUT}"));
        let cut = within(&"zwölf\n".repeat(100), 150);
        assert!(cut.len() <= 150 && cut.starts_with("zwölf\nzwölf\n") && cut.ends_with(CUT), "{cut}");
        assert_eq!(within("much too long", 5), "", "there is no room to say so");
    }

    #[test]
    fn the_summaries_of_one_step_share_its_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary");
        add(&path, "# one\n").unwrap();
        add(&path, "# two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "# one\n\n# two\n");
        for _ in 0..3 {
            add(&path, &"a line of it\n".repeat(50_000)).unwrap();
        }
        assert!(std::fs::metadata(&path).unwrap().len() <= MOST as u64);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with(CUT));
        let error = format!("{:#}", add(&folder.path().join("no/such"), "a").unwrap_err());
        assert!(error.contains("GITHUB_STEP_SUMMARY"), "{error}");
    }
}
