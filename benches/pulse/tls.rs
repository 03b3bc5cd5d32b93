//! The pulse with TLS: certificates of a local authority, which the pulse learns of through `SSL_CERT_FILE`.
//!
//! The sandbox speaks plain HTTP, so a proxy in a process of its own terminates TLS in front of it.

use crate::cells::Cell;
use crate::report::Row;
use crate::run::Bench;
use crate::startup::{self, Listener};
use crate::{Result, progress};
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// The name in the certificate.
const HOST: &str = "localhost";

/// The part `tls-proxy`.
#[derive(Args, Debug)]
pub(crate) struct ProxyArgs {
    #[arg(long)]
    upstream: SocketAddr,
    /// Where the authority's certificate goes
    #[arg(long)]
    authority: PathBuf,
}

/// A running proxy. Dropping it ends it.
struct Proxy {
    process: Child,
    authority: PathBuf,
    port: u16,
}

impl Proxy {
    fn start(bench: &Bench, upstream: &str, name: &str) -> Result<Self> {
        let authority = bench.file(name);
        let mut process = Command::new(std::env::current_exe()?)
            .args(["tls-proxy", "--upstream", upstream, "--authority"])
            .arg(&authority)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut port = String::new();
        BufReader::new(process.stdout.take().ok_or("no stdout")?).read_line(&mut port)?;
        Ok(Self { port: port.trim().parse()?, process, authority })
    }

    /// The variables that lead to it instead of past it. Some clients may not trust the local authority.
    fn variables(&self, firestore: bool) -> Result<Vec<(&'static str, String)>> {
        let url = format!("https://{HOST}:{}", self.port);
        let authority = self.authority.to_str().ok_or("a path that is no text")?.to_owned();
        let mut variables = vec![
            ("SSL_CERT_FILE", authority),
            ("SECRET_MANAGER_EMULATOR_HOST", url.clone()),
            ("APCA_API_BASE_URL", url.clone()),
        ];
        if firestore {
            variables.push(("FIRESTORE_EMULATOR_HOST", url));
        }
        Ok(variables)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One row, with all services behind TLS if the pulse can be made to trust the authority for all of them.
pub(crate) fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let users = bench.args.users.iter().copied().max().unwrap_or(20_000).min(20_000);
    let cell = Cell { users, latency_ms: 0, concurrency: 64 };
    let cloud = bench.cloud(users, 0)?;
    let proxy = Proxy::start(bench, cloud.address(), "authority.pem")?;
    let everything = proxy.variables(true)?;
    let trial = bench.pulse(&cloud, &["--user", "user-0001"], &everything)?;
    let trusted = trial.used.exit == Some(0) && trial.told.synced() == 1;
    let (name, variables) = if trusted {
        ("pulse, TLS", everything)
    } else {
        let reason = trial.told.trouble.first().map_or("", String::as_str);
        let reason = &reason[..reason.floor_char_boundary(300)];
        bench.note(format!("not all is behind TLS, as a pulse with only that did not get through: {reason}"));
        ("pulse, TLS without Firestore", proxy.variables(false)?)
    };
    let row = bench.row(name, &cell, &cloud, &[], &variables)?;
    progress(&row);
    Ok(vec![row])
}

/// From start to first request, with TLS; an error if Firestore's client cannot be made to trust the authority.
pub(crate) fn start(bench: &Bench) -> Result<startup::Start> {
    let listener = Listener::start()?;
    let proxy = Proxy::start(bench, &listener.address.to_string(), "authority-of-start.pem")?;
    let mut variables = proxy.variables(true)?;
    variables.push(("GCP_PROJECT", "pulse-sandbox".to_owned()));
    startup::of(bench, &listener, &variables)
}

/// The part `tls-proxy`: says which port it took, and serves until it is killed.
pub(crate) fn run(args: &ProxyArgs) -> Result<ExitCode> {
    let acceptor = TlsAcceptor::from(Arc::new(certified(&args.authority)?));
    let upstream = args.upstream;
    tokio::runtime::Runtime::new()?.block_on(async {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        // A pulse opens hundreds of connections at once.
        let listener = socket.listen(4096)?;
        let mut out = std::io::stdout();
        writeln!(out, "{}", listener.local_addr()?.port())?;
        out.flush()?;
        loop {
            let (stream, _) = listener.accept().await?;
            // A connection that breaks is the pulse's to report.
            tokio::spawn(forward(acceptor.clone(), stream, upstream));
        }
    })
}

async fn forward(acceptor: TlsAcceptor, stream: TcpStream, upstream: SocketAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut acceptor.accept(stream).await?, &mut upstream).await?;
    Ok(())
}

/// Makes an authority and a certificate of it. The sandbox tells HTTP/2 from HTTP/1.1 by itself, so both are offered.
fn certified(authority: &Path) -> Result<ServerConfig> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // A certificate with the same name as its authority looks like its own authority to some.
    params.distinguished_name.push(DnType::CommonName, "authority of the benchmark");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    fs::write(authority, issuer.pem())?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &issuer)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
