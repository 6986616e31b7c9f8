//! Reports in a real browser: Chromium, driven over WebDriver by its own chromedriver. Where one of them is missing these tests say so
//! and test nothing; with `TARE_REQUIRE_BROWSER=1` they fail.

use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use tare_evidence::{
    Bench, Evidence, Failure, Finding, FindingKind, Interval, Latency, Pass, Plan, Profile, Run, Statement, Work,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// What a screen looks like.
#[derive(Clone, Copy)]
struct Screen {
    width: u32,
    dark: bool,
}

const DESKTOP: Screen = Screen { width: 1280, dark: false };
const AT_NIGHT: Screen = Screen { width: 1280, dark: true };
const PHONE: Screen = Screen { width: 390, dark: false };

/// A browser, and a page in it.
struct Browser {
    client: reqwest::Client,
    /// Of the WebDriver session.
    session: String,
    // Killed with this, and the browser with it; what it says has to be taken from it until then.
    _driver: (Child, Lines<BufReader<ChildStdout>>),
    folder: TempDir,
}

impl Browser {
    /// Nothing where there is no browser.
    async fn start(screen: Screen) -> Option<Self> {
        let started = Command::new("chromedriver")
            .args(["--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let mut driver = match started {
            Ok(driver) => driver,
            Err(error) if std::env::var_os("TARE_REQUIRE_BROWSER").is_some() => panic!("chromedriver: {error}"),
            Err(error) => {
                eprintln!("not tested: chromedriver cannot be run ({error}); Debian has it in chromium-driver");
                return None;
            }
        };
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = loop {
            let line = said.next_line().await.unwrap().expect("chromedriver tells its port");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                break port.trim_end_matches('.').to_owned();
            }
        };
        let mut arguments = vec!["--headless=new", "--no-sandbox", "--disable-gpu"];
        if screen.dark {
            arguments.push("--blink-settings=preferredColorScheme=0");
        }
        let metrics = json!({"width": screen.width, "height": 844, "pixelRatio": 1.0, "mobile": false, "touch": false});
        let capabilities = json!({
            "goog:loggingPrefs": {"browser": "ALL"},
            "goog:chromeOptions": {"args": arguments, "mobileEmulation": {"deviceMetrics": metrics}},
        });
        let tls = tare_tls::client(None).unwrap();
        let client = reqwest::Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap();
        let all = format!("http://127.0.0.1:{port}/session");
        let session = post(&client, &all, json!({"capabilities": {"alwaysMatch": capabilities}})).await;
        let session = format!("{all}/{}", session["sessionId"].as_str().unwrap());
        Some(Self { client, session, _driver: (driver, said), folder: tempfile::tempdir().unwrap() })
    }

    async fn open(&self, page: &str) {
        let path = self.folder.path().join("report.html");
        std::fs::write(&path, page).unwrap();
        let address = json!({"url": format!("file://{}", path.display())});
        post(&self.client, &format!("{}/url", self.session), address).await;
    }

    async fn ask(&self, script: &str) -> Value {
        let script = json!({"script": script, "args": []});
        post(&self.client, &format!("{}/execute/sync", self.session), script).await
    }

    /// That nothing went wrong, and nothing but the file was loaded.
    async fn is_content(&self) {
        let log = post(&self.client, &format!("{}/se/log", self.session), json!({"type": "browser"})).await;
        assert_eq!(log, json!([]), "the console has something to say");
        let loaded = "return performance.getEntriesByType('resource').map((one) => one.name)
            .filter((name) => !name.startsWith('data:'))";
        assert_eq!(self.ask(loaded).await, json!([]), "something was loaded");
        let elsewhere = "return [...document.querySelectorAll('[src], [href]')]
            .map((one) => one.getAttribute('src') ?? one.getAttribute('href'))
            .filter((to) => !/^(#|data:|\\.\\.\\/)/.test(to))";
        assert_eq!(self.ask(elsewhere).await, json!([]), "something leads elsewhere");
    }

    async fn fits(&self, screen: Screen) {
        let width = self.ask("return document.documentElement.scrollWidth").await;
        assert!(width.as_u64().unwrap() <= screen.width.into(), "{width} of {}", screen.width);
    }

    async fn end(self) {
        self.client.delete(&self.session).send().await.unwrap();
    }
}

/// A WebDriver command, and what came of it.
async fn post(client: &reqwest::Client, address: &str, body: Value) -> Value {
    let answer = client.post(address).json(&body).send().await.unwrap();
    let (status, mut answer) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert!(status.is_success(), "{address}: {answer:#}");
    answer["value"].take()
}

/// Everything that is written, with less contrast to what is behind it than WCAG 2 asks for at level AA.
const FAINT: &str = r"
    const channels = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = (colour) => {
        const [r, g, b] = channels(colour).slice(0, 3).map((c) => c / 255)
            .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const colour = getComputedStyle(one).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const written = [...document.querySelectorAll('body *')].filter((one) =>
        [...one.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && one.getClientRects().length);
    return written.filter((one) => !['SCRIPT', 'STYLE'].includes(one.tagName)).map((one) => {
        const style = getComputedStyle(one);
        const colour = one instanceof SVGElement ? style.fill : style.color;
        const [a, b] = [light(colour), light(behind(one))];
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
        return { text: one.textContent.trim().slice(0, 40), contrast, enough: contrast >= (large ? 3 : 4.5) };
    }).filter((one) => !one.enough)";

/// A whole run.
fn whole() -> Evidence {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/evidence/perf.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn page(evidence: &Evidence) -> String {
    tare_report::html(evidence, &[], &[]).unwrap()
}

#[tokio::test]
async fn a_whole_run_is_shown() {
    let Some(browser) = Browser::start(DESKTOP).await else { return };
    let evidence = whole();
    let page = page(&evidence);
    assert!(page.len() <= 1 << 20, "{} bytes", page.len());
    browser.open(&page).await;
    browser.is_content().await;
    browser.fits(DESKTOP).await;

    let told: Vec<_> = tare_report::sections(&evidence, &[]).into_iter().skip(1).map(|section| section.title).collect();
    let shown = browser.ask("return [...document.querySelectorAll('h2')].map((title) => title.textContent)").await;
    assert_eq!(shown, json!(told));
    let targets = browser.ask("return [...document.querySelectorAll('nav a')].filter((link) => !document.querySelector(link.hash)).length").await;
    assert_eq!(targets, 0);
    let pictures = browser.ask("return document.querySelectorAll('figure svg').length").await;
    assert!(pictures.as_u64().unwrap() >= 9, "{pictures}");
    let unnamed = "return [...document.querySelectorAll('[role=img]')].filter((one) => !one.ariaLabel).length";
    assert_eq!(browser.ask(unnamed).await, 0);
    browser.end().await;
}

#[tokio::test]
async fn tables_are_sorted_by_what_their_figures_are_worth() {
    let Some(browser) = Browser::start(DESKTOP).await else { return };
    let median = |id: &str, ns: f64| Bench {
        id: id.into(),
        median_ns: Interval { estimate: ns, lower: ns, upper: ns },
        ..Bench::default()
    };
    let benches = vec![median("b/x", 2e6), median("a/y", 900.0), median("c/z", 3.1e9), median("d/w", 45_000.0)];
    let evidence = Evidence { benches, ..Evidence::begun(Run::default(), tare_evidence::Machine::default()) };
    browser.open(&page(&evidence)).await;
    let column = |nth: u32| {
        format!("
        document.querySelectorAll('details').forEach((one) => one.open = true);
        const table = [...document.querySelectorAll('table')].find((one) => one.textContent.includes('a/y'));
        table.querySelectorAll('th button')[{nth}].click();
        return [table.querySelectorAll('th')[{nth}].ariaSort].concat([...table.tBodies[0].rows].map((row) => row.cells[0].textContent));")
    };
    let sorted = async |nth| browser.ask(&column(nth)).await;
    assert_eq!(sorted(1).await, json!(["ascending", "a/y", "d/w", "b/x", "c/z"]));
    assert_eq!(sorted(1).await, json!(["descending", "c/z", "b/x", "d/w", "a/y"]));
    assert_eq!(sorted(0).await, json!(["ascending", "a/y", "b/x", "c/z", "d/w"]));
    browser.is_content().await;
    browser.end().await;
}

#[tokio::test]
async fn everything_can_be_read_in_light_in_the_dark_and_on_a_phone() {
    for screen in [DESKTOP, AT_NIGHT, PHONE] {
        let Some(browser) = Browser::start(screen).await else { return };
        browser.open(&page(&whole())).await;
        let dark = browser.ask("return matchMedia('(prefers-color-scheme: dark)').matches").await;
        assert_eq!(dark, screen.dark);
        browser.ask("document.querySelectorAll('details').forEach((one) => one.open = true)").await;
        browser.fits(screen).await;
        assert_eq!(browser.ask(FAINT).await, json!([]), "hard to read, dark: {}", screen.dark);
        browser
            .ask("document.querySelector('.verdict').style.color = getComputedStyle(document.body).backgroundColor")
            .await;
        assert_eq!(browser.ask(FAINT).await.as_array().unwrap().len(), 1, "what cannot be read is found");
        browser.end().await;
    }
}

/// A run in which everything that comes from elsewhere wants to harm.
fn hostile() -> Evidence {
    let bad = || {
        "</script></title></svg><script>window.harmed = 1</script><img src=x onerror='window.harmed = 2'>\u{1b}[2J\u{0}"
            .to_owned()
    };
    let long = || "long".repeat(2_000);
    let nan = Interval { estimate: f64::NAN, lower: f64::NEG_INFINITY, upper: f64::INFINITY };
    let latency = Latency { p50_ms: f64::NAN, p95_ms: f64::INFINITY, ..Latency::default() };
    let failure = Failure { kind: bad(), count: 1, example: bad() };
    let pass = |name: String| Pass {
        name,
        url: bad(),
        requests: 10,
        failures: vec![failure.clone()],
        latency,
        components: vec![(bad(), latency), (long(), latency)],
        ..Pass::default()
    };
    let finding = Finding {
        kind: FindingKind::LockWait,
        what: bad(),
        at: long(),
        share: Some(f64::NAN),
        advice: bad(),
        proof: None,
    };
    let statement = Statement { sql: bad(), ..Statement::default() };
    let profile = Profile {
        name: bad(),
        request_ms: nan,
        work: Some(Work { statements: vec![statement], ..Work::default() }),
        plans: vec![Plan { sql: bad(), nodes: vec![bad(), long()], ..Plan::default() }],
        findings: vec![finding],
        remarks: vec![bad(), long()],
        finding: bad(),
        next: bad(),
        ..Profile::default()
    };
    let run = Run { command: bad(), commit: Some(bad()), ..Run::default() };
    let machine = tare_evidence::Machine { cpu: long(), system: bad(), ..Default::default() };
    let bench = |id: String| Bench { id, median_ns: nan, round_trips: Some(u64::MAX), ..Bench::default() };
    Evidence {
        benches: vec![bench(bad()), bench(long())],
        passes: vec![pass(bad()), pass(long())],
        profiles: vec![profile],
        ..Evidence::begun(run, machine)
    }
}

#[tokio::test]
async fn what_wants_to_harm_is_shown_and_does_nothing() {
    let nothing = Evidence::begun(Run::default(), tare_evidence::Machine::default());
    for screen in [DESKTOP, PHONE] {
        let Some(browser) = Browser::start(screen).await else { return };
        for evidence in [hostile(), nothing.clone()] {
            browser.open(&page(&evidence)).await;
            browser.is_content().await;
            browser.fits(screen).await;
            assert_eq!(browser.ask("return window.harmed ?? null").await, Value::Null);
            assert_eq!(browser.ask("return document.scripts.length").await, 1);
            assert_eq!(browser.ask("return document.images.length").await, 0);
        }
        browser.end().await;
    }
}
