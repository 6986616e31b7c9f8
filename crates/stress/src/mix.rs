//! Which request is sent next.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use http::HeaderValue;
use serde::Deserialize;
use uuid::Uuid;

use crate::request::bearer;
use crate::spec::Recipe;
use crate::template::{Stock, is_template};
use crate::{Error, Request, Spec};

/// An odd number without a pattern: multiples of it spread the numbers of requests over all seeds.
const SPREAD: u64 = 0xA24B_AED4_963E_E407;
/// Characters below which a secret is none, and replacing it would only garble the text.
const SHORTEST_SECRET: usize = 4;
/// What stands for a secret.
const REDACTED: &str = "•••";

/// What is sent: some actions, each as often as its weight says.
pub struct Mix {
    actions: Vec<Action>,
    seed: u64,
    stock: Arc<Stock>,
    /// Secrets that stand in the mix itself.
    secrets: Vec<String>,
    /// Stands for what is sent.
    mark: String,
}

/// A kind of request, counted separately.
pub struct Action {
    name: String,
    promises: Vec<String>,
    /// The weights of all actions up to and with this one.
    until: u64,
    recipe: Recipe,
}

/// What comes of drawing a request.
pub struct Drawn<'a> {
    /// Which action it belongs to.
    pub action: usize,
    /// The request, or why it cannot be made.
    pub request: Result<Cow<'a, Request>, String>,
}

/// Why there is no mix to send.
#[derive(Debug, thiserror::Error)]
pub enum MixError {
    /// The file cannot be read.
    #[error("the mix {} cannot be read: {reason}; check the path, and that it is a text file", .file.display())]
    Unreadable {
        /// As given.
        file: PathBuf,
        /// What happened.
        reason: std::io::Error,
    },
    /// The file is not what a mix is.
    #[error(
        "{} is not a mix: {reason}{}; a mix is TOML with a table [[actions]] for each action",
        .file.display(),
        on_line(*.line)
    )]
    NotAMix {
        /// As given.
        file: PathBuf,
        /// Where in it, if at one place.
        line: Option<usize>,
        /// What is wrong.
        reason: String,
    },
    /// There is no action.
    #[error("the mix{} has no action, and so nothing can be sent; give it one", of(.file))]
    Empty {
        /// The file, if it came from one.
        file: Option<PathBuf>,
    },
    /// An action cannot be sent.
    #[error("action {action:?}{} cannot be sent: {reason}", of(.file))]
    Action {
        /// Its name.
        action: String,
        /// The file, if it came from one.
        file: Option<PathBuf>,
        /// Why, and what to do.
        reason: String,
    },
    /// The bearer token.
    #[error(transparent)]
    Token(#[from] Error),
}

/// A mix as it is written in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    actions: Vec<Spec>,
}

impl Mix {
    /// The one action `name`, whose `requests` are sent in turn, over and over. `promises` are JSON pointers to what the
    /// body of a success holds.
    pub fn prepared(name: &str, requests: Vec<Request>, promises: Vec<String>) -> Self {
        let action = Action { name: name.into(), promises, until: 1, recipe: Recipe::Prepared(requests) };
        let mark = String::new();
        Self { actions: vec![action], seed: 0, stock: Arc::default(), secrets: Vec::new(), mark }
    }

    /// A mix of `specs`, whose files are relative to `folder`. `token` is sent with every request that has no authorization
    /// of its own; what is random follows from `seed`. Makes the first request of each action, to see whether it can be.
    ///
    /// # Errors
    /// [`MixError`]; nothing has been sent then.
    pub fn new(specs: Vec<Spec>, folder: &Path, token: Option<&str>, seed: u64) -> Result<Self, MixError> {
        mix(specs, folder, token, seed, None)
    }

    /// The mix that a TOML file describes, with a table `[[actions]]` for each [`Spec`]; otherwise as [`Mix::new`].
    ///
    /// # Errors
    /// [`MixError`]; nothing has been sent then.
    pub fn read(file: &Path, token: Option<&str>, seed: u64) -> Result<Self, MixError> {
        let text =
            std::fs::read_to_string(file).map_err(|reason| MixError::Unreadable { file: file.to_owned(), reason })?;
        // Not the error as it shows itself: it would show the line, and with it whatever secret is there.
        let parsed: File = toml::from_str(&text).map_err(|error| MixError::NotAMix {
            file: file.to_owned(),
            line: error.span().map(|span| text[..span.start].matches('\n').count() + 1),
            reason: error.message().to_owned(),
        })?;
        let folder = file.parent().unwrap_or(Path::new(""));
        mix(parsed.actions, folder, token, seed, Some(file))
    }

