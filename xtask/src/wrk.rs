//! wrk, where it is installed.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tare_testbed::{Prepared, PrivateFolder};
use tokio::process::Command;

use crate::guard::Guarded;
use crate::serve::private_file;

/// wrk, ready to send its requests in turn.
pub struct Wrk {
    url: String,
    script: PathBuf,
    /// Holds the script, in which there are tokens.
    _folder: PrivateFolder,
}

impl Wrk {
    /// Nothing when there is no wrk on the PATH.
    pub async fn find(url: &str, requests: &[Prepared]) -> Result<Option<Self>> {
        let found = Command::new("wrk").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().await;
        if found.is_err() {
            return Ok(None);
        }
        let folder = PrivateFolder::new()?;
        let path = folder.path().join("requests.lua");
        private_file(&path)?.write_all(script(requests).as_bytes()).context("cannot write wrk's script")?;
        Ok(Some(Self { url: url.to_owned(), script: path, _folder: folder }))
    }

    /// Sends requests over `connections` for that long.
    pub async fn requests_per_second(&self, connections: usize, seconds: u64) -> Result<f64> {
        let mut command = Command::new("wrk");
        command
            .args(["--threads", "1", "--connections", &connections.to_string(), "--duration", &format!("{seconds}s")])
            .arg("--script")
            .arg(&self.script)
            .arg(&self.url);
        let output = Guarded::output(&mut command).await?;
        let said = String::from_utf8_lossy(&output.stdout);
        let Some(sum) = said.lines().find_map(|line| line.strip_prefix("sum: ")) else {
            bail!("wrk failed: {}{}", said.trim(), String::from_utf8_lossy(&output.stderr).trim());
        };
        let figures: Vec<f64> = sum.split(' ').filter_map(|figure| figure.parse().ok()).collect();
        match figures[..] {
            [requests, micros, 0.0] => Ok(requests * 1e6 / micros),
            _ => bail!("wrk's requests failed; it sums up requests, microseconds and errors as {sum}"),
        }
    }
}

/// Sends `requests` in turn and sums up requests, microseconds and errors in a line.
fn script(requests: &[Prepared]) -> String {
    let mut script = "local requests = {}\nfunction init(args)\n".to_owned();
    for Prepared { token, body } in requests {
        let _ = writeln!(
            script,
            "  requests[#requests + 1] = wrk.format('POST', nil, {{['Authorization'] = 'Bearer {token}', \
             ['Content-Type'] = 'application/json'}}, [==[{body}]==])"
        );
    }
    script.push_str(
        "end\n\
         local nth = 0\n\
         function request()\n  nth = nth % #requests + 1\n  return requests[nth]\nend\n\
         function done(summary, latency, requests)\n\
         \x20 local errors = summary.errors\n\
         \x20 local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout\n\
         \x20 io.write(string.format('sum: %d %d %d\\n', summary.requests, summary.duration, failed))\nend\n",
    );
    script
}
