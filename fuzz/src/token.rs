//! A bearer token.

use std::sync::OnceLock;

use tare_gateway::Error;
use tare_gateway::auth::{Keys, Verifier, VerifierSettings};

const SECRET: &str = "a secret of at least thirty-two bytes";
/// The public halves of keys whose private ones nobody has any more.
const JWKS: &str = include_str!("keys.json");
/// What was signed with the secret and with these keys, and is good until the year 2100.
const SIGNED: [&[u8]; 3] = [
    include_bytes!("../seeds/token/hs256"),
    include_bytes!("../seeds/token/rs256"),
    include_bytes!("../seeds/token/es256"),
];

/// A token is refused with 401, or it is one that was signed, to the last bit.
pub fn token(bytes: &[u8]) -> bool {
    let Ok(token) = str::from_utf8(bytes) else { return false };
    let signed = SIGNED.contains(&bytes);
    let accepted = verifiers().iter().filter(|verifier| match verifier.verify(token) {
        Ok(_) => true,
        Err(error) => {
            assert!(matches!(error, Error::Token(_)) && error.status() == 401, "{error}");
            false
        }
    });
    assert_eq!(accepted.count(), usize::from(signed), "{token}");
    signed
}

/// One for the secret, and one for the keys.
fn verifiers() -> &'static [Verifier; 2] {
    static VERIFIERS: OnceLock<[Verifier; 2]> = OnceLock::new();
    VERIFIERS.get_or_init(|| {
        // Once it was read it may go: what was read stays in use.
        let file = tempfile::NamedTempFile::new().expect("there is a folder for such files");
        std::fs::write(&file, JWKS).expect("a new file can be written");
        [Keys::Secret(SECRET.into()), Keys::Jwks(file.path().into())].map(|keys| {
            let settings = VerifierSettings { keys, issuer: "tare-testbed".into(), audience: "tare".into() };
            Verifier::new(settings).expect("the keys can be used")
        })
    })
}
