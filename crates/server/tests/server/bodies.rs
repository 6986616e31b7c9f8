//! Bodies that are no good: refused at once, each with 4xx, and forgotten.

use fastrand::Rng;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use reqwest::StatusCode;
use serde_json::Value;
use tare_testbed::Fixture;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::bed::{Service, fixture, to_its_end, view};
use crate::memory::resident_kib;

/// Bytes of a body at most, as `crates/server/src/http.rs` has it.
const LIMIT: usize = 64 * 1024;
/// Bodies of each kind.
const OF_EACH: usize = 140;
const AT_ONCE: usize = 16;
/// By how much all of them may raise what the server keeps of memory, and what it has at any moment.
const BOUND_MIB: u64 = 16;
const IN_FLIGHT: &str = "tare_http_requests_in_flight";

fn token(fixture: &Fixture) -> String {
    fixture.secret().mint(fixture.tenants()[0].crew[0].id)
}

/// That it is as if nothing had been.
async fn is_well(service: &Service, fixture: &Fixture) {
    assert_eq!(service.post(&token(fixture), view(fixture.part(0, 0, 1).id)).await.0, StatusCode::OK);
    service.until(IN_FLIGHT, 0.0).await;
    let text = service.get("/metrics").await.text().await.unwrap();
    assert!(!text.contains(r#"tare_http_requests_total{status="5"#), "{text}");
}

/// The head of a request for an action with these lines in it.
fn head(token: &str, lines: &str) -> String {
    format!("POST /v1/actions/execute HTTP/1.1\r\nHost: tare\r\nAuthorization: Bearer {token}\r\n{lines}\r\n\r\n")
}

/// Statuses of the answers in `said`, which is nothing else.
fn statuses(said: &str) -> Vec<u16> {
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 "), "{said}");
    said.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].parse().unwrap()).collect()
}

