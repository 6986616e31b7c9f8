//! Routes, and answers as HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, EXPECT, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tare_gateway::{Attributes, Error, Gateway, Reply, response};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::exposition::{Exposition, MEDIA_TYPE};
use crate::metrics::Counters;
use crate::trace::{Ids, REQUEST_ID};

/// Bytes of a request's body at most; an action's is a few hundred.
const BODY_LIMIT: usize = 64 * 1024;
/// Bytes of a refused one that are taken and thrown away, and for how long.
const THROWN_AWAY: usize = 1024 * 1024;
const LINGER: Duration = Duration::from_secs(1);
/// How long the control database may take to say that it is there.
const READY: Duration = Duration::from_secs(2);
/// Seconds after which a refusal that passes may be tried again.
const RETRY: u32 = 1;

/// What requests are given, and no more.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests for actions in flight at once.
    pub concurrency: usize,
    /// Those of them that are worked on at a time; all when there is no such limit.
    pub workers: Option<usize>,
    /// How long the body of a request may take to arrive.
    pub body: Duration,
    /// How long an action may take until its client is told that it took too long.
    pub action: Duration,
}

/// What answers requests.
pub struct Service {
    gateway: Arc<Gateway>,
    limits: Limits,
    /// Gives its permits in the order they were asked for.
    workers: Option<Arc<Semaphore>>,
    counters: Arc<Counters>,
    exposition: Exposition,
    /// Actions under way, those included that nobody waits for.
    pub under_way: TaskTracker,
    /// Cancelled once the server is to stop: it is not ready from then on.
    pub stopping: CancellationToken,
    /// Why it is not ready has been said since it last was.
    said_why_not: AtomicBool,
}

impl Service {
    /// Over `gateway`.
    pub fn new(gateway: Arc<Gateway>, limits: Limits) -> Arc<Self> {
        let counters = Counters::new(limits.concurrency);
        let exposition = Exposition::new(gateway.clone(), counters.clone());
        let workers = limits.workers.map(|workers| Arc::new(Semaphore::new(workers.min(Semaphore::MAX_PERMITS))));
        let (under_way, stopping) = (TaskTracker::new(), CancellationToken::new());
        let said_why_not = AtomicBool::new(false);
        Arc::new(Self { gateway, limits, workers, counters, exposition, under_way, stopping, said_why_not })
    }

