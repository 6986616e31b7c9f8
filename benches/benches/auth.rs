//! auth: a token checked with a key prepared once, or prepared for each request; with a shared secret, or by a JWKS file.

use std::hint::black_box;

use benches::{Bed, Group};
use criterion::Criterion;
use tare_gateway::auth::{Caller, Keys, Verifier};
use tare_testbed::{PrivateFolder, Size, TokenKey};

fn main() {
    benches::run(Size::SMALL, auth);
}

fn auth(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "auth");
    let signed = || (bed.fixture().secret().mint(bed.caller().user), bed.caller());

    let prepare = || (bed.verifier(), signed());
    group.offline("hs256-key-per-request", prepare, |(settings, (token, caller))| {
        let verifier = Verifier::new(settings.clone()).expect("the secret is long enough");
        check(&verifier, token, *caller);
    });

    let prepare = || (Verifier::new(bed.verifier()).expect("the secret is long enough"), signed());
    group.offline("hs256", prepare, |(verifier, (token, caller))| check(verifier, token, *caller));

    let by_file = |key: TokenKey| {
        let folder = PrivateFolder::new().expect("a temporary folder");
        let file = folder.path().join("jwks.json");
        std::fs::write(&file, TokenKey::jwks(&[&key])).expect("a temporary file can be written");
        let settings = bed.verifier_with(Keys::Jwks(file));
        let verifier = Verifier::new(settings).expect("the file is good");
        (verifier, (key.mint(bed.caller().user), bed.caller()), folder)
    };
    let prepare = || by_file(TokenKey::rs256("rs256"));
    group.offline_by_chance("rs256", prepare, |(verifier, (token, caller), _folder)| check(verifier, token, *caller));

    let prepare = || by_file(TokenKey::es256("es256"));
    group.offline("es256", prepare, |(verifier, (token, caller), _folder)| check(verifier, token, *caller));

    group.finish();
}

fn check(verifier: &Verifier, token: &str, caller: Caller) {
    assert_eq!(verifier.verify(black_box(token)).expect("the token is good"), caller);
}
