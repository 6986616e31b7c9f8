//! What is made of tokens; of JWKS files, see `files`.

mod files;

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tare_testbed::{AUDIENCE, ISSUER, TokenKey};

use super::*;

const SECRET: &str = "a secret of at least thirty-two bytes";
const USER: Uuid = Uuid::from_u128(7);

fn settings(keys: Keys) -> VerifierSettings {
    VerifierSettings { keys, issuer: ISSUER.into(), audience: AUDIENCE.into() }
}

fn verifier() -> Verifier {
    Verifier::new(settings(Keys::Secret(SECRET.into()))).unwrap()
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({"sub": USER, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 60});
    change(&mut claims);
    claims
}

fn named(algorithm: Algorithm, kid: &str) -> Header {
    Header { kid: Some(kid.into()), ..Header::new(algorithm) }
}

fn secret(secret: impl AsRef<[u8]>) -> EncodingKey {
    EncodingKey::from_secret(secret.as_ref())
}

/// A good token of `key`, but for its header.
fn token(header: Header, key: &EncodingKey) -> String {
    encode(&header, &claims(|_| ()), key).unwrap()
}

/// A JWKS file of its own, looked at whenever a token is checked, and what is logged of it.
struct Jwks {
    folder: tempfile::TempDir,
}

impl Jwks {
    fn of(keys: &[&TokenKey]) -> (Self, Verifier) {
        Self::text(&TokenKey::jwks(keys))
    }

    fn text(text: &str) -> (Self, Verifier) {
        let jwks = Self::closed(text);
        let verifier = jwks.open(Duration::ZERO).unwrap();
        (jwks, verifier)
    }

    fn closed(text: &str) -> Self {
        listen();
        let jwks = Self { folder: tempfile::tempdir().unwrap() };
        jwks.write(text);
        jwks
    }

    fn open(&self, look_every: Duration) -> Result<Verifier, KeysError> {
        Verifier::looking_every(look_every, settings(Keys::Jwks(self.path())))
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("keys.json")
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn exchange(&self, text: &str) {
        let new = self.folder.path().join("new.json");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path()).unwrap();
    }
}

thread_local!(static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });

struct Log;

impl Write for Log {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.write(text))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps what each test, on its thread, logs.
fn listen() {
    static LISTENING: Once = Once::new();
    LISTENING.call_once(|| {
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(|| Log).finish();
        tracing::subscriber::set_global_default(log).unwrap();
    });
}

/// What this test logged since it last asked.
fn logged() -> String {
    String::from_utf8(LOG.take()).unwrap()
}

#[track_caller]
fn accepted(verifier: &Verifier, token: &str) {
    assert_eq!(verifier.verify(token).unwrap(), Caller { user: USER });
}

