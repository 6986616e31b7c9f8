//! A private cluster from the system's own binaries.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::{Disk, Owned, Provider, SETTINGS, Started, Tools, password};
use crate::program::{self, User, command};
use crate::{Error, PrivateFolder, certificate, server};

/// A running cluster; stops and vanishes when dropped.
pub(crate) struct Cluster {
    postgres: Option<Child>,
    folder: PrivateFolder,
    launch: Launch,
}

/// How it is started, each time that it is.
#[derive(Clone)]
struct Launch {
    binaries: PathBuf,
    user: Option<User>,
    port: u16,
    disk: Disk,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.folder.release();
        if let Some(postgres) = &mut self.postgres {
            // Elsewhere than on Linux it is seen gone only after it has been waited for.
            let _ = postgres.wait();
        }
    }
}

pub(super) async fn start(disk: Disk) -> Result<Started, Error> {
    let binaries = find_binaries()?;
    let user = program::other_than_root().map_err(Error::System)?;
    let certificate = certificate::make(None).map_err(|error| Error::System(format!("no certificate: {error}")))?;
    let password = password();

    // Another port is tried when somebody takes the free one before postgres does.
    let mut attempts = 3;
    loop {
        attempts -= 1;
        let port = program::free_port().map_err(Error::io("looking for a free port on 127.0.0.1"))?;
        let launch = Launch { binaries: binaries.clone(), user, port, disk };
        let mut cluster = Cluster::prepare(launch, &password, &certificate)?;
        cluster.launch()?;
        let mut admin = Config::new();
        admin.host("127.0.0.1").port(port).user("postgres").password(&password).dbname("postgres");
        admin.ssl_mode(SslMode::Require);
        let root = cluster.folder.path().join("root.pem");
        match server::wait_until_ready(&admin, Some(&root), || cluster.has_ended()).await {
            Ok(()) => {
                return Ok(Started {
                    provider: Provider::System,
                    admin,
                    root: Some(root),
                    certificate: Some(certificate),
                    tools: Tools::InFolder(Some(binaries)),
                    owned: Owned::Cluster(Arc::new(Mutex::new(cluster))),
                });
            }
            Err(_) if attempts > 0 && cluster.has_logged("Address already in use") => {}
            Err(error) => return Err(Error::System(format!("{error}; postgres said: {}", cluster.log()))),
        }
    }
}

impl Cluster {
    fn prepare(launch: Launch, password: &str, certificate: &certificate::Certificate) -> Result<Self, Error> {
        let (binaries, user) = (launch.binaries.clone(), launch.user);
        let cluster = Self { postgres: None, folder: PrivateFolder::new()?, launch };
        let folder = cluster.folder.path();
        let folder_text = folder.to_string_lossy().into_owned();

        let file = |name: &str, content: &str| -> Result<(), Error> {
            let path = folder.join(name);
            program::write_private(&path, content, user).map_err(Error::io(format!("writing {}", path.display())))
        };
        program::own(folder, user).map_err(Error::io(format!("handing {folder_text} over")))?;
        file("password", password)?;
        file("root.pem", &certificate.root)?;
        file("server.pem", &certificate.server)?;
        file("server.key", &certificate.key)?;
        file("log", "")?;

        let mut initdb = command(&binaries.join("initdb"), user);
        initdb
            .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"])
            .arg(format!("--pwfile={folder_text}/password"))
            .arg(format!("--pgdata={folder_text}/data"));
        let running = || Error::io(format!("running {}", binaries.join("initdb").display()));
        let initdb = initdb.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(running())?;
        cluster.folder.quits(initdb.id())?;
        let done = initdb.wait_with_output().map_err(running())?;
        if !done.status.success() {
            return Err(Error::System(format!("initdb failed: {}", String::from_utf8_lossy(&done.stderr).trim())));
        }
        fs::remove_file(folder.join("password")).map_err(Error::io("removing the password file"))?;
        Ok(cluster)
    }

    pub(crate) fn launch(&mut self) -> Result<(), Error> {
        let Launch { binaries, user, port, disk } = self.launch.clone();
        let folder = self.folder.path().display();
        let log = File::options()
            .append(true)
            .open(self.folder.path().join("log"))
            .map_err(Error::io(format!("opening {folder}/log")))?;
        let mut postgres = command(&binaries.join("postgres"), user);
        postgres
            .args(["-D".to_owned(), format!("{folder}/data")])
            .arg(format!("--port={port}"))
            .args(["--listen_addresses=127.0.0.1".to_owned(), format!("--unix_socket_directories={folder}")])
            .arg("--ssl=on")
            .args([format!("--ssl_cert_file={folder}/server.pem"), format!("--ssl_key_file={folder}/server.key")])
            .arg(format!("--fsync={}", disk.fsync()))
            .args(SETTINGS.map(|(name, value)| format!("--{name}={value}")))
            .stdout(log.try_clone().map_err(Error::io("sharing the log"))?)
            .stderr(log)
            // Ctrl-C is for us; the cluster ends when we are done with it.
            .process_group(0);
        let postgres = self.postgres.insert(postgres.spawn().map_err(Error::io("starting postgres"))?);
        self.folder.quits(postgres.id())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.postgres.as_mut().is_none_or(|postgres| !matches!(postgres.try_wait(), Ok(None)))
    }

    /// The process of its own that was started last, and those that it has started.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let Some(postmaster) = self.postgres.as_ref().map(Child::id) else { return Vec::new() };
        let children = fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children")).unwrap_or_default();
        std::iter::once(postmaster).chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }

    fn has_logged(&self, text: &str) -> bool {
        fs::read_to_string(self.folder.path().join("log")).is_ok_and(|log| log.contains(text))
    }

    fn log(&self) -> String {
        program::end_of_log(&self.folder.path().join("log"))
    }
}

/// Environment variable that names the folder of the binaries.
const FOLDER: &str = "POSTGRES_BIN";

/// Those in the folder that `POSTGRES_BIN` names; without it the newest in the places packages put them, else those on the PATH.
fn find_binaries() -> Result<PathBuf, Error> {
    let has_server = |folder: &PathBuf| ["initdb", "postgres"].iter().all(|name| program::exists(&folder.join(name)));
    if let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from) {
        let missing =
            || Error::System(format!("{FOLDER} is {}, and initdb and postgres are not in it", folder.display()));
        return has_server(&folder).then(|| folder.clone()).ok_or_else(missing);
    }
    let packaged = [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/opt/homebrew/opt", "postgresql@"),
        ("/usr/local/opt", "postgresql@"),
    ];
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for (parent, prefix) in packaged {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(version) = name.strip_prefix(prefix).and_then(|version| version.parse().ok()) {
                found.push((version, entry.path().join("bin")));
            }
        }
    }
    found.sort();
    found
        .into_iter()
        .rev()
        .map(|(_, folder)| folder)
        .chain(program::folders())
        .find(has_server)
        .ok_or_else(|| Error::System("the programs initdb and postgres are not installed".into()))
}
