//! Whatever is wrong with Google's credentials, nothing of them is ever printed, at any level.

use crate::google::Google;
use crate::secrecy::Secrets;
use crate::world::{Env, Run};
use futures::{StreamExt, stream};
use pulse_sandbox::call::Service;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value as Json, json};
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// In every field, and legal in base64 and in a URL too.
const PLANTED: &str = "hush0planted0secret0";

/// Runs at the same time.
const AT_ONCE: usize = 8;

/// Everything that makes anything talk.
const LOUD: [(&str, &str); 3] =
    [("RUST_LOG", "trace"), ("GOOGLE_CLOUD_RUST_LOGGING", "true"), ("RUST_BACKTRACE", "full")];

fn pem(of: &str) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{of}\n-----END PRIVATE KEY-----\n")
}

fn service_account() -> Json {
    json!({
        "type": "service_account", "project_id": PLANTED, "private_key_id": PLANTED, "private_key": pem(PLANTED),
        "client_email": PLANTED, "client_id": PLANTED, "universe_domain": "googleapis.com",
    })
}

fn authorized_user(token_uri: &str) -> Json {
    json!({
        "type": "authorized_user", "client_id": PLANTED, "client_secret": PLANTED, "refresh_token": PLANTED,
        "token_uri": token_uri, "quota_project_id": PLANTED,
    })
}

fn external_account(token_url: &str, source: Json) -> Json {
    json!({
        "type": "external_account", "audience": PLANTED, "subject_token_type": PLANTED, "token_url": token_url,
        "client_id": PLANTED, "client_secret": PLANTED, "scopes": [PLANTED], "credential_source": source,
        "service_account_impersonation_url": format!("{token_url}/{PLANTED}"),
    })
}

fn impersonated(url: &str, source: Json) -> Json {
    let url = format!("{url}/serviceAccounts/{PLANTED}:generateAccessToken");
    json!({
        "type": "impersonated_service_account", "service_account_impersonation_url": url,
        "delegates": [PLANTED], "source_credentials": source,
    })
}

/// One of each kind.
fn kinds() -> Vec<Json> {
    let url = format!("https://oauth2.googleapis.com/{PLANTED}");
    vec![
        service_account(),
        authorized_user(&url),
        external_account(&url, json!({"file": PLANTED})),
        impersonated(&url, authorized_user(&url)),
        impersonated(&url, service_account()),
        impersonated(&url, impersonated(&url, service_account())),
        json!({"type": "gdch_service_account", "private_key": pem(PLANTED), "name": PLANTED}),
        json!({"type": "external_account_authorized_user", "refresh_token": PLANTED}),
        json!({"type": PLANTED, "private_key": PLANTED}),
    ]
}

/// The pointers to all fields, those of objects within included.
fn pointers(of: &Json, at: &str) -> Vec<String> {
    let fields = of.as_object().into_iter().flatten();
    fields
        .flat_map(|(name, value)| {
            let own = format!("{at}/{name}");
            std::iter::once(own.clone()).chain(pointers(value, &own))
        })
        .collect()
}

/// The same credentials with something else where a text or an object belongs.
fn spoilt(kind: &Json) -> Vec<String> {
    let wrong = [json!([PLANTED]), json!({PLANTED: PLANTED}), json!(PLANTED), json!(7)];
    let places = pointers(kind, "");
    let spoil = |place: &String, wrong: &Json| {
        let mut spoilt = kind.clone();
        *spoilt.pointer_mut(place).expect("it is there") = wrong.clone();
        spoilt.to_string()
    };
    places.iter().flat_map(|place| wrong.iter().map(move |wrong| spoil(place, wrong))).collect()
}

