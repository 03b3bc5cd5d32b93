//! The command `pulse sandbox`.

use super::faults::Rule;
use super::{Options, Sandbox};
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

const FAULT_HELP: &str = "\
Make some calls fail, as SERVICE[/METHOD]:FAULT[,OPTION...] (repeats).

Services: firestore, secret-manager, alpaca, metadata, telemetry. Methods: Commit, RunQuery, AccessSecretVersion,
GetAccount, GetToken, ExportMetrics, ...

Faults of any service:
  latency=200ms     takes longer
  stall             never answers, and keeps the connection open
  stall-after       handles the call, then never answers
  drop-before       cuts the connection before the call is handled
  drop-after        handles the call, then cuts the connection
  goaway            answers the call, and takes no more over its connection

Faults of firestore:
  error=UNAVAILABLE a gRPC status, with message=TEXT and reason=SERVICE_DISABLED if wanted
  break-after=3     ends the stream with UNAVAILABLE after 3 messages
  garbage           a message that cannot be read

Faults of secret-manager, alpaca, metadata, admin and telemetry:
  error=503         an HTTP status, with header='Retry-After: 1' and body=TEXT if wanted; without a body, 401 and
                    403 of alpaca have Alpaca's own
  body=TEXT         a different body
  redirect=URL      a 302 to elsewhere
  slow=10ms         the body byte by byte
  truncate          half of the body, then a cut
  padding=100000    this many spaces behind the body
  stray=5ms         the answer, and so much later the same once more on the same connection
  wrong-checksum    a dataCrc32c that does not fit (secret-manager)
  other-secret=ID   the answer of another secret (secret-manager)
  old-latest        latest is not the newest version yet, but the one before (secret-manager)
  other-account     an account of somebody else's (alpaca)
  rate-limit=14s    a 429 whose X-RateLimit-Reset is so far ahead (alpaca)
  error=403,reason=SERVICE_DISABLED
                    an error as Google's, with this reason (secret-manager)

Options: user=ID (a * is any text), share=0.1 (of the calls), skip=N (first calls), times=N (calls at most), \
for=1s (from the first such call on). \
A comma in a value is written \\, and a backslash \\\\.

Examples: alpaca:error=503,share=0.1   firestore/Commit:drop-after,times=1   \
secret-manager:latency=200ms,user=user-0003   metadata/GetToken:error=503,times=2

What an edge in front of Alpaca refuses:
alpaca:error=403,header=Content-Type: text/html,body=<html>Access denied</html>";

/// Run a local Firestore, Secret Manager and Alpaca with made-up users.
///
/// Prints the environment variables that lead pulse to it, and serves until it is interrupted. It listens on
/// 127.0.0.1 only, keeps everything in memory, and knows no real keys.
#[derive(Args, Clone, Debug)]
pub struct SandboxArgs {
    /// How many users to make up
    #[arg(long, value_name = "N", default_value_t = 25)]
    users: u32,

    /// Give nobody trouble; else some have missing keys, revoked keys, an account still being opened ...
    #[arg(long)]
    healthy: bool,

    /// Begin with a database of the single-tenant layout, to try `pulse migrate` on
    ///
    /// With every kind of legacy document, keys in Firestore, and dirt. Secret Manager is empty.
    #[arg(long)]
    legacy: bool,

    /// Let the admin APIs tell of a project that is badly set up, for `pulse doctor`
    #[arg(long)]
    badly_set_up: bool,

    /// How long every call takes at least, such as 20ms or 1s
    #[arg(long, value_name = "TIME", default_value = "0ms", value_parser = humantime::parse_duration)]
    latency: Duration,

    /// The port on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    #[arg(long = "fault", value_name = "SPEC", help = "Make some calls fail, such as alpaca:error=503,share=0.1 (repeats)", long_help = FAULT_HELP)]
    faults: Vec<Rule>,
}

