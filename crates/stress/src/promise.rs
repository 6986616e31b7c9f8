//! What the body of a success holds.
//!
//! Every answer under load is looked through, so nothing is built of it: what lies off the way of a pointer is skipped.

use std::fmt;
use std::str::Split;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Which of the JSON pointers `promises` does not point at something in `body`; null is nothing. An error when the body is
/// not JSON.
pub(crate) fn missing<'a>(body: &[u8], promises: &'a [String]) -> Result<Option<&'a str>, serde_json::Error> {
    if promises.is_empty() {
        return serde_json::from_slice::<IgnoredAny>(body).map(|_| None);
    }
    for pointer in promises {
        let mut json = serde_json::Deserializer::from_slice(body);
        let mut way = pointer.split('/');
        way.next();
        let found = Way(way).deserialize(&mut json)?;
        json.end()?;
        if !found {
            return Ok(Some(pointer));
        }
    }
    Ok(None)
}

/// What is left of the way to a value; whether there is something at its end.
struct Way<'a>(Split<'a, char>);

impl<'de> DeserializeSeed<'de> for Way<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl Way<'_> {
    /// What any value is but null, an object or an array: an end.
    fn at_its_end<E>(mut self) -> Result<bool, E> {
        Ok(self.0.next().is_none())
    }
}

impl<'de> Visitor<'de> for Way<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        self.at_its_end()
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        self.at_its_end()
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        self.at_its_end()
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        self.at_its_end()
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        self.at_its_end()
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<bool, A::Error> {
        let Some(step) = self.0.next() else {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(true);
        };
        let mut found = false;
        while let Some(is_it) = map.next_key_seed(Is(step))? {
            match is_it {
                // As everywhere, the last of several values under one name counts.
                true => found = map.next_value_seed(Way(self.0.clone()))?,
                false => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<bool, A::Error> {
        let Some(step) = self.0.next() else {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(true);
        };
        // `01` and `+1` are names of nothing in an array.
        let wanted = step.parse::<usize>().ok().filter(|index| index.to_string() == step);
        let (mut found, mut index) = (false, 0);
        loop {
            let there_is = match wanted == Some(index) {
                true => seq.next_element_seed(Way(self.0.clone()))?.map(|there| found = there).is_some(),
                false => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !there_is {
                return Ok(found);
            }
            index += 1;
        }
    }
}

/// Whether a name is this one, in which `~1` is a slash and `~0` a tilde.
struct Is<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(match self.0.contains('~') {
            true => self.0.replace("~1", "/").replace("~0", "~") == name,
            false => self.0 == name,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What serde_json's own pointers say.
    fn by_the_book(body: &str, pointer: &str) -> bool {
        let json: Value = serde_json::from_str(body).unwrap();
        json.pointer(pointer).is_some_and(|value| !value.is_null())
    }

    #[test]
    fn pointers_lead_where_they_should() {
        let bodies = [
            r#"{"a":{"b":[1,null,{"c":"x"}]},"":0,"m/n":1,"~":2,"a b":{}}"#,
            r#"[[],{},[null,false]]"#,
            r#"{"a":1,"a":null}"#,
            r#"{"a":null,"a":{"b":[1,2,[3]]}}"#,
            r#""text""#,
            "null",
            "-1.5e3",
        ];
        let pointers = [
            "", "/", "/a", "/a/b", "/a/b/0", "/a/b/1", "/a/b/2/c", "/a/b/2", "/a/b/01", "/a/b/+1", "/a/b/9", "/a/b/x",
            "/m~1n", "/~0", "/a b", "/2/1", "/2/0", "/0", "/b", "/a/b/2/0",
        ];
        for (body, pointer) in bodies.iter().flat_map(|body| pointers.map(|pointer| (body, pointer))) {
            let promises = [pointer.to_owned()];
            let found = missing(body.as_bytes(), &promises).unwrap().is_none();
            assert_eq!(found, by_the_book(body, pointer), "{pointer} in {body}");
        }
    }

    #[test]
    fn the_first_that_is_missing_is_told() {
        let promises = ["/a", "/b", "/c"].map(str::to_owned);
        assert_eq!(missing(br#"{"a":1,"b":null}"#, &promises).unwrap(), Some("/b"));
    }

    #[test]
    fn what_is_not_json_is_an_error_wherever_it_is_not() {
        for body in ["", "oops", r#"{"a":1"#, r#"{"a":1} x"#, r#"{"b":tru,"a":1}"#, "\u{feff}{}"] {
            for promises in [vec![], vec!["/a".to_owned()]] {
                assert!(missing(body.as_bytes(), &promises).is_err(), "{body}");
            }
        }
    }
}
