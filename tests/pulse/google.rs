//! A world in which the job has credentials of Google's: its Secret Manager is the real one's name, behind a proxy that
//! ends its TLS and leads to the sandbox. Nobody outside is ever asked.

use crate::world::{Env, Run, World, sandbox};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_util::task::AbortOnDropHandle;

/// Hosts that the job may ask for.
const HOSTS: [&str; 5] = [
    "telemetry.googleapis.com",
    "secretmanager.googleapis.com",
    "oauth2.googleapis.com",
    "sts.googleapis.com",
    "iamcredentials.googleapis.com",
];

pub(crate) struct Google {
    pub world: World,
    directory: PathBuf,
    proxy: String,
    _server: AbortOnDropHandle<()>,
}

impl Google {
    /// A world with so many users in good order.
    pub(crate) async fn with_users(ids: &[&str]) -> Self {
        let world = sandbox().await;
        for id in ids {
            world.user(id).await;
        }
        Self::around(world).await
    }

    async fn around(world: World) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let directory = directory.join(format!("google-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("a directory");
        let acceptor = TlsAcceptor::from(Arc::new(certified(&directory.join("authority.pem"))));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let proxy = format!("http://{}", listener.local_addr().expect("an address"));
        let upstream = world.sandbox.address();
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(tunnel(client, acceptor.clone(), upstream));
            }
        });
        Self { world, directory, proxy, _server: AbortOnDropHandle::new(server) }
    }

    /// `pulse` with these arguments, with tokens of the sandbox's metadata server unless `env` says otherwise.
    pub(crate) fn command(&self, args: &[&str], env: Env<'_>) -> Command {
        let mut command = self.world.command(args);
        command
            .env_remove("SECRET_MANAGER_EMULATOR_HOST")
            .env("GCE_METADATA_HOST", self.world.sandbox.address().to_string())
            .env("HTTPS_PROXY", &self.proxy)
            .env("SSL_CERT_FILE", self.directory.join("authority.pem"))
            .env("HOME", self.directory.join("home"))
            .envs(env.iter().copied());
        command
    }

    pub(crate) async fn pulse(&self) -> Run {
        self.pulse_with_in(&[], &[]).await
    }

    pub(crate) async fn pulse_with_in(&self, args: &[&str], env: Env<'_>) -> Run {
        Run::of(&mut self.command(args, env)).await
    }

    /// A file with this in it; its path.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().expect("within a directory")).expect("a directory");
        fs::write(&path, content).expect("a file");
        path.to_str().expect("UTF-8").to_owned()
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        // What is left behind is in the way of nobody.
        let _removed = fs::remove_dir_all(&self.directory);
    }
}

/// Takes a `CONNECT` to whatever host, and is that host.
async fn tunnel(mut client: TcpStream, acceptor: TlsAcceptor, upstream: SocketAddr) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.ok()?);
    }
    if !head.starts_with(b"CONNECT ") {
        return None;
    }
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
    let mut secured = acceptor.accept(client).await.ok()?;
    let mut server = TcpStream::connect(upstream).await.ok()?;
    copy_bidirectional(&mut secured, &mut server).await.ok()?;
    Some(())
}

/// Makes an authority, and a certificate of it for all [`HOSTS`].
fn certified(authority: &PathBuf) -> ServerConfig {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "authority of the tests");
    let key = || KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(params, key()).expect("an authority");
    fs::write(authority, issuer.pem()).expect("a file");
    let own = key();
    let names = HOSTS.map(str::to_owned);
    let certificate = CertificateParams::new(names).expect("names").signed_by(&own, &issuer).expect("signed");
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(own.serialize_der()).into(),
        )
        .expect("a pair");
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
