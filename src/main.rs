//! The job `pulse`: see `alpaca_pulse`.

use alpaca_pulse::commands::{self, Cli};
use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};

fn main() -> ExitCode {
    let usage = Cli::try_parse();
    let runtime = match runtime_for(usage.as_ref().ok()) {
        Ok(runtime) => runtime,
        Err(err) => {
            // Where stderr is closed, the exit code says it.
            let _ = writeln!(io::stderr(), "pulse: cannot start: {err}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match usage {
            Ok(cli) => commands::run(cli).await,
            Err(err) => commands::refuse(err).await,
        }
    });
    // Dropping the runtime would wait for a name server that does not answer.
    runtime.shutdown_background();
    code
}

#[cfg_attr(not(feature = "sandbox"), expect(unused_variables, reason = "every command there runs alike"))]
fn runtime_for(cli: Option<&Cli>) -> io::Result<Runtime> {
    #[cfg(feature = "sandbox")]
    if cli.is_some_and(Cli::serves) {
        // What it serves is measured beside it: one core is left to that, where there are several.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Builder::new_multi_thread().worker_threads((cores - 1).max(1)).enable_all().build();
    }
    // One user's way is waiting, with a little work between. On one thread none of its many messages has to
    // wake another thread, which takes half of the CPU time off, and one core still syncs several times
    // as many users as Secret Manager's quota lets through. Several tasks use several cores.
    Builder::new_current_thread().enable_all().build()
}
