//! Tokens that are no good, of every kind, as headers of a request.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fastrand::Rng;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use uuid::Uuid;

use super::forge::{KNOWN, claims, header, part, sign};
use super::signed;
use super::world::{Draw, Headers, Must, World};

/// What is sent, and what must come of it.
pub type Forged = (Headers, Must);

pub const KINDS: [(&str, Draw<Forged>); 20] = [
    ("a bit flipped", flipped),
    ("cut short", cut_short),
    ("parts of several", parts_of_several),
    ("no algorithm", no_algorithm),
    ("a public key as the secret", public_key_as_secret),
    ("another key's algorithm", algorithm_of_another),
    ("a key of their own", own_key),
    ("a key unknown", unknown_key),
    ("a guessed secret", guessed_secret),
    ("huge", huge),
    ("beyond every limit", beyond),
    ("a good token, not as a bearer", elsewhere),
    ("several authorizations", several),
    ("rubbish", rubbish),
    ("expired", |rng, world| signed::but(rng, world, signed::expired)),
    ("not valid yet", |rng, world| signed::but(rng, world, signed::not_yet)),
    ("for another audience", |rng, world| signed::but(rng, world, signed::for_others)),
    ("from another issuer", |rng, world| signed::but(rng, world, signed::from_others)),
    ("claims of another type", |rng, world| signed::but(rng, world, signed::of_another_type)),
    ("critical for others", |rng, world| signed::but(rng, world, signed::critical)),
];

pub fn bearer(token: impl Into<Vec<u8>>) -> Headers {
    vec![authorization([b"Bearer ", &token.into()[..]].concat())]
}

fn authorization(value: impl Into<Vec<u8>>) -> (&'static str, Vec<u8>) {
    ("authorization", value.into())
}

fn unproven(token: impl Into<Vec<u8>>) -> Forged {
    (bearer(token), Must::SayNothing)
}

/// One of `these`.
pub fn any<T: Clone>(rng: &mut Rng, these: &[T]) -> T {
    rng.choice(these).unwrap().clone()
}

pub fn text(rng: &mut Rng, length: usize) -> String {
    std::iter::repeat_with(|| rng.alphanumeric()).take(length).collect()
}

fn flipped(rng: &mut Rng, world: &World) -> Forged {
    let mut token = any(rng, &world.theirs).into_bytes();
    loop {
        let at = rng.usize(..token.len());
        let flipped = token[at] ^ (1 << rng.u8(..8));
        // Others have no place in a header.
        if flipped.is_ascii_graphic() || flipped >= 0x80 {
            token[at] = flipped;
            return unproven(token);
        }
    }
}

fn cut_short(rng: &mut Rng, world: &World) -> Forged {
    unproven(shortened(rng, &world.theirs))
}

/// One of `tokens`, of which only a little is missing every other time.
fn shortened(rng: &mut Rng, tokens: &[String]) -> String {
    let mut token = any(rng, tokens);
    let shortest = if rng.bool() { 0 } else { token.len() - 4 };
    token.truncate(rng.usize(shortest..token.len()));
    token
}

fn parts_of_several(rng: &mut Rng, world: &World) -> Forged {
    let good: Vec<String> = [&world.theirs[..], &world.own].concat();
    loop {
        let mut parts = [0, 1, 2].map(|nth| any(rng, &good).split('.').nth(nth).unwrap().to_owned());
        if rng.u8(..4) == 0 {
            rng.shuffle(&mut parts);
        }
        let token = parts.join(".");
        if !good.contains(&token) {
            return unproven(token);
        }
    }
}

