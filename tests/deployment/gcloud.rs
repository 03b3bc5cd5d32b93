//! Commands, judged by the parser of the installed Google Cloud CLI: a usage error exits with 2 before anything else
//! happens, and whatever is left exits with 1 for want of an account.

use crate::shell::{Call, new_directory};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
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

/// Commands that only grant another role, or to another account, which gcloud's parser does not look into, are tried
/// once.
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
    let width = thread::available_parallelism().map_or(1, usize::from);
    let parts = (0..width).map(|first| commands.iter().skip(first).step_by(width).copied().collect());
    let parts: Vec<Vec<&[String]>> = parts.collect();
    let complaints = |part: &[&[String]]| -> Vec<String> {
        let answers = offline.run_all(part);
        part.iter().zip(&answers).filter_map(|(command, answer)| complaint(command, answer)).collect()
    };
    Some(thread::scope(|scope| {
        let parts = parts.iter().map(|part| scope.spawn(|| complaints(part))).collect::<Vec<_>>();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    }))
}

fn complaint(command: &[String], (code, stderr): &Answer) -> Option<String> {
    let is_understood = match code {
        0 => true,
        1 => stderr.contains(NO_ACCOUNT) || WITHOUT_ACCOUNT.contains(&command[0].as_str()),
        _ => false,
    };
    (!is_understood).then(|| format!("gcloud {}\n{}", command.join(" "), stderr.trim()))
}

/// An exit code, and what is said on stderr.
type Answer = (i32, String);

/// Runs commands one after the other, each in a copy of a gcloud that is loaded: a start of gcloud takes a second.
/// Answers with the exit code and stderr of each.
const RUN_COMMANDS: &str = r#"
import json, os, sys, tempfile
sys.path[:0] = os.environ['PYTHONPATH'].split(':')
from googlecloudsdk import gcloud_main

def run(command, stderr):
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1):
        os.dup2(nowhere, stream)
    os.dup2(stderr.fileno(), 2)
    sys.argv = [os.environ['CLOUDSDK_ROOT_DIR'] + '/lib/gcloud.py', *command]
    try:
        gcloud_main.main()
        return 0
    except SystemExit as exit:
        return exit.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()

def answer(command):
    with tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            code = 3
            try:
                code = run(command, stderr)
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        stderr.seek(0)
        return code, stderr.read().decode()

json.dump([answer(command) for command in json.load(sys.stdin)], sys.stdout)
"#;

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
    let output = Offline::new().python(READ_MESSAGES, &serde_json::to_vec(messages).expect("JSON"));
    let said: Vec<&str> = output.lines().collect();
    assert_eq!(said.len(), messages.len(), "{output}");
    messages.iter().zip(said).map(|((.., json), unknown)| (json.clone(), unknown.to_owned())).collect()
}

/// Which executions a filter keeps, of a loop and a pass that run and of two that have ended.
const FILTER_EXECUTIONS: &str = r#"
import sys
from googlecloudsdk.api_lib.run import execution
from googlecloudsdk.api_lib.util import apis
from googlecloudsdk.core.resource import resource_filter

run = apis.GetMessagesModule('run', 'v1')

def one(name, variables, completed=None):
    container = run.Container(env=[run.EnvVar(name=variable, value='x') for variable in variables])
    template = run.TaskTemplateSpec(spec=run.TaskSpec(containers=[container]))
    return execution.Execution(run.Execution(
        metadata=run.ObjectMeta(name=name),
        spec=run.ExecutionSpec(template=template),
        status=run.ExecutionStatus(completionTime=completed)), run)

executions = [
    one('running loop', ['GCP_PROJECT', 'PULSE_EVERY', 'PULSE_FOR']),
    one('running pass', ['GCP_PROJECT']),
    one('loop of before', ['PULSE_EVERY'], '2026-01-05T14:30:00Z'),
    one('pass of before', ['GCP_PROJECT'], '2026-01-05T14:30:00Z'),
]
query = resource_filter.Compile(sys.stdin.read())
print('\n'.join(one.name for one in executions if query.Evaluate(one)))
"#;

/// Which executions gcloud keeps by that filter. `None` where it is not installed.
pub(crate) fn executions_kept(filter: &str) -> Option<Vec<String>> {
    if !is_installed() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no gcloud on a CI machine");
        return None;
    }
    let kept = Offline::new().python(FILTER_EXECUTIONS, filter.as_bytes());
    Some(kept.lines().map(str::to_owned).collect())
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

    fn run_all(&self, commands: &[&[String]]) -> Vec<Answer> {
        let answers = self.python(RUN_COMMANDS, &serde_json::to_vec(commands).expect("JSON"));
        let answers: Vec<Answer> = serde_json::from_str(&answers).expect("an answer to each");
        assert_eq!(answers.len(), commands.len());
        answers
    }

    /// What a program of gcloud's own Python says, which has its modules and that input.
    fn python(&self, program: &str, input: &[u8]) -> String {
        let (root, python) = self.installation();
        let mut child = self
            .command(python)
            .args(["-c", program])
            .env("CLOUDSDK_ROOT_DIR", root)
            .env("PYTHONPATH", format!("{root}/lib/third_party:{root}/lib"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("gcloud's own Python runs");
        child.stdin.take().expect("a pipe").write_all(input).expect("it reads");
        String::from_utf8(child.wait_with_output().expect("it ends").stdout).expect("text")
    }

    /// Where gcloud lies, and its Python.
    fn installation(&self) -> &'static (String, String) {
        static INSTALLATION: OnceLock<(String, String)> = OnceLock::new();
        INSTALLATION.get_or_init(|| {
            let format = "--format=value(installation.sdk_root,basic.python_location)";
            let info = self.command("gcloud").args(["info", format]).output().expect("gcloud runs");
            let info = String::from_utf8(info.stdout).expect("text");
            let (root, python) = info.trim().split_once('\t').expect("two values");
            (root.to_owned(), python.to_owned())
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
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
            .stdin(Stdio::null());
        command
    }
}

/// What `gcloud secrets` prints for each of these arguments, led to a Secret Manager at that address. `None` where it is
/// not installed, which with `CI=true` is a failure.
pub(crate) fn secrets_at(address: SocketAddr, commands: &[&[&str]]) -> Option<Vec<String>> {
    if !is_installed() {
        assert!(env::var("CI").as_deref() != Ok("true"), "no gcloud on a CI machine");
        println!("skipped: no gcloud (https://cloud.google.com/sdk/docs/install)");
        return None;
    }
    let offline = Offline::new();
    let print = |arguments: &&[&str]| {
        let mut command = offline.command("gcloud");
        for name in ["CLOUDSDK_PROXY_TYPE", "CLOUDSDK_PROXY_ADDRESS", "CLOUDSDK_PROXY_PORT"] {
            command.env_remove(name);
        }
        let url = format!("http://{address}/");
        command.env("CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER", url);
        command.env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true");
        let output = command.arg("secrets").args(*arguments).output().expect("gcloud runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gcloud secrets {arguments:?}: {told}");
        String::from_utf8(output.stdout).expect("text")
    };
    Some(commands.iter().map(print).collect())
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