/// Serves until SIGINT or SIGTERM, and then exits with success.
pub async fn run(args: SandboxArgs) -> io::Result<ExitCode> {
    let SandboxArgs { users, healthy, legacy, badly_set_up, latency, port, faults } = args;
    // Before anything is printed, so that whoever waits for the output can already stop us.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let options = Options { users, trouble: !healthy, legacy, latency, port, ..Options::default() };
    let sandbox = Sandbox::start(options).await?;
    if badly_set_up {
        sandbox.admin().set_up_badly();
    }
    for rule in faults {
        sandbox.faults().add(rule);
    }
    let (mut exports, mut hint) = (Vec::new(), Vec::new());
    print_exports(&sandbox, &mut exports)?;
    let first = if legacy { "pulse migrate plan --owner user-0001" } else { "pulse sync" };
    print_hint(&sandbox, first, &mut hint)?;
    // Whoever does not read this neither stops the sandbox nor keeps it from being stopped.
    let _printing = tokio::task::spawn_blocking(move || {
        let _ = io::stdout().write_all(&exports).and_then(|()| io::stdout().flush());
        let _ = io::stderr().write_all(&hint);
    });
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    sandbox.stop().await;
    Ok(ExitCode::SUCCESS)
}

fn print_exports(sandbox: &Sandbox, out: &mut impl Write) -> io::Result<()> {
    for (name, value) in sandbox.exports() {
        writeln!(out, "export {name}={value}")?;
    }
    Ok(())
}

fn print_hint(sandbox: &Sandbox, first: &str, out: &mut impl Write) -> io::Result<()> {
    let address = sandbox.address();
    let users = sandbox.population().len();
    writeln!(
        out,
        "\nServing {users} users until Ctrl-C. Paste the lines above into another shell, then run: {first}"
    )?;
    for (user, trouble) in sandbox.population().troubled() {
        writeln!(out, "  {user} has trouble: {trouble}")?;
    }
    writeln!(
        out,
        "Faults:   curl -d '\"alpaca:error=503,times=1\"' http://{address}/sandbox/faults\n\
         Requests: curl http://{address}/sandbox/requests\n\
         Tokens:   export GCE_METADATA_HOST={address} leads whatever asks Google Cloud's metadata server here\n\
         Secrets:  export CLOUDSDK_API_ENDPOINT_OVERRIDES_SECRETMANAGER=http://{address}/ \
         CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true\n          \
         gcloud --project=$GCP_PROJECT secrets versions access latest --secret=alpaca-keys-user-0001"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }

    fn parse(args: &[&str]) -> Result<SandboxArgs, clap::Error> {
        let args = std::iter::once("sandbox").chain(args.iter().copied());
        Command::try_parse_from(args).map(|command| command.sandbox)
    }

    #[test]
    fn defaults_are_a_small_sandbox_with_some_trouble_on_a_free_port() {
        let args = parse(&[]).unwrap();
        assert_eq!((args.users, args.healthy, args.latency, args.port), (25, false, Duration::ZERO, 0));
        assert!(!args.legacy && parse(&["--legacy"]).unwrap().legacy);
        assert!(args.faults.is_empty());
    }

    #[test]
    fn faults_repeat_and_are_checked() {
        let args = parse(&[
            "--fault",
            "alpaca:error=503,share=0.1",
            "--fault",
            "firestore:stall",
            "--latency",
            "20ms",
        ]);
        let args = args.unwrap();
        assert_eq!(args.latency, Duration::from_millis(20));
        assert_eq!(
            args.faults.iter().map(Rule::to_string).collect::<Vec<_>>(),
            ["alpaca:error=503,share=0.1", "firestore:stall"]
        );
        let error = parse(&["--fault", "alpaca:error=UNAVAILABLE"]).unwrap_err();
        assert!(error.to_string().contains("not an HTTP status"), "{error}");
    }

    #[tokio::test]
    async fn the_exports_can_be_pasted_into_a_shell() {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let address = sandbox.address();
        let mut printed = Vec::new();
        print_exports(&sandbox, &mut printed).unwrap();
        let expected = format!(
            "export GCP_PROJECT=pulse-sandbox\nexport FIRESTORE_EMULATOR_HOST={address}\n\
             export SECRET_MANAGER_EMULATOR_HOST={address}\nexport APCA_API_BASE_URL=http://{address}\n"
        );
        assert_eq!(String::from_utf8(printed).unwrap(), expected);
    }
}
