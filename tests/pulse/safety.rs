//! Section 6: keys go to Alpaca alone, and nobody's trouble is anybody else's.

use crate::crowd::turn_of_a_crowd;
use crate::held_alpaca::HeldAlpaca;
use crate::live::Live;
use crate::on_both;
use crate::traffic::start_after;
use crate::world::{Run, World, fields_of, off, sandbox};
use gcloud_sdk::google::firestore::v1::structured_query::Direction;
use pulse_sandbox::call::Service;
use serde_json::json;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use tokio::process::Command;

/// A listener that nobody must talk to.
struct Bystander(TcpListener);

impl Bystander {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    /// A connection that was ever made waits here to be accepted.
    fn was_called(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::WouldBlock);
                false
            }
        }
    }
}

/// `pulse` in an environment that has a proxy.
fn command_behind(proxy: &Bystander, world: &World) -> Command {
    let mut command = world.command(&[]);
    for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env(variable, format!("http://{}", proxy.address()));
    }
    command
}

on_both! {
    async fn a_redirect_is_not_followed(world) {
        let elsewhere = Bystander::new();
        world.user("ana").await;
        world.user("ben").await;
        world.fault(&format!("alpaca:redirect=http://{}/v2/account,user=ana", elsewhere.address()));
        let run = world.pulse().await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert!(!elsewhere.was_called());
        assert_eq!(run.error_of("ana").as_deref(), Some("broker_bad_answer"));
        assert_eq!((world.account_calls("ana"), world.account_calls("ben")), (1, 1));
    }

    /// Whoever it leads to could answer with keys of their own.
    async fn a_redirect_of_secret_manager_is_not_followed(world) {
        let elsewhere = Bystander::new();
        world.user("ana").await;
        world.user("ben").await;
        let name = format!("projects/{}/secrets/alpaca-keys-ana/versions/latest:access", world.project);
        world.fault(&format!("secret-manager:redirect=http://{}/v1/{name},user=ana", elsewhere.address()));
        let run = world.pulse().await;
        run.assert_completed("1 successful, 1 errors", 0);
        assert!(!elsewhere.was_called());
        assert_eq!(run.error_of("ana").as_deref(), Some("keys_unavailable"));
        let told = run.entry("Could not retrieve Alpaca keys for user ana: ")["message"].to_string();
        assert!(told.contains("a redirect (status 302), which is not followed"), "{told}");
        assert_eq!((world.secret_accesses("ana"), world.account_calls("ana")), (4, 0));
    }

    /// The other hosts are exempt, so that only the calls to Alpaca could take the proxy.
    async fn a_proxy_does_not_get_the_keys_of_a_call_without_tls(world) {
        let proxy = Bystander::new();
        world.user("ana").await;
        let mut command = command_behind(&proxy, &world);
        let port = world.sandbox.address().port();
        command.env("NO_PROXY", "127.0.0.1").env("APCA_API_BASE_URL", format!("http://localhost:{port}"));
        Run::of(&mut command).await.assert_completed("1 successful, 0 errors", 0);
        assert!(!proxy.was_called());
    }

    async fn as_many_users_are_in_flight_as_allowed_and_no_more(world) {
        for number in 0..USERS {
            world.user(&format!("user-{number:02}")).await;
        }
        for concurrency in [1, 4] {
            // Those at work, and four times as many who have waited for an answer for long.
            assert_eq!(most_in_flight(&world, concurrency).await, 5 * concurrency);
        }
    }

    async fn one_users_stall_does_not_delay_the_others(world) {
        for number in 0..20 {
            world.user(&format!("user-{number:02}")).await;
        }
        world.fault("alpaca:stall,user=user-00");
        let mut running = Live::start(world.command(&["--concurrency", "2"]));
        running.until("Successfully synced Alpaca account for user ", 19).await;
        assert!(!running.log().contains("Failed to sync"), "the other one is still in flight: {}", running.log());
        for number in 1..20 {
            assert_eq!(world.snapshot(&format!("user-{number:02}")).await["status"], "ACTIVE", "{number}");
        }
    }
}

const USERS: usize = 24;

