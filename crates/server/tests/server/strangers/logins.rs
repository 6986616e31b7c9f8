//! Who logs in to which database, and users who were revoked.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use tare_testbed::{Fixture, Login, Server, Size};
use uuid::Uuid;

use super::Answer;
use crate::bed::{PATIENCE, Service, fixture, view};

/// The databases of a server of ours that nobody's rows are in.
const EMPTY: [&str; 3] = ["postgres", "template0", "template1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_login_opens_no_database_but_its_own() {
    let server = Server::shared().await.unwrap();
    let fixture = Fixture::create(server.clone(), Size { tenants: 4, yachts: 1, parts: 1 }).await.unwrap();
    let mut databases = fixture.databases();
    let admin = server.admin(server.maintenance_database()).await.unwrap();
    // The two that fixtures are copied from; the name of each fixture's begins as theirs.
    let (prefix, _) = fixture.control().database.rsplit_once("_control").unwrap().0.rsplit_once('_').unwrap();
    let templates = "select datname::text from pg_database where starts_with(datname, $1 || '_template_')";
    let templates: Vec<String> =
        admin.query(templates, &[&prefix]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(templates.len(), 2, "{templates:?}");
    databases.extend(templates);
    if server.is_ours() {
        databases.extend(EMPTY.map(str::to_owned));
    }

    let logins: Vec<&Login> =
        [fixture.control()].into_iter().chain(fixture.tenants().iter().map(|tenant| &tenant.login)).collect();
    let (mut opened, mut refused) = (0, 0);
    for login in &logins {
        for database in &databases {
            let mut elsewhere = (*login).clone();
            elsewhere.database.clone_from(database);
            match server.client(&elsewhere).await {
                Ok(_) => {
                    assert_eq!(login.database, *database, "{} opens {database}", login.role);
                    opened += 1;
                }
                Err(error) => {
                    let error = error.to_string();
                    let why = ["permission denied for database", "is not currently accepting connections"];
                    assert!(why.iter().any(|why| error.contains(why)), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert_eq!((opened, refused), (logins.len(), logins.len() * (databases.len() - 1)));
    eprintln!("{refused} logins to databases of others refused");
}

/// How a user is answered, of whom there is or is not what is needed.
async fn answer(service: &Service, fixture: &Fixture, user: Uuid) -> Answer {
    Answer::of(service.send(&fixture.secret().mint(user), view(fixture.part(0, 0, 1).id)).await).await
}

/// The bound that is stated for it, whether changes are heard of (at once, then) or not.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_is_within_the_bound_answered_as_one_who_never_was() {
    let a_second = Duration::from_secs(1);
    for (options, bound) in
        [(&["--tenant-bound", "3600"][..], PATIENCE), (&["--tenant-bound", "1", "--pooler"], a_second)]
    {
        let fixture = fixture().await;
        let service = Service::with(&fixture, options);
        if bound == PATIENCE {
            service.until("tare_tenant_listening", 1.0).await;
        }
        let control = fixture.server().admin(&fixture.control().database).await.unwrap();
        let [tenant, other] = fixture.tenants() else { panic!("two tenants") };
        let never = answer(&service, &fixture, Uuid::new_v4()).await;
        assert_eq!(never.status, 403, "{}", never.body);

        let deactivate = "update control.users set active = false where id = $1";
        for (user, change) in
            [(tenant.crew[0].id, deactivate), (tenant.guest.id, "delete from control.users where id = $1")]
        {
            assert_eq!(answer(&service, &fixture, user).await.status, 200);
            assert_eq!(control.execute(change, &[&user]).await.unwrap(), 1);
            let revoked = Instant::now();
            let refused = loop {
                let asked = Instant::now();
                let answer = answer(&service, &fixture, user).await;
                if answer.status != 200 {
                    break answer;
                }
                assert!(asked < revoked + bound, "served {:?} after it was revoked", asked - revoked);
            };
            assert_eq!(refused.told(), never.told(), "{options:?}");
        }

        // Who now belongs elsewhere has nothing of what was theirs before.
        let moved = tenant.crew[1].id;
        let part = view(fixture.part(0, 1, 1).id);
        let token = fixture.secret().mint(moved);
        assert_eq!(service.send(&token, &part).await.status(), StatusCode::OK);
        let change = "update control.users set tenant_id = $2, yacht_id = $3 where id = $1";
        assert_eq!(control.execute(change, &[&moved, &other.id, &other.yachts[1]]).await.unwrap(), 1);
        let since = Instant::now();
        while service.send(&token, &part).await.status() != StatusCode::NOT_FOUND {
            assert!(since.elapsed() < bound + PATIENCE, "still where it was");
        }
        assert_eq!(service.send(&token, view(fixture.part(1, 1, 1).id)).await.status(), StatusCode::OK);
        // All others go on.
        assert_eq!(answer(&service, &fixture, tenant.crew[0].id).await.told(), never.told());
        let theirs = service.send(&fixture.secret().mint(other.crew[0].id), view(fixture.part(1, 0, 1).id)).await;
        assert_eq!(theirs.status(), StatusCode::OK);
    }
}
