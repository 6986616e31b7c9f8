//! What tokens are checked with: each key with the one algorithm it is for.

use std::fmt;
use std::path::PathBuf;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use serde_json::Value;

/// Bytes of an HS256 secret at least: as many as its digest has.
const SECRET_BYTES: usize = 32;
/// Bits of an RSA key: fewer are too weak, more are not taken by the library that checks with them.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// Bits of an RSA key's exponent: those that the library takes.
const RSA_EXPONENT_BITS: std::ops::RangeInclusive<usize> = 2..=33;

/// Where the keys come from that tokens are checked with.
#[derive(Clone)]
pub enum Keys {
    /// One HS256 secret of 32 bytes at least, shared with the issuer.
    Secret(String),
    /// A file with a JSON Web Key Set, read again when it changed.
    Jwks(PathBuf),
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(_) => f.debug_tuple("Secret").finish_non_exhaustive(),
            Self::Jwks(path) => f.debug_tuple("Jwks").field(path).finish(),
        }
    }
}

/// Why there are no keys to check tokens with. Holds nothing of the keys themselves.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The shared secret is too short.
    #[error("the HS256 secret that tokens are signed with {}", too_short(*.0))]
    Secret(usize),
    /// The file cannot be read.
    #[error("the keys of tokens cannot be read from {}: {cause}", path.display())]
    Unreadable {
        /// The JWKS file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file holds something else than keys that can be used.
    #[error("the keys of tokens in {} cannot be used: {wrong}", path.display())]
    Unusable {
        /// The JWKS file.
        path: PathBuf,
        /// What is wrong, and with which key.
        wrong: String,
    },
}

fn too_short(bytes: usize) -> String {
    format!("has {bytes} bytes and must have {SECRET_BYTES} at least; `openssl rand -hex 32` makes a good one")
}

/// A key, and the rules for tokens signed with it, which allow for its own algorithm only.
pub(super) struct Key {
    pub id: Option<String>,
    pub key: DecodingKey,
    pub rules: Validation,
}

impl Key {
    fn new(id: Option<String>, key: DecodingKey, algorithm: Algorithm, rules: &Validation) -> Self {
        Self { id, key, rules: Validation { algorithms: vec![algorithm], ..rules.clone() } }
    }

    pub fn secret(secret: &str, rules: &Validation) -> Result<Self, KeysError> {
        match secret.len() {
            SECRET_BYTES.. => Ok(Self::new(None, DecodingKey::from_secret(secret.as_bytes()), Algorithm::HS256, rules)),
            short => Err(KeysError::Secret(short)),
        }
    }
}

/// The keys of a JWKS that can check tokens, and why the others cannot.
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// One sentence for each key that was left out.
    pub ignored: Vec<String>,
}

impl KeySet {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key with this `kid`; without one, the only key that there is.
    pub fn find(&self, id: Option<&str>) -> Option<&Key> {
        match (id, &*self.keys) {
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Reads a JWKS. Of keys for other purposes, and of kinds unknown here, others may make use: they are left out. A key
    /// that is meant for us and broken or weak spoils the set. What is said of either names the key and shows nothing of it.
    pub fn parse(text: &[u8], rules: &Validation) -> Result<Self, String> {
        let set: Value = serde_json::from_slice(text).map_err(|error| format!("it is not JSON: {error}"))?;
        let list = set.get("keys").and_then(Value::as_array).ok_or("it is not a JWKS: it has no list `keys`")?;
        let mut set = Self { keys: Vec::new(), ignored: Vec::new() };
        for (index, value) in list.iter().enumerate() {
            let id = value.get("kid").and_then(Value::as_str);
            let name = id.map_or_else(|| format!("key number {}", index + 1), |id| format!("key {id:?}"));
            let jwk = complete(value).ok_or_else(|| format!("{name} is not a JWK, or lacks a part"))?;
            match algorithm(&jwk) {
                Err(why) => set.ignored.push(format!("{name} is ignored: {why}")),
                Ok(algorithm) => {
                    let key = decoding_key(&jwk).map_err(|wrong| format!("{name} {wrong}"))?;
                    set.keys.push(Key::new(jwk.common.key_id, key, algorithm, rules));
                }
            }
        }
        set.distinct()
    }

    /// That each key can be found.
    fn distinct(self) -> Result<Self, String> {
        for (index, key) in self.keys.iter().enumerate() {
            match &key.id {
                None if self.keys.len() > 1 => {
                    return Err("a key has no kid, which only an only key can do without".into());
                }
                Some(id) if self.keys[..index].iter().any(|other| other.id.as_ref() == Some(id)) => {
                    return Err(format!("two keys have the kid {id:?}"));
                }
                _ => {}
            }
        }
        Ok(self)
    }
}

/// The JWK, unless it is none, or one of a kind we know without all that belongs to it. What serde says of that may quote it.
fn complete(value: &Value) -> Option<Jwk> {
    let kind = value.get("kty")?.as_str()?;
    let curve = value.get("crv").and_then(Value::as_str);
    let known = matches!((kind, curve), ("oct" | "RSA", _) | ("EC", Some("P-256")));
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    (!known || !matches!(jwk.algorithm, AlgorithmParameters::Other(_))).then_some(jwk)
}

/// The one algorithm that the key is for, or why it is for none of ours.
fn algorithm(jwk: &Jwk) -> Result<Algorithm, String> {
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        _ => return Err("only oct, RSA and EC keys on P-256 are used".into()),
    };
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return Err("its use is not sig".into());
    }
    if jwk.common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
        return Err("its key_ops do not include verify".into());
    }
    match jwk.common.key_algorithm {
        Some(named) if named != KeyAlgorithm::from(algorithm) => {
            Err(format!("its alg is not {algorithm:?}, the one used with keys of its kind"))
        }
        _ => Ok(algorithm),
    }
}

/// The key, ready for use, or what is wrong with it.
fn decoding_key(jwk: &Jwk) -> Result<DecodingKey, String> {
    let key = DecodingKey::from_jwk(jwk).map_err(|_| "is not written in base64url without padding")?;
    match (&jwk.algorithm, key.kind()) {
        (AlgorithmParameters::OctetKey(_), DecodingKeyKind::SecretOrDer(secret)) if secret.len() < SECRET_BYTES => {
            Err(too_short(secret.len()))
        }
        (_, DecodingKeyKind::RsaModulusExponent { n, .. }) if !RSA_BITS.contains(&bits(n)) => Err(format!(
            "is an RSA key of {} bits and must have from {} to {}",
            bits(n),
            RSA_BITS.start(),
            RSA_BITS.end()
        )),
        (_, DecodingKeyKind::RsaModulusExponent { n, e })
            if !RSA_EXPONENT_BITS.contains(&bits(e)) || !is_odd(e) || !is_odd(n) =>
        {
            Err("is not an RSA key: its n or e cannot be one's".into())
        }
        // Any signature will do: a point that is not on the curve is an error before it is looked at.
        (AlgorithmParameters::EllipticCurve(_), _)
            if jsonwebtoken::crypto::verify("", b"", &key, Algorithm::ES256).is_err() =>
        {
            Err("is not a point on the curve P-256".into())
        }
        _ => Ok(key),
    }
}

/// Bits of a number written in bytes, highest first.
fn bits(number: &[u8]) -> usize {
    let digits = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    digits.first().map_or(0, |first| digits.len() * 8 - first.leading_zeros() as usize)
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|lowest| lowest % 2 == 1)
}
