//! tenant: looked up in the control database, on a connection of its own or a pooled one, or remembered.

use benches::{Bed, Group};
use criterion::Criterion;
use moka::future::Cache;
use tare_testbed::Size;

fn main() {
    benches::run(Size::SMALL, tenant);
}

fn tenant(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "tenant");

    for (way, pooled, remember) in
        [("uncached", false, false), ("uncached-pooled", true, false), ("cached", false, true)]
    {
        let prepare = || (bed.tenants(bed.connections(pooled), remember), bed.caller(), bed.fixture().tenants()[0].id);
        group.each(
            way,
            prepare,
            async |(tenants, caller, expected)| {
                assert_eq!(tenants.of(caller).await.expect("the user has a tenant").id, *expected);
            },
            // A cache listens for changes on a connection of its own.
            |_, _| bed.expect_connections(i64::from(pooled) + i64::from(remember)),
        );
    }

    // What a cache costs at least: moka's own `get`.
    let prepare = || {
        let (caller, (tenant, _)) = (bed.caller(), bed.tenant());
        let (cache, expected) = (Cache::new(100_000), tenant.id);
        bed.runtime().block_on(cache.insert(caller.user, tenant));
        (cache, caller, expected)
    };
    group.each(
        "cached-bare",
        prepare,
        async |(cache, caller, expected)| {
            assert_eq!(cache.get(&caller.user).await.expect("it was just inserted").id, *expected);
        },
        |_, _| (),
    );

    group.finish();
}
