//! What is sent: the fixture's actions to the built-in server, or the user's body to the user's URL.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use tare_stress::{Mix, MixError, Protocol, Request, Spec, Target};
use tare_testbed::{Fixture, Template, TenantFixture};

use crate::cli::Subject;
use crate::service::Service;

/// Environment variable with the bearer token for a user's own URL. The built-in server's secret is new each time, and its
/// tokens are minted.
const TOKEN: &str = "TEST_JWT";
/// Different requests, sent in turn.
pub const VARIETY: usize = 1_000;

/// What is sent to one target.
#[derive(Clone)]
pub struct Sending {
    pub name: String,
    pub target: Target,
    pub mix: Arc<Mix>,
}

impl Sending {
    /// `variety` different requests for an action, to the built-in server, from the users of `tenants`.
    pub async fn action(
        fixture: &Fixture,
        tenants: &[TenantFixture],
        action: &str,
        variety: usize,
        service: &Service,
    ) -> Result<Self> {
        let template = Template::named(action)?;
        let prepared = template.requests(fixture, tenants, variety);
        let requests =
            prepared.into_iter().map(|one| Request::new(Some(&one.token), one.body)).collect::<Result<_, _>>();
        Ok(Self {
            name: action.to_owned(),
            target: Target::resolve(&service.url(), false, None).await?,
            mix: Arc::new(Mix::prepared(action, requests?, template.promises)),
        })
    }

    /// The user's own request to the user's own URL, or those of the file `mix`, with chance that begins at `seed`, or anywhere: what is new in
    /// each request should be so in each run.
    pub async fn own(subject: &Subject, url: &str, mix: Option<&Path>, seed: Option<u64>) -> Result<Self> {
        let target = Target::resolve(url, subject.allow_remote, subject.root_certificate.as_deref()).await?;
        let target = if subject.http2 { target.over(Protocol::Http2) } else { target };
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        let mix = match mix {
            Some(file) => Mix::read(file, token.as_deref(), seed),
            None => Mix::new(vec![spec(subject)?], Path::new("."), token.as_deref(), seed),
        };
        let mix = mix.map_err(|error| match error {
            MixError::Token(reason) => anyhow::Error::new(reason).context(format!("{TOKEN} cannot be sent")),
            other => other.into(),
        })?;
        if token.is_none() && !mix.carries_credentials() {
            eprintln!("{TOKEN} is not set: requests carry no token");
        }
        Ok(Self { name: "url".to_owned(), target, mix: Arc::new(mix) })
    }
}

/// The request that the flags describe.
fn spec(subject: &Subject) -> Result<Spec> {
    let body = text_or_file(subject.body.as_deref().unwrap_or_default(), "--body")?;
    let is_typed = subject.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let is_template = body.contains("{{") || body.contains("{%");
    if !(body.is_empty() || is_typed || is_template)
        && let Err(error) = serde_json::from_str::<serde_json::Value>(&body)
    {
        bail!("--body is not JSON: {error}; --header 'Content-Type: text/plain' says so of another body");
    }
    Ok(Spec {
        method: subject.method.clone(),
        headers: subject.headers.iter().cloned().collect(),
        body,
        expect: subject.promises.clone(),
        ..Spec::default()
    })
}

/// Says so when a token was given for nothing.
pub fn warn_of_unused_token() {
    if std::env::var_os(TOKEN).is_some() {
        eprintln!("{TOKEN} is for --url and not used: the built-in server's tokens are minted");
    }
}

/// `given`, or what is in the file when it is `@FILE`.
pub fn text_or_file(given: &str, flag: &str) -> Result<String> {
    match given.strip_prefix('@') {
        None => Ok(given.to_owned()),
        Some(file) => std::fs::read_to_string(file).with_context(|| format!("cannot read {file}, named by {flag}")),
    }
}
