//! One request's body, read and checked.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::list::List;
use crate::{Error, Fix, Strategy};

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A part, and how much of it is in stock.
    ViewPartDetails,
    /// Parts leave the stock.
    ConsumePart,
    /// Parts enter the stock.
    ReceivePart,
    /// The parts of one location, page by page.
    ListParts,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::ViewPartDetails, Self::ConsumePart, Self::ReceivePart, Self::ListParts];

    /// The name in requests and in the audit log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ViewPartDetails => "view_part_details",
            Self::ConsumePart => "consume_part",
            Self::ReceivePart => "receive_part",
            Self::ListParts => "list_parts",
        }
    }

    /// The name that `app.execute` knows it by: its own, and of an action that has two shapes the one that has this.
    pub const fn name_in_database(self, shape: Shape) -> &'static str {
        match (self, shape) {
            (Self::ListParts, Shape::ByOffset) => "list_parts_by_offset",
            (Self::ListParts, Shape::ByKey) => "list_parts_by_key",
            _ => self.name(),
        }
    }

    /// Whether it changes anything.
    pub const fn mutates(self) -> bool {
        matches!(self, Self::ConsumePart | Self::ReceivePart)
    }
}

/// How the queries of an action that reads many rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Pages are counted off by OFFSET, and what is joined to each row is a query of its own (N+1).
    ByOffset,
    /// One joined query, which begins where the last page ended.
    ByKey,
}

impl Shape {
    /// The shape under `strategy`: rewritten when [`Fix::Query`] is on.
    pub const fn of(strategy: Strategy) -> Self {
        if strategy.has(Fix::Query) { Self::ByKey } else { Self::ByOffset }
    }
}

/// What comes with an action, apart from its payload.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The yacht the caller believes to be on; refused when it is not theirs.
    pub yacht_id: Option<Uuid>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct View {
    pub(super) part_id: Uuid,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Consume {
    pub(super) part_id: Uuid,
    pub(super) quantity: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) work_order: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Receive {
    pub(super) part_id: Uuid,
    pub(super) quantity: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) purchase_order: Option<String>,
}

#[derive(Debug)]
pub(super) enum Payload {
    View(View),
    Consume(Consume),
    Receive(Receive),
    List(List),
}

impl Payload {
    /// What the caller wrote freely.
    fn texts(&self) -> impl Iterator<Item = &str> {
        let texts = match self {
            Self::View(_) => [None, None],
            Self::Consume(consume) => [consume.work_order.as_deref(), None],
            Self::Receive(receive) => [receive.purchase_order.as_deref(), None],
            Self::List(list) => [Some(&*list.location), list.from.as_ref().map(|from| &*from.after)],
        };
        texts.into_iter().flatten()
    }
}

/// One request's body, understood.
#[derive(Debug)]
pub struct Call {
    /// What came with it.
    pub context: Context,
    pub(super) payload: Payload,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    action: String,
    #[serde(default)]
    context: Context,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Call {
    /// Reads `{action, context, payload}`.
    ///
    /// # Errors
    /// [`Error::Malformed`], saying what was expected where; [`Error::NoSuchAction`].
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let malformed = |error: serde_json::Error| Error::Malformed(error.to_string());
        let body: Body = serde_json::from_slice(body).map_err(malformed)?;
        let Some(action) = Action::ALL.into_iter().find(|action| action.name() == body.action) else {
            return Err(Error::NoSuchAction(body.action));
        };
        let payload = body.payload.get();
        let in_payload = |error: serde_json::Error| Error::Malformed(format!("payload: {error}"));
        let payload = match action {
            Action::ViewPartDetails => Payload::View(serde_json::from_str(payload).map_err(in_payload)?),
            Action::ConsumePart => Payload::Consume(serde_json::from_str(payload).map_err(in_payload)?),
            Action::ReceivePart => Payload::Receive(serde_json::from_str(payload).map_err(in_payload)?),
            Action::ListParts => Payload::List(serde_json::from_str(payload).map_err(in_payload)?),
        };
        // PostgreSQL has no text with it, and one such row would take its whole audit batch along.
        if payload.texts().any(|text| text.contains('\0')) {
            return Err(Error::Malformed("payload: text must not hold the character U+0000".into()));
        }
        match payload {
            Payload::Consume(Consume { quantity: ..1, .. }) | Payload::Receive(Receive { quantity: ..1, .. }) => {
                Err(Error::Malformed("payload: quantity must be at least 1".into()))
            }
            Payload::List(List { limit: ..1 | 101.., .. }) => {
                Err(Error::Malformed("payload: limit must be from 1 to 100".into()))
            }
            payload => Ok(Self { context: body.context, payload }),
        }
    }

