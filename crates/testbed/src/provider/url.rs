//! A server of the user's.

use std::env;
use std::path::PathBuf;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::{Provider, Started, Tools};
use crate::Error;

const VARIABLE: &str = "DATABASE_URL";

pub(super) fn is_set() -> bool {
    env::var_os(VARIABLE).is_some_and(|url| !url.is_empty())
}

/// That of the environment, or the one at `given`, whose password comes from PGPASSWORD: arguments are seen in the list of
/// processes.
pub(super) fn find(given: Option<&str>) -> Result<Started, Error> {
    let (admin, root) = match given {
        Some(url) => {
            let (mut admin, root) = parse(url)?;
            if admin.get_password().is_some() {
                return Err(Error::BadUrl(
                    "it holds a password, which others see in the list of processes; set PGPASSWORD, or DATABASE_URL"
                        .into(),
                ));
            }
            if let Ok(password) = env::var("PGPASSWORD") {
                admin.password(password);
            }
            (admin, root)
        }
        None if !is_set() => return Err(Error::NoUrl),
        None => parse(&env::var(VARIABLE).map_err(|_| Error::BadUrl("it is not UTF-8".into()))?)?,
    };
    Ok(Started { provider: Provider::Url, admin, root, certificate: None, tools: Tools::InFolder(None), _owned: None })
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
    fn a_bad_url_is_explained_without_its_password() {
        for given in
            ["nonsense", "mysql://me:secret@localhost/", "postgres://me:secret@localhost/x?nonsense=1", "postgres:///x"]
        {
            let error = parse(given).unwrap_err().to_string();
            assert!(error.contains("DATABASE_URL") && !error.contains("secret@"), "{error}");
        }
    }
}