    async fn act(&self, request: Request) -> Result<Response, Response> {
        let place = self.counters.place().ok_or_else(|| {
            passing(refusal(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many requests are under way, try again"))
        })?;
        let (head, body) = request.into_parts();
        // One that waits to be told to go on is not to be told so by being read.
        let sends_at_once = !head.headers.contains_key(EXPECT);
        let body = self.read(body, sends_at_once).await?;
        let ids = head.extensions.get::<Ids>().cloned().unwrap_or_else(|| Ids::of(&head.headers));
        let acting = {
            let (gateway, workers, ids, span) = (self.gateway.clone(), self.workers.clone(), ids.clone(), ids.span());
            let acting = async move {
                let place = place;
                // Asked for within the task, too: a client that hangs up before its turn does not give it up.
                let _worker = match &workers {
                    Some(workers) => Some(place.waiting(workers.acquire()).await.expect("never closed")),
                    None => None,
                };
                let headers = &head.headers;
                let reply = gateway.execute(bearer(headers), &body, attributes(headers)).await;
                // Here and not where it is answered: there may be nobody left to answer.
                if let Err(error) = &reply.result {
                    log(error, &ids);
                }
                reply
            };
            // A task of its own: a client that hangs up must not stop an action between the change and its audit row.
            self.under_way.spawn(acting.instrument(span))
        };
        let (request_id, trace_id) = (ids.request_id(), ids.trace_id());
        match timeout(self.limits.action, acting).await {
            Ok(Ok(reply)) => Ok(answer(reply)),
            Ok(Err(error)) => {
                tracing::error!(request_id, trace_id, %error, "an action panicked");
                Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed"))
            }
            Err(_) => {
                let seconds = self.limits.action.as_secs_f64();
                tracing::error!(request_id, trace_id, seconds, "an action took too long; it goes on unheard");
                let message = "this took too long; it may yet be done";
                Err(refusal(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
            }
        }
    }

    async fn read(&self, body: Body, sends_at_once: bool) -> Result<Bytes, Response> {
        let too_large = || {
            let message = format!("a body has {BODY_LIMIT} bytes at most");
            refusal(StatusCode::PAYLOAD_TOO_LARGE, "body", &message)
        };
        // One that says so itself need not arrive for that.
        if body.size_hint().lower() > BODY_LIMIT as u64 {
            if sends_at_once {
                tokio::spawn(timeout(LINGER, throw_away(body)));
            }
            return Err(too_large());
        }
        match timeout(self.limits.body, Limited::new(body, BODY_LIMIT).collect()).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(refusal(StatusCode::BAD_REQUEST, "body", "the body did not arrive whole")),
            Err(_) => {
                let mut late = refusal(StatusCode::REQUEST_TIMEOUT, "body", "the body did not arrive in time");
                late.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                Err(late)
            }
        }
    }

    async fn readiness(&self) -> Response {
        let refused = |code, message| passing(refusal(StatusCode::SERVICE_UNAVAILABLE, code, message));
        if self.stopping.is_cancelled() {
            return refused("stopping", "the service is stopping");
        }
        match timeout(READY, self.gateway.check()).await {
            Ok(Ok(())) => {
                self.said_why_not.store(false, Ordering::Relaxed);
                json(StatusCode::OK, r#"{"status":"ready"}"#)
            }
            Ok(Err(error)) => {
                // Balancers ask many times a second.
                if !self.said_why_not.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, cause = cause(&error), "not ready");
                }
                refused(error.code(), &error.to_string())
            }
            Err(_) => refused("unreachable", "the control database is silent"),
        }
    }
}

/// The service's routes.
pub fn router(service: Arc<Service>) -> Router {
    let unknown = || async { refusal(StatusCode::NOT_FOUND, "no_such_path", "there is nothing at this path") };
    let wrong = || async { refusal(StatusCode::METHOD_NOT_ALLOWED, "method", "this path takes another method") };
    Router::new()
        .route("/v1/actions/execute", post(execute))
        .route("/health", get(|| async { json(StatusCode::OK, r#"{"status":"ok"}"#) }))
        .route("/ready", get(async |State(service): State<Arc<Service>>| service.readiness().await))
        .route("/metrics", get(metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong)
        .with_state(service)
}

/// Answers one request, under its id.
pub async fn respond(router: Router, mut request: Request<Incoming>) -> Result<Response, Infallible> {
    let ids = Ids::of(request.headers());
    let id = ids.header();
    request.extensions_mut().insert(ids);
    let mut response = TowerToHyperService::new(router).call(request).await?;
    response.headers_mut().insert(REQUEST_ID, id);
    Ok(response)
}

async fn execute(State(service): State<Arc<Service>>, request: Request) -> Response {
    let measured = service.counters.measure();
    let response = service.act(request).await.unwrap_or_else(|refused| refused);
    measured.answered(response.status());
    response
}

async fn metrics(State(service): State<Arc<Service>>) -> Response {
    match service.exposition.text() {
        Ok(text) => ([(CONTENT_TYPE, MEDIA_TYPE)], text).into_response(),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the service failed"),
    }
}

/// Takes a body that is refused from a client that sends it all the same: closed with that unread, its connection would be reset, and the
/// client might never see the answer. Bounded, for it need not end.
async fn throw_away(mut body: Body) {
    let mut left = THROWN_AWAY;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// The token of the `Authorization: Bearer` header; empty, and so refused, when there is none, or more than one: a proxy may
/// have looked at another than we would.
fn bearer(headers: &HeaderMap) -> &str {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let only = values.next().filter(|_| values.next().is_none());
    let value = only.and_then(|value| value.to_str().ok()).unwrap_or_default();
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

/// Failures that are the service's own, with their causes, which the caller is not told. The ids are on the line itself: the
/// request's span is off unless it is asked for, and a request that succeeds pays nothing for it.
fn log(error: &Error, ids: &Ids) {
    if error.status() >= 500 {
        let (request_id, trace_id) = (ids.request_id(), ids.trace_id());
        tracing::error!(request_id, trace_id, %error, cause = cause(error), "a request failed");
    }
}

fn cause(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| "none".into(), |cause| format!("{cause:?}"))
}

/// A refusal that is likely to pass.
fn passing(mut refusal: Response) -> Response {
    refusal.headers_mut().insert(RETRY_AFTER, RETRY.into());
    refusal
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    json(status, serde_json::json!({"error": {"code": code, "message": message}}).to_string())
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body.into()).into_response()
}
