//! What the examples need of a machine.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

pub(super) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Says why a test is skipped; with `CI=true` that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(env::var("CI").as_deref() != Ok("true"), "{why}, on a CI machine");
    println!("skipped: {why}");
}

/// Whether a command does its work; if there is none it does not.
pub(super) async fn works(program: &str, arguments: &[&str]) -> bool {
    let quiet = [Stdio::null(), Stdio::null(), Stdio::null()];
    let [input, output, errors] = quiet;
    let status = Command::new(program).args(arguments).stdin(input).stdout(output).stderr(errors).status();
    status.await.is_ok_and(|status| status.success())
}

/// What a reader's own crate has built, beside this program.
pub(super) fn rust_backend() -> Option<PathBuf> {
    let own = env::current_exe().expect("the path of this program");
    let built = own.parent()?.parent()?.join("examples/backend");
    built.exists().then_some(built)
}

/// Python with Google's client of Firestore.
pub(crate) async fn python() -> bool {
    works("python3", &["-c", "import google.cloud.firestore"]).await
}

/// Node with Firebase's SDK.
pub(super) async fn node() -> bool {
    root().join("examples/web/node_modules/firebase").exists() && works("node", &["--version"]).await
}
