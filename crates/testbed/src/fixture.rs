//! A control database and tenants' databases, with logins and rows in them.

use std::sync::Arc;

use futures_util::SinkExt;
use serde::{Deserialize, Serialize};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use uuid::Uuid;

use crate::claim::{self, FIRST};
use crate::data::{self, Part};
use crate::{Error, Server, TokenSecret};

const CONTROL_SCHEMA: &str = include_str!("../../../fixtures/schema/control.sql");
const TENANT_SCHEMA: &str = include_str!("../../../fixtures/schema/tenant.sql");
const INDEXES: &str = include_str!("../../../fixtures/schema/indexes.sql");
/// How each line of it begins that makes an index; the name follows.
const MAKES_INDEX: &str = "create index if not exists ";

/// Lines sent to COPY at a time.
const COPY_CHUNK: usize = 2_000;

/// How much there is in a fixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Tenants, each with a database of its own.
    pub tenants: usize,
    /// Yachts in each tenant's database.
    pub yachts: usize,
    /// Parts on each yacht.
    pub parts: usize,
}

impl Size {
    /// 100,000 parts over 5 tenants: enough for an index to matter.
    pub const DEFAULT: Self = Self { tenants: 5, yachts: 2, parts: 10_000 };
    /// As [`DEFAULT`](Self::DEFAULT), with so many parts in all, rounded up to as many for each yacht.
    pub const fn with_parts(parts: usize) -> Self {
        let Self { tenants, yachts, .. } = Self::DEFAULT;
        Self { tenants, yachts, parts: parts.div_ceil(tenants * yachts) }
    }

    /// Parts of all yachts of all tenants.
    pub const fn all_parts(self) -> usize {
        self.tenants * self.yachts * self.parts
    }

    /// Two tenants with a few parts, for tests.
    pub const SMALL: Self = Self { tenants: 2, yachts: 2, parts: 20 };
}

/// A database and who logs in to it.
#[derive(Clone, Serialize, Deserialize)]
pub struct Login {
    /// The database.
    pub database: String,
    /// The role.
    pub role: String,
    /// The role's password.
    password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.role, self.database)
    }
}

impl Login {
    fn new(database: String) -> Self {
        Self { role: database.clone(), database, password: Uuid::new_v4().simple().to_string() }
    }

    /// How to connect to it on `server`.
    pub fn config(&self, server: &Server) -> Config {
        self.config_at(server, server.address())
    }

    /// How to connect to it on `server` by way of `address`, a host and port that stand for the server: a relay's.
    pub fn config_at(&self, server: &Server, address: (String, u16)) -> Config {
        self.config_with(address, server.started.admin.get_ssl_mode())
    }

    /// The same as [`config`](Self::config) as a URL, password included: for the environment of a process, never for its
    /// arguments.
    pub fn url(&self, server: &Server) -> String {
        self.url_at(server, server.address())
    }

    /// The same as [`config_at`](Self::config_at) as a URL, password included.
    pub fn url_at(&self, server: &Server, address: (String, u16)) -> String {
        self.url_with(address, server.has_tls())
    }

    pub(crate) fn config_with(&self, (host, port): (String, u16), mode: SslMode) -> Config {
        let mut config = Config::new();
        config.host(host).port(port).dbname(&self.database).user(&self.role).password(&self.password);
        config.ssl_mode(mode);
        config
    }

    pub(crate) fn url_with(&self, (host, port): (String, u16), tls: bool) -> String {
        let mode = if tls { "require" } else { "disable" };
        format!("postgres://{}:{}@{host}:{port}/{}?sslmode={mode}", self.role, self.password, self.database)
    }

    /// Its password, for the environment of a client program.
    pub fn password(&self) -> &str {
        &self.password
    }
}

/// A user of the fixture.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct User {
    /// Their id, the `sub` of their tokens.
    pub id: Uuid,
    /// Which of the tenant's yachts they are on.
    pub yacht: usize,
}

