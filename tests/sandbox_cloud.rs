//! The local cloud at the wire: every service, every error and every fault as a client meets them.
#![cfg(feature = "sandbox")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use futures::FutureExt;
use gcloud_sdk::google::firestore::v1::firestore_client::FirestoreClient;
use gcloud_sdk::google::firestore::v1::run_query_request::QueryType;
use gcloud_sdk::google::firestore::v1::structured_query::CollectionSelector;
use gcloud_sdk::google::firestore::v1::{
    CommitRequest, GetDocumentRequest, RunQueryRequest, StructuredQuery,
};
use google_cloud_gax::error::rpc::Code;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_secretmanager_v1::client::SecretManagerService;
use pulse_sandbox::alpaca::{Alpaca, Keys, Profile};
use pulse_sandbox::call::Service;
use pulse_sandbox::requests::Outcome;
use pulse_sandbox::secret_manager::VersionState;
use pulse_sandbox::{Options, Sandbox};
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};

const FIRST_SECRET: &str = "/v1/projects/pulse-sandbox/secrets/alpaca-keys-user-0001/versions/latest:access";

/// A sandbox and a client for it.
struct Scene {
    sandbox: Sandbox,
    client: Client,
}

impl Scene {
    async fn with_users(users: u32) -> Self {
        let options = Options { users, trouble: true, ..Options::default() };
        let sandbox = Sandbox::start(options).await.unwrap();
        let client =
            Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { sandbox, client }
    }

    async fn with_fault(spec: &str) -> Self {
        let scene = Self::with_users(1).await;
        scene.sandbox.faults().inject(spec).unwrap();
        scene
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.sandbox.address())
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.client.get(self.url(path)).send().await
    }

    async fn account(&self, keys: &Keys) -> reqwest::Result<Response> {
        let request = self.client.get(self.url("/v2/account"));
        let request = request.header("APCA-API-KEY-ID", &keys.key_id);
        request.header("APCA-API-SECRET-KEY", &keys.secret_key).send().await
    }

    async fn first_account(&self) -> reqwest::Result<Response> {
        self.account(&Alpaca::seeded_keys(1)).await
    }

    fn grpc(&self) -> FirestoreClient<Channel> {
        FirestoreClient::new(Endpoint::from_shared(self.url("")).unwrap().connect_lazy())
    }

    async fn secret_manager(&self) -> SecretManagerService {
        SecretManagerService::builder()
            .with_endpoint(self.url(""))
            .with_credentials(google_cloud_auth::credentials::anonymous::Builder::new().build())
            .with_retry_policy(NeverRetry)
            .build()
            .await
            .unwrap()
    }

    fn outcomes(&self) -> Vec<Outcome> {
        self.sandbox.requests().recent().into_iter().map(|entry| entry.outcome).collect()
    }
}

async fn body(response: Response) -> Value {
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

/// Waits for something that another task is about to do; gives up only so that a broken sandbox hangs no test.
async fn until(mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "it never happened");
        tokio::task::yield_now().await;
    }
}

// Secret Manager.

#[tokio::test]
async fn googles_client_reads_the_keys_of_a_user() {
    let scene = Scene::with_users(1).await;
    scene.sandbox.secrets().add_version("alpaca-keys-user-0001", "newer");
    let client = scene.secret_manager().await;
    let name =
        |version: &str| format!("projects/pulse-sandbox/secrets/alpaca-keys-user-0001/versions/{version}");
    let first = client.access_secret_version().set_name(name("1")).send().await.unwrap();
    let payload = first.payload.unwrap();
    let keys: Value = serde_json::from_slice(&payload.data).unwrap();
    assert_eq!(keys["key_id"], Alpaca::seeded_keys(1).key_id);
    assert_eq!(payload.data_crc32c, Some(i64::from(crc32c::crc32c(&payload.data))));
    let latest = client.access_secret_version().set_name(name("latest")).send().await.unwrap();
    assert!(latest.name.ends_with("/secrets/alpaca-keys-user-0001/versions/2"), "{}", latest.name);
    assert!(!latest.name.contains("pulse-sandbox"), "the project is a number: {}", latest.name);
}

