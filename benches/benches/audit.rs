//! audit: a row written and awaited, handed to a queue on the disk or in memory, or written along with its action; and rows
//! until they are in their table. Each beside what it costs at least.

use std::io::Cursor;
use std::sync::Arc;

use benches::{Bed, Group, Meter};
use criterion::{Criterion, Throughput};
use futures_util::SinkExt;
use tare_gateway::action::{self, Call, Record, Request, Shape};
use tare_gateway::audit::{Audit, AuditSettings, Event, Queue, Trail};
use tare_gateway::auth::Caller;
use tare_gateway::connection::Connection;
use tare_gateway::tenant::Tenant;
use tare_testbed::{PrivateFolder, Size};
use tokio_postgres::Client;
use uuid::Uuid;

/// Events recorded before the queue is let run empty: what is measured is handing over, not waiting for room.
const CHUNK: usize = 10_000;

const COPY: &str = "copy app.audit_log (id, yacht_id, user_id, action, payload, outcome, created_at) from stdin";

fn main() {
    benches::run(Size::SMALL, audit);
}

fn audit(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "audit");
    group.criterion.throughput(Throughput::Elements(1));
    awaited(&mut group, bed);
    store_bare(&mut group, bed);
    queued(&mut group, bed, "durable", true, false);
    channel_bare(&mut group, bed);
    queued(&mut group, bed, "async", false, false);
    // From here on the time of one row when many are recorded and then waited for together.
    copy_bare(&mut group, bed);
    queued(&mut group, bed, "durable-drained", true, true);
    queued(&mut group, bed, "async-drained", false, true);
    // What a mutation costs without its audit row, and with it in the same transaction.
    mutation(&mut group, bed, "mutation-unaudited", || Record::Apart);
    mutation(&mut group, bed, "mutation-audited", || Record::Along(Uuid::now_v7()));
    group.finish();
}

/// Who does what.
struct Scene {
    caller: Caller,
    tenant: Arc<Tenant>,
    connection: Connection,
    calls: Vec<Call>,
    /// Rows of the audit log before.
    rows: u64,
    recorded: u64,
    /// Calls that were made.
    acted: usize,
}

impl Scene {
    fn new(bed: &Bed, action: &str) -> Self {
        let (tenant, connection) = bed.tenant();
        let (calls, rows) = (bed.calls(action), bed.rows("app.audit_log"));
        Self { caller: bed.caller(), tenant, connection, calls, rows, recorded: 0, acted: 0 }
    }

    fn events(&mut self, count: usize) -> Vec<Event> {
        self.recorded += count as u64;
        let call = |nth: usize| &self.calls[nth % self.calls.len()];
        let event = |nth| Event::new(Uuid::now_v7(), self.caller, &self.tenant, call(nth), Trail::Done);
        (0..count).map(event).collect()
    }

    /// A row as COPY reads it, which is as long as what the store keeps.
    fn line(&self, nth: usize) -> String {
        let (id, yacht, user) = (Uuid::now_v7(), self.tenant.yacht, self.caller.user);
        let call = &self.calls[nth % self.calls.len()];
        let (action, payload) = (call.action().name(), call.payload_json());
        format!("{id}\t{yacht}\t{user}\t{action}\t{payload}\tdone\tnow\n")
    }

    fn expect_rows(&self, bed: &Bed) {
        assert_eq!(bed.rows("app.audit_log") - self.rows, self.recorded, "one row for each event recorded");
    }
}

fn awaited(group: &mut Group<'_>, bed: &Bed) {
    let write = async |scene: &mut Scene, iterations, meter: &mut Meter<'_>| {
        let events = scene.events(iterations as usize);
        meter.start();
        for event in &events {
            Audit::write(&mut scene.connection, event).await.expect("the row is written");
        }
        meter.stop();
    };
    group.measured("sync", || Scene::new(bed, "view_part_details"), write, |scene, _| scene.expect_rows(bed));
}

/// A queue, and who fills it.
struct Queued {
    scene: Scene,
    audit: Audit,
    owner: Client,
    _folder: PrivateFolder,
}

/// Events handed to the queue one after the other, or that and then waited for.
fn queued(group: &mut Group<'_>, bed: &Bed, way: &str, durable: bool, until_drained: bool) {
    let prepare = || {
        let folder = folder();
        let queue = if durable { Queue::Durable(folder.path().join("queue")) } else { Queue::Memory };
        let audit = bed.audit(AuditSettings { queue, capacity: 2 * CHUNK, ..AuditSettings::default() });
        Queued { scene: Scene::new(bed, "view_part_details"), audit, owner: owner(bed), _folder: folder }
    };
    let record = async |queued: &mut Queued, iterations, meter: &mut Meter<'_>| {
        let mut left = iterations as usize;
        while left > 0 {
            let events = queued.scene.events(left.min(CHUNK));
            left -= events.len();
            match until_drained {
                true => drain(&queued.audit, events, meter).await,
                false => hand_over(&queued.audit, events, &queued.owner, meter).await,
            }
        }
    };
    let check = |queued: Queued, _| {
        bed.runtime().block_on(queued.audit.close());
        queued.scene.expect_rows(bed);
    };
    group.measured(way, prepare, record, check);
}

