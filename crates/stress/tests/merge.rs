//! Several workers on one service, and what comes of putting together what they measured.

mod bed;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bed::{counted, load, sent, serve};
use tare_evidence::{Ahead, Pass, WholeLoad};
use tare_stress::{Load, Log, MergeError, Pace, Part, Share, merge, run, summary};
use tokio_util::sync::CancellationToken;

/// Requests of all workers together.
const REQUESTS: u64 = 100;
const WORKERS: u64 = 3;

/// What a service has been sent, warm-up included, and what `WORKERS` measured of it at the same time.
async fn parts(paced: bool) -> (Vec<String>, Vec<Part>) {
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let seen = bodies.clone();
    let answer = async move |body: String| {
        let fails = body.ends_with('7');
        seen.lock().unwrap().push(body);
        let status = if fails { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        (status, [("server-timing", "action;dur=0.01")])
    };
    let address = serve(Router::new().route("/", post(answer))).await;
    let mix = sent("[[actions]]\nname = 'a'\nbody = '{{ seq() }}'\n[[actions]]\nname = 'b'\nbody = '{{ seq() }}'\n");
    let start = SystemTime::now() + Duration::from_millis(200);
    let worker = async |worker: u64| {
        let share: Share = format!("{worker}/{WORKERS}").parse().unwrap();
        let load = Load {
            mix: mix.clone(),
            pace: paced.then(|| Pace::constant(2_000.0)),
            warmup: 1,
            share,
            start: Some(start),
            ..load(address, counted(share.of(REQUESTS))).await
        };
        let mut measured = run(load, &CancellationToken::new(), |_| ()).await.unwrap();
        let whole = WholeLoad { requests: Some(REQUESTS), concurrency: 12, ..WholeLoad::default() };
        measured.pass.share = Some(tare_evidence::Share { worker, workers: WORKERS, whole });
        let log = Log::parse("a worker's", &measured.log).unwrap();
        Part::new(format!("folder-{worker}"), "a machine".into(), measured.pass, log)
    };
    let (one, two, three) = tokio::join!(worker(1), worker(2), worker(3));
    let bodies = bodies.lock().unwrap().clone();
    (bodies, vec![three, one, two])
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_send_what_one_would_and_none_sends_what_another_does() {
    let (bodies, _) = parts(true).await;
    let numbers: BTreeSet<u64> = bodies.iter().map(|body| body.parse().unwrap()).collect();
    // The first of all and one of the warm-up of each.
    let all = REQUESTS + WORKERS * 2;
    assert_eq!((numbers, bodies.len() as u64), ((1..=all).collect(), all));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_whole_is_the_sum_of_its_parts() {
    for paced in [true, false] {
        let (_, parts) = parts(paced).await;
        let passes: Vec<Pass> = parts.iter().map(|part| part.pass.clone()).collect();
        let logs = Log::merge(parts.iter().map(|part| part.log.clone()));
        let sum = |count: &dyn Fn(&Pass) -> u64| passes.iter().map(count).sum::<u64>();
        let (pass, log) = merge(parts).unwrap();

        assert_eq!((pass.requests, pass.warmup, pass.concurrency), (REQUESTS, 6, 12));
        assert_eq!(pass.succeeded, sum(&|pass| pass.succeeded));
        assert_eq!(pass.statuses[&503], sum(&|pass| pass.statuses.get(&503).copied().unwrap_or_default()));
        assert_eq!(pass.failures[0].count, REQUESTS - pass.succeeded);
        assert_eq!(pass.latency, summary(&logs.whole()));
        assert_eq!(pass.latency_by_status[&200], summary(logs.tagged("status:200").unwrap()));
        assert_eq!(pass.actions.iter().map(|action| action.requests).sum::<u64>(), REQUESTS);
        assert_eq!(pass.actions[0].latency, summary(logs.tagged("action:a").unwrap()));
        assert_eq!(pass.components.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["action", "network"]);
        assert_eq!(pass.lateness.is_some(), paced);
        assert_eq!(pass.histogram.iter().map(|bar| bar.requests).sum::<u64>(), REQUESTS);
        let spans = pass.timeline.iter();
        let told = spans.fold((0, 0), |(all, failed), span| (all + span.requests, failed + span.failed));
        assert_eq!(told, (REQUESTS, REQUESTS - pass.succeeded));
        assert!(log.whole() == logs.whole() && log.tags() == logs.tags(), "nothing is lost in any order");
        assert_eq!(pass.parts.iter().map(|part| part.worker).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(pass.parts.iter().all(|part| part.began_s >= pass.start_s.unwrap() && part.ahead.is_some()));
        let longest = passes.iter().map(|pass| pass.seconds).fold(0.0, f64::max);
        assert!(pass.seconds >= longest && !pass.interrupted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_whole_is_refused_by_name() {
    let (_, parts) = parts(true).await;
    let again = || {
        parts.iter().map(|Part { folder, machine, pass, log }| Part {
            folder: folder.clone(),
            machine: machine.clone(),
            pass: pass.clone(),
            log: log.clone(),
        })
    };
    let changed = |change: &dyn Fn(&mut Part)| {
        let mut parts: Vec<_> = again().collect();
        change(&mut parts[2]);
        merge(parts).err().unwrap()
    };
    assert!(merge(again().collect()).is_ok());
    assert_eq!(merge(Vec::new()).err().unwrap(), MergeError::Nothing);

    let missing = merge(again().take(1).collect()).err().unwrap();
    assert_eq!(missing, MergeError::Missing { missing: vec![1, 2], workers: 3 });
    assert!(missing.to_string().starts_with("workers 1 and 2 of 3 did not report"), "{missing}");
    let twice = merge(again().chain(again().take(1)).collect()).err().unwrap();
    assert!(matches!(twice, MergeError::Twice { worker: 3, .. }), "{twice}");
    let whole = changed(&|part| part.pass.share = None);
    assert!(matches!(&whole, MergeError::NoShare { folder } if folder == "folder-2"), "{whole}");

    let differs = |change: &dyn Fn(&mut Pass)| match changed(&|part| change(&mut part.pass)) {
        MergeError::Different { what, one, other, .. } => {
            assert_eq!((&*one, &*other), ("folder-3", "folder-2"));
            what
        }
        other => panic!("{other}"),
    };
    let share = |pass: &mut Pass, change: &dyn Fn(&mut WholeLoad)| change(&mut pass.share.as_mut().unwrap().whole);
    assert_eq!(differs(&|pass| pass.url = "http://127.0.0.1:1/".into()), "the URL");
    assert_eq!(differs(&|pass| pass.rate = None), "the rate");
    assert_eq!(differs(&|pass| pass.start_s = pass.start_s.map(|start| start + 1.0)), "the agreed start");
    assert_eq!(differs(&|pass| pass.share.as_mut().unwrap().workers = 4), "the number of workers");
    assert_eq!(differs(&|pass| share(pass, &|whole| whole.seed = Some(1))), "the seed");
    assert_eq!(differs(&|pass| share(pass, &|whole| whole.sent = "12345678".into())), "the mark of what is sent");
    assert_eq!(differs(&|pass| share(pass, &|whole| whole.concurrency = 4)), "the concurrency");

    // A log that breaks off after a whole line.
    for at in (0..parts[2].log.entries.len()).filter(|at| !parts[2].log.entries[*at].times.is_empty()) {
        let cut = changed(&|part| drop(part.log.entries.remove(at)));
        assert!(matches!(cut, MergeError::Incomplete { .. }), "{at}: {cut}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_did_not_begin_together_are_no_whole_and_one_that_was_stopped_is_a_part() {
    let (_, mut parts) = parts(false).await;
    parts[1].pass.interrupted = true;
    let now = parts[0].pass.began_s.unwrap();
    let mut begun = |at: [(f64, Option<[f64; 2]>); 3]| {
        for (part, (after, ahead)) in parts.iter_mut().zip(at) {
            part.pass.began_s = Some(now + after);
            part.pass.ahead = ahead.map(|[at_least_ms, at_most_ms]| Ahead { at_least_ms, at_most_ms });
        }
        let again = parts.iter().map(|Part { folder, machine, pass, log }| Part {
            folder: folder.clone(),
            machine: machine.clone(),
            pass: pass.clone(),
            log: log.clone(),
        });
        merge(again.collect())
    };
    let fine = Some([-20.0, 30.0]);
    let (pass, _) = begun([(0.0, fine), (0.9, fine), (0.2, None)]).unwrap();
    assert!(pass.interrupted && pass.parts[0].interrupted && !pass.parts[1].interrupted);

    let late = begun([(0.0, fine), (1.25, fine), (0.0, fine)]).err().unwrap().to_string();
    assert!(late.starts_with("worker 1 began 1.250 s after worker 2, and 1 s is the most"), "{late}");
    // Two seconds apart, and each sure that it began at the agreed moment.
    let skewed = begun([(0.0, fine), (0.0, fine), (0.0, Some([1_980.0, 2_030.0]))]).err().unwrap().to_string();
    assert!(skewed.starts_with("worker 2 began 1.950 s after worker 1 by the service's clock"), "{skewed}");
    assert!(skewed.contains("NTP"), "{skewed}");
    // What is not known for sure is not held against them.
    assert!(begun([(0.0, fine), (0.0, fine), (0.0, Some([-500.0, 2_030.0]))]).is_ok());
}
