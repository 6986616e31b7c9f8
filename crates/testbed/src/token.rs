//! Tokens for the fixture's users.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

/// The `iss` of the testbed's tokens.
pub const ISSUER: &str = "tare-testbed";
/// The `aud` of the testbed's tokens.
pub const AUDIENCE: &str = "tare";

/// How long a token is good for, in seconds: longer than any run.
const LIFETIME: u64 = 6 * 3600;

/// The secret that signs the testbed's tokens (HS256).
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenSecret(String);

#[derive(Serialize)]
struct Claims {
    sub: Uuid,
    iss: &'static str,
    aud: &'static str,
    iat: u64,
    exp: u64,
}

impl Claims {
    fn of(user: Uuid) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self { sub: user, iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + LIFETIME }
    }
}

impl TokenSecret {
    /// A new random secret of 244 bits.
    pub(crate) fn generate() -> Self {
        Self(format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))
    }

    /// The secret itself, for the server that checks the tokens.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A token for `user`, good for six hours.
    pub fn mint(&self, user: Uuid) -> String {
        let key = EncodingKey::from_secret(self.0.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &Claims::of(user), &key)
            .expect("an HS256 secret signs plain claims")
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret")
    }
}

/// A key pair that signs tokens, for a server that checks them by a JWKS file. Made on the spot, and gone with the process.
pub struct TokenKey {
    id: String,
    algorithm: Algorithm,
    private: EncodingKey,
}

impl TokenKey {
    /// A new EC key on P-256 (ES256) with the `kid` `id`.
    pub fn es256(id: &str) -> Self {
        let pair = rcgen::KeyPair::generate().expect("the system has random numbers");
        Self {
            id: id.to_owned(),
            algorithm: Algorithm::ES256,
            private: EncodingKey::from_ec_der(pair.serialized_der()),
        }
    }

    /// The RSA key of 2048 bits (RS256) of this process, with the `kid` `id`. Making one takes long, so there is only one.
    pub fn rs256(id: &str) -> Self {
        static PRIVATE: OnceLock<EncodingKey> = OnceLock::new();
        let make = || {
            let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).expect("the system has random numbers");
            EncodingKey::from_rsa_der(key.to_pkcs1_der().expect("a new key can be written").as_bytes())
        };
        Self { id: id.to_owned(), algorithm: Algorithm::RS256, private: PRIVATE.get_or_init(make).clone() }
    }

    /// The private half, to sign what [`mint`](Self::mint) would not.
    pub fn private(&self) -> &EncodingKey {
        &self.private
    }

    /// The public half as a JWK with `kid`, `alg` and `use`.
    pub fn jwk(&self) -> Jwk {
        let mut jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("a pair of ours has a public half");
        jwk.common.key_id = Some(self.id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk
    }

    /// The text of a JWKS file with the public halves of `keys`.
    pub fn jwks(keys: &[&Self]) -> String {
        json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
    }

    /// A token for `user` that names this key, good for six hours.
    pub fn mint(&self, user: Uuid) -> String {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, &Claims::of(user), &self.private).expect("a pair of ours signs plain claims")
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKey({:?}, {:?})", self.id, self.algorithm)
    }
}