    /// What is asked for.
    pub fn action(&self) -> Action {
        match self.payload {
            Payload::View(_) => Action::ViewPartDetails,
            Payload::Consume(_) => Action::ConsumePart,
            Payload::Receive(_) => Action::ReceivePart,
            Payload::List(_) => Action::ListParts,
        }
    }

    /// The payload as JSON, for the database and the audit log.
    pub fn payload_json(&self) -> String {
        match &self.payload {
            Payload::View(view) => serde_json::to_string(view),
            Payload::Consume(consume) => serde_json::to_string(consume),
            Payload::Receive(receive) => serde_json::to_string(receive),
            Payload::List(list) => serde_json::to_string(list),
        }
        .expect("strings, numbers and ids serialise")
    }

    /// The part it is about, if it is about one.
    pub(super) fn part(&self) -> Option<Uuid> {
        match &self.payload {
            Payload::View(view) => Some(view.part_id),
            Payload::Consume(consume) => Some(consume.part_id),
            Payload::Receive(receive) => Some(receive.part_id),
            Payload::List(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &str) -> String {
        Call::parse(body.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_call_keeps_what_it_was_given() {
        let id = Uuid::from_u128(5);
        let body = format!(r#"{{"action":"consume_part","payload":{{"part_id":"{id}","quantity":2}}}}"#);
        let call = Call::parse(body.as_bytes()).unwrap();
        assert_eq!(call.action(), Action::ConsumePart);
        assert_eq!(call.payload_json(), format!(r#"{{"part_id":"{id}","quantity":2}}"#));
    }

    #[test]
    fn a_malformed_body_is_told_where_it_is_wrong() {
        assert!(refused("").contains("EOF"));
        assert!(refused("[]").contains("malformed"));
        assert!(refused(r#"{"payload":{}}"#).contains("`action`"));
        assert!(refused(r#"{"action":"view_part_details","payload":{"part_id":"x"}}"#).contains("payload: "));
        assert!(refused(r#"{"action":"view_part_details","payload":{},"extra":1}"#).contains("`extra`"));
        let id = Uuid::nil();
        let nul =
            format!(r#"{{"action":"consume_part","payload":{{"part_id":"{id}","quantity":1,"work_order":"\u0000"}}}}"#);
        assert!(refused(&nul).contains("U+0000"));
    }

    #[test]
    fn stock_moves_by_at_least_one() {
        let id = Uuid::nil();
        for (action, quantity) in [("consume_part", 0), ("receive_part", -1)] {
            let body = format!(r#"{{"action":"{action}","payload":{{"part_id":"{id}","quantity":{quantity}}}}}"#);
            assert!(refused(&body).contains("at least 1"));
        }
    }

    #[test]
    fn a_page_has_20_parts_unless_told_otherwise_and_at_most_100() {
        let list = |rest: &str| format!(r#"{{"action":"list_parts","payload":{{"location":"deck store"{rest}}}}}"#);
        let call = Call::parse(list("").as_bytes()).unwrap();
        assert_eq!(call.payload_json(), r#"{"location":"deck store","limit":20}"#);
        for limit in [0, 101] {
            assert!(refused(&list(&format!(r#","limit":{limit}"#))).contains("from 1 to 100"));
        }
        assert!(refused(&list(r#","from":{"offset":-1,"after":"P-1"}"#)).contains("payload: "));
        assert!(refused(&list(r#","from":{"offset":1,"after":"\u0000"}"#)).contains("U+0000"));
    }

    #[test]
    fn an_unknown_action_is_named() {
        assert_eq!(refused(r#"{"action":"sink","payload":{}}"#), r#"there is no action "sink""#);
    }
}
