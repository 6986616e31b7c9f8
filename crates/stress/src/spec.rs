//! An action as its author describes it, checked and made ready to send.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;

use crate::Request;
use crate::request::JSON;
use crate::template::{Draw, Stock, Templates, is_template};

/// An action as its author describes it; method, path, the values of headers, and the body may be templates. It may hold
/// secrets, and is for no log: that is why it has no `Debug`.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// What it is called in the evidence.
    pub name: String,
    /// How often it is sent, in proportion to the weights of the others.
    pub weight: u32,
    /// POST when there is a body, else GET.
    pub method: Option<String>,
    /// Path and query; those of the target when there are none.
    pub path: Option<String>,
    /// Headers by name.
    pub headers: BTreeMap<String, String>,
    /// Empty for none.
    pub body: String,
    /// The file that holds the body instead, relative to the mix.
    pub body_file: Option<PathBuf>,
    /// JSON pointers to what the body of a success holds.
    pub expect: Vec<String>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            name: "url".into(),
            weight: 1,
            method: None,
            path: None,
            headers: BTreeMap::new(),
            body: String::new(),
            body_file: None,
            expect: Vec::new(),
        }
    }
}

/// How an action's requests come about.
pub(crate) enum Recipe {
    /// Prepared, and sent in turn.
    Prepared(Vec<Request>),
    /// Rendered, each from the same templates.
    Rendered(Box<Rendered>),
}

/// A request of which some parts are templates.
pub(crate) struct Rendered {
    /// The other parts.
    base: Request,
    method: bool,
    path: bool,
    body: bool,
    /// Each header, and what its template is called.
    headers: Vec<(HeaderName, String)>,
    templates: Templates,
}

impl Recipe {
    /// Checks `spec` and does all that can be done for its requests in advance.
    pub(crate) fn new(
        spec: &Spec,
        stock: &Arc<Stock>,
        folder: &Path,
        token: Option<&HeaderValue>,
    ) -> Result<Self, String> {
        check(spec)?;
        let body = match &spec.body_file {
            Some(file) => &read(&folder.join(file))?,
            None => &spec.body,
        };
        let verb = spec.method.as_deref().unwrap_or(if body.is_empty() { "GET" } else { "POST" });
        let mut rendered = Rendered {
            base: Request { method: Method::GET, path: None, headers: HeaderMap::new(), body: Bytes::new() },
            method: is_template(verb),
            path: spec.path.as_deref().is_some_and(is_template),
            body: is_template(body),
            headers: Vec::new(),
            templates: Templates::new(stock),
        };
        let templates = &mut rendered.templates;
        match rendered.method {
            true => templates.add("method", verb)?,
            false => rendered.base.method = method(verb)?,
        }
        match &spec.path {
            Some(source) if rendered.path => templates.add("path", source)?,
            Some(source) => rendered.base.path = Some(path(source)?),
            None => {}
        }
        match rendered.body {
            true => templates.add("body", body)?,
            false => rendered.base.body = body.clone().into(),
        }
        let given = rendered.add_headers(spec)?;
        let defaults = match body.is_empty() {
            true => vec![],
            false => vec![(CONTENT_TYPE, &JSON), (ACCEPT, &JSON)],
        };
        for (name, value) in defaults.into_iter().chain(token.map(|token| (AUTHORIZATION, token))) {
            if !given.contains(&name) {
                rendered.base.headers.insert(name, value.clone());
            }
        }
        Ok(match rendered.method || rendered.path || rendered.body || !rendered.headers.is_empty() {
            true => Self::Rendered(Box::new(rendered)),
            false => Self::Prepared(vec![rendered.base]),
        })
    }

    /// Request `nth`, with `rng` for what is random in it.
    pub(crate) fn nth(&self, nth: u64, rng: Rng) -> Result<Cow<'_, Request>, String> {
        match self {
            Self::Rendered(rendered) => rendered.request(&Draw::new(nth, rng)).map(Cow::Owned),
            Self::Prepared(requests) => {
                let turn =
                    nth.saturating_sub(1).checked_rem(requests.len() as u64).ok_or("there is nothing to send")?;
                Ok(Cow::Borrowed(&requests[turn as usize]))
            }
        }
    }
}

