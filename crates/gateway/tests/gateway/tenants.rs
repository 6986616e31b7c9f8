//! What is remembered of users, and how it is forgotten.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tare_gateway::tenant::CacheMetrics;
use tare_gateway::{Fix, Settings, Strategy};
use uuid::Uuid;

use crate::bed::{Bed, eventually};

const HOUR: Duration = Duration::from_secs(3600);
const CACHED: Strategy = Strategy::AFTER;

/// Nothing is forgotten but for changes that are told.
fn for_an_hour(settings: &mut Settings) {
    settings.tenant.bound = HOUR;
    settings.tenant.unknown = HOUR;
}

impl Bed {
    fn cache(&self) -> CacheMetrics {
        self.gateway.metrics().tenants.unwrap()
    }

    async fn listening(&self) {
        eventually("changes are listened for", async || self.cache().listening).await;
    }

    async fn revoke(&self, user: Uuid) {
        let control = self.control().await;
        let sql = "update control.users set active = false where id = $1";
        assert_eq!(control.execute(sql, &[&user]).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_of_a_thousand_looks_up_once() {
    let bed = Bed::set(CACHED, for_an_hour).await;
    bed.listening().await;
    let answers = join_all((0..1_000).map(|_| bed.look())).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(bed.cache().looked_up, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_refused_as_soon_as_it_is_heard_of() {
    let bed = Bed::set(CACHED, for_an_hour).await;
    bed.listening().await;
    bed.look().await.unwrap();
    bed.revoke(bed.crew(0, 0)).await;
    eventually("a revoked user is refused", async || bed.look().await == Err(403)).await;
    assert!(bed.ask(bed.crew(0, 1), "list_parts", serde_json::json!({"location": "x"})).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_was_unknown_is_known_as_soon_as_it_is_heard_of() {
    let bed = Bed::set(CACHED, for_an_hour).await;
    bed.listening().await;
    let user = Uuid::now_v7();
    let look = async || bed.ask(user, "view_part_details", bed.part()).await;
    assert_eq!((look().await, look().await), (Err(403), Err(403)));
    assert_eq!(bed.cache().looked_up, 1, "that nobody is known is remembered, too");
    let tenant = &bed.fixture.tenants()[0];
    let sql = "insert into control.users (id, tenant_id, yacht_id, role) values ($1, $2, $3, 'crew')";
    bed.control().await.execute(sql, &[&user, &tenant.id, &tenant.yachts[0]]).await.unwrap();
    eventually("a new user is let in", async || look().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_whose_login_changes_is_reached_with_the_new_one() {
    let bed = Bed::set(CACHED, for_an_hour).await;
    bed.listening().await;
    bed.look().await.unwrap();
    let (tenant, control) = (&bed.fixture.tenants()[0], bed.control().await);
    control.batch_execute(&format!("alter role {} password 'another'", tenant.login.role)).await.unwrap();
    let changes = bed.cache().changes;
    let sql = "update control.tenants set password = 'another' where id = $1";
    control.execute(sql, &[&tenant.id]).await.unwrap();
    eventually("the change is heard of", async || bed.cache().changes > changes).await;
    // It is counted a moment before anything is forgotten.
    let opened = || bed.gateway.metrics().pools.unwrap().opened;
    let before = opened();
    let reached_anew = async || bed.look().await.is_ok() && opened() > before;
    eventually("the old connections are not used any more", reached_anew).await;
}

/// The bound that is stated: whatever is down, nobody revoked goes on for longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_user_is_refused_within_the_bound_when_the_control_database_is_away() {
    let bound = Duration::from_millis(600);
    let (bed, relay) = Bed::relayed(CACHED, |settings| {
        settings.tenant.bound = bound;
        settings.pool.wait = Duration::from_millis(200);
    })
    .await;
    bed.listening().await;
    // Only the control database is away; the tenant's connections do not lead through the relay.
    bed.fixture.route_through(bed.fixture.server().address()).await.unwrap();
    eventually("the tenant is reached directly", async || bed.look().await.is_ok()).await;
    relay.refuse().await;
    bed.revoke(bed.crew(0, 0)).await;
    let revoked = Instant::now();
    let mut served = 0;
    loop {
        let asked = Instant::now();
        match bed.look().await {
            Ok(_) => assert!(asked < revoked + bound, "served {:?} after it was revoked", asked - revoked),
            Err(status) => {
                assert_eq!(status, 503, "nobody can tell whether the user may");
                break;
            }
        }
        served += 1;
    }
    assert!(served > 0, "until then what is known is used");
    relay.recover().await.unwrap();
    eventually("it is known again", async || bed.look().await == Err(403)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_forgotten_when_the_connection_that_tells_was_lost() {
    let (bed, relay) = Bed::relayed(CACHED, for_an_hour).await;
    bed.listening().await;
    bed.look().await.unwrap();
    relay.refuse().await;
    bed.revoke(bed.crew(0, 0)).await;
    eventually("the loss is noticed", async || !bed.cache().listening).await;
    relay.recover().await.unwrap();
    eventually("the revoked user is refused", async || bed.look().await == Err(403)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_for_is_looked_up_again_before_the_end() {
    let bed = Bed::set(Strategy::BEFORE.with(Fix::TenantCache).with(Fix::Pooling), |settings| {
        settings.tenant.bound = Duration::from_secs(3);
    })
    .await;
    bed.listening().await;
    bed.look().await.unwrap();
    eventually("it is looked up in the background", async || {
        bed.look().await.unwrap();
        bed.cache().refreshed > 0
    })
    .await;
    assert_eq!(bed.cache().looked_up, 1, "no request waited for a second look-up");
}