/// Hands the events over, one after the other. Nothing is written to their table meanwhile: that is not what is measured, and
/// would take the disk and the processors.
async fn hand_over(audit: &Audit, events: Vec<Event>, owner: &Client, meter: &mut Meter<'_>) {
    owner.batch_execute("begin; lock table app.audit_log in access exclusive mode").await.expect("the table is locked");
    meter.start();
    for event in events {
        audit.enqueue(event).await.expect("the event is recorded");
    }
    meter.stop();
    owner.batch_execute("commit").await.expect("the table is free");
    audit.flush().await;
}

/// Hands all events over together, until they are in their table.
async fn drain(audit: &Audit, events: Vec<Event>, meter: &mut Meter<'_>) {
    meter.start();
    let all = futures_util::future::try_join_all(events.into_iter().map(|event| audit.enqueue(event)));
    all.await.expect("the events are recorded");
    audit.flush().await;
    meter.stop();
}

/// A connection as the owner of the table.
fn owner(bed: &Bed) -> Client {
    let fixture = bed.fixture();
    let admin = fixture.server().admin_at(&fixture.tenants()[0].login.database, bed.address());
    bed.runtime().block_on(admin).expect("the server answers")
}

/// What a durable queue costs at least: the store's own commit of one event, synced.
fn store_bare(group: &mut Group<'_>, bed: &Bed) {
    let prepare = || {
        let folder = folder();
        let store = fjall::Database::builder(folder.path().join("store")).open().expect("a store");
        let events = store.keyspace("events", fjall::KeyspaceCreateOptions::default).expect("a keyspace");
        let line = Scene::new(bed, "view_part_details").line(0);
        (store, events, line, 0_u64, folder)
    };
    group.offline("store-bare", prepare, |(store, events, line, next, _)| {
        let mut batch = store.batch().durability(Some(fjall::PersistMode::SyncData));
        batch.insert(&*events, next.to_be_bytes(), line.as_bytes());
        *next += 1;
        batch.commit().expect("the event is stored");
    });
}

/// What a queue in memory costs at least: tokio's bounded channel, with a task that takes from it.
fn channel_bare(group: &mut Group<'_>, bed: &Bed) {
    let send = async |scene: &mut Scene, iterations, meter: &mut Meter<'_>| {
        let mut left = iterations as usize;
        while left > 0 {
            let events = scene.events(left.min(CHUNK));
            left -= events.len();
            let (sender, mut receiver) = tokio::sync::mpsc::channel(2 * CHUNK);
            let taking = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
            meter.start();
            for event in events {
                sender.send(event).await.expect("it is received");
            }
            meter.stop();
            drop(sender);
            taking.await.expect("the receiver ends");
        }
    };
    group.measured("channel-bare", || Scene::new(bed, "view_part_details"), send, |_, _| ());
}

/// What rows cost at least: one COPY into the same table, as its owner.
fn copy_bare(group: &mut Group<'_>, bed: &Bed) {
    let copy = async |(scene, owner): &mut (Scene, Client), iterations, meter: &mut Meter<'_>| {
        let mut left = iterations as usize;
        while left > 0 {
            let count = left.min(CHUNK);
            left -= count;
            scene.recorded += count as u64;
            meter.start();
            let lines: String = (0..count).map(|nth| scene.line(nth)).collect();
            let sink = owner.copy_in::<_, Cursor<String>>(COPY).await.expect("the table takes rows");
            let mut sink = std::pin::pin!(sink);
            sink.send(Cursor::new(lines)).await.expect("the rows are sent");
            assert_eq!(sink.finish().await.expect("the rows are written"), count as u64);
            meter.stop();
        }
    };
    let check = |(scene, _): (Scene, Client), _| scene.expect_rows(bed);
    group.measured("copy-bare", || (Scene::new(bed, "view_part_details"), owner(bed)), copy, check);
}

fn mutation(group: &mut Group<'_>, bed: &Bed, way: &str, record: fn() -> Record) {
    let act = async |scene: &mut Scene| {
        let (call, record) = (&scene.calls[scene.acted % scene.calls.len()], record());
        scene.acted += 1;
        scene.recorded += u64::from(record != Record::Apart);
        let request = Request { caller: &scene.caller, tenant: &scene.tenant, call, shape: Shape::ByKey, record };
        action::one_call(&scene.connection, &request).await.expect("the action is done");
    };
    group.each(way, || Scene::new(bed, "consume_part"), act, |scene, _| scene.expect_rows(bed));
}

/// On the disk that the build is on: temporary folders may be in memory.
fn folder() -> PrivateFolder {
    PrivateFolder::new_in(env!("CARGO_TARGET_TMPDIR").as_ref()).expect("a folder for the store")
}
