//! What is sent.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Method};
use http_body_util::Full;

use crate::{Error, Target};

/// One request to send, prepared.
#[derive(Clone)]
pub struct Request {
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    /// A POST of the JSON `body`, as the bearer of `token` if there is one.
    ///
    /// # Errors
    /// [`Error::BadToken`] when no header can carry the token.
    pub fn new(token: Option<&str>, body: impl Into<Bytes>) -> Result<Self, Error> {
        let json = HeaderValue::from_static("application/json");
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, json.clone()), (ACCEPT, json)]);
        if let Some(token) = token {
            let printable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
            let value = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| printable);
            let mut value = value.ok_or(Error::BadToken)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        Ok(Self { headers, body: body.into() })
    }

    pub(crate) fn to(&self, target: &Target) -> http::Request<Full<Bytes>> {
        let mut request = http::Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = target.path.clone();
        *request.headers_mut() = self.headers.clone();
        request.headers_mut().insert(HOST, target.host.clone());
        request
    }
}