type Kind = (&'static str, u16, fn(&mut Rng, Uuid) -> Vec<u8>);

/// Bodies within the limit, and how each kind is answered.
const KINDS: [Kind; 16] = [
    ("deep in lists", 400, |rng, _| payload("view_part_details", &nested(rng, "[", "]"))),
    ("deep in objects", 400, |rng, _| payload("consume_part", &nested(rng, r#"{"a":"#, "}"))),
    ("deep beside the payload", 400, |rng, _| {
        format!(r#"{{"action":"list_parts","context":{},"payload":{{}}}}"#, nested(rng, "[", "]")).into()
    }),
    ("deep without an end", 400, |rng, _| any(rng, &["[", "{\"a\":", "[{\"\":"]).repeat(LIMIT / 8).into()),
    ("not UTF-8", 400, |rng, _| {
        let bad = any(rng, &[&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"]);
        [br#"{"action":"list_parts","payload":{"location":""#, bad, br#""}}"#].concat()
    }),
    ("nothing but NUL", 400, |rng, _| vec![0; rng.usize(1..LIMIT)]),
    ("NUL in a text", 400, |rng, part| {
        let nul = any(rng, &["\\u0000", "\0"]);
        payload("consume_part", &format!(r#"{{"part_id":"{part}","quantity":1,"work_order":"WO-{nul}1"}}"#))
    }),
    ("no such number", 400, |rng, part| {
        let number = any(rng, &["1e999", "-1e999", "2147483648", "1.0", "1e0", "-0", "0", "NaN", "0x1", "01", "\"1\""]);
        let number = if rng.u8(..8) == 0 { "9".repeat(rng.usize(400..LIMIT / 2)) } else { number.into() };
        payload("receive_part", &format!(r#"{{"part_id":"{part}","quantity":{number}}}"#))
    }),
    ("given twice", 400, |rng, part| {
        let many = rng.usize(1..1_000);
        payload(
            "view_part_details",
            &format!(r#"{{"part_id":"{part}"{}}}"#, format!(r#","part_id":"{part}""#).repeat(many)),
        )
    }),
    ("a huge action", 404, |rng, _| format!(r#"{{"action":"{}","payload":{{}}}}"#, long(rng)).into()),
    ("a huge field", 400, |rng, _| payload("view_part_details", &format!(r#"{{"{}":1}}"#, long(rng)))),
    ("a huge id", 400, |rng, _| payload("view_part_details", &format!(r#"{{"part_id":"{}"}}"#, long(rng)))),
    ("a huge text of no part", 404, |rng, _| {
        let (id, text) = (Uuid::from_u128(rng.u128(..)), long(rng));
        payload("consume_part", &format!(r#"{{"part_id":"{id}","quantity":1,"work_order":"{text}"}}"#))
    }),
    ("half a pair", 400, |_, _| payload("list_parts", r#"{"location":"\ud800"}"#)),
    ("something else", 400, |rng, _| any(rng, &["", "null", "[]", "0", "\"\"", "{}", "{}{}", "\u{feff}{}"]).into()),
    ("cut short", 400, |rng, part| {
        let whole = view(part).to_string().into_bytes();
        whole[..rng.usize(..whole.len())].to_vec()
    }),
];

fn any<'a, T: ?Sized>(rng: &mut Rng, these: &[&'a T]) -> &'a T {
    these[rng.usize(..these.len())]
}

fn payload(action: &str, payload: &str) -> Vec<u8> {
    format!(r#"{{"action":"{action}","payload":{payload}}}"#).into()
}

fn nested(rng: &mut Rng, open: &str, close: &str) -> String {
    let depth = rng.usize(1..(LIMIT - 200) / (open.len() + close.len()));
    open.repeat(depth) + "0" + &close.repeat(depth)
}

/// A text that leaves a little of the limit, some of which must be escaped in an answer, and some once more in JSON.
fn long(rng: &mut Rng) -> String {
    let piece = any(rng, &["a", "\u{7f}", "\\\"", "\u{e000}", "\\n"]);
    piece.repeat(rng.usize(1..(LIMIT - 200) / piece.len()))
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn no_body_is_answered_with_5xx_and_none_stays_in_memory() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &[]);
    let (token, part) = (&token(&fixture), fixture.part(0, 0, 1).id);
    let mut rng = Rng::with_seed(9);
    // Each kind in turn, so that all that they need is there after the first few.
    let mut bodies =
        (0..OF_EACH).flat_map(|_| &KINDS).map(|(kind, status, body)| (*kind, *status, body(&mut rng, part)));
    let mut send = async |count: usize| {
        let asked = stream::iter(bodies.by_ref().take(count)).map(|(kind, status, body)| {
            let request = service.client.post(format!("{}/v1/actions/execute", service.url)).bearer_auth(token);
            async move {
                let sent = body.len();
                let answer = request.body(body).send().await.unwrap();
                assert_eq!(answer.status(), status, "{kind}");
                let told = answer.bytes().await.unwrap();
                assert!(told.len() <= 512 + 8 * sent, "{kind}: {} bytes for {sent}", told.len());
                let told: Value = serde_json::from_slice(&told).unwrap();
                assert!(told["error"]["code"].is_string() && told["error"]["message"].is_string(), "{kind}: {told}");
            }
        });
        asked.buffer_unordered(AT_ONCE).count().await
    };
    let first = send(20 * KINDS.len()).await;
    let before = resident_kib(service.process.id());
    let rest = send(usize::MAX).await;
    assert_eq!(first + rest, OF_EACH * KINDS.len());
    let (after, most) = (resident_kib(service.process.id()), most_resident_kib(service.process.id()));
    eprintln!("{rest} bodies: {before} KiB before, {after} after, {most} at most");
    assert!(after < before + BOUND_MIB * 1024 && most < before + BOUND_MIB * 1024, "{before} {after} {most}");
    is_well(&service, &fixture).await;
}

#[cfg(target_os = "linux")]
fn most_resident_kib(process: u32) -> u64 {
    crate::memory::status_kib(process, "VmHWM:")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_would_be_too_large_is_refused_before_it_is_sent() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--body-timeout", "3600"]);
    let token = token(&fixture);
    for lines in [
        format!("Content-Length: {}", LIMIT + 1),
        "Content-Length: 1000000000000".into(),
        format!("Content-Length: {}", u64::MAX - 2),
        // It is not told to go on.
        "Expect: 100-continue\r\nContent-Length: 1000000".into(),
    ] {
        let said = to_its_end(service.raw(&head(&token, &lines)).await).await;
        assert_eq!(statuses(&said), [413], "{lines}: {said}");
        assert!(said.contains("a body has 65536 bytes at most"), "{said}");
    }
    // Whoever sends it all the same has the answer, and goes on using the connection.
    for _ in 0..20 {
        let body = "x".repeat(3 * LIMIT);
        assert_eq!(service.post(&token, body).await.0, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(service.get("/health").await.status(), StatusCode::OK);
    }
    // As large as it may be.
    let body = view(fixture.part(0, 0, 1).id).to_string();
    let body = body.clone() + &" ".repeat(LIMIT - body.len());
    assert_eq!((body.len(), service.post(&token, body).await.0), (LIMIT, StatusCode::OK));
    is_well(&service, &fixture).await;
}

/// Sends until the server takes no more, and what it said.
async fn pour(service: &Service, head: String, piece: &[u8], most: usize) -> String {
    let (client, mut sending) = service.raw(&head).await.into_split();
    let piece = piece.to_vec();
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while sent < most && sending.write_all(&piece).await.is_ok() {
            sent += piece.len();
        }
        // Ends when the server has closed.
        (sent, sending)
    });
    let said = to_its_end(client).await;
    let (sent, _) = sending.await.unwrap();
    assert!(sent < most, "all of {most} bytes were taken");
    said
}

#[tokio::test(flavor = "multi_thread")]
#[cfg(target_os = "linux")]
async fn a_body_that_turns_out_too_large_is_refused_and_not_read_to_its_end() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &[]);
    let token = &token(&fixture);
    is_well(&service, &fixture).await;
    let before = resident_kib(service.process.id());
    let chunk = [b"400\r\n", &[b'['; 0x400][..], b"\r\n"].concat();
    let most = 64 << 20;
    for _ in 0..8 {
        let chunked = (0..8).map(|_| pour(&service, head(token, "Transfer-Encoding: chunked"), &chunk, most));
        let plain =
            (0..8).map(|_| pour(&service, head(token, &format!("Content-Length: {most}")), &[b' '; 4096], most));
        let (chunked, plain) = tokio::join!(join_all(chunked), join_all(plain));
        for said in chunked.into_iter().chain(plain) {
            assert_eq!(statuses(&said), [413], "{said}");
        }
    }
    let most = most_resident_kib(service.process.id());
    eprintln!("{before} KiB before, {most} at most");
    assert!(most < before + BOUND_MIB * 1024, "{before} {most}");
    is_well(&service, &fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_http_is_refused_or_cut_off() {
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--body-timeout", "0.5", "--head-timeout", "0.5"]);
    let token = token(&fixture);
    let body = view(fixture.part(0, 0, 1).id).to_string();
    let length = body.len();
    let chunked = |chunks: &str| head(&token, "Connection: close\r\nTransfer-Encoding: chunked") + chunks;
    let whole = |lines: &str| head(&token, &format!("Connection: close\r\n{lines}")) + &body;
    let cases: [(&str, String, &[u16]); 23] = [
        ("a length below none", whole("Content-Length: -1"), &[400]),
        ("a length that is no number", whole("Content-Length: x"), &[400]),
        ("a length in hexadecimal", whole("Content-Length: 0x10"), &[400]),
        ("a length beyond all", whole("Content-Length: 18446744073709551616"), &[400]),
        ("two lengths", whole(&format!("Content-Length: {length}\r\nContent-Length: 5")), &[400]),
        ("two lengths in one", whole(&format!("Content-Length: {length}, 5")), &[400]),
        ("an empty length", whole("Content-Length:"), &[400]),
        ("no length", whole("X-None: 1"), &[400]),
        ("more than there is", whole(&format!("Content-Length: {}", length + 1)), &[408]),
        ("less than there is", whole("Content-Length: 5"), &[400]),
        ("another coding", whole("Transfer-Encoding: gzip"), &[400]),
        ("chunked, and then again", whole("Transfer-Encoding: chunked, gzip"), &[400]),
        ("chunks and a length", whole(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}")), &[400]),
        ("a size that is no number", chunked("zz\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("a size below none", chunked("-1\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("a size beyond all", chunked("fffffffffffffffff\r\n{}"), &[400]),
        ("the greatest size", chunked("ffffffffffffffff\r\n{}"), &[408]),
        ("no size", chunked("\r\n{}\r\n0\r\n\r\n"), &[400]),
        ("no end of a chunk", chunked("2\r\n{}{}0\r\n\r\n"), &[400]),
        ("an endless size", chunked(&"0".repeat(100_000)), &[408]),
        ("an endless extension", chunked(&format!("2;{}", "x".repeat(100_000))), &[400]),
        ("an endless trailer", chunked(&format!("0\r\nX: {}", "x".repeat(100_000))), &[400]),
        ("no last chunk", chunked("2\r\n{}\r\n"), &[408]),
    ];
    for (what, sent, expected) in &cases {
        let mut client = TcpStream::connect(service.url.strip_prefix("http://").unwrap()).await.unwrap();
        // It may be cut off before all of it is sent.
        let _ = client.write_all(sent.as_bytes()).await;
        let said = to_its_end(client).await;
        assert_eq!(statuses(&said), *expected, "{what}: {said}");
    }
    // Who hangs up in the middle of it hears nothing of it.
    let not_whole = r#"tare_http_requests_total{status="400"}"#;
    let before = service.metric(not_whole).await.unwrap();
    for _ in 0..50 {
        let mut client = service.raw(&head(&token, "Content-Length: 100")).await;
        client.write_all(b"{").await.unwrap();
    }
    service.until(not_whole, before + 50.0).await;
    is_well(&service, &fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_in_is_cut_off_and_holds_nobody_up() {
    const SLOW: usize = 50;
    let fixture = fixture().await;
    let service = Service::with(&fixture, &["--body-timeout", "1", "--workers", "1"]);
    let token = &token(&fixture);
    let drip = async || {
        let (client, mut sending) = service.raw(&head(token, "Content-Length: 60000")).await.into_split();
        let dripping = tokio::spawn(async move {
            while sending.write_all(b"[").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        let said = to_its_end(client).await;
        dripping.await.unwrap();
        said
    };
    let meanwhile = async {
        service.until(IN_FLIGHT, SLOW as f64).await;
        assert_eq!(service.post(token, view(fixture.part(0, 0, 1).id)).await.0, StatusCode::OK);
    };
    let (answers, ()) = tokio::join!(join_all((0..SLOW).map(|_| drip())), meanwhile);
    for said in answers {
        assert_eq!(statuses(&said), [408], "{said}");
    }
    is_well(&service, &fixture).await;
}