    /// Request `n`, counted from 1: always the same for the same mix, seed and number.
    pub fn nth(&self, n: u64) -> Drawn<'_> {
        let mut rng = random(self.seed, n);
        let index = match &self.actions[..] {
            [_] => 0,
            actions => {
                let point = rng.u64(..actions.last().map_or(1, |last| last.until));
                actions.partition_point(|action| action.until <= point)
            }
        };
        let Action { name, recipe, .. } = &self.actions[index];
        let request = recipe.nth(n, rng);
        let told = |reason: String| format!("request {n} of {name:?} cannot be made: {}", self.redact(&reason));
        Drawn { action: index, request: request.map_err(told) }
    }

    /// Its actions; there is at least one.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// The action that [`Drawn::action`] tells of.
    pub fn action(&self, index: usize) -> &Action {
        &self.actions[index]
    }

    /// Stands for the actions as they are described: where it differs between two mixes, so do they. Values of headers are left out,
    /// where credentials are.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.actions.iter().all(|action| matches!(&action.recipe, Recipe::Prepared(requests) if requests.is_empty()))
    }

    /// Whether any credentials are known to be sent.
    pub fn carries_credentials(&self) -> bool {
        !self.secrets.is_empty() || !self.stock.secrets().is_empty()
    }

    /// `text` without the secrets that this mix knows of: the token, other credentials it sends, and environment variables.
    pub fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut secrets = self.stock.secrets();
        secrets.extend(self.secrets.iter().cloned());
        secrets.retain(|secret| secret.chars().count() >= SHORTEST_SECRET);
        // The longest first: what is left of one that holds another would give it away.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.iter().fold(Cow::Borrowed(text), |text, secret| match text.contains(secret.as_str()) {
            true => Cow::Owned(text.replace(secret.as_str(), REDACTED)),
            false => text,
        })
    }
}

impl Action {
    /// What it is called in the evidence.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// JSON pointers to what the body of a success holds.
    pub fn promises(&self) -> &[String] {
        &self.promises
    }
}

fn mix(specs: Vec<Spec>, folder: &Path, token: Option<&str>, seed: u64, file: Option<&Path>) -> Result<Mix, MixError> {
    let file = || file.map(Path::to_owned);
    if specs.is_empty() {
        return Err(MixError::Empty { file: file() });
    }
    let header = token.map(bearer).transpose()?;
    let mut mix = Mix {
        actions: Vec::with_capacity(specs.len()),
        // Seeds that people choose are small and close together.
        seed: Rng::with_seed(seed).u64(..),
        stock: Arc::new(Stock::new(folder.to_owned())),
        secrets: token.map(str::to_owned).into_iter().chain(specs.iter().filter_map(credentials)).collect(),
        mark: mark(&specs, folder),
    };
    for spec in specs {
        let name = spec.name.clone();
        if let Err(reason) = add(&mut mix, spec, folder, header.as_ref()) {
            return Err(MixError::Action { action: name, file: file(), reason: mix.redact(&reason).into_owned() });
        }
    }
    Ok(mix)
}

fn add(mix: &mut Mix, spec: Spec, folder: &Path, token: Option<&HeaderValue>) -> Result<(), String> {
    if mix.actions.iter().any(|action| action.name == spec.name) {
        return Err("another action has the same name; give each a name of its own".into());
    }
    let recipe = Recipe::new(&spec, &mix.stock, folder, token)?;
    recipe
        .nth(1, random(mix.seed, 1))
        .map_err(|reason| format!("its first request cannot be made: {reason}; correct that first"))?;
    let before = mix.actions.last().map_or(0, |last| last.until);
    let until = before + u64::from(spec.weight);
    mix.actions.push(Action { name: spec.name, promises: spec.expect, until, recipe });
    Ok(())
}

/// A few digits that differ when `specs` do. Not more of them: they are no place to look for what is in a body.
fn mark(specs: &[Spec], folder: &Path) -> String {
    let of = |spec: &Spec| {
        let file = spec.body_file.as_ref().map(|file| std::fs::read(folder.join(file)).unwrap_or_default());
        let names: Vec<_> = spec.headers.keys().map(|name| name.to_lowercase()).collect();
        format!("{:?}", (&spec.name, spec.weight, &spec.method, &spec.path, names, &spec.body, file, &spec.expect))
    };
    let all: Vec<_> = specs.iter().map(of).collect();
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, all.join("\n").as_bytes()).simple().to_string();
    digest[..8].to_owned()
}

/// What is random in request `n`.
fn random(seed: u64, n: u64) -> Rng {
    Rng::with_seed(seed ^ n.wrapping_mul(SPREAD))
}