impl Rendered {
    /// Takes in the headers of `spec`, and says which they are.
    fn add_headers(&mut self, spec: &Spec) -> Result<Vec<HeaderName>, String> {
        let mut given = Vec::new();
        for (text, value) in &spec.headers {
            let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
                format!("its header {text:?} has a name that cannot be sent; use letters, digits and hyphens")
            })?;
            if name == CONTENT_LENGTH || name == TRANSFER_ENCODING {
                return Err(format!("its header {text} follows from the body and is sent with it; leave it out"));
            }
            if given.contains(&name) {
                return Err(format!("its header {text} is given twice; give it once"));
            }
            match is_template(value) {
                true => {
                    let part = format!("header {text}");
                    self.templates.add(&part, value)?;
                    self.headers.push((name.clone(), part));
                }
                false => drop(self.base.headers.insert(name.clone(), header(&name, value)?)),
            }
            given.push(name);
        }
        Ok(given)
    }

    fn request(&self, draw: &Arc<Draw>) -> Result<Request, String> {
        let mut request = self.base.clone();
        if self.method {
            request.method = method(&self.templates.render("method", draw)?)?;
        }
        if self.path {
            request.path = Some(path(&self.templates.render("path", draw)?)?);
        }
        for (name, part) in &self.headers {
            request.headers.insert(name.clone(), header(name, &self.templates.render(part, draw)?)?);
        }
        if self.body {
            request.body = self.templates.render("body", draw)?.into();
        }
        Ok(request)
    }
}

fn check(spec: &Spec) -> Result<(), String> {
    if spec.weight == 0 {
        return Err("its weight is 0, so that it would never be sent; give it 1 or more, or take it out".into());
    }
    if spec.body_file.is_some() && !spec.body.is_empty() {
        return Err("it has both a body and a body_file; keep one of the two".into());
    }
    match spec.expect.iter().find(|pointer| !pointer.starts_with('/')) {
        Some(pointer) => Err(format!("it expects {pointer:?}, which is no JSON pointer; one looks like /result/id")),
        None => Ok(()),
    }
}

fn read(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| {
        let file = file.display();
        format!(
            "its body_file {file} cannot be read: {error}; it should be a text file, and a relative path begins where \
             the mix is"
        )
    })
}

/// Methods are sent in capitals: HTTP tells `get` from `GET`, and knows only the latter.
fn method(text: &str) -> Result<Method, String> {
    let method = Method::from_bytes(text.to_ascii_uppercase().as_bytes()).ok();
    method
        .filter(|method| method != Method::CONNECT)
        .ok_or_else(|| format!("its method {text:?} cannot be sent; use one like GET, POST, PUT, PATCH or DELETE"))
}

fn path(text: &str) -> Result<Uri, String> {
    let bad = |reason: &str| format!("its path {text:?} cannot be sent: {reason}");
    if !text.starts_with('/') {
        return Err(bad("it does not begin with /; give path and query, as in /orders?limit=10"));
    }
    if text.contains('#') {
        return Err(bad("what follows # never reaches a service; leave it out, or write %23"));
    }
    let path: Result<PathAndQuery, _> = text.parse();
    path.map(Uri::from).map_err(|error| bad(&format!("{error}; write spaces and the like as %20, or use | urlencode")))
}

