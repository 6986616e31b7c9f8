//! `cargo bench` as the documentation names it, in the profile that tests have compiled already, each measurement once.

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bed::{Ended, run};
use tare_testbed::Server;

#[tokio::test(flavor = "multi_thread")]
async fn every_bench_that_the_documentation_names_measures() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let mut named = BTreeSet::new();
    for page in pages.chain([root.join("README.md")]) {
        let text = fs::read_to_string(page).unwrap();
        let benches = text.split("cargo bench --bench ").skip(1);
        named.extend(benches.map(|rest| rest.split(|end: char| !end.is_alphanumeric()).next().unwrap().to_owned()));
    }
    assert!(named.len() >= 5, "{named:?}");
    let server = Server::start(None, &|line| eprintln!("{line}")).await.unwrap();
    for bench in named {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["bench", "--workspace", "--profile", "dev", "--bench", &bench, "--", "--test"])
            .current_dir(root)
            .stdin(Stdio::null())
            .env("DATABASE_URL", server.url());
        let Ended { code, shown, said } = run(cargo);
        assert!(code == Some(0) && shown.contains("Success"), "cargo bench --bench {bench}\n{shown}\n{said}");
    }
}
