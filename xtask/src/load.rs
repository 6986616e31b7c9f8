//! What is sent: the fixture's actions to the built-in server, or the user's body to the user's URL.

use anyhow::{Context, Result, bail};
use tare_stress::{Request, Target};
use tare_testbed::{Fixture, Template, TenantFixture};

use crate::cli::Subject;
use crate::service::Service;

/// Environment variable with the bearer token for a user's own URL. The built-in server's secret is new each time, and its
/// tokens are minted.
const TOKEN: &str = "TEST_JWT";
/// Different requests, sent in turn.
pub const VARIETY: usize = 1_000;

/// Requests to one target, and what the body of a success holds.
pub struct Sending {
    pub name: String,
    pub target: Target,
    pub requests: Vec<Request>,
    pub promises: Vec<String>,
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
            requests: requests?,
            promises: template.promises,
        })
    }

    /// The user's own body to the user's own URL.
    pub async fn own(subject: &Subject, url: &str) -> Result<Self> {
        let target = Target::resolve(url, subject.allow_remote, subject.root_certificate.as_deref()).await?;
        let body = text_or_file(subject.body.as_deref().unwrap_or_default(), "--body")?;
        if let Err(error) = serde_json::from_str::<serde_json::Value>(&body) {
            bail!("--body is not JSON: {error}");
        }
        if let Some(pointer) = subject.promises.iter().find(|pointer| !pointer.starts_with('/')) {
            bail!("--expect {pointer} is not a JSON pointer; one looks like /result/id");
        }
        let token = std::env::var(TOKEN).ok().filter(|token| !token.is_empty());
        if token.is_none() {
            eprintln!("{TOKEN} is not set: requests carry no token");
        }
        let request = Request::new(token.as_deref(), body).with_context(|| format!("{TOKEN} cannot be sent"))?;
        let (name, promises) = ("url".to_owned(), subject.promises.clone());
        Ok(Self { name, target, requests: vec![request], promises })
    }
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
