//! What is made of JWKS files: rotated, broken, weak, or meant for others.

use super::*;

#[test]
fn keys_rotate_both_ways_without_a_restart() {
    let (old, new) = (TokenKey::es256("old"), TokenKey::es256("new"));
    let (file, verifier) = Jwks::of(&[&old]);
    // All three are of one size, and are written within one tick of the file system's clock.
    for write in [Jwks::write, Jwks::exchange] {
        for (kept, gone) in [(&new, &old), (&old, &new)] {
            write(&file, &TokenKey::jwks(&[kept]));
            accepted(&verifier, &kept.mint(USER));
            refused(&verifier, &gone.mint(USER), "not a token of ours");
        }
        write(&file, &TokenKey::jwks(&[&old, &new]));
        accepted(&verifier, &old.mint(USER));
        accepted(&verifier, &new.mint(USER));
    }
    // The same name for another key.
    let (first, second) = (TokenKey::es256("same"), TokenKey::es256("same"));
    for (kept, gone) in [(&first, &second), (&second, &first)] {
        file.write(&TokenKey::jwks(&[kept]));
        accepted(&verifier, &kept.mint(USER));
        refused(&verifier, &gone.mint(USER), "not a token of ours");
    }
    assert_eq!(logged(), "");
}

#[test]
fn a_file_without_keys_refuses_every_token() {
    let key = TokenKey::es256("a");
    let (file, verifier) = Jwks::of(&[&key]);
    file.write(r#"{"keys": []}"#);
    for _ in 0..3 {
        refused(&verifier, &key.mint(USER), "not a token of ours");
    }
    assert_eq!(logged().matches("no key left").count(), 1);
}

#[test]
fn a_file_that_went_bad_keeps_the_last_good_keys_and_is_told_of_once() {
    let (old, new) = (TokenKey::es256("old"), TokenKey::es256("new"));
    let (file, verifier) = Jwks::of(&[&old]);
    let weak = json!({"keys": [new.jwk(), {"kty": "oct", "kid": "weak", "k": "c2VjcmV0"}]}).to_string();
    for (text, expected) in
        [("", "not JSON"), (r#"{"keys": "#, "not JSON"), ("{}", "no list `keys`"), (&weak, "6 bytes")]
    {
        file.write(text);
        for _ in 0..3 {
            accepted(&verifier, &old.mint(USER));
            refused(&verifier, &new.mint(USER), "not a token of ours");
        }
        let log = logged();
        assert!(log.contains(expected) && log.contains(file.path().to_str().unwrap()), "{log}");
        assert_eq!((log.matches("ERROR").count(), log.matches("stay in use").count()), (1, 1), "{log}");
        assert!(!log.contains("c2VjcmV0"), "{log}");
    }
    fs::remove_file(file.path()).unwrap();
    fs::create_dir(file.path()).unwrap();
    for _ in 0..3 {
        accepted(&verifier, &old.mint(USER));
    }
    fs::remove_dir(file.path()).unwrap();
    for _ in 0..3 {
        accepted(&verifier, &old.mint(USER));
    }
    let log = logged();
    assert_eq!((log.matches("cannot be read").count(), log.matches("ERROR").count()), (2, 2), "{log}");

    file.write(&TokenKey::jwks(&[&new]));
    accepted(&verifier, &new.mint(USER));
    refused(&verifier, &old.mint(USER), "not a token of ours");
    assert_eq!(logged().matches("were read again").count(), 1);
}

#[test]
fn the_file_is_looked_at_only_every_so_often() {
    let (old, new) = (TokenKey::es256("old"), TokenKey::es256("new"));
    let file = Jwks::closed(&TokenKey::jwks(&[&old]));
    let verifier = file.open(Duration::from_secs(3600)).unwrap();
    file.write(&TokenKey::jwks(&[&new]));
    accepted(&verifier, &old.mint(USER));
    refused(&verifier, &new.mint(USER), "not a token of ours");
}

#[test]
fn many_requests_at_once_see_each_rotation() {
    let keys = ["a", "b", "c"].map(TokenKey::es256);
    let (file, verifier) = Jwks::of(&[&keys[0]]);
    for turn in 1..20 {
        let (kept, gone) = (&keys[turn % 3], &keys[(turn - 1) % 3]);
        file.exchange(&TokenKey::jwks(&[kept]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    accepted(&verifier, &kept.mint(USER));
                    refused(&verifier, &gone.mint(USER), "not a token of ours");
                });
            }
        });
    }
}

