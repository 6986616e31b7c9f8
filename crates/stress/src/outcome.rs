//! What came of one request.

use std::time::Duration;

use crate::connection::{Answer, NoAnswer};
use crate::promise::missing;
use http::header::LOCATION;

/// Bytes of an unexpected body that are shown.
const EXCERPT: usize = 200;

/// What came of one request.
pub(crate) enum Outcome {
    Answer(Answer),
    NoAnswer(NoAnswer),
    Timeout(Duration),
    /// There was none to send: its template failed.
    NoRequest(String),
}

/// The kind of a failure and what was met; nothing for a success: an answer of 200 to 299 whose body holds something where
/// each of the JSON pointers `promises` points.
pub(crate) fn failure(outcome: &Outcome, promises: &[String]) -> Option<(&'static str, String)> {
    match outcome {
        Outcome::NoRequest(reason) => Some(("template", reason.clone())),
        Outcome::NoAnswer(NoAnswer::Connect(reason)) => Some(("connect", reason.clone())),
        Outcome::NoAnswer(NoAnswer::Tls(reason)) => Some(("tls", reason.clone())),
        Outcome::NoAnswer(NoAnswer::Reset(reason)) => Some(("reset", reason.clone())),
        Outcome::NoAnswer(reason @ NoAnswer::Body(_)) => Some(("body", reason.to_string())),
        Outcome::Timeout(after) => Some(("timeout", format!("no whole answer within {} s", after.as_secs_f64()))),
        Outcome::Answer(Answer { status: 200..=299, .. }) if promises.is_empty() => None,
        Outcome::Answer(Answer { status: 200..=299, body, length, .. }) => match *length > body.len() as u64 {
            true => Some(("body", format!("its {length} bytes are too many to be looked through"))),
            false => broken_promise(body, promises).map(|why| ("body", why)),
        },
        Outcome::Answer(answer) => Some(("status", told(answer))),
    }
}

/// Why `body` is not the success it should be.
fn broken_promise(body: &[u8], promises: &[String]) -> Option<String> {
    match missing(body, promises) {
        Ok(None) => None,
        Ok(Some(pointer)) => Some(format!("{pointer} is missing: {}", excerpt(body))),
        Err(_) => Some(format!("not JSON: {}", excerpt(body))),
    }
}

/// `500: oops`, `302 to /elsewhere: an empty body`.
fn told(Answer { status, headers, body, .. }: &Answer) -> String {
    let to = headers.get(LOCATION).map(|location| format!(" to {}", String::from_utf8_lossy(location.as_bytes())));
    format!("{status}{}: {}", to.unwrap_or_default(), excerpt(body))
}

fn excerpt(body: &[u8]) -> String {
    match body {
        [] => "an empty body".into(),
        body => String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer { status, headers: HeaderMap::new(), body: body.into(), length: body.len() as u64 }
    }

    fn kind(outcome: Outcome, promises: &[&str]) -> Option<(&'static str, String)> {
        failure(&outcome, &promises.iter().map(|&pointer| pointer.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_was_promised_is_a_success() {
        let of = |status, body| kind(Outcome::Answer(answer(status, body)), &["/result/id"]);
        assert_eq!(of(200, r#"{"result":{"id":1}}"#), None);
        for (status, body, why) in [
            (200, r#"{"result":{"id":null}}"#, "/result/id is missing: {"),
            (200, r#"{"result":{}}"#, "/result/id is missing"),
            (204, "", "not JSON: an empty body"),
        ] {
            let (kind, example) = of(status, body).unwrap();
            assert!(kind == "body" && example.starts_with(why), "{kind}: {example}");
        }
        assert_eq!(of(500, "oops"), Some(("status", "500: oops".into())));
    }

    #[test]
    fn without_a_promise_every_good_status_is_a_success() {
        for (status, success) in [(199, false), (200, true), (204, true), (299, true), (304, false), (404, false)] {
            assert_eq!(kind(Outcome::Answer(answer(status, "")), &[]).is_none(), success, "{status}");
        }
    }

    #[test]
    fn a_redirect_is_not_followed_and_says_where_to() {
        let mut redirect = answer(302, "");
        redirect.headers.insert(LOCATION, "/again".parse().unwrap());
        assert_eq!(kind(Outcome::Answer(redirect), &[]), Some(("status", "302 to /again: an empty body".into())));
    }

    #[test]
    fn what_has_no_answer_is_told_by_where_it_ended() {
        let kinds = [
            Outcome::NoRequest("line 3".into()),
            Outcome::NoAnswer(NoAnswer::Connect("refused".into())),
            Outcome::NoAnswer(NoAnswer::Tls("unknown issuer".into())),
            Outcome::NoAnswer(NoAnswer::Reset("by peer".into())),
            Outcome::NoAnswer(NoAnswer::Body("end of file".into())),
            Outcome::Timeout(Duration::from_secs(30)),
        ]
        .map(|outcome| kind(outcome, &[]).unwrap());
        assert_eq!(kinds.each_ref().map(|(kind, _)| *kind), ["template", "connect", "tls", "reset", "body", "timeout"]);
        assert_eq!(kinds[4].1, "the answer broke off: end of file");
        assert_eq!(kinds[5].1, "no whole answer within 30 s");
    }
}