/// The value is not told: it may be a secret.
fn header(name: &HeaderName, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text).map_err(|_| {
        format!("its header {name} has a value that cannot be sent; leave out line ends and other control characters")
    })?;
    value.set_sensitive(name == AUTHORIZATION);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(spec: Spec) -> Result<Recipe, String> {
        let token = HeaderValue::from_static("Bearer token");
        Recipe::new(&spec, &Arc::default(), Path::new(""), Some(&token))
    }

    fn spec(body: &str, headers: &[(&str, &str)]) -> Spec {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Spec { headers, body: body.into(), ..Spec::default() }
    }

    /// Its request 2: the first is made in advance.
    fn second(spec: Spec) -> Result<Request, String> {
        recipe(spec)?.nth(2, Rng::with_seed(2)).map(Cow::into_owned)
    }

    fn refused(spec: Spec) -> String {
        second(spec).err().unwrap()
    }

    #[test]
    fn a_request_without_templates_is_made_once() {
        let recipe = recipe(spec("{}", &[])).ok().unwrap();
        assert!(matches!(recipe.nth(1, Rng::with_seed(1)), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_body_makes_it_a_post_of_json_and_no_body_a_get() {
        let post = second(spec("{}", &[])).ok().unwrap();
        assert_eq!((&post.method, &*post.body, &post.path), (&Method::POST, &b"{}"[..], &None));
        assert_eq!((&post.headers["content-type"], &post.headers["accept"]), (&JSON, &JSON));
        let get = second(spec("", &[])).ok().unwrap();
        assert_eq!((&get.method, get.headers.len()), (&Method::GET, 1));
        let csv = second(spec("a;b", &[("Content-Type", "text/csv")])).ok().unwrap();
        assert_eq!((&csv.headers["content-type"], &csv.headers["accept"]), (&"text/csv".parse().unwrap(), &JSON));
    }

    #[test]
    fn the_token_is_sent_unless_the_action_has_its_own() {
        assert_eq!(second(spec("", &[])).ok().unwrap().headers["authorization"], "Bearer token");
        for own in ["Basic abc", "Basic {{ 'abc' }}"] {
            let headers = second(spec("", &[("AUTHORIZATION", own)])).ok().unwrap().headers;
            assert_eq!(headers["authorization"], "Basic abc");
            assert!(!format!("{headers:?}").contains("abc"));
        }
    }

    #[test]
    fn every_part_can_be_a_template() {
        let mut spec = spec("{{ seq() }}", &[("X-Number", "no {{ seq() }}"), ("X-Fixed", "yes")]);
        spec.method = Some("{% if seq() == 2 %}put{% else %}post{% endif %}".into());
        spec.path = Some("/orders/{{ seq() }}?name={{ 'a b' | urlencode }}".into());
        let request = second(spec).ok().unwrap();
        assert_eq!((request.method, request.path.unwrap().to_string()), (Method::PUT, "/orders/2?name=a%20b".into()));
        assert_eq!(
            (&request.headers["x-number"], &request.headers["x-fixed"]),
            (&HeaderValue::from_static("no 2"), &HeaderValue::from_static("yes"))
        );
        assert_eq!(
            (&*request.body, &request.headers["authorization"]),
            (&b"2"[..], &HeaderValue::from_static("Bearer token"))
        );
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_reason() {
        let method = |method: &str| refused(Spec { method: Some(method.into()), ..Spec::default() });
        let path = |path: &str| refused(Spec { path: Some(path.into()), ..Spec::default() });
        for bad in ["GE T", "", "connect", "{{ 'GE T' }}"] {
            assert!(method(bad).ends_with("cannot be sent; use one like GET, POST, PUT, PATCH or DELETE"), "{bad}");
        }
        assert!(path("orders").contains("does not begin with /"));
        assert!(path("{{ 'orders' }}").contains("does not begin with /"));
        assert!(path("/a#b").contains("%23"));
        assert!(path("/a b").contains("urlencode"));
        assert!(refused(spec("", &[("a b", "c")])).contains(r#""a b" has a name"#));
        assert!(refused(spec("", &[("Content-Length", "3")])).contains("follows from the body"));
        assert!(refused(spec("", &[("A", "1"), ("a", "2")])).contains("given twice"));
        for value in ["sec\nret", "{{ 'sec\nret' }}"] {
            let error = refused(spec("", &[("X-Key", value)]));
            assert!(error.contains("x-key has a value that cannot be sent") && !error.contains("ret\""), "{error}");
        }
    }

    #[test]
    fn a_spec_that_contradicts_itself_is_refused_with_the_reason() {
        assert!(refused(Spec { weight: 0, ..Spec::default() }).contains("its weight is 0"));
        assert!(
            refused(Spec { expect: vec!["id".into()], ..Spec::default() })
                .contains(r#""id", which is no JSON pointer"#)
        );
        let both = Spec { body_file: Some("a.json".into()), ..spec("{}", &[]) };
        assert!(refused(both).contains("both a body and a body_file"));
    }
}