#[track_caller]
fn refused(verifier: &Verifier, token: &str, expected: &str) {
    let refused = verifier.verify(token).unwrap_err().to_string();
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn a_good_token_names_its_user() {
    let changes: [fn(&mut Value); 4] = [
        |_| (),
        |c| c["aud"] = json!(["another", AUDIENCE]),
        |c| c["nbf"] = json!(c["iat"].as_u64().unwrap() + LEEWAY - 1),
        |c| c["exp"] = json!(c["iat"].as_u64().unwrap() - 1),
    ];
    for change in changes {
        accepted(&verifier(), &encode(&Header::default(), &claims(change), &secret(SECRET)).unwrap());
    }
}

#[test]
fn a_bad_token_is_refused_for_what_is_wrong_with_it() {
    type Case = (fn(&mut Value), &'static str);
    let cases: [Case; 10] = [
        (|c| c["exp"] = json!(c["iat"].as_u64().unwrap() - LEEWAY - 60), "expired"),
        (|c| c["nbf"] = json!(c["exp"].as_u64().unwrap() + 60), "not valid yet"),
        (|c| c["aud"] = json!("another"), "another audience"),
        (|c| c["iss"] = json!("another"), "another issuer"),
        (|c| c["sub"] = json!("not a uuid"), "not a token of ours"),
        (|c| c["nbf"] = json!("tomorrow"), "not a token of ours"),
        (|c| drop(c.as_object_mut().unwrap().remove("exp")), "not a token of ours"),
        (|c| drop(c.as_object_mut().unwrap().remove("aud")), "not a token of ours"),
        (|c| drop(c.as_object_mut().unwrap().remove("iss")), "not a token of ours"),
        (|c| drop(c.as_object_mut().unwrap().remove("sub")), "not a token of ours"),
    ];
    for (change, expected) in cases {
        refused(&verifier(), &encode(&Header::default(), &claims(change), &secret(SECRET)).unwrap(), expected);
    }
}

#[test]
fn another_secret_another_algorithm_and_rubbish_are_refused_alike() {
    for token in [
        token(Header::default(), &secret("another secret of at least thirty-two bytes")),
        token(Header::new(Algorithm::HS384), &secret(SECRET)),
        String::new(),
        "e30.e30.".into(),
        "no token".into(),
    ] {
        refused(&verifier(), &token, "not a token of ours");
        refused(&Jwks::of(&[&TokenKey::es256("a")]).1, &token, "the token was not accepted");
    }
}

#[test]
fn each_kind_of_key_is_found_by_its_kid() {
    let (rsa, ec) = (TokenKey::rs256("rsa"), TokenKey::es256("ec"));
    let mut oct = Jwk::from_encoding_key(&secret(SECRET), Algorithm::HS256).unwrap();
    oct.common.key_id = Some("oct".into());
    // Neither `alg` nor `use` needs to be there: the kind of the key implies them.
    let mut ec_jwk = ec.jwk();
    (ec_jwk.common.key_algorithm, ec_jwk.common.public_key_use) = (None, None);
    let (_file, verifier) = Jwks::text(&json!({"keys": [rsa.jwk(), ec_jwk, oct]}).to_string());
    for token in [rsa.mint(USER), ec.mint(USER), token(named(Algorithm::HS256, "oct"), &secret(SECRET))] {
        accepted(&verifier, &token);
    }
    assert_eq!(logged(), "");
}

#[test]
fn a_key_is_good_for_its_own_algorithm_only() {
    let (rsa, ec) = (TokenKey::rs256("rsa"), TokenKey::es256("ec"));
    let (_file, verifier) = Jwks::of(&[&rsa, &ec]);
    for algorithm in [Algorithm::RS384, Algorithm::RS512, Algorithm::PS256] {
        refused(&verifier, &token(named(algorithm, "rsa"), rsa.private()), "not a token of ours");
    }
    refused(&verifier, &token(named(Algorithm::RS256, "ec"), rsa.private()), "not a token of ours");
    refused(&verifier, &token(named(Algorithm::ES256, "rsa"), ec.private()), "not a token of ours");
    refused(&verifier, &token(named(Algorithm::ES256, "ec"), TokenKey::es256("ec").private()), "not a token of ours");
}

#[test]
fn a_public_key_is_no_secret() {
    let (rsa, ec) = (TokenKey::rs256("rsa"), TokenKey::es256("ec"));
    let jwks = TokenKey::jwks(&[&rsa, &ec]);
    let (_file, verifier) = Jwks::text(&jwks);
    for (kid, key) in [("rsa", &rsa), ("ec", &ec)] {
        let jwk = serde_json::to_value(key.jwk()).unwrap();
        let decoded = DecodingKey::from_jwk(&key.jwk()).unwrap();
        let bytes = match decoded.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => n,
            DecodingKeyKind::SecretOrDer(bytes) => bytes,
        };
        let texts = [&jwks, &jwk.to_string(), jwk["n"].as_str().or(jwk["x"].as_str()).unwrap()];
        for public in texts.map(str::as_bytes).into_iter().chain([bytes.as_slice()]) {
            refused(&verifier, &token(named(Algorithm::HS256, kid), &secret(public)), "not a token of ours");
        }
    }
}

#[test]
fn a_token_without_a_signature_is_refused() {
    let key = TokenKey::es256("a");
    let (_file, verifier) = Jwks::of(&[&key]);
    let good = key.mint(USER);
    let [header, claims, _] = good.split('.').collect::<Vec<_>>()[..] else { panic!("a token has three parts") };
    // {"alg":"none"}, {"alg":"None"}, {"alg":"none","kid":"a"}
    for header in [header, "eyJhbGciOiJub25lIn0", "eyJhbGciOiJOb25lIn0", "eyJhbGciOiJub25lIiwia2lkIjoiYSJ9"] {
        for token in [format!("{header}.{claims}."), format!("{header}.{claims}")] {
            refused(&verifier, &token, "not a token of ours");
        }
    }
}

#[test]
fn a_token_that_asks_for_what_is_not_known_is_refused() {
    let key = TokenKey::es256("a");
    let header =
        Header { crit: Some(vec!["http://example.com/two-signatures".into()]), ..named(Algorithm::ES256, "a") };
    refused(&Jwks::of(&[&key]).1, &token(header, key.private()), "more than is known");
}

#[test]
fn a_kid_must_be_known_and_may_be_missing_where_there_is_one_key() {
    let (one, two) = (TokenKey::es256("one"), TokenKey::es256("two"));
    let unnamed = token(Header::new(Algorithm::ES256), one.private());
    let unknown = token(named(Algorithm::ES256, "three"), one.private());

    let (_file, verifier) = Jwks::of(&[&one]);
    accepted(&verifier, &unnamed);
    refused(&verifier, &unknown, "not a token of ours");
    refused(&verifier, &two.mint(USER), "not a token of ours");

    let (_file, verifier) = Jwks::of(&[&one, &two]);
    refused(&verifier, &unnamed, "not a token of ours");
    refused(&verifier, &unknown, "not a token of ours");
    refused(&verifier, &token(named(Algorithm::ES256, "two"), one.private()), "not a token of ours");
}

#[test]
fn a_short_secret_is_refused_and_none_is_shown() {
    let short = Verifier::new(settings(Keys::Secret("k".repeat(31)))).err().unwrap();
    assert!(short.to_string().contains("has 31 bytes and must have 32"), "{short}");
    let shown = format!("{short:?} {:?} {:?}", Keys::Secret(SECRET.into()), settings(Keys::Secret(SECRET.into())));
    assert!(!shown.contains("kkk") && !shown.contains(SECRET), "{shown}");
}
