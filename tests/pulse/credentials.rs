//! Google's credentials are asked for as patiently as anything else, and survive whatever answer.

use crate::google::Google;
use crate::live::{Live, in_time, wait_until};
use crate::tcp_proxy::TcpProxy;
use crate::world::{Run, World, sandbox};
use futures::future::join_all;
use pulse_sandbox::call::Service;
use pulse_sandbox::metadata::Metadata;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const SYNCED: &str = "1 successful, 0 errors";

/// Whatever can go wrong with one answer of the metadata server.
const TROUBLES: [&str; 11] = [
    "error=503",
    "error=500",
    "error=429,header=Retry-After: 1",
    "error=404,body=no service account",
    "error=401",
    "truncate",
    "drop-before",
    "drop-after",
    "stall",
    "body=<html>moved</html>",
    "redirect=http://127.0.0.1:9/",
];

fn told(run: &Run, message: &str) -> usize {
    run.entries()
        .iter()
        .filter(|entry| entry["message"].as_str().is_some_and(|text| text.starts_with(message)))
        .count()
}

/// The bearer tokens that a service was shown.
fn tokens(world: &World, service: Service) -> Vec<String> {
    let mut received = world.sandbox.requests().received();
    received.retain(|call| call.method.service() == service);
    let bearer = |value: &http::HeaderValue| value.to_str().expect("ASCII").replace("Bearer ", "");
    received.iter().filter_map(|call| call.headers.get("authorization").map(bearer)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_of_the_metadata_server_serves_a_whole_pass() {
    let google = Google::with_users(&["ana", "ben", "cy"]).await;
    google.pulse().await.assert_completed("3 successful, 0 errors", 0);
    assert_eq!(google.world.calls(Service::Metadata, "GetToken"), 1);
    let shown = tokens(&google.world, Service::SecretManager);
    assert_eq!(shown, vec![Metadata::token(1); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_server_that_stumbles_is_asked_again() {
    let stumbles = TROUBLES.map(|trouble| async move {
        let google = Google::with_users(&["ana"]).await;
        google.world.fault(&format!("metadata/GetToken:{trouble},times=2"));
        let run = google.pulse().await;
        run.assert_completed(SYNCED, 0);
        assert!(google.world.calls(Service::Metadata, "GetToken") >= 3, "{trouble}");
    });
    join_all(stumbles).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_server_that_refuses_connections_for_a_while_is_asked_again() {
    let google = Google::with_users(&["ana"]).await;
    let proxy = TcpProxy::start(google.world.sandbox.address().to_string()).await;
    proxy.refuse(true);
    let host = proxy.host();
    let env = [("GCE_METADATA_HOST", host.as_str())];
    let running = Live::start(google.command(&[], &env));
    proxy.until(|tally| tally.accepted >= 2).await;
    proxy.refuse(false);
    running.end().await.assert_completed(SYNCED, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_line_says_what_the_token_server_answered_until_the_end() {
    let cases = [
        ("error=503", "answered 503"),
        ("error=404,body=hush", "answered 404"),
        ("stall", "did not answer in time"),
        ("truncate", "broke off its answer"),
        ("drop-before", "broke off its answer"),
        ("body={\"access_token\": 7}", "answered something that is no token"),
    ];
    let ends = cases.map(|(fault, said)| async move {
        let google = Google::with_users(&["ana"]).await;
        google.world.fault(&format!("metadata/GetToken:{fault}"));
        let run = google.pulse().await;
        let last = run.entries().pop().expect("a last line");
        assert_eq!(
            last["message"],
            format!(
                "The pass could not begin: Google's credentials gave no token: the metadata server {said}"
            )
        );
        assert_eq!((&last["severity"], run.exit), (&"CRITICAL".into(), Some(1)), "{fault}");
        assert_eq!(run.entries().len(), 2, "{fault}: {}", run.stdout);
        // One that says nothing is given longer each time.
        assert!(google.world.calls(Service::Metadata, "GetToken") >= 3, "{fault}");
        assert!(google.world.snapshot("ana").await.is_null());
    });
    join_all(ends).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_metadata_server_it_is_said_what_to_do() {
    let google = Google::with_users(&["ana"]).await;
    let run = google.pulse_with_in(&[], &[("GCE_METADATA_HOST", "127.0.0.1:9")]).await;
    let last = run.entries().pop().expect("a last line");
    assert_eq!(
        last["message"],
        "The pass could not begin: Google's credentials gave no token: the metadata server \
        could not be reached; outside Google Cloud, run: gcloud auth application-default login"
    );
    assert_eq!(run.exit, Some(1));
}

/// A token server that gives tokens of a second, and has these answers in between.
async fn token_server(between: &'static [&'static str]) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/token", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        let mut held = Vec::new();
        for number in 0.. {
            let Ok((mut client, _)) = listener.accept().await else { return };
            let mut request = [0; 4096];
            let _whole = client.read(&mut request).await;
            let token =
                format!(r#"{{"access_token":"named-{number}","expires_in":1,"token_type":"Bearer"}}"#);
            let good = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{token}", token.len());
            let answer = if number == 0 { None } else { between.get(number - 1) };
            let _gone = client.write_all(answer.map_or(good.as_bytes(), |answer| answer.as_bytes())).await;
            if answer == Some(&"") {
                held.push(client);
            }
        }
    });
    (url, AbortOnDropHandle::new(server))
}

/// The library that uses such credentials never asks again after some of these.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_with_a_login_survives_every_answer_of_its_token_server() {
    let (url, _server) = token_server(&[
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"access_token\":",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        "",
        "hello",
    ])
    .await;
    let google = Google::with_users(&["ana"]).await;
    let login = json!({
        "type": "authorized_user", "client_id": "a", "client_secret": "b", "refresh_token": "c", "token_uri": url,
    });
    let path = google.file("login.json", login.to_string());
    let env = [("GOOGLE_APPLICATION_CREDENTIALS", path.as_str())];
    let mut running = Live::start(google.command(&["--every", "1s", "--for", "1h", "--key-ttl", "0s"], &env));
    running.until(&format!("Completed multi-tenant sync: {SYNCED}"), 1).await;
    let first = tokens(&google.world, Service::SecretManager);
    assert_eq!(first.last().map(String::as_str), Some("named-0"));
    // The one after all the answers in between.
    let newest = || {
        let shown = tokens(&google.world, Service::SecretManager);
        shown.last().and_then(|token| token.strip_prefix("named-")?.parse::<u32>().ok())
    };
    while newest() < Some(7) {
        running.until("Completed multi-tenant sync: ", 1).await;
    }
    running.signal("TERM");
    let run = running.end().await;
    assert_eq!(run.exit, Some(143));
    assert!(run.entries().iter().all(|entry| entry["severity"] != "CRITICAL"), "{}", run.stdout);
    assert_eq!(
        told(&run, "Completed multi-tenant sync: "),
        told(&run, &format!("Completed multi-tenant sync: {SYNCED}")),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_heeded_while_a_token_is_waited_for() {
    let google = Google::with_users(&["ana"]).await;
    google.world.fault("metadata/GetToken:stall");
    let running = Live::start(google.command(&[], &[]));
    let requests = google.world.sandbox.requests();
    wait_until(|| requests.count(Service::Metadata, "GetToken") > 0).await;
    running.signal("TERM");
    assert_eq!(in_time(running.end()).await.exit, Some(143));
}

/// Tokens of two seconds are replaced in mid-loop, and some of the questions for that go wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_survives_every_refresh_that_goes_wrong() {
    let loops = TROUBLES.map(|trouble| async move {
        let google = Google::with_users(&["ana"]).await;
        google.world.sandbox.metadata().set_lifetime(Duration::from_secs(2));
        google.world.fault(&format!("metadata/GetToken:{trouble},skip=1,times=2"));
        let run = google.pulse_with_in(&["--every", "1s", "--for", "6s", "--key-ttl", "0s"], &[]).await;
        assert_eq!(run.exit, Some(0), "{trouble}: {}", run.stdout);
        let ticks = told(&run, "Completed multi-tenant sync: ");
        assert!(ticks >= 2, "{trouble}: {}", run.stdout);
        assert_eq!(
            told(&run, &format!("Completed multi-tenant sync: {SYNCED}")),
            ticks,
            "{trouble}: {}",
            run.stdout
        );
        assert!(
            run.entries().iter().all(|entry| entry["severity"] != "CRITICAL"),
            "{trouble}: {}",
            run.stdout
        );
        let shown = tokens(&google.world, Service::SecretManager);
        assert!(shown.last() > Some(&Metadata::token(1)), "{trouble}: {shown:?}");
    });
    join_all(loops).await;
}

/// However long there is no token: the tick after that is fine.
#[tokio::test(flavor = "multi_thread")]
async fn a_loop_goes_on_once_there_are_tokens_again() {
    let google = Google::with_users(&["ana"]).await;
    let world = &google.world;
    world.sandbox.metadata().set_lifetime(Duration::from_secs(1));
    let mut running = Live::start(google.command(&["--every", "1s", "--for", "1h", "--key-ttl", "0s"], &[]));
    running.until("Completed multi-tenant sync: 1 successful", 1).await;
    world.fault("metadata/GetToken:error=503");
    running
        .until(
            "The pass could not begin: Google's credentials gave no token: the metadata server answered 503",
            1,
        )
        .await;
    world.sandbox.faults().clear();
    running.until("Completed multi-tenant sync: 1 successful", 1).await;
    running.signal("TERM");
    assert_eq!(running.end().await.exit, Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_firestore_does_not_take_once_costs_nothing() {
    for fault in [
        "firestore/RunQuery:error=UNAUTHENTICATED,times=1",
        "firestore/BatchGetDocuments:error=UNAUTHENTICATED,times=1",
        "firestore/Commit:error=UNAUTHENTICATED,times=2",
        "firestore/RunAggregationQuery:error=UNAUTHENTICATED,times=2",
    ] {
        let world = sandbox().await;
        world.user("ana").await;
        world.fault(fault);
        world.pulse_with(&["--spread", "1s"]).await.assert_completed(SYNCED, 0);
        assert!(world.sandbox.faults().rules()[0].applied() > 0, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_firestore_never_takes_is_said_to_be_that() {
    for (fault, message) in [
        ("firestore/BatchGetDocuments", "Failed to sync Alpaca account for user ana: "),
        ("firestore/RunQuery", "Failed multi-tenant sync: "),
        ("firestore/Commit:error=UNAUTHENTICATED,user=ana", "Failed to sync Alpaca account for user ana: "),
    ] {
        let world = sandbox().await;
        world.user("ana").await;
        let fault =
            if fault.contains(':') { fault.to_owned() } else { format!("{fault}:error=UNAUTHENTICATED") };
        world.fault(&fault);
        let run = world.pulse().await;
        let entry = run.entry(message);
        let text = entry["message"].as_str().expect("a text");
        assert!(text.contains("Firestore did not take the token of Google's credentials: check"), "{text}");
        assert!(entry["error"] == "store_unavailable" || entry["error"].is_null(), "{entry}");
        assert_eq!(run.exit, Some(1), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_secret_manager_does_not_take_is_tried_again_and_said_to_be_that() {
    let google = Google::with_users(&["ana", "ben"]).await;
    google.world.fault("secret-manager:error=401,body=hush,user=ana,times=2");
    google.world.fault("secret-manager:error=401,body=hush,user=ben");
    let run = google.pulse().await;
    run.assert_completed("1 successful, 1 errors", 0);
    let entry = run.entry("Could not retrieve Alpaca keys for user ben: ");
    let text = entry["message"].as_str().expect("a text");
    assert!(text.contains("it did not take the token of Google's credentials: check"), "{text}");
    assert_eq!(entry["error"], "keys_unavailable");
}

/// The token is over before the users' calls, and there is no other for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_whose_call_had_no_token_is_told_about_that() {
    let google = Google::with_users(&["ana"]).await;
    google.world.sandbox.metadata().set_lifetime(Duration::from_secs(1));
    google.world.fault("metadata/GetToken:error=503,skip=1");
    google.world.fault("firestore/RunQuery:latency=2s");
    let run = google.pulse().await;
    let entry = run.entry("Could not retrieve Alpaca keys for user ana: ");
    let text = entry["message"].as_str().expect("a text");
    assert!(text.ends_with("Google's credentials gave no token: the metadata server answered 503"), "{text}");
    assert_eq!(entry["error"], "keys_unavailable");
}
