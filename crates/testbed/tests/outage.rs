//! A cluster that goes away and comes back with what was in it.

use std::sync::Arc;
use std::time::Duration;

use tare_testbed::{Outage, Provider, Server};
use tokio_postgres::Client;

async fn cluster() -> Arc<Server> {
    Server::start(Some(Provider::System), &|line| eprintln!("{line}")).await.unwrap()
}

async fn admin(server: &Server) -> Client {
    server.admin(server.maintenance_database()).await.unwrap()
}

async fn begun(client: &Client) -> String {
    client.query_one("select pg_postmaster_start_time()::text", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_cluster_that_is_stopped_or_killed_starts_again_with_what_was_committed() {
    let server = cluster().await;
    admin(&server).await.batch_execute("create table kept (n int)").await.unwrap();
    for (times, outage) in [Outage::Stopped, Outage::Killed, Outage::Killed].into_iter().enumerate() {
        let before = admin(&server).await;
        let start = begun(&before).await;
        before.execute("insert into kept values (1)", &[]).await.unwrap();
        server.take_away(outage).await.unwrap();
        assert!(before.query_one("select 1", &[]).await.is_err() && before.is_closed(), "{outage:?}");
        assert!(server.admin("postgres").await.is_err(), "{outage:?}");

        server.bring_back().await.unwrap();
        let after = admin(&server).await;
        let rows: i64 = after.query_one("select count(*) from kept", &[]).await.unwrap().get(0);
        assert_eq!(rows, times as i64 + 1, "{outage:?}");
        assert_ne!(begun(&after).await, start, "{outage:?}");
    }
}

#[tokio::test]
async fn a_paused_cluster_answers_once_it_goes_on_and_vanishes_when_it_does_not() {
    let server = cluster().await;
    let client = admin(&server).await;
    server.take_away(Outage::Paused).await.unwrap();
    {
        let mut asked = std::pin::pin!(client.query_one("select 1", &[]));
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut asked).await.is_err(), "nothing answers");
        server.bring_back().await.unwrap();
        assert_eq!(asked.await.unwrap().get::<_, i32>(0), 1);
    }

    server.take_away(Outage::Paused).await.unwrap();
    let folder = server.root_certificate().unwrap().parent().unwrap().to_owned();
    drop((client, server));
    assert!(!folder.exists());
}
