//! Shell scripts, run with a stand-in for every program, which writes down how it was called.

use crate::images::IMAGES;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A program's name and arguments, as the shell passes them.
pub(crate) type Call = Vec<String>;

/// bash asks for this where there is no program of a name, and `PATH` leads nowhere. It remembers what was created, so
/// that a second run finds it, and refuses what Google refuses. One `printf` is one write: ends of a pipe don't mix.
const STAND_IN: &str = r#"
command_not_found_handle() {
    printf '%s\0' "$#" "$@" >> "$CLOUD/calls"
    case "$*" in
        'gcloud scheduler jobs describe '* | 'gcloud scheduler jobs update '*) [[ -e $CLOUD/trigger ]] ;;
        'gcloud scheduler jobs create '*) [[ ! -e $CLOUD/trigger ]] && : > "$CLOUD/trigger" ;;
        'docker '*) cloud_docker "$@" ;;
        'gcloud artifacts repositories describe '*) [[ -e $CLOUD/mutable ]] && echo False || echo True ;;
        'gcloud artifacts docker tags list '*) cloud_tags "$@" ;;
        'gcloud run jobs executions list '*PULSE_EVERY*) [[ ! -e $CLOUD/loops ]] || echo "$(< "$CLOUD/loops")" ;;
        'gcloud run jobs executions cancel '*) [[ ! -e $CLOUD/ended-by-itself ]] ;;
        'gcloud run jobs executions describe '*) cloud_looks ;;
        'git archive '* | 'grep '*) ;;
        *) echo 1 ;;
    esac
}

# A cancelled execution is seen to have ended at the look of that number.
cloud_looks() {
    printf x >> "$CLOUD/looks"
    local looks ends_at=1
    looks="$(< "$CLOUD/looks")"
    [[ ! -e $CLOUD/ends-at-look ]] || ends_at="$(< "$CLOUD/ends-at-look")"
    (( ${#looks} < ends_at )) || echo 2026-01-05T14:30:00Z
}
"#;

/// What scripts have created so far.
pub(crate) struct Cloud {
    directory: PathBuf,
}

/// How a script went.
pub(crate) struct Run {
    pub(crate) succeeded: bool,
    pub(crate) stderr: String,
    pub(crate) calls: Vec<Call>,
}

impl Cloud {
    pub(crate) fn empty() -> Self {
        Self { directory: new_directory() }
    }

    /// Says how the cloud is, in the words of the stand-in.
    pub(crate) fn set(&self, name: &str, value: &str) {
        let file = self.directory.join(name);
        fs::create_dir_all(file.parent().expect("our own directory")).expect("a directory in it");
        fs::write(file, value).expect("a file in our own directory");
    }

    /// What the stand-in noted under that name.
    pub(crate) fn noted(&self, name: &str) -> String {
        fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    pub(crate) fn run(&self, script: &str, environment: &BTreeMap<String, String>) -> Run {
        let record = self.directory.join("calls");
        fs::write(&record, "").expect("a file in our own directory");
        let output = Command::new("/bin/bash")
            .arg("-c")
            .arg(format!("{STAND_IN}{IMAGES}{script}"))
            .env_clear()
            .envs(environment)
            .env("PATH", "/nowhere")
            .env("CLOUD", &self.directory)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        Run {
            succeeded: output.status.success(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            calls: parse_calls(&fs::read_to_string(&record).expect("what the stand-in wrote")),
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A directory that no other test uses.
pub(crate) fn new_directory() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("deployment-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&directory).expect("cargo's directory for tests");
    directory
}

/// Reads `count, word, word ...` again and again.
fn parse_calls(record: &str) -> Vec<Call> {
    let mut words = record.split_terminator('\0').map(str::to_owned);
    let mut calls = Vec::new();
    while let Some(count) = words.next() {
        let count = count.parse().expect("a count comes first");
        calls.push(words.by_ref().take(count).collect());
    }
    calls
}

#[test]
fn calls_are_seen_as_the_shell_makes_them() {
    let script = r#"
        NAME='two words'
        gcloud first \
            --flag="$NAME" | gcloud second "$(gcloud inner)" <<< 'input'
        if gcloud scheduler jobs describe x; then echo never; fi
    "#;
    let run = Cloud::empty().run(script, &BTreeMap::new());
    let mut calls: Vec<String> = run.calls.iter().map(|call| call.join("|")).collect();
    calls[..3].sort();
    let expected = [
        "gcloud|first|--flag=two words",
        "gcloud|inner",
        "gcloud|second|1",
        "gcloud|scheduler|jobs|describe|x",
    ];
    assert_eq!(calls, expected, "{}", run.stderr);
}
