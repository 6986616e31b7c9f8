//! tenant: looked up in the control database, on a connection of its own or a pooled one, or remembered.

use benches::Bed;
use criterion::Criterion;
use moka::future::Cache;
use tare_testbed::Size;

fn main() {
    benches::run(Size::SMALL, tenant);
}

fn tenant(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("tenant");

    for (way, pooled, remember) in
        [("uncached", false, false), ("uncached-pooled", true, false), ("cached", false, true)]
    {
        let mut ready = None;
        group.bench_function(way, |bencher| {
            let (tenants, caller, expected) = ready.get_or_insert_with(|| {
                (bed.tenants(bed.connections(pooled), remember), bed.caller(), bed.fixture().tenants()[0].id)
            });
            let (tenants, caller, expected) = (&*tenants, *caller, *expected);
            let look_up = async || assert_eq!(tenants.of(&caller).await.expect("the user has a tenant").id, expected);
            bencher.to_async(bed.runtime()).iter(look_up);
        });
        if ready.is_some() {
            // A cache listens for changes on a connection of its own.
            bed.expect_connections(i64::from(pooled) + i64::from(remember));
        }
    }

    // What a cache costs at least: moka's own `get`.
    let mut ready = None;
    group.bench_function("cached-bare", |bencher| {
        let (cache, caller, expected) = ready.get_or_insert_with(|| {
            let (caller, (tenant, _)) = (bed.caller(), bed.tenant());
            let (cache, expected) = (Cache::new(100_000), tenant.id);
            bed.runtime().block_on(cache.insert(caller.user, tenant));
            (cache, caller, expected)
        });
        let (cache, caller, expected) = (&*cache, *caller, *expected);
        let get = async || assert_eq!(cache.get(&caller.user).await.expect("it was just inserted").id, expected);
        bencher.to_async(bed.runtime()).iter(get);
    });

    group.finish();
}
