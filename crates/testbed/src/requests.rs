//! Requests to send: the actions in `fixtures/actions`, filled in for the fixture's users and parts.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{Fixture, Part, TenantFixture};

const FILES: [&str; 4] = [
    include_str!("../../../fixtures/actions/view_part_details.json"),
    include_str!("../../../fixtures/actions/consume_part.json"),
    include_str!("../../../fixtures/actions/receive_part.json"),
    include_str!("../../../fixtures/actions/list_parts.json"),
];

/// An action as it is written down in `fixtures/actions`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    request: Value,
    /// JSON pointers to what the body of a successful answer holds.
    pub promises: Vec<String>,
}

/// A request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The bearer token of the user it is from.
    pub token: String,
    /// Its body.
    pub body: String,
}

/// There is no action of that name.
#[derive(Debug, thiserror::Error)]
#[error("there is no action {0:?}; there are {names}", names = names().collect::<Vec<_>>().join(", "))]
pub struct UnknownAction(String);

fn templates() -> impl Iterator<Item = Template> {
    FILES.iter().map(|file| serde_json::from_str(file).expect("a test reads every file in fixtures/actions"))
}

fn names() -> impl Iterator<Item = String> {
    templates().map(|template| template.name().to_owned())
}

impl Template {
    /// The action of that name.
    pub fn named(name: &str) -> Result<Self, UnknownAction> {
        templates().find(|template| template.name() == name).ok_or_else(|| UnknownAction(name.to_owned()))
    }

    /// The action's name.
    pub fn name(&self) -> &str {
        self.request["action"].as_str().unwrap_or_default()
    }

    /// `count` requests that take `tenants`, all or some of the fixture's, their yachts and well-stocked parts in turn. A list
    /// is of the part's location, from its middle.
    pub fn requests(&self, fixture: &Fixture, tenants: &[TenantFixture], count: usize) -> Vec<Prepared> {
        let users: Vec<_> =
            tenants.iter().flat_map(|tenant| tenant.crew.iter().map(move |user| (tenant, user))).collect();
        let tokens: Vec<_> = users.iter().map(|(_, user)| fixture.secret().mint(user.id)).collect();
        let text = self.request.to_string();
        let lists: Vec<_> = match text.contains("{location}") {
            true => users.iter().map(|(tenant, user)| Lists::of(fixture, tenant.index, user.yacht)).collect(),
            false => Vec::new(),
        };
        (0..count)
            .map(|nth| {
                let (tenant, user) = users[nth % users.len()];
                let part = fixture.bulk_part(tenant.index, user.yacht, nth / users.len());
                let mut body = text
                    .replace("{yacht_id}", &tenant.yachts[user.yacht].to_string())
                    .replace("{part_id}", &part.id.to_string());
                if let Some(lists) = lists.get(nth % users.len()) {
                    body = lists.fill_in(&body, part.location());
                }
                Prepared { token: tokens[nth % users.len()].clone(), body }
            })
            .collect()
    }
}

/// Each location's parts on one yacht, in the order of their numbers.
struct Lists(HashMap<&'static str, Vec<Part>>);

impl Lists {
    fn of(fixture: &Fixture, tenant: usize, yacht: usize) -> Self {
        let mut lists: HashMap<_, Vec<_>> = HashMap::new();
        for part in (0..fixture.size().parts).map(|index| fixture.part(tenant, yacht, index)) {
            lists.entry(part.location()).or_default().push(part);
        }
        Self(lists)
    }

    /// Replaces what says which list, and where in it its middle is: after how many parts, and after which number.
    fn fill_in(&self, body: &str, location: &str) -> String {
        let before = self.0.get(location).map_or(&[][..], |parts| &parts[..parts.len() / 2]);
        body.replace("{location}", location)
            .replace("\"{offset}\"", &before.len().to_string())
            .replace("{after}", &before.last().map(Part::number).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_is_named_and_promises_something() {
        for template in templates() {
            assert!(!template.promises.is_empty());
            assert_eq!(Template::named(template.name()).unwrap().name(), template.name());
        }
    }

    #[test]
    fn an_unknown_action_lists_those_there_are() {
        let error = Template::named("sink").unwrap_err().to_string();
        assert!(error.contains("\"sink\"") && error.contains("consume_part"), "{error}");
    }
}