/// Texts that are no credentials of any kind.
fn nonsense() -> Vec<Vec<u8>> {
    let key = |private_key: String| {
        let mut account = service_account();
        account["private_key"] = private_key.into();
        account.to_string().into_bytes()
    };
    let whole = service_account().to_string();
    let mut latin = whole.clone().into_bytes();
    latin.push(0xe9);
    vec![
        PLANTED.into(),
        format!("\"{PLANTED}\"").into(),
        format!("[\"{PLANTED}\"]").into(),
        whole[..whole.len() / 2].into(),
        format!("{{\"type\": \"service_account\", \"private_key\": {PLANTED}}}").into(),
        format!("{{\"{PLANTED}\": ").into(),
        format!("{}{PLANTED}", "[".repeat(500)).into(),
        format!("\u{feff}{whole}").into(),
        whole.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        latin,
        Vec::new(),
        format!("{whole}{}", " ".repeat(300_000)).into(),
        key(pem(PLANTED).replace('\n', "\\n")),
        key(PLANTED.into()),
        key(pem(&format!("{PLANTED}!"))),
        key(pem(PLANTED).replace("PRIVATE KEY", "RSA PRIVATE KEY")),
        key(pem(PLANTED).replace("PRIVATE KEY", PLANTED)),
        key(format!("-----BEGIN PRIVATE KEY-----\n{PLANTED}")),
        pem(PLANTED).into(),
    ]
}

fn secrets() -> Secrets {
    Secrets::of([PLANTED.to_owned()])
}

#[track_caller]
fn assert_refused(run: &Run, case: &str) -> String {
    secrets().assert_not_in(&run.stdout, &case);
    secrets().assert_not_in(&run.stderr, &case);
    assert_eq!(run.exit, Some(1), "{case}: {}", run.stdout);
    let entry = run.entry("The pass could not begin: Google's credentials gave no token: ");
    assert_eq!(entry["severity"], "CRITICAL");
    entry["message"]
        .as_str()
        .expect("a text")
        .rsplit_once("gave no token: ")
        .expect("it is there")
        .1
        .to_owned()
}

async fn refused(google: &Google, env: Env<'_>, case: &str) -> String {
    let run = google.pulse_with_in(&[], &[env, &LOUD].concat()).await;
    assert_refused(&run, case)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_text_in_place_of_credentials_is_quoted() {
    let google = &Google::with_users(&[]).await;
    let files = nonsense().into_iter().enumerate().map(|(number, text)| async move {
        let path = google.file(&format!("nonsense-{number}"), &text);
        let case = String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned();
        let said = refused(google, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)], &case).await;
        assert!(
            said.starts_with("the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be used: "),
            "{said}"
        );
    });
    stream::iter(files).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

