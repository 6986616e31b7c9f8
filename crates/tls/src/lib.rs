//! The TLS client that the gateway, the testbed and the load generator connect with: ring, certificates always verified.
//! Made once and shared: each connection then finds keys and certificates prepared.

use std::io;
use std::path::Path;
use std::sync::Arc;

pub use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{NamedGroup, RootCertStore};

/// A client that trusts the certificates in the PEM file `root`, or the operating system's when there is none.
///
/// # Errors
/// The file cannot be read or holds no certificate.
pub fn client(root: Option<&Path>) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match root {
        Some(path) => {
            let unreadable = |error: &dyn std::fmt::Display| {
                io::Error::other(format!("reading the root certificate {}: {error}", path.display()))
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))? {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
            if roots.is_empty() {
                return Err(unreadable(&"no certificate in it"));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let mut provider = rustls::crypto::ring::default_provider();
    // P-256 first: PostgreSQL knows no other curve unless told, and a first key share that it does not know costs a round trip.
    provider.kx_groups.sort_by_key(|group| group.name() != NamedGroup::secp256r1);
    Ok(ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_root_file_that_is_missing_or_empty_is_named() {
        let missing = client(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/ca.pem"), "{missing}");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "not a certificate").unwrap();
        let empty = client(Some(file.path())).unwrap_err().to_string();
        assert!(empty.contains("no certificate"), "{empty}");
    }
}
