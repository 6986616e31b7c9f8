//! auth: token → [`Caller`].
//!
//! Signature, expiry, audience and issuer are checked and nothing else in the token is trusted: which tenant a user belongs
//! to, and what they may do there, is the control database's to say. A token's header says which key it was signed with;
//! which algorithm that is for, the key says.

mod file;
mod keys;
#[cfg(test)]
mod tests;

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{TokenData, Validation};
use serde::Deserialize;
use uuid::Uuid;

use crate::Error;
use file::JwksFile;
use keys::Key;

pub use keys::{Keys, KeysError};

/// Seconds by which clocks may differ.
const LEEWAY: u64 = 5;
/// How often a JWKS file is looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// All that is said of a token that none of our keys has signed: whoever made it learns nothing.
const NOT_OURS: &str = "it is not a token of ours";

/// How tokens are checked.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// The keys they may be signed with.
    pub keys: Keys,
    /// The `iss` a token must carry.
    pub issuer: String,
    /// The `aud` a token must carry.
    pub audience: String,
}

/// Who sent a request, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub user: Uuid,
}

/// Checks tokens; keys and rules are prepared once, and again when a JWKS file changes.
pub struct Verifier {
    keys: Source,
}

enum Source {
    Secret(Key),
    Jwks(JwksFile),
}

#[derive(Deserialize)]
struct Claims {
    sub: Uuid,
}

impl Verifier {
    /// Prepares the keys and the rules.
    ///
    /// # Errors
    /// The secret is too short, or the JWKS file cannot be read, is none, or holds no key or one that is weak or broken.
    pub fn new(settings: VerifierSettings) -> Result<Self, KeysError> {
        Self::looking_every(LOOK_EVERY, settings)
    }

    fn looking_every(look_every: Duration, settings: VerifierSettings) -> Result<Self, KeysError> {
        // Each key comes to have its own algorithm put in.
        let mut rules = Validation { leeway: LEEWAY, validate_nbf: true, ..Validation::default() };
        rules.set_audience(&[settings.audience]);
        rules.set_issuer(&[settings.issuer]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let keys = match settings.keys {
            Keys::Secret(secret) => Source::Secret(Key::secret(&secret, &rules)?),
            Keys::Jwks(path) => Source::Jwks(JwksFile::open(path, rules, look_every)?),
        };
        Ok(Self { keys })
    }

    /// The caller that `token` proves, or [`Error::Token`].
    pub fn verify(&self, token: &str) -> Result<Caller, Error> {
        match &self.keys {
            Source::Secret(key) => caller(token, key),
            Source::Jwks(file) => {
                let keys = file.keys();
                let id = jsonwebtoken::decode_header(token).map_err(|error| refusal(error.kind()))?.kid;
                let key = keys.find(id.as_deref()).ok_or_else(|| {
                    // Not for the caller: which keys there are is not to be tried out.
                    tracing::debug!(named = id.is_some(), "a token names none of our keys");
                    Error::Token(NOT_OURS)
                })?;
                caller(token, key)
            }
        }
    }
}

fn caller(token: &str, key: &Key) -> Result<Caller, Error> {
    match jsonwebtoken::decode::<Claims>(token, &key.key, &key.rules) {
        // Whoever does not understand what a header calls critical must refuse it, and nothing of the kind is understood here.
        Ok(TokenData { header, .. }) if header.crit.is_some() => {
            Err(Error::Token("it asks for more than is known here"))
        }
        Ok(TokenData { claims, .. }) => Ok(Caller { user: claims.sub }),
        Err(error) => Err(refusal(error.kind())),
    }
}

fn refusal(error: &ErrorKind) -> Error {
    Error::Token(match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidAudience => "it is meant for another audience",
        ErrorKind::InvalidIssuer => "it is from another issuer",
        _ => NOT_OURS,
    })
}
