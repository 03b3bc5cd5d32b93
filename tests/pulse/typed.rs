//! Commands that are typed: their input, a terminal, and an end by SIGKILL at any call.

use crate::live::{LOOK_INTERVAL, in_time};
use crate::world::{Run, World, sandbox};
use pulse_sandbox::faults::Injected;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

pub(crate) struct Typed;

impl Typed {
    /// Runs a command to its end, with that on stdin.
    pub(crate) async fn in_to(world: &World, args: &[&str], input: &str) -> Run {
        Run::end_of(Self::start(world, args, input).await).await
    }

    /// The same of a command that is made already.
    pub(crate) async fn in_to_command(command: Command, input: &str) -> Run {
        Run::end_of(Self::spawn(command, input).await).await
    }

    /// The same while it runs.
    pub(crate) async fn start(world: &World, args: &[&str], input: &str) -> Child {
        Self::spawn(world.bare_command(args), input).await
    }

    async fn spawn(mut command: Command, input: &str) -> Child {
        let mut child = command.stdin(Stdio::piped()).spawn().expect("pulse starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that refuses at once reads nothing.
        let _ = stdin.write_all(input.as_bytes()).await;
        child
    }

    /// Runs a command on a terminal, answering each question; what the terminal showed. `None` without util-linux.
    pub(crate) async fn on_a_terminal(
        world: &World,
        args: &[&str],
        answers: &[(&str, &str)],
    ) -> Option<String> {
        let line = [&[env!("CARGO_BIN_EXE_pulse")], args].concat().join(" ");
        Self::on_a_terminal_of(world, &line, answers).await
    }

    /// Runs a script in bash on a terminal, in which `pulse` is found, as a user does who has set `USER_ID`.
    pub(crate) async fn in_bash(world: &World, script: &str, answers: &[(&str, &str)]) -> Option<String> {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("typed-{}", world.project));
        std::fs::write(&file, script).expect("cargo's directory for tests");
        let shown = Self::on_a_terminal_of(world, &format!("bash {}", file.display()), answers).await;
        std::fs::remove_file(&file).expect("it was written");
        shown
    }

    async fn on_a_terminal_of(world: &World, line: &str, answers: &[(&str, &str)]) -> Option<String> {
        let binary = Path::new(env!("CARGO_BIN_EXE_pulse")).parent().expect("a directory");
        let mut command = Command::new("script");
        command.args(["--quiet", "--echo=never", "--return", "--command", line, "/dev/null"]);
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", binary.display()))
            .env("USER_ID", "ana")
            .envs(world.sandbox.exports())
            .env("TERM", "xterm");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let Ok(mut child) = command.spawn() else {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "no `script` on a CI machine");
            println!("skipped: no `script` (util-linux)");
            return None;
        };
        let (mut stdin, mut stdout) =
            (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let mut shown = Vec::new();
        for (question, answer) in answers {
            let from = shown.len();
            in_time(async {
                while !String::from_utf8_lossy(&shown[from..]).contains(question) {
                    let read = stdout.read_buf(&mut shown).await.expect("the terminal");
                    assert!(read > 0, "{}", String::from_utf8_lossy(&shown));
                }
            })
            .await;
            stdin.write_all(format!("{answer}\n").as_bytes()).await.expect("the terminal");
        }
        in_time(async { stdout.read_to_end(&mut shown).await.expect("the terminal") }).await;
        Some(String::from_utf8_lossy(&shown).into_owned())
    }
}

/// A command that is killed at each of its calls, one after the other.
pub(crate) struct Killing<'a> {
    /// Which calls: a service, or one of its methods.
    pub at: &'a [&'a str],
    /// The command that is killed.
    pub args: &'a [&'a str],
    /// The one that finishes its work.
    pub again: &'a [&'a str],
    /// Whether pulses run beside it while it is killed; they always do while it is run again.
    pub with_pulses: bool,
}

impl Killing<'_> {
    /// For each call: makes a world, gives the command its input, and kills it there, before the call is handled or
    /// after; looks what state that is; and runs it again. How many calls there were.
    pub(crate) async fn each(
        &self,
        prepare: impl AsyncFn(&World) -> String,
        check_state: impl AsyncFn(&World, &str),
        check_end: impl AsyncFn(&World, &Run, &str),
    ) -> usize {
        let mut calls = 0;
        for (target, fault) in self.at.iter().flat_map(|at| ["stall", "stall-after"].map(|fault| (at, fault)))
        {
            for nth in 0.. {
                let world = sandbox().await;
                let input = prepare(&world).await;
                let place = format!("{target}:{fault},skip={nth},times=1");
                let rule = world.sandbox.faults().inject(&place).expect("a fault");
                let was_killed = self.kill(&world, &input, &rule).await;
                world.sandbox.faults().clear();
                if !was_killed {
                    break;
                }
                calls += 1;
                check_state(&world, &place).await;
                let again = Typed::start(&world, self.again, &input).await;
                let ended = tokio::spawn(Run::end_of(again));
                while !ended.is_finished() {
                    world.pulse().await;
                }
                check_end(&world, &ended.await.expect("no panic"), &place).await;
            }
        }
        calls
    }

    /// Whether the command met the fault, and was killed there; it ends by itself where it makes no so many calls.
    async fn kill(&self, world: &World, input: &str, rule: &Arc<Injected>) -> bool {
        let mut child = Typed::start(world, self.args, input).await;
        in_time(async {
            loop {
                if rule.applied() > 0 {
                    child.kill().await.expect("it can be killed");
                    return true;
                }
                if child.try_wait().expect("it can be waited for").is_some() {
                    return false;
                }
                match self.with_pulses {
                    true => drop(world.pulse().await),
                    false => tokio::time::sleep(LOOK_INTERVAL).await,
                }
            }
        })
        .await
    }
}
