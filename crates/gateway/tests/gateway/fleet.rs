//! Gateways that share one budget of connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tare_gateway::fleet::FleetSettings;
use tare_gateway::{Error, Gateway, Settings, SetupError, Strategy};
use tare_testbed::{Fixture, Relay, Size};

use crate::bed::{self, eventually};

const BUDGET: usize = 20;
const MOST: usize = 4;
/// What there is to be divided.
const SHARED: usize = BUDGET - MOST;

fn settings(fixture: &Fixture, instance: &str) -> Settings {
    let mut settings = bed::settings(fixture, Strategy::AFTER);
    settings.pool.budget = BUDGET;
    settings.pool.idle = Duration::from_secs(600);
    settings.fleet = Some(FleetSettings { instance: instance.into(), most: MOST, ..FleetSettings::default() });
    settings
}

async fn join(fixture: &Fixture, instance: &str) -> Gateway {
    let gateway = Gateway::new(settings(fixture, instance)).unwrap();
    eventually("it has a quota", async || gateway.check().await.is_ok()).await;
    gateway
}

fn quota(gateway: &Gateway) -> usize {
    gateway.metrics().fleet.unwrap().quota
}

#[tokio::test(flavor = "multi_thread")]
async fn the_budget_is_divided_among_those_that_are_there_and_never_exceeded() {
    let fixture = Arc::new(bed::fixture(Size::SMALL).await);
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    // As many as take all that there is.
    let mut load = |gateway: &Arc<Gateway>| {
        for caller in 0..2 * SHARED {
            let (gateway, fixture, done) = (gateway.clone(), fixture.clone(), done.clone());
            callers.push(tokio::spawn(async move {
                let tenant = &fixture.tenants()[caller % fixture.tenants().len()];
                let token = fixture.secret().mint(tenant.crew[0].id);
                let part = fixture.part(tenant.index, 0, 1).id;
                let body = format!(r#"{{"action": "view_part_details", "payload": {{"part_id": "{part}"}}}}"#);
                let mut answers = 0;
                while !done.load(Ordering::Relaxed) {
                    match gateway.execute(&token, body.as_bytes(), Default::default()).await.result {
                        Ok(_) => answers += 1,
                        Err(Error::Stopping) => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                answers
            }));
        }
    };
    let sampling = async {
        let mut most = 0;
        while !done.load(Ordering::Relaxed) {
            most = most.max(fixture.server().connections(&fixture).await.unwrap());
        }
        most
    };
    let coming_and_going = async {
        let mut fleet: Vec<Arc<Gateway>> = Vec::new();
        for (nth, quota_of_each) in [SHARED, SHARED / 2, SHARED / 3].into_iter().enumerate() {
            let newcomer = Arc::new(join(&fixture, &nth.to_string()).await);
            load(&newcomer);
            fleet.push(newcomer);
            eventually("all have the same", async || fleet.iter().all(|gateway| quota(gateway) == quota_of_each)).await;
            eventually("and use it", async || {
                fleet.iter().all(|gateway| gateway.metrics().pools.unwrap().size == quota_of_each)
            })
            .await;
        }
        fleet.remove(1).close().await;
        let others = async || fleet.iter().all(|gateway| quota(gateway) == SHARED / 2);
        eventually("who stays has what was another's", others).await;
        done.store(true, Ordering::Relaxed);
    };
    let ((), most) = tokio::join!(coming_and_going, sampling);
    assert!(most <= BUDGET as i64, "{most} connections at a time");
    assert!(most > BUDGET as i64 / 2, "the budget is in use: {most}");
    for caller in callers {
        assert!(caller.await.unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_renew_its_quota_gives_it_up_and_has_it_again_later() {
    let fixture = bed::fixture(Size::SMALL).await;
    let relay = Relay::start(fixture.server()).await.unwrap();
    let mut cut_off = settings(&fixture, "cut off");
    cut_off.control = fixture.control().config_at(fixture.server(), relay.address());
    cut_off.fleet.as_mut().unwrap().lease = Duration::from_millis(800);
    let gateway = Gateway::new(cut_off).unwrap();
    eventually("it has all", async || quota(&gateway) == SHARED).await;
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let body =
        format!(r#"{{"action": "view_part_details", "payload": {{"part_id": "{}"}}}}"#, fixture.part(0, 0, 1).id);
    gateway.execute(&token, body.as_bytes(), Default::default()).await.result.unwrap();

    relay.stall().await;
    let other = join(&fixture, "other").await;
    eventually("the other has all", async || quota(&other) == SHARED).await;
    assert!(gateway.check().await.is_err());
    let pools = gateway.metrics().pools.unwrap();
    // What leads through the relay cannot be closed.
    assert_eq!((quota(&gateway), pools.budget, pools.idle), (0, 0, 0));

    relay.recover().await.unwrap();
    eventually("both have their part", async || quota(&gateway) == SHARED / 2 && quota(&other) == SHARED / 2).await;
    gateway.execute(&token, body.as_bytes(), Default::default()).await.result.unwrap();
    assert!(fixture.server().connections(&fixture).await.unwrap() <= BUDGET as i64);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_begins_again_under_its_name_has_its_place_and_what_was_there_before_has_none() {
    let fixture = bed::fixture(Size::SMALL).await;
    let before = join(&fixture, "one").await;
    let _other = join(&fixture, "other").await;
    let again = join(&fixture, "one").await;
    eventually("it has the place", async || quota(&again) == SHARED / 2).await;
    eventually("the one before has it no more", async || before.check().await.is_err()).await;
    assert_eq!(again.metrics().fleet.unwrap().instances, 2);
    // It is told so, and does not take the place back.
    before.close().await;
    assert_eq!(quota(&again), SHARED / 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_instances_than_were_allowed_for_are_not_let_in_until_one_ends() {
    let fixture = bed::fixture(Size::SMALL).await;
    let mut fleet = Vec::new();
    for nth in 0..MOST {
        fleet.push(join(&fixture, &nth.to_string()).await);
    }
    let late = Gateway::new(settings(&fixture, "late")).unwrap();
    eventually("it has asked", async || fleet.iter().all(|gateway| quota(gateway) == SHARED / MOST)).await;
    assert!(late.check().await.is_err());
    fleet.remove(0).close().await;
    eventually("there is a place", async || late.check().await.is_ok()).await;

    let mut settings = settings(&fixture, "poor");
    settings.pool.budget = MOST;
    let Err(SetupError::Fleet(reason)) = Gateway::new(settings) else { panic!("there is nothing to share") };
    assert_eq!((reason.budget, reason.most), (MOST, MOST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_changed_in_one_instance_after_the_other() {
    let fixture = bed::fixture(Size::SMALL).await;
    let begin = |instance: &str, budget: usize| {
        let mut settings = settings(&fixture, instance);
        settings.pool.budget = budget;
        Gateway::new(settings).unwrap()
    };
    let mut fleet = [begin("one", BUDGET), begin("other", BUDGET)];
    for (nth, name) in ["one", "other"].into_iter().enumerate() {
        let both = async || fleet.iter().all(|gateway| quota(gateway) == SHARED / 2);
        eventually("as long as one was told the smaller budget, both go by that", both).await;
        let before = std::mem::replace(&mut fleet[nth], begin(name, 2 * BUDGET));
        before.close().await;
    }
    let larger = (2 * BUDGET - MOST) / 2;
    eventually("then by the larger", async || fleet.iter().all(|gateway| quota(gateway) == larger)).await;
}
