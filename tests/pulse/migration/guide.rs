//! `docs/migrate.md`, its commands one after the other.

use super::without_journal;
use crate::readers::tools::{python, skip};
use crate::world::{Backend, Run, World};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// Whom the guide names.
const USERS: u32 = 25;

/// The commands of the guide.
fn script() -> String {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migrate.md");
    let guide = std::fs::read_to_string(guide).expect("the guide");
    let mut is_command = false;
    let mut script = "set -eu\n".to_owned();
    for line in guide.lines().map(str::trim_start) {
        match line {
            "```sh" => is_command = true,
            "```" => is_command = false,
            command if is_command => script += &format!("{command}\n"),
            _ => {}
        }
    }
    script
}

/// A directory with `pulse` in it, for `PATH`.
fn with_pulse() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guide");
    std::fs::create_dir_all(&directory).expect("a directory of our own");
    let pulse = directory.join("pulse");
    if let Err(err) = symlink(env!("CARGO_BIN_EXE_pulse"), &pulse) {
        assert!(pulse.exists(), "{err}");
    }
    directory
}

async fn followed(world: World) {
    let path = format!("{}:/usr/bin:/bin", with_pulse().display());
    let run = Command::new("bash")
        .args(["-c", &script()])
        .env_clear()
        .envs(world.sandbox.exports())
        .envs([("FIRESTORE_EMULATOR_HOST", world.firestore_host.as_str()), ("PATH", &path), ("KEEP", "0s")])
        .stdin(Stdio::null())
        .output()
        .await
        .expect("bash runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.contains("Verified") && said.contains("Closed"), "{said}");
    let all = without_journal(world.everything().await);
    for path in all.keys() {
        let is_legacy = ["tradingSignals/", "trade_signals/", "shadowTradeHistory/", "alpacaAccounts/"]
            .iter()
            .any(|root| path.starts_with(root));
        assert!(!is_legacy && !path.contains("/secrets/") && !path.ends_with("/data/snapshot"), "{path}");
    }
    assert!(world.snapshot("user-0005").await["updated_at_iso"].is_string());
    assert_eq!(world.document("users/user-0001/tradingSignals/form-2").await["symbol"], "QQQ");
    read_in_python(&world).await;
}

/// By the example of a reader.
async fn read_in_python(world: &World) {
    if !python().await {
        return skip("no Python with google-cloud-firestore (examples/python/requirements.txt)");
    }
    let mut reader = Command::new("python3");
    reader.args(["-B", "examples/python/backend.py", &world.project, "user-0001", "1"]);
    reader.current_dir(env!("CARGO_MANIFEST_DIR")).env("FIRESTORE_EMULATOR_HOST", &world.firestore_host);
    reader.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let run = Run::of(&mut reader).await;
    assert!(run.stdout.starts_with("user-0001: fresh, sync ok\n"), "{run:?}");
    assert!(run.stdout.contains("\nallowed"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_in_the_sandbox() {
    followed(World::legacy(Backend::Sandbox, USERS).await.expect("a sandbox")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_in_the_emulator() {
    if let Some(world) = World::legacy(Backend::Emulator, USERS).await {
        followed(world).await;
    }
}