#[tokio::test]
async fn googles_client_tells_the_errors_apart() {
    let scene = Scene::with_users(8).await;
    scene.sandbox.secrets().forbid("alpaca-keys-user-0001", true);
    let client = scene.secret_manager().await;
    for (user, code, status) in [
        ("user-0001", Code::PermissionDenied, 403),
        ("user-0002", Code::NotFound, 404),
        ("user-0005", Code::FailedPrecondition, 400),
    ] {
        let name = format!("projects/pulse-sandbox/secrets/alpaca-keys-{user}/versions/latest");
        let error = client.access_secret_version().set_name(name).send().await.unwrap_err();
        assert_eq!(error.status().map(|status| status.code), Some(code), "{user}");
        assert_eq!(error.http_status_code(), Some(status), "{user}");
    }
}

#[tokio::test]
async fn errors_are_in_googles_envelope() {
    let scene = Scene::with_users(0).await;
    let response = scene.get(FIRST_SECRET).await.unwrap();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    assert_eq!(response.headers()["content-type"], "application/json; charset=UTF-8");
    let error = body(response).await["error"].clone();
    assert_eq!((&error["code"], &error["status"]), (&json!(404), &json!("NOT_FOUND")));
    assert!(error["message"].as_str().unwrap().ends_with("not found or has no versions."), "{error}");
}

#[tokio::test]
async fn keys_are_rotated_over_the_wire() {
    let scene = Scene::with_users(1).await;
    let add = "/v1/projects/pulse-sandbox/secrets/alpaca-keys-user-0001:addVersion?alt=json";
    let post = |path: &str| scene.client.post(scene.url(path));
    let added = post(add).body(r#"{"payload":{"data":"bmV3"}}"#).send().await.unwrap();
    assert!(body(added).await["name"].as_str().unwrap().ends_with("/versions/2"));
    assert_eq!(body(scene.get(FIRST_SECRET).await.unwrap()).await["payload"]["data"], "bmV3");
    let disable = FIRST_SECRET.replace("latest:access", "2:disable");
    assert_eq!(body(post(&disable).send().await.unwrap()).await["state"], "DISABLED");
    assert_eq!(scene.get(FIRST_SECRET).await.unwrap().status(), StatusCode::BAD_REQUEST);
    assert!(scene.sandbox.secrets().set_state("alpaca-keys-user-0001", "2", VersionState::Enabled));
    assert_eq!(scene.get(FIRST_SECRET).await.unwrap().status(), StatusCode::OK);
}

// Alpaca.

#[tokio::test]
async fn an_account_answers_to_its_keys_alone() {
    let scene = Scene::with_users(3).await;
    let response = scene.first_account().await.unwrap();
    let headers = response.headers().clone();
    assert_eq!((response.status(), &headers["x-ratelimit-limit"]), (StatusCode::OK, &"200".parse().unwrap()));
    assert_eq!(headers["x-request-id"].len(), 32);
    assert!(headers.contains_key("x-ratelimit-remaining") && headers.contains_key("x-ratelimit-reset"));
    assert_eq!(body(response).await["status"], "ACTIVE");
    for keys in [Alpaca::seeded_keys(3), Keys { key_id: "PKSANDBOX".into(), secret_key: "wrong".into() }] {
        let refused = scene.account(&keys).await.unwrap();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(body(refused).await, json!({"code": 40_110_000, "message": "request is not authorized"}));
    }
    let without = scene.get("/v2/account").await.unwrap();
    assert_eq!(without.status(), StatusCode::FORBIDDEN);
    assert_eq!(without.text().await.unwrap(), "{\"message\": \"forbidden.\"}\n");
}

#[tokio::test]
async fn a_key_that_calls_too_often_is_refused_and_others_are_not() {
    let scene = Scene::with_users(1).await;
    let other = Keys { key_id: "PKSANDBOXANA".into(), secret_key: "not-a-real-secret".into() };
    scene.sandbox.alpaca().register("ana", other.clone(), Profile::active());
    // A new minute may start once on the way, and then the count starts again.
    for _ in 0..401 {
        let response = scene.first_account().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["x-ratelimit-remaining"], "0");
            assert_eq!(body(response).await, json!({"code": 42_910_000, "message": "rate limit exceeded"}));
            assert_eq!(scene.account(&other).await.unwrap().status(), StatusCode::OK);
            return;
        }
    }
    panic!("never refused");
}

