//! Where load is sent.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Url};

use crate::Error;

/// What TLS calls HTTP/2.
pub(crate) const HTTP2: &[u8] = b"h2";

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: one request at a time.
    #[default]
    Http1,
    /// HTTP/2, which the service must be known to speak where there is no TLS to agree on it.
    Http2,
}

/// Where load is sent: a URL whose host has been resolved, once, so that all of it goes where was agreed on.
#[derive(Clone)]
pub struct Target {
    /// Scheme, host, port and path: what may be shown.
    shown: String,
    /// All that its host has of one kind; there is at least one.
    addresses: Arc<[SocketAddr]>,
    /// Which of them is connected to.
    nth: usize,
    pub(crate) path: Uri,
    pub(crate) host: HeaderValue,
    pub(crate) tls: Option<(TlsConnector, ServerName<'static>)>,
    pub(crate) protocol: Protocol,
    /// Whether a connection is used again.
    pub(crate) keep: bool,
}

impl Target {
    /// Resolves `url`. Every address of its host must be a loopback address unless `allow_remote`. For https, `root` is the
    /// file of certificates to trust, the operating system's when there is none.
    ///
    /// # Errors
    /// [`Error::BadUrl`], [`Error::Remote`], [`Error::NoAnswer`] when the host has no address, [`Error::Tls`].
    pub async fn resolve(url: &str, allow_remote: bool, root: Option<&Path>) -> Result<Self, Error> {
        let bad = |reason: &str| Error::BadUrl { url: without_credentials(url), reason: reason.into() };
        let parsed = Url::parse(url).map_err(|error| bad(&error.to_string()))?;
        if !["http", "https"].contains(&parsed.scheme()) {
            return Err(bad("it is neither http nor https"));
        }
        let host = parsed.host().ok_or_else(|| bad("it names no host"))?.to_owned();
        let port = parsed.port_or_known_default().ok_or_else(|| bad("it names no port"))?;
        let shown = without_credentials(url);

        let mut addresses: Vec<_> = match &host {
            Host::Ipv4(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Ipv6(ip) => vec![SocketAddr::from((*ip, port))],
            Host::Domain(name) => tokio::net::lookup_host((name.as_str(), port))
                .await
                .map_err(|error| Error::NoAnswer { url: shown.clone(), reason: error.to_string() })?
                .collect(),
        };
        if let Some(remote) = addresses.iter().find(|address| !address.ip().is_loopback())
            && !allow_remote
        {
            return Err(Error::Remote { url: shown, address: remote.ip() });
        }
        // `localhost` is both ::1 and 127.0.0.1, and most services listen on the latter alone.
        if addresses.iter().any(SocketAddr::is_ipv4) {
            addresses.retain(SocketAddr::is_ipv4);
        }
        addresses.sort();
        addresses.dedup();
        let address = *addresses.first().ok_or_else(|| bad("its host has no address"))?;

        let tls = match parsed.scheme() {
            "https" => {
                let name = match &host {
                    Host::Domain(name) => {
                        ServerName::try_from(name.clone()).map_err(|error| bad(&error.to_string()))?
                    }
                    _ => ServerName::IpAddress(address.ip().into()),
                };
                let config = tare_tls::client(root).map_err(Error::Tls)?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            _ => None,
        };
        let path = &parsed[url::Position::BeforePath..url::Position::AfterQuery];
        let authority = &parsed[url::Position::BeforeHost..url::Position::AfterPort];
        Ok(Self {
            addresses: addresses.into(),
            nth: 0,
            path: path.parse().map_err(|_| bad("its path cannot be sent"))?,
            host: HeaderValue::from_str(authority).map_err(|_| bad("its host cannot be sent"))?,
            shown,
            tls,
            protocol: Protocol::Http1,
            keep: true,
        })
    }

    /// The same, spoken to in `protocol`.
    pub fn over(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        if let Some((connector, _)) = &mut self.tls {
            let mut config = ClientConfig::clone(connector.config());
            config.alpn_protocols = match protocol {
                Protocol::Http1 => Vec::new(),
                Protocol::Http2 => vec![HTTP2.to_vec()],
            };
            *connector = TlsConnector::from(Arc::new(config));
        }
        self
    }

    /// The same, with a connection of its own for each request.
    pub fn without_reuse(mut self) -> Self {
        self.keep = false;
        self
    }

    /// The address that is connected to.
    pub fn address(&self) -> SocketAddr {
        self.addresses[self.nth]
    }

    /// The same at the `nth` of its host's addresses, after the last of them at the first again: a service of several processes may
    /// be behind one name.
    pub fn at(mut self, nth: u64) -> Self {
        self.nth = (nth % self.addresses.len() as u64) as usize;
        self
    }

    /// The URL without anything secret in it.
    pub fn url(&self) -> &str {
        &self.shown
    }
}

/// A URL for messages and evidence: no user, password, query or fragment.
fn without_credentials(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) if parsed.has_host() => {
            let place = &parsed[url::Position::BeforeHost..url::Position::AfterPath];
            format!("{}://{place}", parsed.scheme())
        }
        _ => url.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refused(url: &str) -> String {
        Target::resolve(url, false, None).await.err().unwrap().to_string()
    }

    #[tokio::test]
    async fn load_stays_on_this_machine_unless_allowed_off_it() {
        for url in ["http://127.0.0.1:80/x", "http://[::1]:80/x", "http://localhost:80/x"] {
            assert!(Target::resolve(url, false, None).await.is_ok(), "{url}");
        }
        assert!(refused("http://192.0.2.7/x").await.contains("--allow-remote"));
        assert!(refused("http://0.0.0.0/x").await.contains("not this machine"));
        assert!(Target::resolve("http://192.0.2.7/x", true, None).await.is_ok());
    }

    #[tokio::test]
    async fn each_address_of_a_host_has_its_turn() {
        let mut target = Target::resolve("http://localhost:80/x", false, None).await.unwrap();
        assert_eq!(target.clone().at(7).address().ip(), std::net::Ipv4Addr::LOCALHOST);
        target.addresses = [1, 2, 3].map(|port| SocketAddr::from(([127, 0, 0, 1], port))).into();
        let ports: Vec<_> = (0..5).map(|nth| target.clone().at(nth).address().port()).collect();
        assert_eq!(ports, [1, 2, 3, 1, 2]);
    }

    #[tokio::test]
    async fn an_unusable_url_says_why_and_what_one_looks_like() {
        assert!(refused("ftp://127.0.0.1/x").await.contains("neither http nor https"));
        assert!(refused("127.0.0.1:80").await.contains("http://127.0.0.1:8080/"));
    }

    #[tokio::test]
    async fn what_is_shown_holds_no_secret() {
        let target = Target::resolve("http://me:secret@127.0.0.1:81/a?key=secret", false, None).await.unwrap();
        assert_eq!(target.url(), "http://127.0.0.1:81/a");
        assert_eq!(target.path, "/a?key=secret");
        assert!(!refused("ftp://me:secret@127.0.0.1/a").await.contains("secret"));
    }
}
