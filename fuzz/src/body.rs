//! The body of a request.

use serde_json::Value;
use tare_gateway::action::Call;
use tare_gateway::response::error_body;

/// A refusal repeats what it does not know: what cannot be printed is escaped for that, and the escape once more as JSON.
const ESCAPED: usize = 8;
/// Bytes of what a refusal says besides.
const SAID: usize = 512;

/// A body is refused with 4xx, in words that are JSON, or understood; then it reads the same as it is handed to the database.
pub fn body(bytes: &[u8]) -> bool {
    let call = match Call::parse(bytes) {
        Ok(call) => call,
        Err(error) => {
            assert!((400..500).contains(&error.status()), "{error}");
            let told = error_body(&error);
            assert!(told.len() <= SAID + ESCAPED * bytes.len(), "{} bytes are told of {}", told.len(), bytes.len());
            let told: Value = serde_json::from_slice(&told).expect("a refusal is JSON");
            assert!(told["error"]["message"].is_string());
            return false;
        }
    };
    let payload = call.payload_json();
    let read: Value = serde_json::from_str(&payload).expect("a payload is JSON");
    assert!(!holds_nul(&read), "PostgreSQL has no such text: {payload}");
    let again = format!(r#"{{"action":"{}","payload":{payload}}}"#, call.action().name());
    let again = Call::parse(again.as_bytes()).expect("what was understood is understood again");
    assert_eq!((again.action(), again.payload_json()), (call.action(), payload));
    true
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(values) => values.values().any(holds_nul),
        _ => false,
    }
}