#[tokio::test]
async fn a_test_decides_what_an_account_answers() {
    let scene = Scene::with_users(0).await;
    let keys = Keys { key_id: "PKSANDBOXANA".into(), secret_key: "not-a-real-secret".into() };
    let fixed = Profile::Fixed { status: StatusCode::BAD_GATEWAY, body: "<html>".into() };
    scene.sandbox.alpaca().register("ana", keys.clone(), fixed);
    let response = scene.account(&keys).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(response.text().await.unwrap(), "<html>");
    scene.sandbox.alpaca().register("ana", keys.clone(), Profile::onboarding());
    assert_eq!(body(scene.account(&keys).await.unwrap()).await["status"], "ONBOARDING");
}

// Faults of any service.

#[tokio::test(start_paused = true)]
async fn latency_delays_every_service() {
    let hour = Duration::from_secs(3600);
    let options = Options { users: 1, latency: hour, ..Options::default() };
    let sandbox = Sandbox::start(options).await.unwrap();
    let scene = Scene { sandbox, client: Client::builder().no_proxy().build().unwrap() };
    scene.sandbox.faults().inject("alpaca:latency=1h").unwrap();
    let start = Instant::now();
    assert_eq!(scene.get(FIRST_SECRET).await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() >= hour && start.elapsed() < 2 * hour, "{:?}", start.elapsed());
    let start = Instant::now();
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::OK);
    assert!(start.elapsed() >= 2 * hour, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_stalled_call_never_answers_and_holds_up_no_other() {
    let scene = Scene::with_fault("alpaca:stall,times=1").await;
    let mut stalled = Box::pin(scene.first_account());
    tokio::select! {
        _ = &mut stalled => panic!("answered"),
        () = until(|| scene.outcomes() == [Outcome::Stalled]) => {}
    }
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::OK);
    assert!(stalled.now_or_never().is_none());
}