fn no_algorithm(rng: &mut Rng, world: &World) -> Forged {
    let names = ["none", "None", "NONE", "nOnE", "", " ", "null", "HS256\0"].map(|name| json!(name));
    let mut header = header("", any(rng, &KNOWN));
    header["alg"] = any(rng, &[&names[..], &[Value::Null, json!([]), json!(0)]].concat());
    for member in ["kid", "alg", "typ"] {
        if rng.u8(..4) == 0 {
            header.as_object_mut().unwrap().remove(member);
        }
    }
    let good = any(rng, &world.theirs);
    let [_, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let end = any(rng, &["", ".", ".AA", &format!(".{signature}")].map(str::to_owned));
    unproven(format!("{}.{claims}{end}", part(header)))
}

fn public_key_as_secret(rng: &mut Rng, world: &World) -> Forged {
    let key = EncodingKey::from_secret(&any(rng, &world.keys.public));
    unproven(by_secret(rng, world, &key))
}

fn guessed_secret(rng: &mut Rng, world: &World) -> Forged {
    let guess = ["", "\0", "secret", "password", "tare", "changeme", "oct", "null", "your-256-bit-secret", "{}"];
    let guess = if rng.bool() { any(rng, &guess).to_owned() } else { text(rng, 64) };
    let guess = if rng.bool() { guess } else { guess.repeat(64 / guess.len().max(1)) };
    unproven(by_secret(rng, world, &EncodingKey::from_secret(guess.as_bytes())))
}

/// Signed with a secret, for any of the keys.
fn by_secret(rng: &mut Rng, world: &World, key: &EncodingKey) -> String {
    let algorithms = [("HS256", Algorithm::HS256), ("HS384", Algorithm::HS384), ("HS512", Algorithm::HS512)];
    let (name, algorithm) = any(rng, &algorithms);
    let mut header = header(name, any(rng, &KNOWN));
    if rng.u8(..8) == 0 {
        header.as_object_mut().unwrap().remove("kid");
    }
    sign(&header, &world.their_claims(rng), key, algorithm)
}

fn algorithm_of_another(rng: &mut Rng, world: &World) -> Forged {
    let (keys, claims) = (&world.keys, world.their_claims(rng));
    unproven(match rng.u8(..4) {
        0 => sign(&header("HS256", any(rng, &["rsa", "ec"])), &claims, &keys.secret, Algorithm::HS256),
        1 => sign(&header("HS512", "oct"), &claims, &keys.secret, Algorithm::HS512),
        2 => sign(&header("ES256", any(rng, &["rsa", "oct"])), &claims, keys.ec.private(), Algorithm::ES256),
        _ => {
            let named = any(rng, &["HS256", "HS384", "RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA", "ES256K"]);
            let (head, rest) =
                any(rng, &world.theirs).split_once('.').map(|(h, r)| (h.to_owned(), r.to_owned())).unwrap();
            let other = part(header(named, any(rng, &KNOWN)));
            // The header as it was is that of a good token.
            format!("{}.{rest}", if other == head { part(header(named, "")) } else { other })
        }
    })
}

fn own_key(rng: &mut Rng, world: &World) -> Forged {
    let mut header = header("ES256", any(rng, &["ec", "rsa", "oct", "own"]));
    let jwk = json!(world.keys.stranger.jwk());
    match rng.u8(..6) {
        0 => header["jwk"] = jwk,
        1 => header["jku"] = json!("http://127.0.0.1:9/keys.json"),
        2 => header["x5u"] = json!("http://127.0.0.1:9/certificate.pem"),
        3 => header["x5c"] = json!([STANDARD.encode(jwk.to_string())]),
        4 => drop(header.as_object_mut().unwrap().remove("kid")),
        _ => {}
    }
    unproven(sign(&header, &world.their_claims(rng), world.keys.stranger.private(), Algorithm::ES256))
}

fn unknown_key(rng: &mut Rng, world: &World) -> Forged {
    let unknown = ["", "EC", "ec ", " ec", "ec\0", "../../../../dev/null", "' or '1'='1", "ec' union select 'x", "*"];
    let unknown = unknown.map(|kid| json!(kid)).into_iter();
    let others = [json!(null), json!(0), json!(["ec"]), json!({"ec": 1}), json!(text(rng, 2_000)), json!(Uuid::nil())];
    let kid = any(rng, &unknown.chain(others).collect::<Vec<_>>());
    // Also by keys that are ours: what is not named is not tried.
    let (name, key, algorithm) = any(
        rng,
        &[
            ("ES256", world.keys.ec.private(), Algorithm::ES256),
            ("ES256", world.keys.stranger.private(), Algorithm::ES256),
            ("HS256", &world.keys.secret, Algorithm::HS256),
        ],
    );
    let mut header = header(name, "");
    header["kid"] = kid;
    unproven(sign(&header, &world.their_claims(rng), key, algorithm))
}

fn huge(rng: &mut Rng, world: &World) -> Forged {
    let size = rng.usize(4_000..40_000);
    let good = any(rng, &world.theirs);
    let [head, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    unproven(match rng.u8(..6) {
        0 => text(rng, size),
        1 => format!("{head}.{claims}.{signature}{}", text(rng, size)),
        2 => format!("{head}.{}.{signature}", part("[".repeat(size / 2))),
        3 => format!("{}.{claims}.{signature}", part(header("ES256", &text(rng, size / 2)))),
        4 => format!("{}.{claims}.{signature}", part("{\"a\":".repeat(size / 8))),
        _ => format!("{good}{}", ".".repeat(size)),
    })
}

fn beyond(rng: &mut Rng, world: &World) -> Forged {
    // Up to twice its limit is taken when it comes at once.
    let size = rng.usize(140_000..200_000);
    (bearer(any(rng, &world.theirs) + &text(rng, size)), Must::NotBeRead)
}

/// A good token where none is looked for.
fn elsewhere(rng: &mut Rng, world: &World) -> Forged {
    let token = any(rng, &world.theirs);
    let name = any(rng, &["x-authorization", "proxy-authorization", "x-access-token", "www-authenticate", "x-jwt"]);
    let headers = match rng.u8(..10) {
        0 => vec![(name, format!("Bearer {token}").into())],
        1 => vec![("cookie", format!("token={token}; authorization=Bearer {token}").into())],
        2 => vec![authorization(STANDARD.encode(format!("user:{token}"))), (name, token.into())],
        3 => vec![authorization(format!("Basic {}", STANDARD.encode(format!("{token}:"))))],
        4 => vec![authorization(format!("Bearer \"{token}\""))],
        5 => vec![authorization(format!(
            "{}{token}",
            any(rng, &["", "Bearer", "Bearer\t", "Bearer,", "Bearer:", "Bearer="])
        ))],
        6 => vec![authorization(any(rng, &["", "Bearer", "Bearer ", "bearer  ", "Bearer null", "Bearer undefined"]))],
        7 => vec![authorization(format!("Bearer {} {token}", any(rng, &["Bearer", "x", ",", "=", "token"])))],
        8 => vec![authorization(format!(
            "{} {token}",
            any(rng, &["Token", "JWT", "Digest", "Bear", "BearerX", "Basic", "DPoP"])
        ))],
        _ => vec![],
    };
    (headers, Must::SayNothing)
}

/// A good token of the stranger's along with another: whichever is looked at, both are no authorization.
fn several(rng: &mut Rng, world: &World) -> Forged {
    let other = if rng.bool() { any(rng, &world.theirs) } else { shortened(rng, &world.theirs) };
    let mut two = [any(rng, &world.own), other];
    rng.shuffle(&mut two);
    let headers = match rng.u8(..3) {
        0 => vec![authorization(format!("Bearer {}, Bearer {}", two[0], two[1]))],
        1 => vec![authorization(format!("Bearer {}", two[0])), authorization(any(rng, &["", "Basic Og==", "Bearer"]))],
        _ => two.map(|token| authorization(format!("Bearer {token}"))).to_vec(),
    };
    (headers, Must::SayNothing)
}

fn rubbish(rng: &mut Rng, world: &World) -> Forged {
    let visible = |rng: &mut Rng| {
        let bytes = [rng.u8(0x21..0x7f), rng.u8(0x80..), b'.', b' '];
        any(rng, &bytes)
    };
    let length = rng.usize(..400);
    let claims = part(claims(world.victim(rng), world.now));
    match rng.u8(..4) {
        0 => unproven("e30.".repeat(rng.usize(..6))),
        1 => unproven(format!("{}.{claims}.", part(any(rng, &["null", "[]", "\"\"", "1", "{", ""])))),
        2 => unproven([&claims[..], &claims, &claims, &claims, &claims][..rng.usize(..6)].join(".")),
        _ => unproven((0..length).map(|_| visible(rng)).collect::<Vec<_>>()),
    }
}