/// The credentials of an action that has its own: what follows the scheme.
fn credentials(spec: &Spec) -> Option<String> {
    let mut headers = spec.headers.iter();
    let (_, value) = headers.find(|(name, value)| name.eq_ignore_ascii_case("authorization") && !is_template(value))?;
    Some(value.split_once(' ').map_or(value.as_str(), |(_, credentials)| credentials.trim()).to_owned())
}

fn of(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|file| format!(" of {}", file.display())).unwrap_or_default()
}

fn on_line(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(name: &str, weight: u32, body: &str) -> Spec {
        Spec { name: name.into(), weight, body: body.into(), ..Spec::default() }
    }

    fn made(specs: Vec<Spec>, token: Option<&str>) -> Mix {
        Mix::new(specs, Path::new(""), token, 7).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(specs: Vec<Spec>) -> String {
        Mix::new(specs, Path::new(""), Some("the-token"), 7).err().unwrap().to_string()
    }

    /// The bodies of some requests.
    fn bodies(mix: &Mix, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
        numbers.map(|n| String::from_utf8(mix.nth(n).request.unwrap().body.to_vec()).unwrap()).collect()
    }

    /// Writes `mix.toml` with `text` next to `order.json`, and reads it.
    fn read(text: &str) -> Result<Mix, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mix.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("order.json"), "{\n\"id\": \"{{ pick('ids.txt') }}\"}\n").unwrap();
        std::fs::write(folder.path().join("ids.txt"), "A1\n").unwrap();
        Mix::read(&file, None, 7).map_err(|error| error.to_string())
    }

    #[test]
    fn the_mark_tells_mixes_apart_and_nothing_of_their_credentials() {
        let mark = |specs: Vec<Spec>, token| made(specs, token).mark().to_owned();
        let one = mark(vec![action("a", 1, "{}")], None);
        assert_eq!(one, mark(vec![action("a", 1, "{}")], Some("the-token")));
        let keyed = |key: &str| {
            let headers = [("X-Api-Key".to_owned(), key.to_owned())].into();
            mark(vec![Spec { headers, ..action("a", 1, "{}") }], None)
        };
        assert_eq!(keyed("one"), keyed("other"));
        let others = [
            keyed("one"),
            mark(vec![action("b", 1, "{}")], None),
            mark(vec![action("a", 2, "{}")], None),
            mark(vec![action("a", 1, "[]")], None),
            mark(vec![Spec { path: Some("/b".into()), ..action("a", 1, "{}") }], None),
            mark(vec![action("a", 1, "{}"), action("b", 1, "{}")], None),
        ];
        assert!(others.iter().all(|other| *other != one), "{one}: {others:?}");
    }

    #[test]
    fn a_mix_can_be_shared_by_all_workers() {
        fn shared<T: Send + Sync>() {}
        shared::<Mix>();
    }

    #[test]
    fn weights_are_kept() {
        let mix = made(vec![action("a", 1, "x"), action("b", 6, "{{ seq() }}"), action("c", 3, "")], None);
        let mut counts = [0_u32; 3];
        (1..=10_000).for_each(|n| counts[mix.nth(n).action] += 1);
        for (count, due) in counts.into_iter().zip([1000, 6000, 3000]) {
            assert!(count.abs_diff(due) < 200, "{counts:?}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_requests_in_any_order() {
        let specs = || vec![action("a", 1, "{{ uuid() }}"), action("b", 1, "{{ random_int(1, 1000000000) }}")];
        let (one, two) = (made(specs(), None), made(specs(), None));
        let actions = |mix: &Mix| (1..=100).map(|n| mix.nth(n).action).collect::<Vec<_>>();
        let ahead = bodies(&two, 51..=100);
        assert_eq!(bodies(&one, 1..=100)[50..], ahead);
        assert_eq!(actions(&one), actions(&two));

        let other = Mix::new(specs(), Path::new(""), None, 8).ok().unwrap();
        assert_ne!(actions(&one), actions(&other));
        assert_ne!(bodies(&one, 1..=100), bodies(&other, 1..=100));
    }

    #[test]
    fn prepared_requests_are_sent_in_turn_and_borrowed() {
        let requests = ["a", "b", "c"].map(|body| Request::new(None, body).unwrap()).to_vec();
        let mix = Mix::prepared("orders", requests, vec!["/id".into()]);
        assert_eq!(bodies(&mix, 1..=5), ["a", "b", "c", "a", "b"]);
        assert!(matches!(mix.nth(2).request, Ok(Cow::Borrowed(_))) && !mix.is_empty());
        assert_eq!((mix.action(0).name(), mix.actions()[0].promises()), ("orders", &["/id".to_owned()][..]));

        let empty = Mix::prepared("orders", vec![], vec![]);
        assert!(empty.is_empty() && empty.nth(1).request.is_err());
    }

    #[test]
    fn a_template_that_fails_names_its_request() {
        let body = "{\n{% if seq() == 37 %}{{ nothing.at_all }}{% endif %}}";
        let mix = made(vec![action("orders", 1, body)], None);
        let failed: Vec<_> = (1..=100).filter_map(|n| mix.nth(n).request.err()).collect();
        assert_eq!(
            failed,
            [r#"request 37 of "orders" cannot be made: undefined value: `nothing` is undefined (line 2 of its body)"#]
        );
    }

    #[test]
    fn what_fails_from_the_first_request_on_is_told_before_any_is_sent() {
        let error = refused(vec![action("a", 1, ""), action("orders", 1, "{{ nothing }}")]);
        assert!(
            error.starts_with(r#"action "orders" cannot be sent: its first request cannot be made: undef"#),
            "{error}"
        );
        assert!(refused(vec![action("a", 1, r#"{{ env("TARE_NO_SUCH") }}"#)]).contains("TARE_NO_SUCH is not set"));
        assert!(refused(vec![action("a", 1, r#"{{ pick("no/such.txt") }}"#)]).contains("cannot read no/such.txt"));
        assert!(refused(vec![action("a", 1, "{{ 1 + }}")]).contains("syntax error"));
    }

    #[test]
    fn a_mix_of_nothing_or_of_namesakes_is_refused() {
        assert!(refused(vec![]).contains("has no action"));
        assert!(refused(vec![action("a", 1, ""), action("a", 2, "")]).contains("another action has the same name"));
        let error = Mix::new(vec![action("a", 1, "")], Path::new(""), Some("a b"), 7).err().unwrap();
        assert!(matches!(error, MixError::Token(Error::BadToken)));
    }

    #[test]
    fn secrets_are_redacted() {
        let mut own = action("own", 1, r#"{{ env("CARGO_PKG_NAME") }}"#);
        own.headers.insert("authorization".into(), "Basic b3duOnNlY3JldA==".into());
        let mix = made(vec![own, action("a", 1, "")], Some("tare-stress-token"));
        let text = "tare-stress-token sent tare-stress and b3duOnNlY3JldA==";
        assert_eq!(mix.redact(text), "••• sent ••• and •••");
        assert!(matches!(mix.redact("nothing secret"), Cow::Borrowed(_)));
        assert_eq!(made(vec![action("a", 1, "")], Some("abc")).redact("abc"), "abc");

        let body = r#"{% if seq() == 2 %}{{ random_int(env("CARGO_PKG_NAME"), 1) }}{% endif %}"#;
        let failed = made(vec![action("a", 1, body)], None).nth(2).request.err().unwrap();
        assert!(!failed.contains("tare-stress"), "{failed}");
    }

    #[test]
    fn a_mix_is_read_from_a_file_and_what_it_names_is_found_beside_it() {
        let mix = read(
            "[[actions]]\nname = 'order'\nweight = 3\nbody_file = 'order.json'\nexpect = ['/id']\n\
             [[actions]]\nname = 'list'\npath = '/orders'\nheaders = { accept = 'text/csv' }\n",
        );
        let mix = mix.unwrap();
        assert_eq!(mix.actions().iter().map(Action::name).collect::<Vec<_>>(), ["order", "list"]);
        assert_eq!(mix.action(0).promises(), ["/id"]);
        let nth = |action| (1..).map(|n| mix.nth(n)).find(|drawn| drawn.action == action).unwrap().request;
        assert_eq!(nth(0).unwrap().body, "{\n\"id\": \"A1\"}\n");
        assert_eq!(nth(1).unwrap().headers["accept"], "text/csv");
    }

    #[test]
    fn a_file_that_is_no_mix_says_where_and_shows_no_secret() {
        let error = read("[[actions]]\nname = 'a'\nheaders = { authorization = 'secret' \n").err().unwrap();
        assert!(
            error.contains("mix.toml is not a mix") && error.contains("(line ") && !error.contains("secret"),
            "{error}"
        );
        let error = read("[[actions]]\nname = 'a'\nwieght = 2\n").err().unwrap();
        assert!(error.contains("unknown field `wieght`") && error.contains("(line 3)"), "{error}");
        assert!(read("actions = []").err().unwrap().contains("mix.toml has no action"));
        let error = read("[[actions]]\nbody_file = 'none.json'").err().unwrap();
        assert!(error.contains(r#"action "url" of "#) && error.contains("none.json cannot be read"), "{error}");
        let error = Mix::read(Path::new("no/such.toml"), None, 7).err().unwrap().to_string();
        assert!(error.starts_with("the mix no/such.toml cannot be read: "), "{error}");
    }
}