#[test]
fn keys_for_others_are_left_out_and_said_to_be() {
    let (ours, other) = (TokenKey::es256("ours"), TokenKey::es256("other"));
    let mut keys = vec![serde_json::to_value(ours.jwk()).unwrap()];
    let changes: [(&str, Value); 4] =
        [("use", json!("enc")), ("key_ops", json!(["sign"])), ("alg", json!("ES384")), ("crv", json!("P-384"))];
    for (member, value) in changes {
        let mut key = serde_json::to_value(other.jwk()).unwrap();
        (key[member], key["kid"]) = (value, json!(member));
        keys.push(key);
    }
    keys.push(
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "okp", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
    );
    keys.push(json!({"kty": "EC", "crv": "secp256k1", "kid": "secp256k1", "x": "AA", "y": "AA"}));
    keys.push(json!({"kty": "new", "secret": "c2VjcmV0"}));
    let (_file, verifier) = Jwks::text(&json!({"keys": keys}).to_string());

    accepted(&verifier, &ours.mint(USER));
    accepted(&verifier, &token(Header::new(Algorithm::ES256), ours.private()));
    for kid in ["use", "key_ops", "alg", "crv"] {
        refused(&verifier, &token(named(Algorithm::ES256, kid), other.private()), "not a token of ours");
    }
    let log = logged();
    assert_eq!((log.matches("WARN").count(), log.matches("is ignored").count()), (7, 7), "{log}");
    for name in ["\"use\"", "\"key_ops\"", "\"alg\"", "\"crv\"", "\"okp\"", "\"secp256k1\"", "key number 8"] {
        assert!(log.contains(name), "{name}: {log}");
    }
    for part in [&json!(other.jwk())["x"], &json!(other.jwk())["y"], &json!("c2VjcmV0"), &json!("11qYAYKxCr")] {
        assert!(!log.contains(part.as_str().unwrap()), "{log}");
    }
}

/// As many one bits, in base64url, for whole bytes.
fn ones(bits: usize) -> String {
    "_".repeat(bits / 6) + ["", "-", "w", "-", "8", "-"][bits % 6]
}

#[test]
fn keys_that_are_bad_at_start_are_named_with_what_is_wrong() {
    let ec = serde_json::to_value(TokenKey::es256("ec").jwk()).unwrap();
    let rsa = |n: usize, e: &str| json!({"keys": [{"kty": "RSA", "kid": "rsa", "n": ones(n), "e": e}]});
    let changed = |member: &str, value: Value| {
        let mut key = ec.clone();
        key[member] = value;
        json!({"keys": [key]})
    };
    for (text, expected) in [
        (json!("text"), "no list `keys`"),
        (json!({"keys": {}}), "no list `keys`"),
        (json!({"keys": []}), "holds no key"),
        (json!({"keys": [{"kty": "OKP", "crv": "X25519", "x": "AA"}]}), "holds no key"),
        (json!({"keys": ["c2VjcmV0"]}), "key number 1 is not a JWK"),
        (json!({"keys": [{"kty": "oct", "kid": "oct", "k": 5}]}), "key \"oct\" is not a JWK, or lacks a part"),
        (json!({"keys": [{"kty": "RSA", "n": ones(2048)}]}), "key number 1 is not a JWK, or lacks a part"),
        (json!({"keys": [{"kty": "oct", "kid": "oct", "k": "c2VjcmV0"}]}), "key \"oct\" has 6 bytes and must have 32"),
        (
            json!({"keys": [{"kty": "oct", "kid": "oct", "k": "not base64!"}]}),
            "key \"oct\" is not written in base64url",
        ),
        (rsa(1024, "AQAB"), "key \"rsa\" is an RSA key of 1024 bits and must have from 2048"),
        (rsa(8192, "AQAB"), "key \"rsa\" is an RSA key of 8192 bits"),
        (rsa(2048, "AQ"), "key \"rsa\" is not an RSA key"),
        (rsa(2048, "AQAA"), "key \"rsa\" is not an RSA key"),
        (changed("x", json!(ec["y"])), "key \"ec\" is not a point on the curve"),
        (changed("x", json!("AA")), "key \"ec\" is not a point on the curve"),
        (changed("kid", json!(5)), "key number 1 is not a JWK"),
        (json!({"keys": [ec, ec]}), "two keys have the kid \"ec\""),
        (json!({"keys": [ec, {"kty": "oct", "k": ones(256)}]}), "has no kid"),
    ] {
        let file = Jwks::closed(&text.to_string());
        let error = file.open(Duration::ZERO).err().unwrap_or_else(|| panic!("{text}")).to_string();
        assert!(error.contains(expected) && error.contains(file.path().to_str().unwrap()), "{error}");
        assert!(!error.contains("c2VjcmV0") && !error.contains("not base64!") && !error.contains("__"), "{error}");
    }
    let missing = Verifier::new(settings(Keys::Jwks("/nowhere/keys.json".into()))).err().unwrap().to_string();
    assert!(missing.contains("/nowhere/keys.json") && missing.contains("No such file"), "{missing}");
}
