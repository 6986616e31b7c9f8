//! What the benches of a run come to beside a baseline.

use std::path::Path;

use tare_evidence::{Change, Changes, Compare, Evidence, Figure, Method, Samples, State, Verdict, changed_times};

use super::saved::{self, On, Saved};
use crate::criterion::{self, Kept};

/// What every comparison with a baseline suffers from.
const WEATHER: &str = "a baseline carries the weather of its time, of which the samples of a single run know nothing; \
                       `cargo xtask compare` measures both states in turns";

/// A share of the bytes on the wire: what is less is a matter of digits.
const DIGITS: f64 = 0.02;
/// As many ids are named in a remark.
const NAMED: usize = 8;

/// What is beside each other.
pub struct Beside<'a> {
    /// Of the baseline.
    pub name: &'a str,
    /// The bench executables that were run.
    pub benches: &'a [&'a str],
    /// Of this run.
    pub evidence: &'a Evidence,
    pub compare: &'a Compare,
}

/// What is kept of one bench executable.
struct Executable<'a> {
    name: &'a str,
    base: Vec<Kept>,
    head: Vec<Kept>,
}

impl Beside<'_> {
    /// Reads what Criterion keeps in `home`, and compares.
    pub fn read(&self, home: &Path) -> Changes {
        let mut remarks = vec![WEATHER.to_owned()];
        let saved = saved::read(home, self.name).unwrap_or_else(|error| {
            remarks.push(format!("what baseline {} was saved on is not known: {error:#}", self.name));
            Saved::default()
        });
        let mut kept = |bench: &str, name: &str| {
            let (kept, failed): (Vec<_>, Vec<_>) =
                criterion::kept(home, bench, name).into_iter().partition(Result::is_ok);
            remarks.extend(failed.into_iter().filter_map(Result::err).map(|error| format!("not compared: {error:#}")));
            kept.into_iter().flatten().collect::<Vec<_>>()
        };
        let executables = self.benches.iter().map(|&name| {
            let place = |head: &Kept| self.evidence.benches.iter().position(|bench| bench.id == head.id);
            let mut head = kept(name, criterion::NEW);
            head.retain(|head| place(head).is_some());
            head.sort_by_key(place);
            Executable { name, base: kept(name, self.name), head }
        });
        let executables: Vec<_> = executables.collect();
        let changes = self.judge(&saved, &executables);
        remarks.extend(changes.remarks);
        Changes { remarks, ..changes }
    }

    fn judge(&self, saved: &Saved, executables: &[Executable<'_>]) -> Changes {
        let baseline = format!("baseline {}", self.name);
        let now = On::of(self.evidence, &self.evidence.benches);
        let mut told = Told::default();
        let mut pairs = Vec::new();
        let mut commits = Vec::new();
        for Executable { name, base: bases, head: heads } in executables {
            let missing = |of: &[Kept], id: &str| of.iter().all(|kept| kept.id != id);
            for base in bases.iter().filter(|base| missing(heads, &base.id)) {
                told.tell(format!("in {baseline}, and not measured now"), &base.id);
            }
            let mut on = None;
            for head in heads {
                let Some(base) = bases.iter().find(|base| base.id == head.id) else {
                    told.tell(format!("not in {baseline}, and so not compared"), &head.id);
                    continue;
                };
                let known = saved.benches.get(*name).filter(|on| on.is_of(&base.id, base.median_ns));
                if known.is_none() {
                    let unknown = format!(
                        "what {baseline} was saved on is not known; `cargo bench` saved it, or a run that was interrupted"
                    );
                    told.tell(unknown, &base.id);
                }
                on = on.or(known);
                pairs.push((base, head, known.is_some_and(|known| known.counts_alike(&now))));
            }
            let Some(on) = on else { continue };
            for difference in on.differences(&now) {
                told.tell(format!("{baseline} was saved {difference}"), name);
            }
            commits.push((on.run.commit.as_deref(), on.run.dirty, name));
        }
        let samples = |(base, head, _): &(&Kept, &Kept, bool)| Samples {
            id: base.id.clone(),
            base: base.times_ns.clone(),
            head: head.times_ns.clone(),
            threshold: self.compare.threshold(&base.id),
        };
        let times = changed_times(&pairs.iter().map(samples).collect::<Vec<_>>());
        let mut changes = Vec::new();
        for (time, (base, head, alike)) in times.into_iter().zip(pairs) {
            changes.push(time);
            changes.extend(counted(base, head, alike, &mut told));
        }
        let commit = commits.first().and_then(|(commit, ..)| *commit);
        if commits.iter().any(|(other, ..)| *other != commit) {
            for (commit, _, name) in &commits {
                told.tell(format!("{baseline} was saved at commit {}", commit.unwrap_or("unknown")), name);
            }
        }
        let commit = commit.filter(|_| commits.iter().all(|(other, ..)| *other == commit));
        let run = &self.evidence.run;
        Changes {
            base: State {
                name: baseline,
                commit: commit.map(str::to_owned),
                dirty: commits.iter().any(|(_, dirty, _)| *dirty),
            },
            head: State { name: "this run".into(), commit: run.commit.clone(), dirty: run.dirty },
            method: Method::Baseline,
            threshold: self.compare.threshold,
            changes,
            remarks: told.sentences(self.benches),
        }
    }
}

