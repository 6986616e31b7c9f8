//! What a thousand tenants take.

use futures_util::StreamExt;
use futures_util::stream;
use reqwest::StatusCode;
use uuid::Uuid;

use crate::bed::{Service, fixture, view};

const TENANTS: i32 = 1_000;
/// Resident memory at most.
const BOUND_MIB: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_thousand_tenants_at_work_take_less_than_a_hundred_mebibytes() {
    let fixture = fixture().await;
    // As many tenants as are told of; their databases are one and the same.
    let (first, control) = (&fixture.tenants()[0], &fixture.control().database);
    let control = fixture.server().admin(control).await.unwrap();
    let tenants = "insert into control.tenants \
                   select gen_random_uuid(), 'more ' || n, host, port, dbname, login, password \
                   from control.tenants, generate_series(1, $2) n where id = $1";
    control.execute(tenants, &[&first.id, &TENANTS]).await.unwrap();
    let users = "insert into control.users \
                 select gen_random_uuid(), id, $1, 'crew' from control.tenants where name like 'more %' returning id";
    let users: Vec<Uuid> =
        control.query(users, &[&first.yachts[0]]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(users.len() as i32, TENANTS);

    let queue = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = queue.path().to_str().unwrap();
    let service = Service::with(&fixture, &["--audit-queue", folder, "--openings-per-second", "10000"]);
    let part = fixture.part(0, 0, 1).id;
    for _ in 0..3 {
        let asked = stream::iter(&users).map(|user| {
            let (token, service) = (fixture.secret().mint(*user), &service);
            async move { service.post(&token, view(part)).await.0 }
        });
        let statuses: Vec<_> = asked.buffer_unordered(32).collect().await;
        assert!(statuses.iter().all(|status| *status == StatusCode::OK));
    }
    service.until("tare_pools", f64::from(TENANTS + 1)).await;
    let resident = resident_kib(service.process.id()) / 1024;
    eprintln!("{TENANTS} tenants: {resident} MiB");
    assert!(resident < BOUND_MIB, "{resident} MiB");
}

/// Resident memory of a process.
pub fn resident_kib(process: u32) -> u64 {
    status_kib(process, "VmRSS:")
}

/// What the system says of a process on one line.
pub fn status_kib(process: u32, line: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|at| at.strip_prefix(line)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