/// One tenant of the fixture.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TenantFixture {
    /// Its number, from 0.
    pub index: usize,
    /// Its id in the control database.
    pub id: Uuid,
    /// Its yachts.
    pub yachts: Vec<Uuid>,
    /// One of the crew on each yacht, who may change stock.
    pub crew: Vec<User>,
    /// One guest, on the first yacht, who may only look.
    pub guest: User,
    /// Its database and login.
    pub login: Login,
}

/// Databases, logins and rows to measure with; on a server that stays they are dropped when this is.
pub struct Fixture {
    server: Arc<Server>,
    pub(crate) prefix: String,
    pub(crate) rows: Rows,
}

/// What there is, for this process or another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rows {
    pub(crate) size: Size,
    pub(crate) control: Login,
    pub(crate) tenants: Vec<TenantFixture>,
    pub(crate) secret: TokenSecret,
}

impl Fixture {
    /// Creates the databases from the server's templates and fills them.
    pub async fn create(server: Arc<Server>, size: Size) -> Result<Self, Error> {
        let prefix = server.next_fixture();
        let tenants = (0..size.tenants).map(|index| TenantFixture::new(&prefix, index, size.yachts)).collect();
        let control = Login::new(format!("{prefix}_control"));
        let rows = Rows { size, control, tenants, secret: TokenSecret::generate() };
        // From here on what has been created is dropped, whatever happens.
        let fixture = Self { server, prefix, rows };
        fixture.fill().await?;
        Ok(fixture)
    }

    pub(crate) fn attach(server: Arc<Server>, prefix: String, rows: Rows) -> Self {
        Self { server, prefix, rows }
    }

    async fn fill(&self) -> Result<(), Error> {
        let server = &self.server;
        let admin = server.maker().await?;
        create_database(&admin, server, &self.rows.control, Kind::Control).await?;
        let control = server.admin(&self.rows.control.database).await?;
        let (host, port) = server.address();
        for tenant in &self.rows.tenants {
            create_database(&admin, server, &tenant.login, Kind::Tenant).await?;
            self.fill_tenant(tenant).await?;
            let failed = || Error::database(format!("enter tenant {}", tenant.index));
            control
                .execute(
                    "insert into control.tenants values ($1, $2, $3, $4, $5, $6, $7)",
                    &[
                        &tenant.id,
                        &format!("tenant {}", tenant.index),
                        &host,
                        &i32::from(port),
                        &tenant.login.database,
                        &tenant.login.role,
                        &tenant.login.password,
                    ],
                )
                .await
                .map_err(failed())?;
            let crew = tenant.crew.iter().map(|user| (user, "crew"));
            for (user, role) in crew.chain([(&tenant.guest, "guest")]) {
                control
                    .execute(
                        "insert into control.users (id, tenant_id, yacht_id, role) values ($1, $2, $3, $4)",
                        &[&user.id, &tenant.id, &tenant.yachts[user.yacht], &role],
                    )
                    .await
                    .map_err(failed())?;
            }
        }
        let analyzed = control.batch_execute("analyze control.tenants, control.users").await;
        analyzed.map_err(Error::database("analyze the control database"))
    }

    async fn fill_tenant(&self, tenant: &TenantFixture) -> Result<(), Error> {
        let failed = || Error::database(format!("fill {}", tenant.login.database));
        let client = self.server.admin(&tenant.login.database).await?;
        for (index, yacht) in tenant.yachts.iter().enumerate() {
            client
                .execute("insert into app.yachts values ($1, $2)", &[yacht, &format!("M/Y {index}")])
                .await
                .map_err(failed())?;
        }
        let parts = || {
            tenant.yachts.iter().enumerate().flat_map(|(yacht, id)| {
                (0..self.rows.size.parts).map(move |part| (Part::new(tenant.index, yacht, part), *id))
            })
        };
        copy(&client, "copy app.parts from stdin", parts(), Part::copy_part).await.map_err(failed())?;
        copy(&client, "copy app.stock from stdin", parts(), Part::copy_stock).await.map_err(failed())?;
        client.batch_execute(INDEXES).await.map_err(failed())?;
        client.batch_execute("vacuum analyze app.parts, app.stock").await.map_err(failed())
    }

