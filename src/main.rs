//! The job `pulse`.

#[cfg(feature = "sandbox")]
mod cli {
    use std::io;
    use std::process::ExitCode;

    use alpaca_pulse::sandbox::command::{self, SandboxArgs};
    use clap::Parser;

    #[derive(Parser)]
    #[command(name = "pulse")]
    enum Pulse {
        Sandbox(SandboxArgs),
    }

    pub(super) async fn run() -> io::Result<ExitCode> {
        let Pulse::Sandbox(args) = Pulse::parse();
        command::run(args).await
    }
}

#[cfg(feature = "sandbox")]
#[tokio::main]
async fn main() -> std::io::Result<std::process::ExitCode> {
    cli::run().await
}

#[cfg(not(feature = "sandbox"))]
fn main() {}
