//! Spans as a collector receives them.

use reqwest::StatusCode;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::bed::{PATIENCE, Service, command, fixture, view};

/// Takes one export, and gives its request line and its body.
async fn receive(listener: &TcpListener) -> (String, Vec<u8>) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut stream = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).await.unwrap();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        match line.trim().to_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await.unwrap();
    (first, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_a_request_and_its_components_arrive_in_the_trace_of_its_client() {
    let fixture = fixture().await;
    let collector = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut server = command(&fixture);
    server.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", collector.local_addr().unwrap()));
    let service = Service::run(server, "after");
    let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
    let trace: u128 = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736;
    let parent: u64 = 0x00f0_67aa_0ba9_02b7;
    let request = service.client.post(format!("{}/v1/actions/execute", service.url)).bearer_auth(token);
    let request = request.header("traceparent", format!("00-{trace:032x}-{parent:016x}-01"));
    let answer = request.body(view(fixture.part(0, 0, 1).id).to_string()).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    // It exports what is left before it ends.
    service.signal("TERM");

    let (first, body) = tokio::time::timeout(PATIENCE, receive(&collector)).await.expect("an export");
    assert_eq!(first.trim(), "POST /v1/traces HTTP/1.1");
    let holds = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    for name in ["tare-server", "request", "auth", "tenant", "connection", "action", "audit", "response"] {
        assert!(holds(name.as_bytes()), "no span {name}");
    }
    assert!(holds(&trace.to_be_bytes()) && holds(&parent.to_be_bytes()), "not in the client's trace");
}
