//! Routes, and answers as HTTP.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tare_gateway::{Attributes, Error, Gateway, Reply, response};
use tokio_util::task::TaskTracker;

/// Bytes of a request's body at most; an action's is a few hundred.
const BODY_LIMIT: usize = 64 * 1024;

#[derive(Clone)]
struct Service {
    gateway: Arc<Gateway>,
    under_way: TaskTracker,
}

/// The service's routes; actions under way are tracked by `under_way`.
pub fn router(gateway: Arc<Gateway>, under_way: TaskTracker) -> Router {
    let unknown = || async { refusal(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path") };
    let wrong = || async { refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "this path takes another method") };
    Router::new()
        .route("/v1/actions/execute", post(execute))
        .route("/health", get(|| async { json(StatusCode::OK, r#"{"status":"ok"}"#) }))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(Service { gateway, under_way })
}

async fn execute(
    State(Service { gateway, under_way }): State<Service>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(rejection) => return refusal(rejection.status(), "body", &rejection.body_text()),
    };
    // A task of its own: a client that hangs up must not stop an action between the change and its audit row.
    let acting = under_way.spawn(async move { gateway.execute(bearer(&headers), &body, attributes(&headers)).await });
    match acting.await {
        Ok(reply) => answer(reply),
        Err(error) => {
            tracing::error!(%error, "an action panicked");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed")
        }
    }
}

/// The token of an `Authorization: Bearer` header; empty, and so refused, when there is none.
fn bearer(headers: &HeaderMap) -> &str {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

fn attributes(headers: &HeaderMap) -> Attributes<'_> {
    let key = headers.get("idempotency-key").map(|value| value.to_str().unwrap_or_default());
    Attributes { idempotency_key: key }
}

fn answer(Reply { result, timings }: Reply) -> Response {
    let mut response = match result {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => {
            log(&error);
            let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = json(status, response::error_body(&error));
            if let Some(seconds) = error.retry_after() {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            response
        }
    };
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Ok(timing) = HeaderValue::from_str(&timings.server_timing()) {
        response.headers_mut().insert("server-timing", timing);
    }
    response
}

/// Failures that are the service's own, with their causes, which the caller is not told.
fn log(error: &Error) {
    if error.status() >= 500 {
        let cause = std::error::Error::source(error).map(|cause| format!("{cause:?}"));
        tracing::error!(%error, cause = cause.as_deref().unwrap_or("none"), "a request failed");
    }
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    json(status, serde_json::json!({"error": {"code": code, "message": message}}).to_string())
}

fn json(status: StatusCode, body: impl Into<axum::body::Body>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.into()).into_response()
}
