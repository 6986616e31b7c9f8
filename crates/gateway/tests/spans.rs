//! Each component is a span, for whoever listens.

use std::sync::{Arc, Mutex};

use serde_json::json;
use tare_gateway::audit::{AuditSettings, Queue};
use tare_gateway::auth::{Keys, VerifierSettings};
use tare_gateway::connection::PoolSettings;
use tare_gateway::tenant::TenantSettings;
use tare_gateway::{Attributes, Gateway, Settings, Strategy};
use tare_testbed::{AUDIENCE, Fixture, ISSUER, Server, Size};
use tracing::span::{Attributes as SpanAttributes, Id};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, registry};

/// Hears of the spans right within one named `request`.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<&'static str>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, _: &SpanAttributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        if span.parent().is_some_and(|parent| parent.name() == "request") {
            self.0.lock().unwrap().push(span.name());
        }
    }
}

// One thread, for a subscriber of this thread alone to hear of everything.
#[tokio::test]
async fn a_request_opens_a_span_of_each_component_in_the_order_it_takes_them() {
    let fixture = Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap();
    let listener = Listener::default();
    let _heard = tracing::subscriber::set_default(registry().with(listener.clone()));
    let folder = tempfile::tempdir().unwrap();
    let durable = || AuditSettings { queue: Queue::Durable(folder.path().to_owned()), ..AuditSettings::default() };
    let ends = ["connection", "action", "audit", "response"];
    for (strategy, audit, between) in [
        (Strategy::BEFORE, AuditSettings::default(), &[][..]),
        (Strategy::AFTER, AuditSettings::default(), &[]),
        // Recorded while it is done.
        (Strategy::AFTER, durable(), &["audit"]),
    ] {
        let gateway = Gateway::new(Settings {
            strategy,
            control: fixture.control().config(fixture.server()),
            auth: VerifierSettings {
                keys: Keys::Secret(fixture.secret().expose().into()),
                issuer: ISSUER.into(),
                audience: AUDIENCE.into(),
            },
            tls: tare_tls::client(fixture.server().root_certificate()).unwrap(),
            pool: PoolSettings::default(),
            tenant: TenantSettings::default(),
            audit,
            fleet: None,
            reads: None,
        })
        .unwrap();
        let token = fixture.secret().mint(fixture.tenants()[0].crew[0].id);
        let body = json!({"action": "view_part_details", "payload": {"part_id": fixture.part(0, 0, 1).id}}).to_string();
        let asked = gateway.execute(&token, body.as_bytes(), Attributes::default());
        assert!(asked.instrument(info_span!("request")).await.result.is_ok());
        // The first `action` is the reading of what was asked.
        let spans = std::mem::take(&mut *listener.0.lock().unwrap());
        assert_eq!(spans, [&["auth", "action", "tenant"], between, &ends].concat(), "{strategy}");
        gateway.close().await;
    }
}
