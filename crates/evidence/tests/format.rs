//! Evidence as a file: its schema, and what earlier versions wrote.

use std::path::Path;

use serde_json::{Value, json};
use tare_evidence::{Evidence, OLDEST, VERSION, schema};

fn docs(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_schema_that_is_checked_in_is_that_of_the_types() {
    let current = serde_json::to_value(schema()).unwrap();
    let is = docs("evidence.schema.json") == current;
    assert!(is, "it is not; cargo xtask report --schema > docs/evidence.schema.json");
    assert_eq!(current["properties"]["benches"]["items"]["$ref"], "#/$defs/Bench");
}

#[test]
fn what_is_written_is_read_as_it_was() {
    let written = docs("evidence/perf.json");
    assert_eq!(written["version"], VERSION);
    let read: Evidence = serde_json::from_value(written.clone()).unwrap();
    assert!(read.benches.len() > 50 && read.profiles.len() == 8, "a whole run");
    assert_eq!(serde_json::to_value(read).unwrap(), written);
}

#[test]
fn what_the_oldest_version_wrote_is_read() {
    assert_eq!(OLDEST, 4);
    let mut old = docs("evidence/perf.json");
    old["version"] = json!(OLDEST);
    // What came since: versions 5 and 6.
    for key in ["matrix", "changes", "in_turns"] {
        old.as_object_mut().unwrap().remove(key);
    }
    for bench in old["benches"].as_array_mut().unwrap() {
        for key in ["wire_bytes", "allocations"] {
            bench.as_object_mut().unwrap().remove(key);
        }
    }
    for pass in old["passes"].as_array_mut().unwrap() {
        pass.as_object_mut().unwrap().remove("activity");
    }
    for profile in old["profiles"].as_array_mut().unwrap() {
        for key in ["distances", "work", "plans", "findings", "remarks", "next"] {
            profile.as_object_mut().unwrap().remove(key);
        }
        for component in profile["components"].as_array_mut().unwrap() {
            *component = json!([component["name"], component["ms"]["estimate"]]);
        }
    }
    let read: Evidence = serde_json::from_value(old).unwrap();
    let component = &read.profiles[0].components[0];
    assert_eq!((&*component.name, component.ms.lower), ("auth", component.ms.estimate));
    assert!(read.profiles[0].next.is_empty() && read.matrix.is_none());
}
