//! The local cloud: a Firestore, a Secret Manager, an Alpaca, a metadata server and a collector of metrics
//! on loopback.
//!
//! All of them share one port, told apart by path, and can be made to misbehave on demand ([`faults`]). Tests start a
//! [`Sandbox`] of their own; people start one with `pulse sandbox` ([`command`]).

#![allow(missing_docs, reason = "what a name says is not said again")]

pub mod admin;
pub mod alpaca;
mod answer;
pub mod call;
pub mod command;
mod control;
pub mod faults;
pub mod firestore;
mod firestore_users;
mod gateway;
mod legacy;
pub mod metadata;
pub mod requests;
pub mod secret_manager;
pub mod seed;
mod server;
pub mod showcase;
mod stray;
pub mod telemetry;

use admin::Admin;
use alpaca::Alpaca;
use faults::Faults;
use firestore::Firestore;
use gateway::Cloud;
use metadata::Metadata;
use requests::Requests;
use secret_manager::SecretManager;
use seed::Population;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use telemetry::Telemetry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How to set up a sandbox.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many users to seed.
    pub users: u32,
    /// Whether some of them have trouble, see `seed::Trouble`.
    pub trouble: bool,
    /// Whether the database is one of the single-tenant layout, with the users' keys in it.
    pub legacy: bool,
    /// How long every call takes at least.
    pub latency: Duration,
    /// The port on 127.0.0.1; 0 is any free one.
    pub port: u16,
    /// The Google Cloud project that documents and secrets are in.
    pub project: String,
}

impl Default for Options {
    /// An empty sandbox on a free port.
    fn default() -> Self {
        Self {
            users: 0,
            trouble: false,
            legacy: false,
            latency: Duration::ZERO,
            port: 0,
            project: "pulse-sandbox".to_owned(),
        }
    }
}

/// A running local cloud. Dropping it stops it at once.
pub struct Sandbox {
    address: SocketAddr,
    project: String,
    population: Population,
    cloud: Arc<Cloud>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Seeds the users and starts to listen; fails if the port is taken.
    pub async fn start(options: Options) -> io::Result<Self> {
        let Options { users, trouble, legacy, latency, port, project } = options;
        let listener = listen(port)?;
        let address = listener.local_addr()?;
        let population = Population::new(users, trouble && !legacy);
        let firestore = Firestore::default();
        let database = format!("projects/{project}/databases/(default)");
        let (written, secrets) = match legacy {
            true => (legacy::write_documents(users, &firestore, &database), Population::default()),
            false => (population.write_documents(&firestore, &database), population),
        };
        written.map_err(io::Error::other)?;
        let cloud = Arc::new(Cloud {
            firestore,
            secrets: SecretManager::new(&project, secrets),
            alpaca: Alpaca::new(population),
            metadata: Metadata::new(&project),
            admin: Admin::new(&project),
            telemetry: Telemetry::default(),
            faults: Faults::default(),
            requests: Requests::new(),
            latency,
        });
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(server::serve(listener, Arc::clone(&cloud), stopped));
        Ok(Self { address, project, population, cloud, stop, server })
    }

    /// The Google Cloud project that documents and secrets are in.
    pub fn project(&self) -> &str {
        &self.project
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The environment variables that lead a process to this sandbox.
    pub fn exports(&self) -> Vec<(&'static str, String)> {
        let address = self.address;
        vec![
            ("GCP_PROJECT", self.project.clone()),
            ("FIRESTORE_EMULATOR_HOST", address.to_string()),
            ("SECRET_MANAGER_EMULATOR_HOST", address.to_string()),
            ("APCA_API_BASE_URL", format!("http://{address}")),
        ]
    }

    /// The variables that lead `pulse doctor`, and `gcloud`, to its admin APIs.
    pub fn admin_exports(&self) -> Vec<(&'static str, String)> {
        let url = format!("http://{}/", self.address);
        admin::OVERRIDES.map(|name| (name, url.clone())).into()
    }

    pub(crate) fn population(&self) -> Population {
        self.population
    }

    pub fn firestore(&self) -> &Firestore {
        &self.cloud.firestore
    }

    pub fn secrets(&self) -> &SecretManager {
        &self.cloud.secrets
    }

    pub fn alpaca(&self) -> &Alpaca {
        &self.cloud.alpaca
    }

    pub fn metadata(&self) -> &Metadata {
        &self.cloud.metadata
    }

    pub fn admin(&self) -> &Admin {
        &self.cloud.admin
    }

    pub fn telemetry(&self) -> &Telemetry {
        &self.cloud.telemetry
    }

    /// The faults in force.
    pub fn faults(&self) -> &Faults {
        &self.cloud.faults
    }

    /// The log of all calls.
    pub fn requests(&self) -> &Requests {
        &self.cloud.requests
    }

    /// Stops listening, lets the calls in flight end for a moment, and cuts off the rest.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        // It ends by itself; the only error is a panic, which has been reported where it happened.
        let _ended = (&mut self.server).await;
    }
}

/// Connections that may wait to be accepted. A pulse opens hundreds at once, and one that finds no room tries again
/// only a second later.
const BACKLOG: u32 = 4096;

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(BACKLOG)
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}
