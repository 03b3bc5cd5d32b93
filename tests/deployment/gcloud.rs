//! Commands, judged by the parser of the installed Google Cloud CLI: a usage error exits with 2 before anything else
//! happens, and whatever is left exits with 1 for want of an account.

use crate::shell::{Call, new_directory};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

const NO_ACCOUNT: &str = "You do not currently have an active account selected";

/// These need no account to do their work, and fail in their own ways without a network.
const WITHOUT_ACCOUNT: [&str; 3] = ["auth", "components", "config"];

/// Asserts that gcloud understands each of the calls that are its own.
pub(crate) fn assert_understood(calls: &[Call]) {
    let commands = calls.iter().filter(|call| call[0] == "gcloud").map(|call| &call[1..]);
    let commands: BTreeMap<Call, &[String]> =
        commands.map(|command| (what_matters(command), command)).collect();
    assert!(!commands.is_empty(), "no gcloud command was found");
    if let Some(complaints) = complaints(&commands.into_values().collect::<Vec<_>>()) {
        assert!(complaints.is_empty(), "gcloud does not take:\n\n{}", complaints.join("\n\n"));
    }
}

/// A start of gcloud takes a second, so commands that only grant another role, or to another account, which its parser
/// does not look into, are tried once.
fn what_matters(command: &[String]) -> Call {
    let without_value = |word: &String| match word.split_once('=') {
        Some((flag @ ("--role" | "--member"), _)) => flag.to_owned(),
        _ => word.clone(),
    };
    command.iter().map(without_value).collect()
}

/// The commands that gcloud refuses, with its words. `None` where it is not installed, which with `CI=true` is a
/// failure.
fn complaints(commands: &[&[String]]) -> Option<Vec<String>> {
    if !is_installed() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no gcloud on a CI machine");
        println!("skipped: no gcloud (https://cloud.google.com/sdk/docs/install)");
        return None;
    }
    let offline = Offline::new();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let take_turns = || {
        while let Some(command) = commands.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(complaint) = complaint(command, &offline.run(command)) {
                found.lock().unwrap_or_else(PoisonError::into_inner).push(complaint);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(take_turns);
        }
    });
    Some(found.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn complaint(command: &[String], output: &Output) -> Option<String> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let is_understood = match output.status.code() {
        Some(0) => true,
        Some(1) => stderr.contains(NO_ACCOUNT) || WITHOUT_ACCOUNT.contains(&command[0].as_str()),
        _ => false,
    };
    (!is_understood).then(|| format!("gcloud {}\n{}", command.join(" "), stderr.trim()))
}

/// Reads JSON into gcloud's own message classes, and says what they do not know: a line for each of the given
/// `[api, version, message, JSON]`.
const READ_MESSAGES: &str = r#"
import importlib, json, sys
from apitools.base.py import encoding

def unknown(message):
    found = list(message.all_unrecognized_fields())
    for field in message.all_fields():
        value = getattr(message, field.name)
        for part in value if isinstance(value, list) else [value]:
            if hasattr(part, 'all_unrecognized_fields'):
                found += unknown(part)
    return found

for api, version, name, text in json.load(sys.stdin):
    path = f'googlecloudsdk.generated_clients.apis.{api}.{version}.{api}_{version}_messages'
    try:
        kind = getattr(importlib.import_module(path), name)
        print(' '.join(unknown(encoding.JsonToMessage(kind, json.dumps(text)))))
    except Exception as error:
        print(str(error).replace('\n', ' ') or type(error).__name__)
"#;

/// What gcloud's classes do not know of each message, and the message. Nothing where gcloud is not installed.
pub(crate) fn messages_take(messages: &[(&str, &str, &str, Json)]) -> Vec<(Json, String)> {
    if !is_installed() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no gcloud on a CI machine");
        return Vec::new();
    }
    let info = ["info", "--format=value(installation.sdk_root,basic.python_location)"].map(str::to_owned);
    let info = String::from_utf8(Offline::new().run(&info).stdout).expect("text");
    let (root, python) = info.trim().split_once('\t').expect("two values");
    let mut child = Command::new(python)
        .args(["-c", READ_MESSAGES])
        .env("PYTHONPATH", format!("{root}/lib:{root}/lib/third_party"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("gcloud's own Python runs");
    let input = serde_json::to_vec(messages).expect("JSON");
    child.stdin.take().expect("a pipe").write_all(&input).expect("it reads");
    let output = String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text");
    let said: Vec<&str> = output.lines().collect();
    assert_eq!(said.len(), messages.len(), "{output}");
    messages.iter().zip(said).map(|((.., json), unknown)| (json.clone(), unknown.to_owned())).collect()
}

fn is_installed() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join("gcloud").is_file())
}

/// A gcloud that knows nobody and reaches nothing.
struct Offline {
    home: PathBuf,
    closed_port: u16,
}

impl Offline {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let closed_port = listener.local_addr().expect("a bound socket has an address").port();
        Self { home: new_directory(), closed_port }
    }

    fn run(&self, arguments: &[String]) -> Output {
        Command::new("gcloud")
            .args(arguments)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.home)
            .env("CLOUDSDK_CONFIG", self.home.join("gcloud"))
            .env("CLOUDSDK_CORE_PROJECT", "a-project")
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_CORE_DISABLE_FILE_LOGGING", "1")
            .env("CLOUDSDK_CORE_DISABLE_USAGE_REPORTING", "1")
            .env("CLOUDSDK_CORE_CHECK_GCE_METADATA", "false")
            .env("CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK", "1")
            .env("CLOUDSDK_PROXY_TYPE", "http")
            .env("CLOUDSDK_PROXY_ADDRESS", "127.0.0.1")
            .env("CLOUDSDK_PROXY_PORT", self.closed_port.to_string())
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .stdin(Stdio::null())
            .output()
            .expect("gcloud runs")
    }
}

impl Drop for Offline {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Without this, a check that never complains would look just as good.
#[test]
fn what_gcloud_does_not_take_is_found() {
    let commands = [
        "run jobs execute pulse --region=here --wait",
        "run jobs execute pulse --region=here --set-env-vars=A=1",
        "run jobs deploy pulse --image=x --region=here --task-timeout=soon",
        "run jobs rollback pulse",
        "scheduler jobs create http pulse --location=here --schedule=*",
    ];
    let commands = commands.map(|command| command.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let Some(mut complaints) = complaints(&commands.each_ref().map(Vec::as_slice)) else { return };
    complaints.sort();
    let said = [
        ("jobs deploy", "--task-timeout"),
        ("jobs execute", "unrecognized arguments: --set-env-vars=A=1"),
        ("jobs rollback", "Invalid choice: 'rollback'"),
        ("create http", "--uri"),
    ];
    assert_eq!(complaints.len(), said.len(), "{complaints:#?}");
    for (complaint, (command, reason)) in complaints.iter().zip(said) {
        assert!(complaint.contains(command) && complaint.contains(reason), "{reason}: {complaint}");
    }
}
