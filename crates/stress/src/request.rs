//! What is sent.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method, Uri};
use http_body_util::Full;

use crate::{Error, Target};

/// What a body is, and what its answer should be.
pub(crate) static JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One request to send, prepared. It may carry secrets, and is for no log: that is why it has no `Debug`.
#[derive(Clone)]
pub struct Request {
    /// What is asked of the path.
    pub method: Method,
    /// Path and query; those of the target when there are none.
    pub path: Option<Uri>,
    /// All but what the connection adds itself; `host` is the target's unless it is here.
    pub headers: HeaderMap,
    /// Empty for none.
    pub body: Bytes,
}

impl Request {
    /// A POST of the JSON `body`, as the bearer of `token` if there is one.
    ///
    /// # Errors
    /// [`Error::BadToken`] when no header can carry the token.
    pub fn new(token: Option<&str>, body: impl Into<Bytes>) -> Result<Self, Error> {
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, JSON.clone()), (ACCEPT, JSON.clone())]);
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, bearer(token)?);
        }
        Ok(Self { method: Method::POST, path: None, headers, body: body.into() })
    }

    /// A GET of the target's own path.
    pub fn get() -> Self {
        Self { method: Method::GET, path: None, headers: HeaderMap::new(), body: Bytes::new() }
    }

    pub(crate) fn to(&self, target: &Target) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.as_ref().unwrap_or(&target.path).clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().entry(HOST).or_insert_with(|| target.host.clone());
        request
    }
}

/// The header with which the bearer of `token` is let in.
pub(crate) fn bearer(token: &str) -> Result<HeaderValue, Error> {
    let printable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| printable);
    let mut value = value.ok_or(Error::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_goes_to_the_path_and_host_of_its_target_unless_it_has_its_own() {
        let target = Target::resolve("http://127.0.0.1:81/a?b=c", false, None).await.unwrap();
        let mut request = Request::new(Some("token"), "{}").unwrap();
        let sent = request.to(&target);
        assert_eq!((sent.method(), sent.uri().to_string()), (&Method::POST, "/a?b=c".into()));
        assert_eq!(
            (&sent.headers()["host"], &sent.headers()["authorization"]),
            (&target.host, &"Bearer token".parse().unwrap())
        );

        request.method = Method::DELETE;
        request.path = Some(Uri::from_static("/orders/1"));
        request.headers.insert(HOST, HeaderValue::from_static("orders.example"));
        let sent = request.to(&target);
        assert_eq!((sent.method(), sent.uri().to_string()), (&Method::DELETE, "/orders/1".into()));
        assert_eq!(sent.headers()["host"], "orders.example");
    }

    #[test]
    fn a_token_is_not_shown() {
        let request = Request::new(Some("secret"), "{}").unwrap();
        assert!(!format!("{:?}", request.headers).contains("secret"));
    }
}
