//! auth: a token checked with a key prepared once, or prepared for each request.

use std::hint::black_box;

use benches::Bed;
use criterion::Criterion;
use tare_gateway::auth::Verifier;
use tare_testbed::Size;

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
            let verified = Verifier::new(settings.clone()).verify(black_box(token));
            assert_eq!(verified.expect("the token is good"), *caller);
        });
    });

    let mut ready = None;
    group.bench_function("hs256", |bencher| {
        let prepare = || (Verifier::new(bed.verifier()), bed.fixture().secret().mint(bed.caller().user), bed.caller());
        let (verifier, token, caller) = ready.get_or_insert_with(prepare);
        bencher.iter(|| {
            let verified = verifier.verify(black_box(token));
            assert_eq!(verified.expect("the token is good"), *caller);
        });
    });

    group.finish();
}