    /// Creates the indexes of the fix `indexes` in all tenants' databases, or drops them. A new fixture has them.
    pub async fn set_indexes(&self, on: bool) -> Result<(), Error> {
        let change = if on {
            INDEXES.to_owned()
        } else {
            index_names().map(|name| format!("drop index if exists app.{name};")).collect()
        };
        let verb = if on { "create" } else { "drop" };
        for tenant in &self.rows.tenants {
            let failed = || Error::database(format!("{verb} the indexes of {}", tenant.login.database));
            let client = self.server.admin(&tenant.login.database).await?;
            // Two benches that share these databases may ask for it at the same time. Let go of with the connection.
            client.batch_execute("select pg_advisory_lock(hashtext('tare indexes'))").await.map_err(failed())?;
            let there = client.query_one(COUNT_INDEXES, &[&index_names().collect::<Vec<_>>()]).await;
            let there: i64 = there.map_err(failed())?.get(0);
            if there == if on { index_names().count() as i64 } else { 0 } {
                continue;
            }
            client.batch_execute(&change).await.map_err(failed())?;
            client.batch_execute("analyze app.parts, app.stock").await.map_err(failed())?;
        }
        Ok(())
    }

    /// The server it is on.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// How much there is in it.
    pub fn size(&self) -> Size {
        self.rows.size
    }

    /// The control database.
    pub fn control(&self) -> &Login {
        &self.rows.control
    }

    /// Names of its databases: the control database's, then the tenants'.
    pub fn databases(&self) -> Vec<String> {
        let logins = std::iter::once(self.control()).chain(self.tenants().iter().map(|tenant| &tenant.login));
        logins.map(|login| login.database.clone()).collect()
    }

    /// The tenants, in the order of their numbers.
    pub fn tenants(&self) -> &[TenantFixture] {
        &self.rows.tenants
    }

    /// Makes the gateway reach the tenants' databases at `address`, a host and port that stand for the server's, such as a
    /// relay's. A gateway that has looked a tenant up before goes on as long as it remembers it.
    pub async fn route_through(&self, address: (String, u16)) -> Result<(), Error> {
        self.route(self.tenants(), address).await
    }

    /// The same for `tenants` alone.
    pub async fn route(&self, tenants: &[TenantFixture], (host, port): (String, u16)) -> Result<(), Error> {
        let control = self.server.admin(&self.rows.control.database).await?;
        // Whoever remembers where a tenant is forgets it when told of a change, so there is none where it is there already.
        const ROUTE: &str = "update control.tenants set host = $1, port = $2 \
                             where id = any($3) and (host, port) is distinct from ($1, $2)";
        let ids: Vec<_> = tenants.iter().map(|tenant| tenant.id).collect();
        let routed = control.execute(ROUTE, &[&host, &i32::from(port), &ids]).await;
        routed.map(drop).map_err(Error::database(format!("route the tenants through {host}:{port}")))
    }

    /// What signs this fixture's tokens.
    pub fn secret(&self) -> &TokenSecret {
        &self.rows.secret
    }

    /// The `nth` part of a yacht that has stock for any run.
    pub fn bulk_part(&self, tenant: usize, yacht: usize, nth: usize) -> Part {
        Part::bulk(tenant, yacht, nth, self.rows.size.parts)
    }

    /// A part of a yacht.
    pub fn part(&self, tenant: usize, yacht: usize, index: usize) -> Part {
        Part::new(tenant, yacht, index % self.rows.size.parts)
    }

    /// Rows of the audit logs of all tenants.
    pub async fn audit_rows(&self) -> Result<i64, Error> {
        let mut rows = 0;
        for tenant in &self.rows.tenants {
            let client = self.server.admin(&tenant.login.database).await?;
            let counted = client.query_one("select count(*) from app.audit_log", &[]).await;
            rows += counted.map_err(Error::database("count audit rows"))?.get::<_, i64>(0);
        }
        Ok(rows)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.server.clean_up(&format!("{}_", self.prefix));
    }
}

