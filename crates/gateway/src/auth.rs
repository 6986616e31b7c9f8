//! auth: token → [`Caller`].
//!
//! Signature, expiry, audience and issuer are checked and nothing else in the token is trusted: which tenant a user belongs
//! to, and what they may do there, is the control database's to say.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use uuid::Uuid;

use crate::Error;

/// Seconds by which clocks may differ.
const LEEWAY: u64 = 5;

/// How tokens are checked.
#[derive(Clone)]
pub struct VerifierSettings {
    /// The HS256 secret shared with the issuer.
    pub secret: String,
    /// The `iss` a token must carry.
    pub issuer: String,
    /// The `aud` a token must carry.
    pub audience: String,
}

impl std::fmt::Debug for VerifierSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifierSettings")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .finish_non_exhaustive()
    }
}

/// Who sent a request, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub user: Uuid,
}

/// Checks tokens; key and rules are prepared once.
pub struct Verifier {
    key: DecodingKey,
    rules: Validation,
}

#[derive(Deserialize)]
struct Claims {
    sub: Uuid,
}

impl Verifier {
    /// Prepares the key and the rules.
    pub fn new(settings: VerifierSettings) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.leeway = LEEWAY;
        rules.validate_nbf = true;
        rules.set_audience(&[settings.audience]);
        rules.set_issuer(&[settings.issuer]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        Self { key: DecodingKey::from_secret(settings.secret.as_bytes()), rules }
    }

    /// The caller that `token` proves, or [`Error::Token`].
    pub fn verify(&self, token: &str) -> Result<Caller, Error> {
        match jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules) {
            Ok(token) => Ok(Caller { user: token.claims.sub }),
            Err(error) => Err(Error::Token(match error.kind() {
                ErrorKind::ExpiredSignature => "it has expired",
                ErrorKind::ImmatureSignature => "it is not valid yet",
                ErrorKind::InvalidAudience => "it is meant for another audience",
                ErrorKind::InvalidIssuer => "it is from another issuer",
                _ => "it is not a token of ours",
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &str = "a secret of at least thirty-two bytes";

    fn verifier() -> Verifier {
        Verifier::new(VerifierSettings { secret: SECRET.into(), issuer: "issuer".into(), audience: "audience".into() })
    }

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let mut claims =
            json!({"sub": Uuid::from_u128(7), "iss": "issuer", "aud": "audience", "iat": now, "exp": now + 60});
        change(&mut claims);
        claims
    }

    fn refusal(claims: Value, algorithm: Algorithm, secret: &str) -> String {
        let token = encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        verifier().verify(&token).unwrap_err().to_string()
    }

    #[test]
    fn a_good_token_names_its_user() {
        let key = EncodingKey::from_secret(SECRET.as_bytes());
        let token = encode(&Header::new(Algorithm::HS256), &claims(|_| ()), &key).unwrap();
        assert_eq!(verifier().verify(&token).unwrap(), Caller { user: Uuid::from_u128(7) });
    }

    #[test]
    fn a_bad_token_is_refused_for_what_is_wrong_with_it() {
        type Case = (fn(&mut Value), &'static str);
        let cases: [Case; 6] = [
            (|c| c["exp"] = json!(c["iat"].as_u64().unwrap() - 60), "expired"),
            (|c| c["nbf"] = json!(c["exp"].as_u64().unwrap() + 60), "not valid yet"),
            (|c| c["aud"] = json!("another"), "another audience"),
            (|c| c["iss"] = json!("another"), "another issuer"),
            (|c| c["sub"] = json!("not a uuid"), "not a token of ours"),
            (|c| drop(c.as_object_mut().unwrap().remove("exp")), "not a token of ours"),
        ];
        for (change, expected) in cases {
            let refused = refusal(claims(change), Algorithm::HS256, SECRET);
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn another_secret_another_algorithm_and_rubbish_are_refused_alike() {
        for refused in [
            refusal(claims(|_| ()), Algorithm::HS256, "another secret of at least thirty-two bytes"),
            refusal(claims(|_| ()), Algorithm::HS384, SECRET),
            verifier().verify("").unwrap_err().to_string(),
            verifier().verify("e30.e30.").unwrap_err().to_string(),
        ] {
            assert!(refused.contains("not a token of ours"), "{refused}");
        }
    }
}
