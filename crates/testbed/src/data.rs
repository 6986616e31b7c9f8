//! The rows of a fixture, the same for the same size on every machine: everything is derived from version 5 UUIDs.

use std::fmt::Write;

use uuid::Uuid;

const NAMESPACE: Uuid = Uuid::from_u128(0x7a3e_c0de_0000_4000_8000_7461_7265_0001);

/// Every this many-th part is a bulk article with stock for any run; its requests never run out.
const BULK_EVERY: usize = 10;
const BULK_STOCK: u32 = 1_000_000;

const THINGS: [&str; 12] = [
    "fuel filter",
    "impeller",
    "raw water pump",
    "shackle",
    "bilge switch",
    "zinc anode",
    "V-belt",
    "injector",
    "hatch seal",
    "winch pawl",
    "alternator",
    "heat exchanger",
];
const KINDS: [&str; 6] = ["main engine", "generator", "tender", "watermaker", "stabiliser", "galley"];
const PLACES: [&str; 5] = ["engine room", "lazarette", "deck store", "workshop", "bosun's locker"];
const UNITS: [&str; 3] = ["piece", "litre", "metre"];

/// The id of what `name` says, the same everywhere.
pub(crate) fn id(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// One part of the fixture.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its id.
    pub id: Uuid,
    /// Its number among its yacht's parts, from 0.
    pub index: usize,
    bits: u64,
}

impl Part {
    pub(crate) fn new(tenant: usize, yacht: usize, index: usize) -> Self {
        let id = id(&format!("tenant {tenant} yacht {yacht} part {index}"));
        Self { id, index, bits: id.as_u64_pair().1 }
    }

    /// The parts that never run out: one in ten.
    pub(crate) fn bulk(tenant: usize, yacht: usize, nth: usize, parts: usize) -> Self {
        let bulk = parts.div_ceil(BULK_EVERY);
        Self::new(tenant, yacht, nth % bulk * BULK_EVERY)
    }

    /// Its part number; they are ordered as the indexes are.
    pub fn number(&self) -> String {
        format!("P-{:06}", self.index)
    }

    /// Where it is kept.
    pub fn location(&self) -> &'static str {
        self.pick(&PLACES, 16)
    }

    fn pick<'a>(&self, from: &[&'a str], shift: u32) -> &'a str {
        from[(self.bits >> shift) as usize % from.len()]
    }

    /// Appends this part's line for COPY into `app.parts`.
    pub(crate) fn copy_part(&self, yacht: Uuid, lines: &mut String) {
        let (thing, kind) = (self.pick(&THINGS, 0), self.pick(&KINDS, 8));
        let (number, location, unit) = (self.number(), self.location(), self.pick(&UNITS, 24));
        let minimum = self.bits >> 32 & 15;
        let _ =
            writeln!(lines, "{}\t{yacht}\t{number}\t{thing}, {kind}\t{kind}\t{location}\t{unit}\t{minimum}", self.id);
    }

    /// Appends this part's line for COPY into `app.stock`.
    pub(crate) fn copy_stock(&self, yacht: Uuid, lines: &mut String) {
        let quantity = if self.index.is_multiple_of(BULK_EVERY) { BULK_STOCK } else { (self.bits >> 40 & 63) as u32 };
        let _ = writeln!(lines, "{}\t{yacht}\t{quantity}", self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_on_every_machine() {
        let mut lines = String::new();
        let part = Part::new(0, 0, 1);
        part.copy_part(id("yacht"), &mut lines);
        part.copy_stock(id("yacht"), &mut lines);
        assert_eq!(
            lines,
            "38618e7d-d31f-5a21-9493-0672b4f6aecd\t5ac8508e-5e70-5048-ad64-5aa003c8ce36\tP-000001\t\
             zinc anode, stabiliser\tstabiliser\tlazarette\tlitre\t2\n\
             38618e7d-d31f-5a21-9493-0672b4f6aecd\t5ac8508e-5e70-5048-ad64-5aa003c8ce36\t6\n"
        );
    }

    #[test]
    fn bulk_parts_stay_within_the_yacht() {
        for nth in 0..50 {
            let part = Part::bulk(0, 0, nth, 25);
            assert!(part.index < 25 && part.index.is_multiple_of(BULK_EVERY));
        }
    }
}
