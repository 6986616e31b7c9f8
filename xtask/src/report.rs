//! Evidence of earlier runs, shown again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::{Bench, Evidence};
use tare_report::Link;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::Report;
use crate::kept::{runs, write_atomically};
use crate::session::{read_evidence, show, shown};
use crate::{Ending, criterion, workspace};

/// The name of a run's report as a page.
pub const PAGE: &str = "report.html";
/// The name of several runs' report as a page.
const SIDE_BY_SIDE: &str = "side-by-side.html";

/// `cargo xtask report`.
pub fn run(options: &Report) -> Result<Ending> {
    if options.schema {
        show(&serde_json::to_string_pretty(&tare_evidence::schema())?);
        return Ok(Ending::Met);
    }
    let paths = match options.runs.as_slice() {
        [] => vec![latest()?],
        given => given.iter().map(|path| evidence_in(path)).collect(),
    };
    let runs = paths.iter().map(|path| read_evidence(path)).collect::<Result<Vec<_>>>()?;
    if runs.len() > 1 && !options.predicted.distances_ms.is_empty() {
        bail!("--predict tells of one run; {} are given", runs.len());
    }
    match (runs.as_slice(), options) {
        ([_, _, ..], Report { improvements: true, .. }) => {
            bail!("--improvements tells of one run; {} are given", runs.len())
        }
        ([one], Report { improvements: true, .. }) => show(&tare_report::improvements(one)),
        (runs, options) if options.html || options.open => page(&paths, runs, options)?,
        ([one], options) => show(&match options.markdown {
            true => tare_report::markdown(one, &options.predicted.distances_ms),
            false => tare_report::terminal(one, &options.predicted.distances_ms),
        }),
        (runs, options) => {
            let sections = tare_report::side_by_side(runs);
            show(&match options.markdown {
                true => tare_report::markdown_of(&sections),
                false => tare_report::terminal_of(&sections),
            });
        }
    }
    Ok(Ending::Met)
}

/// Writes a page, tells where, and opens it where that is asked for.
fn page(paths: &[PathBuf], runs: &[Evidence], options: &Report) -> Result<()> {
    let folder = paths[0].parent().unwrap_or(Path::new(""));
    let path = match runs {
        [one] => {
            write_page(one, &options.predicted.distances_ms, folder)?;
            folder.join(PAGE)
        }
        several => {
            let page = tare_report::html_of("tare: several runs", &tare_report::side_by_side(several))?;
            let path = folder.parent().unwrap_or(folder).join(SIDE_BY_SIDE);
            write_atomically(&path, &page)?;
            path
        }
    };
    show(&shown(&path));
    if options.open {
        open::that_detached(&path)
            .with_context(|| format!("cannot open {} in a browser; open it by hand", path.display()))?;
    }
    Ok(())
}

/// Writes a run's report as a page into its folder.
pub fn write_page(evidence: &Evidence, predict_ms: &[f64], folder: &Path) -> Result<()> {
    let page = tare_report::html(evidence, predict_ms, &links(evidence, folder))?;
    write_atomically(&folder.join(PAGE), &page)
}

/// Criterion's own pages of what was measured, where it made any: not of quick runs. It keeps those of the latest measurement alone.
fn links(evidence: &Evidence, folder: &Path) -> Vec<Link> {
    let home = criterion::home();
    let (Ok(from), Ok(to)) = (folder.canonicalize(), home.canonicalize()) else { return Vec::new() };
    let began = OffsetDateTime::parse(&evidence.run.started_at, &Rfc3339).ok();
    let took = Duration::from_secs_f64(evidence.steps.iter().map(|step| step.seconds).sum::<f64>() + 60.0);
    let (Some(to_home), Some(began)) = (relative(&from, &to), began) else { return Vec::new() };
    let page = |id: &str| format!("{id}/report/index.html");
    let is_of_this_run = |bench: &&Bench| {
        let made = fs::metadata(home.join(page(&bench.id))).and_then(|page| page.modified());
        made.is_ok_and(|made| (began..began + took).contains(&OffsetDateTime::from(made)))
    };
    let made = evidence.benches.iter().filter(is_of_this_run);
    made.map(|bench| Link { name: bench.id.clone(), address: format!("{to_home}/{}", page(&bench.id)) }).collect()
}

/// The way from one absolute folder to another, as a link; nothing where they have nothing in common.
fn relative(from: &Path, to: &Path) -> Option<String> {
    let common = from.ancestors().find(|ancestor| to.starts_with(ancestor) && ancestor.parent().is_some())?;
    let up = from.strip_prefix(common).ok()?.components().map(|_| "..".to_owned());
    let down = to.strip_prefix(common).ok()?.components().map(|part| escaped(&part.as_os_str().to_string_lossy()));
    Some(up.chain(down).collect::<Vec<_>>().join("/"))
}

fn evidence_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("evidence.json") } else { path.to_owned() }
}

fn latest() -> Result<PathBuf> {
    let output = workspace::root().join("target/perf");
    let latest = runs(&output).into_iter().rev().map(|folder| evidence_in(&folder)).find(|path| path.is_file());
    latest.with_context(|| format!("there is no run in {} yet; `cargo xtask perf --quick` makes one", output.display()))
}

/// What would end the path of an address.
fn escaped(part: &str) -> String {
    part.replace('%', "%25").replace('#', "%23").replace('?', "%3F")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_linked_to_by_the_way_from_its_folder() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/target/perf/run", "/a/target/criterion").unwrap(), "../../criterion");
        assert_eq!(way("/a/target", "/a/target/criterion").unwrap(), "criterion");
        assert_eq!(way("/tmp/run", "/a/target/criterion"), None);
        assert_eq!(way("/a/run", "/a/50 %/criterion#2").unwrap(), "../50 %25/criterion%232");
    }
}