#[tokio::test]
async fn a_drop_before_leaves_the_call_undone_and_a_drop_after_does_not() {
    for (fault, versions) in [("drop-before", "/versions/1"), ("drop-after", "/versions/2")] {
        let scene = Scene::with_fault(&format!("secret-manager/AddSecretVersion:{fault},times=1")).await;
        let add = scene.url("/v1/projects/pulse-sandbox/secrets/alpaca-keys-user-0001:addVersion");
        let lost = scene.client.post(add).body(r#"{"payload":{"data":"bmV3"}}"#).send().await;
        assert!(lost.unwrap_err().status().is_none());
        assert_eq!(scene.outcomes(), [Outcome::Dropped]);
        let name = body(scene.get(FIRST_SECRET).await.unwrap()).await["name"].clone();
        assert!(name.as_str().unwrap().ends_with(versions), "{fault}: {name}");
    }
}

#[tokio::test]
async fn a_dropped_grpc_connection_fails_its_call_and_the_next_one_goes_through() {
    for fault in ["drop-before", "drop-after"] {
        let scene = Scene::with_fault(&format!("firestore/Commit:{fault},times=1")).await;
        let mut grpc = scene.grpc();
        let status = grpc.commit(CommitRequest::default()).await.unwrap_err();
        assert!(std::error::Error::source(&status).is_some(), "sent by the server: {status:?}");
        let refused_by_the_engine = grpc.commit(CommitRequest::default()).await;
        if let Err(status) = refused_by_the_engine {
            assert!(std::error::Error::source(&status).is_none(), "{status:?}");
        }
        assert_eq!(scene.sandbox.requests().count(Service::Firestore, "Commit"), 2);
    }
}

// Faults of gRPC.

#[tokio::test]
async fn a_grpc_error_is_a_status_in_trailers_under_http_200() {
    let scene = Scene::with_fault("firestore/Commit:error=RESOURCE_EXHAUSTED").await;
    let status = scene.grpc().commit(CommitRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    assert_eq!(scene.outcomes(), [Outcome::Grpc("RESOURCE_EXHAUSTED")]);
    let path = "/google.firestore.v1.Firestore/Commit";
    let raw = scene.client.post(scene.url(path)).send().await.unwrap();
    assert_eq!((raw.status(), &raw.headers()["grpc-status"]), (StatusCode::OK, &"8".parse().unwrap()));
}

#[tokio::test]
async fn a_firestore_fault_can_be_about_one_user() {
    let scene = Scene::with_fault("firestore:error=DATA_LOSS,user=user-0003").await;
    let mut grpc = scene.grpc();
    for (user, expected) in [("user-0003", true), ("user-00031", false), ("user-0004", false)] {
        let name = format!("projects/pulse-sandbox/databases/(default)/documents/users/{user}");
        let request = GetDocumentRequest { name, ..GetDocumentRequest::default() };
        let result = grpc.get_document(request).await;
        let is_lost = result.is_err_and(|status| status.code() == tonic::Code::DataLoss);
        assert_eq!(is_lost, expected, "{user}");
    }
}

#[tokio::test]
async fn a_broken_stream_ends_with_unavailable_after_its_messages() {
    let scene = Scene::with_users(3).await;
    scene.sandbox.faults().inject("firestore/RunQuery:break-after=2").unwrap();
    let users = CollectionSelector { collection_id: "users".into(), all_descendants: false };
    let query = StructuredQuery { from: vec![users], ..StructuredQuery::default() };
    let request = RunQueryRequest {
        parent: "projects/pulse-sandbox/databases/(default)/documents".into(),
        query_type: Some(QueryType::StructuredQuery(query)),
        ..RunQueryRequest::default()
    };
    let mut stream = scene.grpc().run_query(request).await.unwrap().into_inner();
    for _ in 0..2 {
        assert!(stream.message().await.unwrap().is_some());
    }
    assert_eq!(stream.message().await.unwrap_err().code(), tonic::Code::Unavailable);
}

// Faults of REST.

#[tokio::test]
async fn an_error_comes_with_its_headers_and_body_for_its_share_of_calls() {
    let scene =
        Scene::with_fault(r#"alpaca:error=503,header=Retry-After: 7,body={"a":1\,"b":2},times=1"#).await;
    let refused = scene.first_account().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "7");
    assert_eq!(body(refused).await, json!({"a": 1, "b": 2}));
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_slow_body_comes_byte_by_byte() {
    let scene = Scene::with_fault("secret-manager:slow=1ms").await;
    let mut response = scene.get(FIRST_SECRET).await.unwrap();
    let length = response.content_length().unwrap();
    let (mut chunks, mut read) = (0, Vec::new());
    while let Some(chunk) = response.chunk().await.unwrap() {
        chunks += 1;
        read.extend_from_slice(&chunk);
    }
    assert_eq!((read.len() as u64, serde_json::from_slice::<Value>(&read).is_ok()), (length, true));
    assert!(chunks > 1, "in one piece");
}

#[tokio::test]
async fn a_truncated_body_is_shorter_than_announced() {
    let scene = Scene::with_fault("secret-manager:truncate").await;
    let mut response = scene.get(FIRST_SECRET).await.unwrap();
    let announced = response.content_length().unwrap();
    let half = response.chunk().await.unwrap().unwrap();
    assert_eq!(half.len() as u64, announced / 2);
    assert!(response.chunk().await.is_err());
}

#[tokio::test]
async fn padding_makes_the_body_as_large_as_wanted() {
    let scene = Scene::with_fault("alpaca:padding=100000").await;
    let response = scene.first_account().await.unwrap();
    assert!(response.content_length().unwrap() > 100_000);
    assert_eq!(body(response).await["status"], "ACTIVE");
}

#[tokio::test]
async fn a_redirect_leads_elsewhere() {
    let scene = Scene::with_fault("alpaca:redirect=http://127.0.0.1:9/steal").await;
    let response = scene.first_account().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["location"]),
        (StatusCode::FOUND, &"http://127.0.0.1:9/steal".parse().unwrap(),)
    );
}

#[tokio::test]
async fn a_wrong_checksum_comes_with_the_right_payload() {
    let scene = Scene::with_users(1).await;
    let right = body(scene.get(FIRST_SECRET).await.unwrap()).await;
    scene.sandbox.faults().inject("secret-manager:wrong-checksum").unwrap();
    let wrong = body(scene.get(FIRST_SECRET).await.unwrap()).await;
    assert_eq!(wrong["payload"]["data"], right["payload"]["data"]);
    assert_ne!(wrong["payload"]["dataCrc32c"], right["payload"]["dataCrc32c"]);
}

#[tokio::test]
async fn a_different_body_comes_under_200() {
    let scene = Scene::with_fault("alpaca:body=not json").await;
    let response = scene.first_account().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.text().await.unwrap(), "not json");
}