/// The exact figures that both have.
fn counted(base: &Kept, head: &Kept, alike: bool, told: &mut Told) -> Vec<Change> {
    let change = |figure: Figure| {
        let count = |kept: &Kept| figure.of(kept.counted.as_ref()?);
        match (count(base), count(head)) {
            (None, None) => None,
            (Some(base), Some(now)) if alike => Some(change_of(&head.id, figure, base, now)),
            (Some(_), Some(_)) => {
                let otherwise = "counted under other circumstances, or under unknown ones; only the time is compared";
                told.tell(otherwise.into(), &head.id);
                None
            }
            _ => {
                let name = figure.name();
                told.tell(
                    format!("{name} not compared: not counted, or not the same each time, in one of both"),
                    &head.id,
                );
                None
            }
        }
    };
    Figure::COUNTED.map(change).into_iter().flatten().collect()
}

/// Of a count. Bytes hold numbers out of the database, which have as many digits as what was done to it has brought them to.
fn change_of(id: &str, figure: Figure, base: u64, head: u64) -> Change {
    let change = Change::counted(id, figure, base, head);
    match figure {
        Figure::WireBytes if base.abs_diff(head) as f64 <= DIGITS * base as f64 => {
            Change { threshold: DIGITS, verdict: Verdict::Same, ..change }
        }
        _ => change,
    }
}

/// What was noticed, and of whom.
#[derive(Default)]
struct Told(Vec<(String, Vec<String>)>);

impl Told {
    fn tell(&mut self, what: String, of: &str) {
        match self.0.iter_mut().find(|(told, _)| *told == what) {
            Some((_, all)) if all.iter().any(|one| one == of) => {}
            Some((_, all)) => all.push(of.to_owned()),
            None => self.0.push((what, vec![of.to_owned()])),
        }
    }

    /// One for each thing noticed; of whom is left out where it is of all `benches`.
    fn sentences(self, benches: &[&str]) -> Vec<String> {
        let sentence = |(what, of): (String, Vec<String>)| match of.len() {
            _ if of == benches => what,
            ..=NAMED => format!("{}: {what}", of.join(", ")),
            all => format!("{} and {} more: {what}", of[..NAMED].join(", "), all - NAMED),
        };
        self.0.into_iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Bench, Counted, Interval, Machine, Run};

    use super::*;

    /// What is kept of `id`: twenty samples around `ns`, and as many allocations.
    fn kept(id: &str, ns: f64, allocations: Option<u64>) -> Kept {
        let times_ns = (0..20).map(|sample| ns * (1.0 + f64::from(sample % 5) / 1000.0)).collect();
        Kept { id: id.into(), median_ns: ns, times_ns, counted: Some(Counted { allocations, ..Counted::default() }) }
    }

    fn benches(kept: &[Kept]) -> Vec<Bench> {
        let median = |kept: &Kept| Interval { estimate: kept.median_ns, ..Interval::default() };
        kept.iter().map(|kept| Bench { id: kept.id.clone(), median_ns: median(kept), ..Bench::default() }).collect()
    }

    /// `head` beside `base` of the executable `auth`, which was saved at `commit`, on another machine or not.
    fn beside(base: Vec<Kept>, head: Vec<Kept>, saved_on: Option<(&str, &str)>) -> Changes {
        let run = |commit: &str| Run { commit: Some(commit.into()), ..Run::default() };
        let mut evidence = Evidence::begun(run("head"), Machine::default());
        let mut saved = Saved::default();
        if let Some((commit, cpu)) = saved_on {
            let then = Evidence::begun(run(commit), Machine { cpu: cpu.into(), ..Machine::default() });
            saved.benches.insert("auth".into(), On::of(&then, &benches(&base)));
        }
        evidence.benches = benches(&head);
        let beside = Beside { name: "main", benches: &["auth"], evidence: &evidence, compare: &Compare::default() };
        beside.judge(&saved, &[Executable { name: "auth", base, head }])
    }

