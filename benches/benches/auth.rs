//! auth: a token checked with a key prepared once, or prepared for each request; with a shared secret, or by a JWKS file.

use std::hint::black_box;

use benches::Bed;
use criterion::Criterion;
use tare_gateway::auth::{Caller, Keys, Verifier};
use tare_testbed::{Size, TokenKey};
use tempfile::NamedTempFile;

fn main() {
    benches::run(Size::SMALL, auth);
}

fn auth(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("auth");

    let mut ready = None;
    group.bench_function("hs256-key-per-request", |bencher| {
        let prepare = || (bed.verifier(), bed.fixture().secret().mint(bed.caller().user), bed.caller());
        let (settings, token, caller) = ready.get_or_insert_with(prepare);
        bencher.iter(|| {
            let verified = Verifier::new(settings.clone()).expect("the secret is long enough").verify(black_box(token));
            assert_eq!(verified.expect("the token is good"), *caller);
        });
    });

    let mut ready = None;
    group.bench_function("hs256", |bencher| {
        let prepare = || {
            let verifier = Verifier::new(bed.verifier()).expect("the secret is long enough");
            (verifier, bed.fixture().secret().mint(bed.caller().user), bed.caller())
        };
        let (verifier, token, caller) = ready.get_or_insert_with(prepare);
        bencher.iter(|| check(verifier, token, *caller));
    });

    for (name, key) in [("rs256", TokenKey::rs256 as fn(&str) -> TokenKey), ("es256", TokenKey::es256)] {
        let mut ready = None;
        group.bench_function(name, |bencher| {
            let prepare = || {
                let key = key(name);
                let file = NamedTempFile::new().expect("a temporary file");
                std::fs::write(&file, TokenKey::jwks(&[&key])).expect("a temporary file can be written");
                let settings = bed.verifier_with(Keys::Jwks(file.path().into()));
                let verifier = Verifier::new(settings).expect("the file is good");
                (verifier, key.mint(bed.caller().user), bed.caller(), file)
            };
            let (verifier, token, caller, _file) = ready.get_or_insert_with(prepare);
            bencher.iter(|| check(verifier, token, *caller));
        });
    }

    group.finish();
}

fn check(verifier: &Verifier, token: &str, caller: Caller) {
    assert_eq!(verifier.verify(black_box(token)).expect("the token is good"), caller);
}
