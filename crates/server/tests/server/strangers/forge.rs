//! Tokens put together by hand, signed or not, and what may be taken for a key.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde_json::{Value, json};
use tare_testbed::{AUDIENCE, ISSUER, TokenKey, TokenSecret};
use uuid::Uuid;

/// Object identifiers of a public key's algorithm, as they stand in front of it.
const RSA: &[u8] = &[0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 13, 1, 1, 1, 5, 0];
const P_256: &[u8] = &[0x30, 19, 6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// The names of the keys that the server knows.
pub const KNOWN: [&str; 3] = ["rsa", "ec", "oct"];

/// One key of each kind that the server knows, and one that it does not.
pub struct Keys {
    rsa: TokenKey,
    pub ec: TokenKey,
    pub secret: EncodingKey,
    pub stranger: TokenKey,
    /// Each way in which what everybody may know of the keys is written.
    pub public: Vec<Vec<u8>>,
    /// The server's file of keys.
    pub jwks: String,
}

impl Keys {
    pub fn new(secret: &TokenSecret) -> Self {
        let (rsa, ec) = (TokenKey::rs256("rsa"), TokenKey::es256("ec"));
        let public = TokenKey::jwks(&[&rsa, &ec]);
        let oct = json!({"kty": "oct", "kid": "oct", "k": URL_SAFE_NO_PAD.encode(secret.expose())});
        let jwks = json!({"keys": [rsa.jwk(), ec.jwk(), oct]}).to_string();
        let public = [public.into_bytes()].into_iter().chain(written_out(&rsa)).chain(written_out(&ec)).collect();
        let secret = EncodingKey::from_secret(secret.expose().as_bytes());
        Self { rsa, ec, secret, stranger: TokenKey::es256("ec"), public, jwks }
    }

    /// A good token for `user` by each key.
    pub fn mint(&self, user: Uuid, now: u64) -> [String; 3] {
        let by_secret = sign(&header("HS256", "oct"), &claims(user, now), &self.secret, Algorithm::HS256);
        [self.rsa.mint(user), self.ec.mint(user), by_secret]
    }
}

pub fn header(algorithm: &str, kid: &str) -> Value {
    json!({"typ": "JWT", "alg": algorithm, "kid": kid})
}

/// As they are in a good token.
pub fn claims(user: Uuid, now: u64) -> Value {
    json!({"sub": user, "iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 3600})
}

/// `what`, as a part of a token.
pub fn part(what: impl ToString) -> String {
    URL_SAFE_NO_PAD.encode(what.to_string())
}

pub fn sign(header: &Value, claims: &Value, key: &EncodingKey, algorithm: Algorithm) -> String {
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

/// The public half of a key, in each form that it is handed around in.
fn written_out(key: &TokenKey) -> Vec<Vec<u8>> {
    let jwk = serde_json::to_value(key.jwk()).unwrap();
    let texts: Vec<&str> = ["n", "e", "x", "y"].into_iter().filter_map(|name| jwk[name].as_str()).collect();
    let numbers: Vec<Vec<u8>> = texts.iter().map(|text| URL_SAFE_NO_PAD.decode(text).unwrap()).collect();
    let (algorithm, bare) = match &jwk["kty"] {
        kty if kty == "RSA" => (RSA, der(0x30, &numbers.iter().flat_map(|number| integer(number)).collect::<Vec<_>>())),
        _ => (P_256, [&[4], &numbers.concat()[..]].concat()),
    };
    let bits = der(3, &[&[0], &bare[..]].concat());
    let info = der(0x30, &[algorithm, &bits].concat());
    let (bare_pem, pem) = (pem("RSA PUBLIC KEY", &bare), pem("PUBLIC KEY", &info));
    assert!(DecodingKey::from_rsa_pem(&pem).or(DecodingKey::from_ec_pem(&pem)).is_ok(), "this is the public key");
    let trimmed = [&bare_pem, &pem].map(|pem| pem.trim_ascii_end().to_vec());
    let mut forms = vec![jwk.to_string().into_bytes(), bare, info, bare_pem, pem];
    forms.extend(trimmed);
    forms.extend(texts.iter().map(|text| text.as_bytes().to_vec()));
    forms.extend(numbers);
    forms
}

fn pem(what: &str, content: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(content);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n")).into_bytes()
}

fn integer(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number[0] < 0x80 { &[] } else { &[0] };
    der(2, &[sign, number].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = match content.len() {
        short @ ..0x80 => vec![short as u8],
        longer @ ..0x100 => vec![0x81, longer as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag], &length[..], content].concat()
}
