//! A bare HTTP server: one route that hands its body to the database by way of a pool. It checks no token, looks no tenant up,
//! keeps no queue and no timings. So what HTTP itself takes is told from what the built-in server does beyond it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use serde::Deserialize;
use serde_json::value::RawValue;
use tare_testbed::Fixture;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_postgres::types::{self, Type};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

/// It listens until it is dropped.
pub struct Bare {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

/// What answers its requests.
struct Database {
    pool: Pool,
    /// Of a yacht, a user and a payload: a status and a body.
    sql: String,
    user: Uuid,
}

/// What it reads of a request.
#[derive(Deserialize)]
struct Request {
    context: On,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct On {
    yacht_id: Uuid,
}

impl Bare {
    /// Answers requests of the fixture's first tenant with `sql`, over `connections` at most.
    pub async fn start(fixture: &Fixture, sql: String, connections: usize) -> Result<Self> {
        let (server, tenant) = (fixture.server(), fixture.tenants().first().context("the fixture has no tenant")?);
        let tls = tare_tls::client(server.root_certificate()).context("cannot prepare TLS")?;
        let fast = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(tenant.login.config(server), MakeRustlsConnect::new(tls), fast);
        let pool = Pool::builder(manager).max_size(connections).build().context("cannot build a pool")?;
        let user = tenant.crew.first().context("the fixture's tenant has no crew")?.id;
        let routes = Router::new().fallback(post(answer)).with_state(Arc::new(Database { pool, sql, user }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let listener = listener.tap_io(|stream: &mut TcpStream| {
            // Slower without it, and no less of a server.
            let _ = stream.set_nodelay(true);
        });
        let serving = tokio::spawn(async move {
            // It does not end by itself.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { address, serving })
    }

    /// Where any path of it is.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(database): State<Arc<Database>>, Json(request): Json<Request>) -> impl IntoResponse {
    match database.query(&request).await {
        Ok((status, body)) if status == "done" => (StatusCode::OK, body),
        Ok((status, _)) => (StatusCode::CONFLICT, status),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
    }
}

impl Database {
    async fn query(&self, request: &Request) -> Result<(String, String)> {
        let connection = self.pool.get().await.context("no connection")?;
        let statement = connection.prepare_typed_cached(&self.sql, &[Type::UUID, Type::UUID, Type::JSON]).await?;
        let payload = types::Json(&*request.payload);
        let row = connection.query_one(&statement, &[&request.context.yacht_id, &self.user, &payload]).await?;
        Ok((row.try_get(0)?, row.try_get::<_, Option<String>>(1)?.unwrap_or_default()))
    }
}
