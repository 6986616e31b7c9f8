//! response: [`Outcome`] → bytes.

use bytes::Bytes;
use serde::Serialize;

use crate::Error;
use crate::action::{Action, Outcome};

#[derive(Serialize)]
struct Body<'a, T> {
    action: &'a str,
    result: &'a T,
}

/// The body of an answer: `{"action": …, "result": …}`. JSON that the database wrote is passed on as it is.
pub fn body(action: Action, outcome: &Outcome) -> Bytes {
    match outcome {
        Outcome::Part(part) => to_bytes(&Body { action: action.name(), result: part }),
        Outcome::Moved(moved) => to_bytes(&Body { action: action.name(), result: moved }),
        Outcome::Page(page) => to_bytes(&Body { action: action.name(), result: page }),
        Outcome::Json(json) => to_bytes(&Body { action: action.name(), result: json }),
    }
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: ErrorText<'a>,
}

#[derive(Serialize)]
struct ErrorText<'a> {
    code: &'a str,
    message: String,
}

/// The body of a refusal: `{"error": {"code": …, "message": …}}`.
pub fn error_body(error: &Error) -> Bytes {
    to_bytes(&ErrorBody { error: ErrorText { code: error.code(), message: error.to_string() } })
}

fn to_bytes(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).expect("strings, numbers and ids serialise").into()
}
