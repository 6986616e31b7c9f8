//! Tokens that the issuer has signed, and that are no good for what is in them.

use fastrand::Rng;
use jsonwebtoken::Algorithm;
use serde_json::{Value, json};
use tare_testbed::{AUDIENCE, ISSUER};
use uuid::Uuid;

use super::forge::{header, sign};
use super::tokens::{Forged, any, bearer, text};
use super::world::{Must, World};

/// What is made of the header and the claims of a good token, which is then of no use whatever the rest is.
type Change = fn(&mut Rng, &World, &mut Value, &mut Value);

/// Good but for `change`.
pub fn but(rng: &mut Rng, world: &World, change: Change) -> Forged {
    let (name, kid, key, algorithm) = match rng.u8(..4) {
        0 => ("ES256", "ec", world.keys.ec.private(), Algorithm::ES256),
        _ => ("HS256", "oct", &world.keys.secret, Algorithm::HS256),
    };
    let (mut header, mut claims) = (header(name, kid), world.their_claims(rng));
    change(rng, world, &mut header, &mut claims);
    (bearer(sign(&header, &claims, key, algorithm)), Must::SayWhy)
}

fn remove(from: &mut Value, member: &str) {
    from.as_object_mut().unwrap().remove(member);
}

/// By more than the clocks may differ.
pub fn expired(rng: &mut Rng, world: &World, _: &mut Value, claims: &mut Value) {
    let past = [6, 7, 60, 86_400, rng.u64(6..world.now), world.now];
    let ago = any(rng, &past);
    claims["exp"] = any(rng, &[json!(world.now - ago), json!(0.5), json!(world.now as f64 - 6.6)]);
}

/// Not while any of this runs.
pub fn not_yet(rng: &mut Rng, world: &World, _: &mut Value, claims: &mut Value) {
    let start = world.now + rng.u64(3_600..1_000_000_000);
    claims["nbf"] =
        any(rng, &[json!(start), json!(start as f64 + 0.5), json!(u64::MAX), json!("now"), json!(-1), json!([])]);
}

/// Of a name like `name`, or of none: alone, in a list, or as what no name can be.
fn other_name(rng: &mut Rng, name: &str) -> Value {
    let text = text(rng, 8);
    let near =
        [name.to_uppercase(), format!("{name} "), format!(" {name}"), format!("{name}\0"), format!("{name}/{text}")];
    let others =
        [&near[..], &[name[1..].to_owned(), String::new(), "*".into(), format!("https://{name}"), text]].concat();
    let (one, two) = (any(rng, &others), any(rng, &others));
    any(rng, &[json!(one), json!([one, two]), json!([]), json!(0), json!({name: name}), json!([[name]]), json!(null)])
}

pub fn for_others(rng: &mut Rng, _: &World, _: &mut Value, claims: &mut Value) {
    claims["aud"] = other_name(rng, AUDIENCE);
    if rng.u8(..8) == 0 {
        remove(claims, "aud");
    }
}

pub fn from_others(rng: &mut Rng, _: &World, _: &mut Value, claims: &mut Value) {
    claims["iss"] = other_name(rng, ISSUER);
    if rng.u8(..8) == 0 {
        remove(claims, "iss");
    }
}

pub fn of_another_type(rng: &mut Rng, world: &World, _: &mut Value, claims: &mut Value) {
    let user = world.victim(rng);
    let no_users =
        [json!(null), json!(0), json!(""), json!("admin"), json!("' or 1=1 --"), json!([user]), json!({"id": user})];
    let nearly =
        [format!("{user}' --"), format!(" {user}"), user.to_string()[1..].to_owned(), format!("{user}{}", Uuid::nil())];
    match rng.u8(..6) {
        0 => remove(claims, "sub"),
        1 => remove(claims, "exp"),
        2 => {
            claims["exp"] =
                any(rng, &[json!(null), json!("9999999999"), json!(-1), json!(true), json!([]), json!(1e30)])
        }
        3 => claims["sub"] = json!(any(rng, &nearly)),
        4 => {
            *claims = any(
                rng,
                &[json!(null), json!([claims]), json!(claims.to_string()), json!({}), json!({"claims": claims})],
            )
        }
        _ => claims["sub"] = any(rng, &no_users),
    }
}

/// What a header calls critical is not understood.
pub fn critical(rng: &mut Rng, _: &World, header: &mut Value, _: &mut Value) {
    header["crit"] = any(
        rng,
        &[json!(["b64"]), json!(["exp"]), json!([]), json!(["http://127.0.0.1/two-signatures"]), json!("exp")],
    );
    header["b64"] = json!(rng.bool());
}
