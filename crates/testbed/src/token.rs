//! Tokens for the fixture's users.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = Claims { sub: user, iss: ISSUER, aud: AUDIENCE, iat: now, exp: now + LIFETIME };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(self.0.as_bytes()))
            .expect("an HS256 secret signs plain claims")
    }
}

impl std::fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenSecret")
    }
}