    fn told(changes: &Changes) -> Vec<(String, Verdict)> {
        changes.changes.iter().map(|change| (change.what(), change.verdict)).collect()
    }

    #[test]
    fn times_and_counts_are_judged_in_the_order_they_were_measured() {
        let base = vec![kept("auth/a", 100.0, Some(3)), kept("auth/b", 100.0, Some(3))];
        let head = vec![kept("auth/b", 120.0, Some(4)), kept("auth/a", 100.0, Some(3))];
        let changes = beside(base, head, Some(("base", "")));
        let expected = [
            ("auth/b time", Verdict::Slower),
            ("auth/b round trips", Verdict::Same),
            ("auth/b allocations", Verdict::Slower),
            ("auth/a time", Verdict::Same),
            ("auth/a round trips", Verdict::Same),
            ("auth/a allocations", Verdict::Same),
        ];
        assert_eq!(told(&changes), expected.map(|(what, verdict)| (what.to_owned(), verdict)));
        assert_eq!((&*changes.base.name, changes.base.commit.as_deref()), ("baseline main", Some("base")));
        assert_eq!((&*changes.head.name, changes.head.commit.as_deref()), ("this run", Some("head")));
        assert_eq!(changes.remarks, [] as [&str; 0]);
        assert_eq!(changes.checks().filter(|check| !check.met).count(), 2);
    }

    #[test]
    fn what_only_one_side_has_is_remarked_on() {
        let base = vec![kept("auth/a", 100.0, Some(3)), kept("auth/gone", 100.0, Some(3))];
        let head = vec![kept("auth/a", 100.0, None), kept("auth/new", 100.0, Some(3))];
        let changes = beside(base, head, Some(("base", "")));
        assert_eq!(told(&changes).len(), 2);
        assert_eq!(
            changes.remarks,
            [
                "auth/gone: in baseline main, and not measured now",
                "auth/new: not in baseline main, and so not compared",
                "auth/a: allocations not compared: not counted, or not the same each time, in one of both",
            ]
        );
    }

    #[test]
    fn what_it_was_saved_on_is_told_where_it_differs_and_where_it_is_not_known() {
        let one = || vec![kept("auth/a", 100.0, Some(3))];
        let elsewhere = beside(one(), one(), Some(("base", "other")));
        let [machine] = elsewhere.remarks.as_slice() else { panic!("{:?}", elsewhere.remarks) };
        assert!(machine.starts_with("baseline main was saved on another machine: 0 × other"), "{machine}");
        let unknown = beside(one(), vec![kept("auth/a", 100.0, Some(4))], None);
        assert_eq!(
            told(&unknown),
            [("auth/a time".to_owned(), Verdict::Same)],
            "counts of what is not known prove nothing"
        );
        assert_eq!((unknown.remarks.len(), unknown.base.commit), (2, None));
        assert!(unknown.remarks[0].contains("is not known"), "{:?}", unknown.remarks);
    }

    #[test]
    fn a_digit_more_on_the_wire_is_no_change() {
        let verdict = |figure: Figure, head: u64| change_of("action/receive", figure, 445, head).verdict;
        assert_eq!([444, 445, 453].map(|head| verdict(Figure::WireBytes, head)), [Verdict::Same; 3]);
        assert_eq!(
            (verdict(Figure::WireBytes, 455), verdict(Figure::WireBytes, 400)),
            (Verdict::Slower, Verdict::Faster)
        );
        assert_eq!(verdict(Figure::Allocations, 446), Verdict::Slower);
    }

    #[test]
    fn a_remark_names_some_of_many() {
        let mut told = Told::default();
        for id in 0..10 {
            told.tell("odd".into(), &format!("auth/{id}"));
        }
        told.tell("everywhere".into(), "auth");
        let sentences = told.sentences(&["auth"]);
        assert_eq!(sentences[0], "auth/0, auth/1, auth/2, auth/3, auth/4, auth/5, auth/6, auth/7 and 2 more: odd");
        assert_eq!(sentences[1], "everywhere");
    }
}
