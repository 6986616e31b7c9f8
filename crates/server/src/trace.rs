//! What a request is known by in the logs: an id of its own, and the trace it is part of.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;
use uuid::{NoContext, Timestamp, Uuid};

/// The header with a request's id, there and back.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header of the W3C Trace Context.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Bytes of a request's id at most.
const LONGEST_ID: usize = 128;

/// Ids of one request.
#[derive(Clone, Debug)]
pub struct Ids {
    request: HeaderValue,
    traceparent: Option<HeaderValue>,
}

impl Ids {
    /// Those that the client sent; a new id of the request when there is none that can be used, UUID version 7.
    pub fn of(headers: &HeaderMap) -> Self {
        let request = headers.get(REQUEST_ID).filter(|id| is_id(id.as_bytes())).cloned();
        let traceparent = headers.get(TRACEPARENT).filter(|value| is_traceparent(value.as_bytes())).cloned();
        Self { request: request.unwrap_or_else(new_id), traceparent }
    }

    /// The request's id, as the header that goes back.
    pub fn header(&self) -> HeaderValue {
        self.request.clone()
    }

    /// The request's id.
    pub fn request_id(&self) -> &str {
        self.request.to_str().unwrap_or_default()
    }

    /// The id of the trace that the client is in, 32 hexadecimal digits.
    pub fn trace_id(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()?.get(3..35)
    }

    /// The span of the whole request.
    pub fn span(&self) -> Span {
        let (request_id, trace_id) = (self.request_id(), self.trace_id());
        let span = tracing::info_span!("request", otel.kind = "server", request_id, trace_id);
        #[cfg(feature = "otlp")]
        if let Some(traceparent) = self.traceparent.as_ref().and_then(|value| value.to_str().ok()) {
            crate::otlp::join(&span, traceparent);
        }
        span
    }
}

fn new_id() -> HeaderValue {
    // Without a context there is no counter shared by all requests, behind a lock.
    let id = Uuid::new_v7(Timestamp::now(NoContext));
    HeaderValue::from_str(id.hyphenated().encode_lower(&mut Uuid::encode_buffer())).expect("digits and hyphens")
}

fn is_id(value: &[u8]) -> bool {
    (1..=LONGEST_ID).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// `version-trace-parent-flags`, in lower-case hexadecimal digits of these widths. What a later version may add is after them.
fn is_traceparent(value: &[u8]) -> bool {
    let hex = |field: &[u8]| field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let zero = |field: &[u8]| field.iter().all(|byte| *byte == b'0');
    let Some((known, more)) = value.split_at_checked(55) else { return false };
    let (version, trace, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let hyphens = [known[2], known[35], known[52]] == [b'-'; 3];
    let ends = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => matches!(more, [] | [b'-', ..]),
    };
    hyphens && ends && [version, trace, parent, flags].into_iter().all(hex) && !zero(trace) && !zero(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn ids(name: &'static str, value: &str) -> Ids {
        Ids::of(&HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())]))
    }

    #[test]
    fn an_id_that_can_be_logged_is_taken_and_any_other_replaced_by_a_new_one() {
        assert_eq!(ids("x-request-id", "order-7/a").request_id(), "order-7/a");
        let long = "x".repeat(129);
        for unusable in ["", "two words", &long, "tab\there"] {
            let new = ids("x-request-id", unusable).request_id().parse::<Uuid>().unwrap();
            assert_eq!(new.get_version_num(), 7, "{unusable:?}");
        }
    }

    #[test]
    fn a_traceparent_gives_its_trace_when_it_is_one() {
        let of = |value: &str| ids("traceparent", value).trace_id().map(str::to_owned);
        for good in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-comes"),
        ] {
            assert_eq!(of(&good).as_deref(), Some(TRACE), "{good}");
        }
        for bad in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00_{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(of(&bad), None, "{bad}");
        }
    }
}