#[tokio::test]
async fn a_rest_fault_can_be_about_one_user() {
    let scene = Scene::with_users(1).await;
    let ana = Keys { key_id: "PKSANDBOXANA".into(), secret_key: "not-a-real-secret".into() };
    scene.sandbox.alpaca().register("ana", ana.clone(), Profile::active());
    scene.sandbox.faults().inject("alpaca:error=500,user=ana").unwrap();
    assert_eq!(scene.account(&ana).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::OK);
}

// The control surface, and starting and stopping.

#[tokio::test]
async fn faults_are_set_listed_and_ended_over_http() {
    let scene = Scene::with_users(1).await;
    let faults = scene.url("/sandbox/faults");
    for rule in
        [json!("alpaca:error=503"), json!({"service": "firestore", "method": "Commit", "stall": true})]
    {
        let created = scene.client.post(&faults).body(rule.to_string()).send().await.unwrap();
        assert_eq!(created.status(), StatusCode::CREATED);
    }
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let listed = body(scene.get("/sandbox/faults").await.unwrap()).await;
    assert_eq!(listed["faults"][0]["spec"], "alpaca:error=503");
    assert_eq!(listed["faults"][0]["applied"], 1);
    assert_eq!(
        listed["faults"][1]["rule"],
        json!({"service": "firestore", "method": "Commit", "stall": true})
    );
    let refused = scene.client.post(&faults).body(r#""alpaca:error=ABORTED""#).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    assert!(body(refused).await["error"].as_str().unwrap().contains("HTTP status"));
    scene.client.delete(&faults).send().await.unwrap();
    assert_eq!(scene.first_account().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn the_log_shows_calls_and_no_key() {
    let scene = Scene::with_users(1).await;
    scene.first_account().await.unwrap();
    scene.get(FIRST_SECRET).await.unwrap();
    let shown = scene.get("/sandbox/requests").await.unwrap().text().await.unwrap();
    let Keys { key_id, secret_key } = Alpaca::seeded_keys(1);
    assert!(!shown.contains(&key_id) && !shown.contains(&secret_key), "{shown}");
    let log: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(log["counts"]["alpaca"], json!({"GetAccount": 1}));
    assert_eq!(log["counts"]["secret-manager"], json!({"AccessSecretVersion": 1}));
    let first = &log["recent"][0];
    assert_eq!((&first["user"], &first["outcome"]), (&json!("user-0001"), &json!({"status": 200})));
    assert!(first["headers"].as_array().unwrap().contains(&json!("apca-api-key-id")));
}

#[tokio::test]
async fn a_test_sees_everything_that_was_sent() {
    let scene = Scene::with_users(1).await;
    scene.sandbox.requests().keep_received();
    scene.first_account().await.unwrap();
    let received = scene.sandbox.requests().received();
    assert_eq!(received.len(), 1);
    assert_eq!((received[0].method.name(), received[0].path.as_str()), ("GetAccount", "/v2/account"));
    assert_eq!(received[0].headers["apca-api-key-id"], Alpaca::seeded_keys(1).key_id);
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let scene = Scene::with_users(0).await;
    for path in ["/", "/sandbox/users", "/v2/positions", "/v1/projects/p/topics"] {
        assert_eq!(scene.get(path).await.unwrap().status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopped_sandbox_frees_its_port_even_with_a_stalled_call() {
    let scene = Scene::with_fault("alpaca:stall").await;
    let stalled = tokio::spawn(scene.client.get(scene.url("/v2/account")).send());
    until(|| scene.outcomes() == [Outcome::Stalled]).await;
    let address = scene.sandbox.address();
    scene.sandbox.stop().await;
    assert!(stalled.await.unwrap().is_err());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_dropped_sandbox_cuts_its_connections() {
    let scene = Scene::with_fault("alpaca:stall").await;
    let stalled = tokio::spawn(scene.client.get(scene.url("/v2/account")).send());
    until(|| scene.outcomes() == [Outcome::Stalled]).await;
    drop(scene.sandbox);
    assert!(stalled.await.unwrap().is_err());
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let scene = Scene::with_users(0).await;
    let port = scene.sandbox.address().port();
    assert!(Sandbox::start(Options { port, ..Options::default() }).await.is_err());
}
