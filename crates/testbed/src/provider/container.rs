//! A container, through testcontainers.

use std::env;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use testcontainers::bollard::models::{Mount, MountType, PortBinding};
use testcontainers::core::ContainerPort;
use testcontainers::runners::AsyncRunner;
use testcontainers::{GenericImage, ImageExt};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;

use super::{Disk, Owned, Provider, SETTINGS, Started, Tools, password};
use crate::certificate::{self, Certificate};
use crate::{Error, PrivateFolder, server};

const PORT: u16 = 5432;
/// Where the databases are kept, on a volume.
const VOLUME: &str = "/tare";
const DATA: &str = "/tare/data";

/// How long an engine may take to answer, and a registry to say that it has the image.
const ANSWER: Duration = Duration::from_secs(5);
const MANIFEST: Duration = Duration::from_secs(8);
/// How long a pull that has begun may take.
const PULL: Duration = Duration::from_secs(600);

/// How long the container's own address may take to accept a connection.
const REACH: Duration = Duration::from_millis(500);

/// Run by the image's entry point once, before the server listens. Waits for the certificate, which is made once the
/// container's address is known; the key must be the server's own, and closed to others.
const ENABLE_TLS: &str = r#"
until grep -qs END /tls/server.pem && grep -qs END /tls/server.key; do sleep 0.05; done
cp /tls/server.pem /tls/server.key "$PGDATA/"
chmod 600 "$PGDATA/server.key"
cat >>"$PGDATA/postgresql.conf" <<SETTINGS
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
SETTINGS
"#;

/// The image to run: `POSTGRES_IMAGE`, or the one this is tested with.
pub(super) fn image() -> String {
    env::var("POSTGRES_IMAGE").ok().filter(|image| !image.is_empty()).unwrap_or_else(|| "postgres:15".into())
}

pub(super) async fn start(disk: Disk, say: &(dyn Fn(&str) + Sync)) -> Result<Started, Error> {
    engine_answers().await?;
    clear_ended().await;
    let image = image();
    have_image(&image, say).await?;

    let failed = |error: &dyn std::fmt::Display| Error::Container(format!("{image} did not start: {error}"));
    // Its name is known before it exists, so that it is removed even if this process dies while it is being created. The root
    // certificate has to be a file for others to use.
    let name = format!("tare-{}", uuid::Uuid::new_v4().simple());
    let owned = PrivateFolder::of_container(&name)?;

    let password = password();
    let (repository, tag) = image.rsplit_once(':').unwrap_or((&image, "latest"));
    let container = GenericImage::new(repository, tag)
        .with_exposed_port(ContainerPort::Tcp(PORT))
        .with_container_name(&name)
        .with_label("tare", "testbed")
        .with_env_var("POSTGRES_PASSWORD", &password)
        .with_env_var("PGDATA", DATA)
        .with_env_var("POSTGRES_INITDB_ARGS", "--encoding=UTF8 --locale=C --no-sync")
        .with_copy_to("/docker-entrypoint-initdb.d/tls.sh", ENABLE_TLS.as_bytes().to_vec())
        .with_host_config_modifier(|host| {
            let loopback = PortBinding { host_ip: Some("127.0.0.1".into()), host_port: None };
            host.publish_all_ports = Some(false);
            // A volume without a name, removed with the container: the layers that images are made of are slow to write to.
            let data = Mount { target: Some(VOLUME.into()), typ: Some(MountType::VOLUME), ..Mount::default() };
            host.mounts = Some(vec![data]);
            host.port_bindings = Some([(format!("{PORT}/tcp"), Some(vec![loopback]))].into());
        })
        .with_cmd(
            std::iter::once("postgres".to_owned())
                .chain(["-c".to_owned(), format!("fsync={}", disk.fsync())])
                .chain(SETTINGS.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])),
        )
        .start()
        .await
        .map_err(|error| failed(&error))?;
    let port = container.get_host_port_ipv4(PORT).await.map_err(|error| failed(&error))?;

    let address = own_address(&name).await;
    let root = owned.path().join("root.pem");
    let certificate = give_certificate(&name, owned.path(), &root, address).await?;

    let at = |host: &str, port: u16| {
        let mut admin = Config::new();
        admin.host(host).port(port).user("postgres").password(&password).dbname("postgres").ssl_mode(SslMode::Require);
        admin
    };
    let mut admin = at("127.0.0.1", port);
    if let Err(error) = server::wait_until_ready(&admin, Some(&root), || false).await {
        let log = container.stderr_to_vec().await.unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        return Err(failed(&format!("{error}; it said: {}", log.lines().last().unwrap_or("nothing"))));
    }
    if let Some(address) = address
        && timeout(REACH, TcpStream::connect((address, PORT))).await.is_ok_and(|connected| connected.is_ok())
    {
        // Straight to the container: the published port goes through a proxy process, which would be measured along.
        admin = at(&address.to_string(), PORT);
    }
    // The reaper removes it; testcontainers' own clean-up needs a runtime that is still running.
    std::mem::forget(container);
    Ok(Started {
        provider: Provider::Container,
        admin,
        root: Some(root),
        certificate: Some(certificate),
        tools: Tools::InContainer(name),
        owned: Owned::Container(Box::new(owned)),
    })
}