/// Half of them do as well, where a field may be any text; what becomes of those is the next test's.
#[tokio::test(flavor = "multi_thread")]
async fn no_field_of_any_credentials_is_quoted() {
    let google = &Google::with_users(&[]).await;
    let spoilt: Vec<_> = kinds().iter().flat_map(spoilt).collect();
    let files = spoilt.into_iter().enumerate().map(|(number, text)| async move {
        let path = google.file(&format!("spoilt-{number}"), &text);
        // Long enough for what is wrong with the file.
        let args = ["--deadline", "2s"];
        let run = google
            .pulse_with_in(&args, &[&[("GOOGLE_APPLICATION_CREDENTIALS", path.as_str())][..], &LOUD].concat())
            .await;
        secrets().assert_not_in(&run.stdout, &text);
        secrets().assert_not_in(&run.stderr, &text);
        assert_eq!(run.exit, Some(1), "{text}: {}", run.stdout);
    });
    stream::iter(files).buffer_unordered(AT_ONCE).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said_in_our_own_words() {
    let google = &Google::with_users(&[]).await;
    let with = |mut kind: Json, field: &str, value: Json| {
        kind[field] = value;
        kind.to_string()
    };
    let url = "https://oauth2.googleapis.com/";
    let literal = pem(PLANTED).replace('\n', "\\n");
    for (text, said) in [
        (PLANTED.to_owned(), "it is no JSON object"),
        (with(service_account(), "private_key", literal.into()), "its private_key is no PEM text"),
        (service_account().to_string(), "its private_key is no RSA key in PKCS #8 form"),
        (with(service_account(), "client_email", Json::Null), "its field client_email is missing"),
        (with(service_account(), "client_email", json!([PLANTED])), "its field client_email is no text"),
        (with(service_account(), "type", PLANTED.into()), "it is of a type that is not known"),
        (with(service_account(), "type", json!({PLANTED: 1})), "its field type is no text"),
        (
            authorized_user(&format!("http://{PLANTED}.example/")).to_string(),
            "its field token_uri is no https URL",
        ),
        (authorized_user(PLANTED).to_string(), "its field token_uri is no https URL"),
        (external_account(url, PLANTED.into()).to_string(), "its field credential_source is no object"),
        (
            impersonated(url, with(service_account(), "private_key", PLANTED.into()).parse().expect("JSON"))
                .to_string(),
            "its source_credentials.private_key is no PEM text",
        ),
        (
            json!({"type": "gdch_service_account"}).to_string(),
            "credentials of type gdch_service_account cannot be used here",
        ),
    ] {
        let path = google.file("said", &text);
        let env = [("GOOGLE_APPLICATION_CREDENTIALS", path.as_str())];
        let message = refused(google, &env, said).await;
        assert_eq!(
            message,
            format!("the file that GOOGLE_APPLICATION_CREDENTIALS names cannot be used: {said}")
        );
        let home = google.file("home/.config/gcloud/application_default_credentials.json", &text);
        assert!(home.contains("/home/"));
        let message = refused(google, &[], said).await;
        assert_eq!(
            message,
            format!("gcloud's file application_default_credentials.json cannot be used: {said}")
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_variable_is_quoted() {
    let google = &Google::with_users(&[]).await;
    let whole = service_account().to_string();
    let no_file = "GOOGLE_APPLICATION_CREDENTIALS names no file that can be read: \
                   it takes the path of a file, not what is in it";
    let (directory, missing) = (google.file(&format!("{PLANTED}/x"), ""), format!("/{PLANTED}/{PLANTED}"));
    let directory = directory.trim_end_matches("/x");
    let pipe = google.file("unread-pipe", "");
    std::fs::remove_file(&pipe).expect("our own file");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
    assert!(made.success());
    let long = PLANTED.repeat(500);
    let host = "GCE_METADATA_HOST cannot be used: it is no host, or host and port";
    for (variable, value, said) in [
        ("GOOGLE_APPLICATION_CREDENTIALS", whole.as_str(), no_file),
        ("GOOGLE_APPLICATION_CREDENTIALS", &missing, no_file),
        ("GOOGLE_APPLICATION_CREDENTIALS", directory, no_file),
        // Nobody writes into it.
        ("GOOGLE_APPLICATION_CREDENTIALS", &pipe, no_file),
        ("GOOGLE_APPLICATION_CREDENTIALS", PLANTED, no_file),
        ("GOOGLE_APPLICATION_CREDENTIALS", &long, no_file),
        ("GCE_METADATA_HOST", "hush0planted0secret0/", host),
        ("GCE_METADATA_HOST", "hush0planted0secret0@127.0.0.1", host),
        ("GCE_METADATA_HOST", "http://hush0planted0secret0:hush0planted0secret0@x", host),
        (
            "GOOGLE_CLOUD_QUOTA_PROJECT",
            "hush0planted0secret0\n",
            "GOOGLE_CLOUD_QUOTA_PROJECT cannot be used: it is not the id of a project",
        ),
    ] {
        assert_eq!(refused(google, &[(variable, value)], variable).await, said);
        let run = google.pulse_with_in(&["--log-format", "text"], &[(variable, value)]).await;
        secrets().assert_not_in(&run.stdout, &variable);
        assert!(run.stdout.contains(said), "{}", run.stdout);
    }
}

/// Of a proxy too: it may ask for a name and a password, which are in its URL.
#[tokio::test(flavor = "multi_thread")]
async fn no_password_of_a_proxy_is_quoted() {
    let google = Google::with_users(&["ana"]).await;
    let proxies = ["http://{}:{}@127.0.0.1:9", "http://{}:{}@127.0.0.1:9:9", "{}://{}@127.0.0.1:9", "{} {}"];
    for proxy in proxies.map(|form| form.replace("{}", PLANTED)) {
        for format in ["json", "text"] {
            let variables = [
                ("HTTPS_PROXY", proxy.as_str()),
                ("APCA_API_BASE_URL", "https://127.0.0.1:9"),
                ("SECRET_MANAGER_EMULATOR_HOST", "https://127.0.0.1:9"),
                ("APCA_API_KEY_ID", PLANTED),
                ("APCA_API_SECRET_KEY", PLANTED),
            ];
            let run =
                google.pulse_with_in(&["--log-format", format], &[&variables[..], &LOUD].concat()).await;
            assert!(run.stdout.contains("0 successful"), "{}", run.stdout);
            secrets().assert_not_in(&run.stdout, &proxy);
            secrets().assert_not_in(&run.stderr, &proxy);
        }
    }
}

/// A token server that answers with what it was sent.
async fn echo(status: &'static str) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/{PLANTED}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sent = vec![0; 64 * 1024];
                let length = client.read(&mut sent).await.unwrap_or(0);
                let body = String::from_utf8_lossy(&sent[..length]).into_owned() + PLANTED;
                let head = format!(
                    "HTTP/1.1 {status}\r\nx-echo: {PLANTED}\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                let _gone = client.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    (url, AbortOnDropHandle::new(server))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_of_a_token_server_is_quoted() {
    let google = &Google::with_users(&[]).await;
    let subject = google.file("subject", PLANTED);
    let servers =
        stream::iter(["200 OK", "400 Bad Request", "503 Gone For Tea"]).then(echo).collect::<Vec<_>>().await;
    let said = ["answered something that is no token", "answered 400", "answered 503"];
    let asked = servers.iter().zip(said).flat_map(|((url, _), said)| {
        let kinds = [
            authorized_user(url),
            external_account(url, json!({"file": subject})),
            impersonated(url, authorized_user(url)),
        ];
        kinds.map(|kind| (kind, said))
    });
    let mute = (external_account(&servers[0].0, json!({"file": PLANTED})), "could not be asked");
    let runs = asked.chain([mute]).enumerate().map(|(number, (kind, said))| async move {
        let path = google.file(&format!("asked-{number}"), kind.to_string());
        let message = refused(google, &[("GOOGLE_APPLICATION_CREDENTIALS", &path)], &kind.to_string()).await;
        assert_eq!(message, format!("the token server {said}"), "{kind}");
    });
    stream::iter(runs).buffer_unordered(16).collect::<Vec<()>>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_key_signs_its_own_tokens_and_shows_up_nowhere() {
    let google = Google::with_users(&["ana"]).await;
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key").serialize_pem();
    let mut account = service_account();
    account["private_key"] = key.clone().into();
    account["client_email"] = "job@p.iam.gserviceaccount.com".into();
    let path = google.file("key.json", account.to_string());
    let env = [&[("GOOGLE_APPLICATION_CREDENTIALS", path.as_str())][..], &LOUD].concat();
    let run = google.pulse_with_in(&[], &env).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let mut received = google.world.sandbox.requests().received();
    received.retain(|call| call.method.service() == Service::SecretManager);
    let shown = received[0].headers["authorization"].to_str().expect("ASCII");
    assert_eq!(shown.matches('.').count(), 2, "it is signed");
    let lines = key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned);
    let secrets = Secrets::of(lines.chain([shown.to_owned(), shown.replace("Bearer ", "")]));
    secrets.assert_not_in(&run.stdout, &"stdout");
    secrets.assert_not_in(&run.stderr, &"stderr");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_variable_makes_a_library_print_a_payload_or_a_token() {
    let google = Google::with_users(&["ana"]).await;
    let payload = json!({"key_id": "PKTESTana", "secret_key": "hush-ana-0123456789", "environment": "paper"});
    let kept = [
        "hush-ana-0123456789".to_owned(),
        payload.to_string(),
        "sandbox-token-1".to_owned(),
        "PKTESTana".to_owned(),
    ];
    let secrets = Secrets::of(kept);
    for filter in [
        "trace",
        "debug",
        "off,google_cloud_gax_internal=trace,google_cloud_auth=trace,experimental.client.request=trace",
        "hyper=trace,h2=trace,reqwest=trace,rustls=trace,tonic=trace,gcloud_sdk=trace,firestore=trace",
        "[{}]=trace",
        "info,hyper_util=trace,tower=trace",
    ] {
        for format in ["json", "text"] {
            let env =
                [("RUST_LOG", filter), ("GOOGLE_CLOUD_RUST_LOGGING", "true"), ("RUST_BACKTRACE", "full")];
            let run = google.pulse_with_in(&["--log-format", format], &env).await;
            assert_eq!(run.exit, Some(0), "{filter}: {}", run.stdout);
            secrets.assert_not_in(&run.stdout, &filter);
            secrets.assert_not_in(&run.stderr, &filter);
        }
    }
}
