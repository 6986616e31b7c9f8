//! A server of the user's.

use std::env;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{Owned, Provider, Started, Tools};
use crate::Error;

const VARIABLE: &str = "DATABASE_URL";

pub(super) fn is_set() -> bool {
    env::var_os(VARIABLE).is_some_and(|url| !url.is_empty())
}

pub(super) fn find() -> Result<Started, Error> {
    if !is_set() {
        return Err(Error::NoUrl);
    }
    let url = env::var(VARIABLE).map_err(|_| Error::BadUrl("it is not UTF-8".into()))?;
    let (admin, root) = parse(&url)?;
    Ok(Started {
        provider: Provider::Url,
        admin,
        root,
        certificate: None,
        tools: Tools::InFolder(None),
        owned: Owned::Nothing,
    })
}

impl Started {
    /// The server of a URL from a command line, where others on the machine would see a password: it is taken from
    /// `PGPASSWORD`, and refused in the URL.
    pub(crate) fn at(given: &str) -> Result<Self, Error> {
        Self::with_password(given, env::var("PGPASSWORD").ok())
    }

    fn with_password(given: &str, password: Option<String>) -> Result<Self, Error> {
        let (mut admin, root) = parse(given)?;
        if admin.get_password().is_some() {
            let reason = "a URL in arguments holds a password, which others see in the list of processes; \
                          give the password as PGPASSWORD, or the whole URL as DATABASE_URL";
            return Err(Error::BadUrl(reason.into()));
        }
        if let Some(password) = password.filter(|password| !password.is_empty()) {
            admin.password(password);
        }
        Ok(Self {
            provider: Provider::Url,
            admin,
            root,
            certificate: None,
            tools: Tools::InFolder(None),
            owned: Owned::Nothing,
        })
    }
}

/// Reads a URL, and the `sslrootcert` in it, which the driver does not know.
fn parse(given: &str) -> Result<(Config, Option<PathBuf>), Error> {
    // The driver's message may repeat the URL, and with it the password.
    let bad = |reason: &str| Error::BadUrl(reason.to_owned());
    let mut url = url::Url::parse(given).map_err(|error| bad(&error.to_string()))?;
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err(bad("it does not begin with postgres://"));
    }
    let (root, rest): (Vec<_>, Vec<_>) = url.query_pairs().into_owned().partition(|(key, _)| key == "sslrootcert");
    match rest.is_empty() {
        true => url.set_query(None),
        false => drop(url.query_pairs_mut().clear().extend_pairs(rest)),
    }
    let config: Config = url.as_str().parse().map_err(|_| bad("a part of it is not understood"))?;
    match config.get_hosts() {
        [Host::Tcp(_)] => Ok((config, root.first().map(|(_, file)| PathBuf::from(file)))),
        _ => Err(bad("it must name one host, reached over TCP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_certificate_is_taken_out_of_the_url() {
        let (config, root) =
            parse("postgres://me:secret@localhost:5433/mine?sslmode=require&sslrootcert=/a/ca.pem").unwrap();
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
        assert_eq!(root.unwrap(), PathBuf::from("/a/ca.pem"));
    }

    #[test]
    fn a_url_in_arguments_has_its_password_elsewhere() {
        let given = Started::with_password("postgres://me@localhost/mine", Some("secret".into())).unwrap();
        assert_eq!(given.admin.get_password(), Some(&b"secret"[..]));
        for url in ["postgres://me:secret@localhost/mine", "postgres://me@localhost/mine?password=secret"] {
            let error = Started::with_password(url, None).err().unwrap().to_string();
            assert!(error.contains("PGPASSWORD") && error.contains("DATABASE_URL"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_bad_url_is_explained_without_its_password() {
        for given in
            ["nonsense", "mysql://me:secret@localhost/", "postgres://me:secret@localhost/x?nonsense=1", "postgres:///x"]
        {
            let error = parse(given).unwrap_err().to_string();
            assert!(error.contains("DATABASE_URL") && !error.contains("secret@"), "{error}");
        }
    }
}
