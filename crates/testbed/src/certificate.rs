//! A certificate made on the spot, for a server on this machine.

use std::net::IpAddr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};

/// A server's certificate and key, and the authority that signed it; all PEM. The authority's key is not kept.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Certificate {
    pub(crate) root: String,
    pub(crate) server: String,
    pub(crate) key: String,
}

/// Makes a certificate for `localhost`, 127.0.0.1 and `address` if there is one (P-256, the curve PostgreSQL prefers).
pub(crate) fn make(address: Option<IpAddr>) -> Result<Certificate, rcgen::Error> {
    let mut root = CertificateParams::new(Vec::<String>::new())?;
    root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    root.distinguished_name.push(rcgen::DnType::CommonName, "tare testbed");
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate()?)?;

    let key = KeyPair::generate()?;
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    names.extend(address.map(|address| address.to_string()));
    let server = CertificateParams::new(names)?.signed_by(&key, &root)?;
    Ok(Certificate { root: root.pem(), server: server.pem(), key: key.serialize_pem() })
}
