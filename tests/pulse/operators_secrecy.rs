//! Planted keys are in no output of the commands that handle them, whatever fails, and in no document.

use crate::secrecy::Secrets;
use crate::typed::Typed;
use crate::world::{Run, World, keys_of, sandbox};
use pulse_sandbox::alpaca::{Keys, Profile};
use pulse_sandbox::call::Service;

const KEY_ID: &str = "PKPLANTED00000000001";
const SECRET_KEY: &str = "planted-secret-0123456789-abcdefghijklmn";
const TOKEN: &str = "planted-token-0123456789-abcdefghijklmn";

fn planted() -> Secrets {
    let (key_id, secret_key) = keys_of("ana");
    Secrets::of([KEY_ID.to_owned(), SECRET_KEY.to_owned(), TOKEN.to_owned(), key_id, secret_key])
}

/// They leave only to Alpaca, and to Secret Manager to be stored.
fn assert_kept(world: &World, run: &Run, place: &str) {
    let secrets = planted();
    secrets.assert_not_in(&run.stdout, &(place, "stdout"));
    secrets.assert_not_in(&run.stderr, &(place, "stderr"));
    let database = format!("projects/{}/databases/(default)", world.project);
    for document in world.sandbox.firestore().documents(&database) {
        secrets.assert_not_in(&format!("{document:?}"), &(place, &document.name));
    }
    for call in world.sandbox.requests().received() {
        secrets.assert_not_in(&format!("{} {:?}", call.path, call.query), &(place, &call.path));
        if call.method.service() == Service::Firestore {
            secrets.assert_not_in(&String::from_utf8_lossy(&call.body), &(place, &call.path));
        }
    }
}

async fn world() -> World {
    let world = sandbox().await;
    world.user("ana").await;
    let keys = Keys { key_id: KEY_ID.into(), secret_key: SECRET_KEY.into() };
    world.sandbox.alpaca().register("ana", keys, Profile::active());
    world.sandbox.alpaca().register_token("ana", TOKEN, Profile::active());
    world.pulse().await.assert_completed("1 successful, 0 errors", 0);
    world
}

const FAULTS: [&str; 12] = [
    "",
    "alpaca:error=401",
    "alpaca:error=503",
    "alpaca:redirect=http://127.0.0.1:9/",
    "alpaca:other-account",
    "secret-manager/AddSecretVersion:error=403,reason=IAM_PERMISSION_DENIED",
    "secret-manager/AddSecretVersion:error=400,body=no",
    "secret-manager/AccessSecretVersion:wrong-checksum",
    "secret-manager/AccessSecretVersion:other-secret=alpaca-keys-ben",
    "secret-manager/ListSecretVersions:error=400",
    "secret-manager/AccessSecretVersion:truncate",
    "firestore/Commit:error=PERMISSION_DENIED",
];

#[tokio::test(flavor = "multi_thread")]
async fn no_command_shows_a_key_whatever_fails() {
    let pair = format!("{KEY_ID}\n{SECRET_KEY}\n");
    let json = format!(r#"{{"key_id": "{KEY_ID}", "secret_key": "{SECRET_KEY}", "environment": "paper"}}"#);
    for fault in FAULTS {
        let world = world().await;
        if !fault.is_empty() {
            world.fault(fault);
        }
        for (args, input) in [
            (&["keys", "set", "ana", "--yes"][..], pair.as_str()),
            (&["keys", "set", "ana", "--yes", "--json"], json.as_str()),
            (&["keys", "set", "ana", "--yes", "--token", "--paper"], TOKEN),
            (&["keys", "check", "ana"], ""),
            (&["keys", "check", "ana", "--json"], ""),
            (&["keys", "list"], ""),
            (&["user", "pause", "ana", "--yes"], ""),
            (&["user", "remove", "ana", "--yes"], ""),
        ] {
            let mut command = world.bare_command(args);
            command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
            let run = Typed::in_to_command(command, input).await;
            assert!(run.exit.is_some(), "{args:?}");
            assert_kept(&world, &run, &format!("{fault} {args:?}"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrong_is_not_repeated() {
    let world = world().await;
    let inputs = [
        format!("{SECRET_KEY}\n"),
        format!("{KEY_ID}\n{SECRET_KEY}\n{TOKEN}\n"),
        format!("{{\"key_id\": \"{KEY_ID}\", \"secret_key\": {SECRET_KEY}}}"),
        format!("{{\"key_id\": \"{KEY_ID}\", \"{SECRET_KEY}\": 1}}"),
        format!(
            "{{\"key_id\": \"{KEY_ID}\", \"secret_key\": \"{SECRET_KEY}\", \"environment\": \"{TOKEN}\"}}"
        ),
        format!("{KEY_ID}\n{SECRET_KEY}\u{1}\n"),
    ];
    for input in &inputs {
        let run = Typed::in_to(&world, &["keys", "set", "ana", "--yes"], input).await;
        assert_eq!(run.exit, Some(2), "{}", run.stdout);
        assert_kept(&world, &run, input);
    }
    let words = [
        vec![KEY_ID, SECRET_KEY],
        vec!["--key-id", KEY_ID, "--secret-key", SECRET_KEY],
        vec!["--secret-key=planted-secret-0123456789-abcdefghijklmn"],
    ];
    for words in words {
        let run = Typed::in_to(&world, &[&["keys", "set", "ana", "--yes"], &words[..]].concat(), "").await;
        assert_eq!(run.exit, Some(2), "{}", run.stdout);
        assert_kept(&world, &run, "arguments");
    }
    let run =
        Typed::in_to(&world, &["keys", "set", "planted/secret/in/the/place/of/a/user", "--yes"], "").await;
    assert!(run.exit == Some(2) && run.stdout.contains("no user's id"), "{}", run.stdout);
    assert!(
        !run.stdout.contains("planted") && !run.stderr.contains("planted"),
        "{} {}",
        run.stdout,
        run.stderr
    );
}