impl TenantFixture {
    fn new(prefix: &str, index: usize, yachts: usize) -> Self {
        let id = |what: String| data::id(&format!("tenant {index}{what}"));
        Self {
            index,
            id: id(String::new()),
            yachts: (0..yachts).map(|yacht| id(format!(" yacht {yacht}"))).collect(),
            crew: (0..yachts).map(|yacht| User { id: id(format!(" crew {yacht}")), yacht }).collect(),
            guest: User { id: id(" guest".into()), yacht: 0 },
            login: Login::new(format!("{prefix}_{index}")),
        }
    }
}

/// How many of these indexes there are.
const COUNT_INDEXES: &str = "select count(*) from pg_indexes where schemaname = 'app' and indexname = any($1)";

/// The indexes of the fix `indexes`.
fn index_names() -> impl Iterator<Item = &'static str> {
    INDEXES.lines().filter_map(|line| line.strip_prefix(MAKES_INDEX)?.split(' ').next())
}

#[derive(Clone, Copy)]
enum Kind {
    Control,
    Tenant,
}

impl Kind {
    /// The template and the group of its logins, which the schema grants to.
    fn name(self, server: &Server) -> String {
        match self {
            Self::Control => format!("{}{FIRST}", server.prefix),
            Self::Tenant => format!("{}_template_tenant", server.prefix),
        }
    }
}

/// Creates a database of each kind without rows, to copy from.
pub(crate) async fn create_templates(server: &Server) -> Result<(), Error> {
    let admin = server.maker().await?;
    for (kind, schema) in [(Kind::Control, CONTROL_SCHEMA), (Kind::Tenant, TENANT_SCHEMA)] {
        let name = kind.name(server);
        let failed = || Error::database(format!("create {name}"));
        // Both or neither. Without a claim on it nobody may take it for left behind.
        let mark = match server.is_claimed() {
            true => format!("comment on role {name} is '{}'", claim::MARK),
            false => String::new(),
        };
        admin.batch_execute(&format!("create role {name} nologin; {mark}")).await.map_err(failed())?;
        admin.batch_execute(&format!("create database {name} template template0")).await.map_err(failed())?;
        admin.batch_execute(&format!("revoke all on database {name} from public")).await.map_err(failed())?;
        let client = server.admin(&name).await?;
        client.batch_execute(&schema.replace(":\"login\"", &name)).await.map_err(failed())?;
    }
    if server.is_ours() {
        // Open to every login until told otherwise.
        let close = "revoke all on database postgres, template1 from public";
        admin.batch_execute(close).await.map_err(Error::database("close postgres and template1"))?;
    }
    Ok(())
}

async fn create_database(admin: &Client, server: &Server, login: &Login, kind: Kind) -> Result<(), Error> {
    let Login { database, role, password } = login;
    let template = kind.name(server);
    let failed = || Error::database(format!("create {database}"));
    // Each on its own: CREATE DATABASE refuses to share a transaction. The names are ours and need no quoting.
    for statement in [
        format!("create role {role} login in role {template} password '{password}'"),
        format!("create database {database} template {template}"),
        format!("revoke all on database {database} from public"),
        format!("grant connect on database {database} to {role}"),
    ] {
        admin.batch_execute(&statement).await.map_err(failed())?;
    }
    Ok(())
}

async fn copy(
    client: &Client,
    sql: &str,
    parts: impl Iterator<Item = (Part, Uuid)>,
    line: fn(&Part, Uuid, &mut String),
) -> Result<(), tokio_postgres::Error> {
    let mut sink = std::pin::pin!(client.copy_in::<_, std::io::Cursor<String>>(sql).await?);
    let mut lines = String::new();
    for (nth, (part, yacht)) in parts.enumerate() {
        line(&part, yacht, &mut lines);
        if nth % COPY_CHUNK == COPY_CHUNK - 1 {
            sink.send(std::io::Cursor::new(std::mem::take(&mut lines))).await?;
        }
    }
    sink.send(std::io::Cursor::new(lines)).await?;
    sink.finish().await.map(drop)
}
