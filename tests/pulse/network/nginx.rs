//! Firestore behind Debian's nginx, which ends each connection after some requests, as load balancers do.

use super::{skipped, users};
use crate::live::{LOOK_INTERVAL, Live, in_time};
use crate::world::{World, sandbox};
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use tokio::net::TcpStream;

/// One server, which ends with the test.
struct Nginx {
    directory: PathBuf,
    master: Child,
    port: u16,
}

impl Nginx {
    /// In front of a world's Firestore; `None` where there is no nginx.
    async fn start(world: &World, settings: &str) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            skipped("no nginx (apt-get install nginx)");
            return None;
        }
        let directory = std::env::temp_dir().join(format!("{}-nginx", world.project));
        fs::create_dir_all(&directory).expect("a directory");
        let port = free_port();
        fs::write(directory.join("nginx.conf"), configuration(world, port, settings)).expect("a file");
        let master = Command::new("nginx")
            .arg("-p")
            .arg(&directory)
            .args(["-e", "error.log", "-c", "nginx.conf"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        let nginx = Self { directory, master, port };
        in_time(async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        })
        .await;
        Some(nginx)
    }

    fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// New workers, while the old ones end what they have begun.
    fn reload(&self) {
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.master.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.signal("TERM");
        self.master.wait().expect("it ends");
        fs::remove_dir_all(&self.directory).expect("it is ours");
    }
}

/// Free a moment ago: nginx takes no socket that somebody else has bound.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

/// HTTP/2 without TLS, because the job trusts no certificate of a test's own for Firestore.
fn configuration(world: &World, port: u16, settings: &str) -> String {
    format!(
        "daemon off;
worker_processes 2;
pid nginx.pid;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  upstream firestore {{ server {}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port} http2;
    client_max_body_size 0;
    {settings}
    location / {{ grpc_pass grpc://firestore; }}
  }}
}}
",
        world.firestore_host
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_each_connection_after_twenty_calls_fails_nobody() {
    let world = sandbox().await;
    let Some(nginx) = Nginx::start(&world, "keepalive_requests 20;").await else { return };
    world.users(&users(4000)).await;
    let run = world.pulse_with_in(&[], &[("FIRESTORE_EMULATOR_HOST", &nginx.host())]).await;
    run.assert_completed("4000 successful, 0 errors", 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_reloaded_again_and_again_fails_nobody() {
    let world = sandbox().await;
    let Some(nginx) = Nginx::start(&world, "").await else { return };
    world.users(&users(2000)).await;
    world.fault("alpaca:latency=40ms");
    let mut command = world.command(&[]);
    command.env("FIRESTORE_EMULATOR_HOST", nginx.host());
    let mut running = Live::start(command);
    for _ in 0..6 {
        running.until("Successfully synced Alpaca account for user ", 250).await;
        nginx.reload();
    }
    running.end().await.assert_completed("2000 successful, 0 errors", 0);
}