/// Runs a pass in which all calls are held, and then one is let go after the other, so that the next takes its place.
async fn most_in_flight(world: &World, concurrency: usize) -> usize {
    let alpaca = HeldAlpaca::start().await;
    let flag = format!("--concurrency={concurrency}");
    let running = Live::start(alpaca.command(world, &[&flag]));
    let in_flight = 5 * concurrency;
    for let_go in 0..=USERS - in_flight {
        alpaca.arrived(let_go + in_flight).await;
        alpaca.let_go(1);
    }
    alpaca.let_go(in_flight - 1);
    running.end().await.assert_completed("24 successful, 0 errors", 0);
    alpaca.most_in_flight()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_read_in_pages_by_name_with_only_the_fields_that_are_needed() {
    let world = sandbox().await;
    // Switched off, so that the request log has room for the queries.
    let users = (1..=1201).map(|number| {
        let path = format!("users/user-{number:04}");
        (path, fields_of([("sync_enabled", off())]))
    });
    world.put_all("(default)", users);
    world.pulse().await.assert_completed("0 successful, 0 errors, 1201 skipped", 0);

    let queries = world.user_queries();
    for query in &queries {
        assert_eq!((query.limit, query.offset), (Some(500), 0));
        assert!(!query.from[0].all_descendants && query.r#where.is_none() && query.end_at.is_none());
        let order = &query.order_by[..];
        assert_eq!(order.len(), 1);
        assert_eq!(order[0].field.as_ref().expect("a field").field_path, "__name__");
        assert_eq!(order[0].direction(), Direction::Ascending);
        let select = query.select.as_ref().expect("a projection");
        let fields: Vec<_> = select.fields.iter().map(|field| field.field_path.as_str()).collect();
        assert_eq!(fields, ["tenant_id", "sync_enabled", "keys_updated_at"]);
    }
    let starts: Vec<_> = queries.iter().map(start_after).collect();
    assert_eq!(starts, ["", "user-0500", "user-1000"], "pages of 500, 500 and 201");
}

/// As many calls as users, and a snapshot for each: nobody is synced twice.
async fn assert_each_user_is_synced_once(users: usize, args: &[&str]) {
    let _turn = turn_of_a_crowd().await;
    let world = sandbox().await;
    let ids = world.crowd(users);
    let run = world.pulse_with(args).await;
    run.assert_completed(&format!("{users} successful, 0 errors"), 0);
    let users = users as u64;
    assert_eq!(world.calls(Service::SecretManager, "AccessSecretVersion"), users);
    assert_eq!(world.calls(Service::Alpaca, "GetAccount"), users);
    // One for each user, the ledger's first and last, and perhaps its cursor after every thousand and every ten seconds.
    let of_the_ledger = world.calls(Service::Firestore, "Commit") - users;
    let seconds = run.entry("Completed")["duration_ms"].as_u64().expect("a number") / 1000;
    assert!((2..=2 + users / 1000 + seconds / 10).contains(&of_the_ledger), "{of_the_ledger}");
    for id in &ids {
        assert!(world.has(&format!("users/{id}/alpacaAccounts/snapshot")), "{id} has a snapshot");
        assert!(world.has(&format!("tenants/{id}/accounts/primary")), "{id} has a tenant");
    }
    assert_eq!(world.document("ops/last_pulse").await["users_count"], json!({"integer": users}));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_several_pages_are_synced_once_each() {
    assert_each_user_is_synced_once(1201, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_users_are_synced_in_one_pass() {
    assert_each_user_is_synced_once(3000, &["--concurrency", "256"]).await;
}

/// What Secret Manager answers are the keys themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_does_not_get_the_secrets_of_a_call_without_tls() {
    let world = sandbox().await;
    let proxy = Bystander::new();
    world.user("ana").await;
    let mut command = command_behind(&proxy, &world);
    let run = Run::of(&mut command).await;
    assert_eq!(run.exit, Some(2), "Google's client would take the proxy: {}", run.stdout);
    assert!(
        run.entries()[0]["message"].as_str().is_some_and(|text| text.contains("NO_PROXY")),
        "{}",
        run.stdout
    );
    assert_eq!((world.secret_accesses("ana"), proxy.was_called()), (0, false));

    command.env("NO_PROXY", "localhost,127.0.0.1");
    let run = Run::of(&mut command).await;
    run.assert_completed("1 successful, 0 errors", 0);
    assert!(!proxy.was_called());
}
