//! Prometheus' own `promtool`, which says when an alert goes off and what a query shows of given series.

use serde_json::{Value as Json, json};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Asserts that rules do what tests in promtool's own form say, with a value each minute. Skipped where there is no
/// promtool, but not in CI.
#[track_caller]
pub(crate) fn check(rules: &[Json], tests: &[Json]) {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("promtool-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).expect("cargo's directory for tests");
    let rules = json!({"groups": [{"name": "pulse", "interval": "1m", "rules": rules}]});
    fs::write(directory.join("rules.json"), rules.to_string()).expect("our own directory");
    let tests = json!({"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": tests});
    fs::write(directory.join("tests.json"), tests.to_string()).expect("our own directory");
    let output =
        Command::new("promtool").args(["test", "rules", "tests.json"]).current_dir(&directory).output();
    let _ = fs::remove_dir_all(&directory);
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(_) => {
            assert!(env::var("CI").as_deref() != Ok("true"), "no promtool on a CI machine");
            println!("skipped: no promtool (Debian's package prometheus)");
        }
    }
}