/// The address of the container on its network; hosts whose containers run in a virtual machine cannot reach it.
async fn own_address(name: &str) -> Option<IpAddr> {
    let format = "{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}";
    let inspected = docker(&["inspect", "--format", format, name]).output().await.ok()?;
    String::from_utf8_lossy(&inspected.stdout).lines().find_map(|line| line.trim().parse().ok())
}

/// Makes a certificate for the container and hands it over; what verifies it is left at `root`.
async fn give_certificate(
    name: &str,
    folder: &Path,
    root: &Path,
    address: Option<IpAddr>,
) -> Result<Certificate, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Container(format!("no certificate for {name}: {error}"));
    let certificate = certificate::make(address).map_err(|error| failed(&error))?;
    let tls = folder.join("tls");
    std::fs::create_dir(&tls).map_err(|error| failed(&error))?;
    for (path, text) in [
        (root, &certificate.root),
        // Readable to all inside the container, where nobody else is; outside, the folder above is closed to others.
        (&tls.join("server.pem"), &certificate.server),
        (&tls.join("server.key"), &certificate.key),
    ] {
        std::fs::write(path, text).map_err(|error| failed(&error))?;
    }
    let copied = docker(&["cp", &tls.to_string_lossy(), &format!("{name}:/tls")]).output().await;
    std::fs::remove_dir_all(&tls).map_err(|error| failed(&error))?;
    match copied {
        Ok(output) if output.status.success() => Ok(certificate),
        Ok(output) => Err(failed(&String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(failed(&error)),
    }
}

async fn engine_answers() -> Result<(), Error> {
    let asked = docker(&["version", "--format", "{{.Server.Version}}"]).output();
    match timeout(ANSWER, asked).await {
        Err(_) => Err(Error::Container(format!("the Docker engine did not answer within {} s", ANSWER.as_secs()))),
        Ok(Err(_)) => Err(Error::Container("the docker command is not installed".into())),
        Ok(Ok(output)) if !output.status.success() => Err(Error::Container("no Docker engine answers".into())),
        Ok(Ok(_)) => Ok(()),
    }
}

/// Removes containers of ours that have ended: where the machine did, nothing else may be left that knows of them.
async fn clear_ended() {
    let ended =
        ["ps", "--all", "--quiet", "--filter", "label=tare", "--filter", "status=exited", "--filter", "status=dead"];
    let Ok(Ok(ended)) = timeout(ANSWER, docker(&ended).output()).await else { return };
    let ended = String::from_utf8_lossy(&ended.stdout).into_owned();
    let ended: Vec<_> = ended.split_whitespace().collect();
    if !ended.is_empty() {
        // Without force: what runs again is in use.
        let _ = timeout(ANSWER, docker(&[&["rm", "--volumes"], &ended[..]].concat()).output()).await;
    }
}

/// Pulls the image if the engine does not have it. Gives up early when the registry says nothing.
async fn have_image(image: &str, say: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
    let inspected = docker(&["image", "inspect", "--format", "{{.Id}}", image]).output();
    if timeout(ANSWER, inspected).await.is_ok_and(|output| output.is_ok_and(|output| output.status.success())) {
        return Ok(());
    }
    say(&format!("pulling {image}"));
    let unavailable =
        |reason: &str| Error::Container(format!("the Docker engine has no {image} and cannot get it: {reason}"));
    let mut pull = docker(&["pull", image])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| unavailable(&error.to_string()))?;
    let (stdout, stderr) = (pull.stdout.take().expect("piped"), pull.stderr.take().expect("piped"));
    let (mut progress, mut complaints) = (BufReader::new(stdout).lines(), BufReader::new(stderr).lines());
    // The first line only says what is pulled from where; the second comes from the registry.
    let answered = timeout(MANIFEST, async {
        let _ = progress.next_line().await;
        progress.next_line().await.ok().flatten()
    });
    match answered.await {
        Err(_) => return Err(unavailable(&format!("the registry did not answer within {} s", MANIFEST.as_secs()))),
        Ok(None) => {
            let complaint = complaints.next_line().await.ok().flatten().unwrap_or_default();
            return Err(unavailable(complaint.rsplit(": ").next().unwrap_or_default()));
        }
        Ok(Some(_)) => {}
    }
    let finished = timeout(PULL, async {
        while let Ok(Some(_)) = progress.next_line().await {}
        pull.wait().await
    });
    match finished.await {
        Ok(Ok(status)) if status.success() => Ok(()),
        _ => Err(unavailable("the pull did not finish")),
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}
