//! Variables that are no text, and those that would lead keys through a proxy.

use crate::command_line::assert_refused;
use crate::world::{Run, sandbox};
use serde_json::json;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Taken for not set, some of them would mean everybody, others another project or other credentials.
#[tokio::test(flavor = "multi_thread")]
async fn a_variable_that_is_not_utf_8_is_refused_by_its_name() {
    let world = sandbox().await;
    world.crowd(1);
    for name in [
        "PULSE_USERS",
        "PULSE_WHERE",
        "PULSE_CONCURRENCY",
        "PULSE_DATABASE",
        "PULSE_LOG_FORMAT",
        "PULSE_DRY_RUN",
        "PULSE_VERBOSE",
        "PULSE_SPREAD",
        "PULSE_ALLOW_INSECURE_ENDPOINTS",
        "GCP_PROJECT",
        "GOOGLE_CLOUD_PROJECT",
        "FIRESTORE_EMULATOR_HOST",
        "APCA_API_BASE_URL",
        "APCA_API_KEY_ID",
        "TENANT_ID",
        "CLOUD_RUN_EXECUTION",
        "CLOUD_RUN_TASK_COUNT",
        "RUST_LOG",
        "NO_COLOR",
        "HTTP_PROXY",
        "no_proxy",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ] {
        let run = Run::of(world.command(&[]).env(name, OsStr::from_bytes(b"user-0001\xff\xc3"))).await;
        assert_refused(&world, &run);
        let entry = run.entry(&format!("{name} is not UTF-8: "));
        assert_eq!(entry["severity"], "ERROR");
        let told = format!("{}{}", run.stdout, run.stderr);
        assert!(!told.contains("user-0001") && !told.contains("panicked"), "{told}");
    }
    let mut command = world.command(&[]);
    let broken = OsStr::from_bytes(b"\xff");
    let run =
        Run::of(command.env("PULSE_USERS", broken).env("PULSE_WHERE", broken).env("HOME", broken)).await;
    assert_refused(&world, &run);
    for name in ["PULSE_USERS", "PULSE_WHERE"] {
        assert!(run.stdout.contains(&format!("{name} is not UTF-8")), "all of them: {}", run.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_reads_may_be_no_text() {
    let world = sandbox().await;
    world.crowd(1);
    let broken = OsStr::from_bytes(b"/home/\xff");
    let run = Run::of(world.command(&[]).env("HOME", broken).env("LESSOPEN", broken)).await;
    run.assert_completed("1 successful, 0 errors", 0);
    let help = Run::of(world.command(&["--help"]).env("PULSE_USERS", broken)).await;
    assert_eq!(help.exit, Some(0), "{}", help.stderr);
}

/// A way to the sandbox over another address, as long as the test lasts.
async fn way_to(sandbox: SocketAddr, from: &str) -> Option<(SocketAddr, AbortOnDropHandle<()>)> {
    let listener = TcpListener::bind(from).await.ok()?;
    let address = listener.local_addr().expect("a bound socket has an address");
    let serving = tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut to = TcpStream::connect(sandbox).await?;
                copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    Some((address, AbortOnDropHandle::new(serving)))
}

/// Each form of the list is taken as Google's client takes it: either its call goes past the proxy, or nothing is
/// called at all.
#[tokio::test(flavor = "multi_thread")]
async fn no_form_of_no_proxy_leads_keys_through_a_proxy() {
    let world = sandbox().await;
    world.crowd(1);
    let trap = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let proxy = format!("http://{}", trap.local_addr().expect("a bound socket has an address"));
    let port = world.sandbox.address().port();
    let v4 = format!("127.0.0.1:{port}");
    let named = format!("localhost:{port}");
    let v6 = way_to(world.sandbox.address(), "[::1]:0").await;
    let v6 = v6.as_ref().map(|(address, _)| address.to_string());
    let mut cases = vec![
        (&v4, "127.0.0.1", true),
        (&v4, "example.com, 127.0.0.1", true),
        (&v4, "127.0.0.0/8", true),
        (&v4, "*", false),
        (&v4, "127.0.0.1:80", false),
        (&v4, ".0.0.1", false),
        (&v4, "", false),
        (&named, "localhost", true),
        (&named, "LocalHost", true),
        (&named, ".localhost", true),
        (&named, "*", true),
        (&named, "127.0.0.1", false),
        (&named, "xlocalhost", false),
    ];
    if let Some(v6) = &v6 {
        cases.extend([
            (v6, "[::1]", false),
            (v6, "::1", true),
            (v6, "0:0:0:0:0:0:0:1", true),
            (v6, "::/64", true),
            (v6, "::2", false),
        ]);
    }
    for (host, list, passes) in cases {
        let env =
            [("SECRET_MANAGER_EMULATOR_HOST", host.as_str()), ("HTTP_PROXY", &proxy), ("NO_PROXY", list)];
        let run = world.pulse_in(&env).await;
        if passes {
            run.assert_completed("1 successful, 0 errors", 0);
        } else {
            assert_eq!(run.exit, Some(2), "{host} {list}: {}", run.stdout);
            run.entry("HTTP_PROXY would get the keys of plain HTTP calls to SECRET_MANAGER_EMULATOR_HOST");
        }
    }
    trap.set_nonblocking(true).expect("it can be");
    assert!(trap.accept().is_err(), "nothing went to the proxy");
}

/// What the message advises is what helps.
#[tokio::test(flavor = "multi_thread")]
async fn the_advice_about_a_proxy_can_be_followed() {
    let world = sandbox().await;
    world.crowd(1);
    let v4 = world.sandbox.address().to_string();
    let v6 = way_to(world.sandbox.address(), "[::1]:0").await;
    let v6 = v6.as_ref().map(|(address, _)| address.to_string());
    for host in [Some(&v4), v6.as_ref()].into_iter().flatten() {
        for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            for list in ["NO_PROXY", "no_proxy"] {
                let env = [
                    ("SECRET_MANAGER_EMULATOR_HOST", host.as_str()),
                    (proxy, "http://127.0.0.1:9"),
                    (list, "elsewhere"),
                ];
                let refused = world.pulse_in(&env).await;
                let entry = refused.entry(&format!("{proxy} would get the keys"));
                let advice = entry["message"].as_str().expect("a text");
                let (_, advice) = advice.split_once("or add ").expect("some advice");
                let (entry, variable) = advice.split_once(" to ").expect("what and where");
                let value = format!("elsewhere,{entry}");
                let followed = world.pulse_in(&[env[0], env[1], (variable, &value)]).await;
                followed.assert_completed("1 successful, 0 errors", 0);
                assert_eq!(variable, list, "the one that counts");
            }
        }
    }
    assert_eq!(world.document("ops/last_pulse").await["success_count"], json!({"integer": 1}));
}
