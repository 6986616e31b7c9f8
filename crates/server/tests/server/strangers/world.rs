//! Who tries, whom it is tried on, and the server between them.

use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use serde_json::{Value, json};
use tare_testbed::Fixture;
use uuid::Uuid;

use super::forge::{Keys, claims};
use super::tokens::any;
use super::{asks, tokens};
use crate::bed::{Service, command, fixture};

/// Where the chance in the attempts comes from: they are the same in every run, but for the keys, which are new.
pub const SEED: u64 = 0x5eed_0f57_2a46;

/// Tenant and yacht of those whom it is tried on. The stranger is on the first tenant's first yacht.
const OTHERS: [(usize, usize); 3] = [(0, 1), (1, 0), (1, 1)];
/// Where only others keep a part.
pub const VAULT: &str = "vault";

pub type Headers = Vec<(&'static str, Vec<u8>)>;

/// What must come of an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Must {
    /// 401 and not a word on why: nobody of ours has signed the token.
    SayNothing,
    /// 401: the token is one of ours, and who has it may know why it is not accepted.
    SayWhy,
    /// 431, or the connection is cut off.
    NotBeRead,
    /// Have this status. What has 200 is the stranger's own.
    Be(u16),
}

/// A request whose sender is to get nothing of others by it.
pub struct Attempt {
    pub kind: &'static str,
    pub headers: Headers,
    pub body: String,
    pub must: Must,
}

/// How one of a kind is made up.
pub type Draw<T> = fn(&mut Rng, &World) -> T;

pub struct World {
    pub fixture: Fixture,
    pub keys: Keys,
    /// Seconds since 1970.
    pub now: u64,
    /// Good tokens by each key: of others, of the stranger, of a guest on the stranger's yacht, of users that there are not.
    pub theirs: Vec<String>,
    pub own: Vec<String>,
    pub guests: Vec<String>,
    pub nobodys: Vec<String>,
    /// Ids of others, of their yachts and of their parts.
    pub their_ids: Vec<String>,
    keys_file: tempfile::NamedTempFile,
}

impl World {
    pub async fn new() -> Self {
        let fixture = fixture().await;
        let keys = Keys::new(fixture.secret());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let tenants = fixture.tenants();
        let (users, mut ids): (Vec<_>, Vec<_>) = OTHERS
            .map(|(tenant, yacht)| (tenants[tenant].crew[yacht].id, tenants[tenant].yachts[yacht]))
            .into_iter()
            .unzip();
        ids.extend(&users);
        for (tenant, yacht) in OTHERS {
            ids.extend((0..fixture.size().parts).map(|part| fixture.part(tenant, yacht, part).id));
            let client = fixture.server().admin(&tenants[tenant].login.database).await.unwrap();
            let part = fixture.part(tenant, yacht, 0).id;
            client.execute("update app.parts set location = $2 where id = $1", &[&part, &VAULT]).await.unwrap();
        }
        let by_each_key = |users: &[Uuid]| users.iter().flat_map(|user| keys.mint(*user, now)).collect::<Vec<_>>();
        let keys_file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&keys_file, &keys.jwks).unwrap();
        Self {
            now,
            theirs: by_each_key(&users),
            own: by_each_key(&[tenants[0].crew[0].id]),
            guests: by_each_key(&[tenants[0].guest.id]),
            nobodys: by_each_key(&[Uuid::nil(), Uuid::max(), Uuid::from_u128(7)]),
            their_ids: ids.iter().map(Uuid::to_string).collect(),
            keys,
            keys_file,
            fixture,
        }
    }

    pub fn serve(&self, strategy: &str) -> Service {
        let mut server = command(&self.fixture);
        server.env_remove("TARE_JWT_SECRET").arg("--jwks").arg(self.keys_file.path());
        Service::run(server, strategy)
    }

    /// The attempt of that number: every other one has a token that is no good.
    pub fn attempt(&self, nth: usize) -> Attempt {
        let mut rng = Rng::with_seed(SEED + nth as u64);
        if nth.is_multiple_of(2) {
            let (kind, forge) = tokens::KINDS[nth / 2 % tokens::KINDS.len()];
            let (headers, must) = forge(&mut rng, self);
            Attempt { kind, headers, body: self.wanted(&mut rng).to_string(), must }
        } else {
            let (kind, ask) = asks::KINDS[nth / 2 % asks::KINDS.len()];
            let (headers, body, must) = ask(&mut rng, self);
            Attempt { kind, headers, body, must }
        }
    }

    /// Whom one of the others' tokens is to be of.
    pub fn victim(&self, rng: &mut Rng) -> Uuid {
        let (tenant, yacht) = any(rng, &OTHERS);
        self.fixture.tenants()[tenant].crew[yacht].id
    }

    pub fn their_claims(&self, rng: &mut Rng) -> Value {
        claims(self.victim(rng), self.now)
    }

    pub fn their_yacht(&self, rng: &mut Rng) -> Uuid {
        let (tenant, yacht) = any(rng, &OTHERS);
        self.fixture.tenants()[tenant].yachts[yacht]
    }

    pub fn their_part(&self, rng: &mut Rng) -> Uuid {
        let (tenant, yacht) = any(rng, &OTHERS);
        self.fixture.part(tenant, yacht, rng.usize(..self.fixture.size().parts)).id
    }

    /// One of the stranger's own, which never runs out.
    pub fn own_part(&self, rng: &mut Rng) -> Uuid {
        self.fixture.bulk_part(0, 0, rng.usize(..self.fixture.size().parts)).id
    }

    pub fn own_yacht(&self) -> Uuid {
        self.fixture.tenants()[0].yachts[0]
    }

    /// What others have done under a key of theirs: by which token, the key, and what.
    pub fn done(&self) -> Vec<(&String, String, Value)> {
        let done = self.theirs.iter().enumerate().map(|(nth, token)| {
            let (tenant, yacht) = OTHERS[nth / (self.theirs.len() / OTHERS.len())];
            let part = self.fixture.bulk_part(tenant, yacht, nth).id;
            let action = ["consume_part", "receive_part"][nth % 2];
            (token, format!("order-{nth}"), json!({"action": action, "payload": {"part_id": part, "quantity": 1}}))
        });
        done.collect()
    }

    /// What others may do.
    fn wanted(&self, rng: &mut Rng) -> Value {
        let mut body = match rng.u8(..4) {
            0 => {
                json!({"action": "list_parts", "payload": {"location": any(rng, &[VAULT, "engine room", "workshop"])}})
            }
            _ => asks::of(self.their_part(rng), rng),
        };
        if rng.bool() {
            body["context"] = json!({"yacht_id": self.their_yacht(rng)});
        }
        body
    }
}
