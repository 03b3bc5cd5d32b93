//! What all commands for operators take.

use clap::Args;

const WHERE: &str = "Where";
const OUTPUT: &str = "Output";

/// Where to look, and how to tell it.
#[derive(Args, Clone, Debug)]
pub(crate) struct OperatorArgs {
    /// Print one JSON object instead of text
    ///
    /// The same findings and the same exit code. Its names are stable, and docs/reference.md has an example of each.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,

    /// Exit with 3 for findings as a Cloud Run job too
    ///
    /// There a finding is a WARNING in the log, and the exit code 0: it is no reason for a retry.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) exit_code: bool,

    /// Google Cloud project of the users and secrets
    ///
    /// [env: GCP_PROJECT, then GCLOUD_PROJECT, then GOOGLE_CLOUD_PROJECT]
    #[arg(long, value_name = "ID", help_heading = WHERE)]
    pub(crate) project: Option<String>,

    /// Firestore database
    ///
    /// [env: PULSE_DATABASE]
    #[arg(long, value_name = "ID", env = "PULSE_DATABASE", hide_env = true, default_value = "(default)",
          help_heading = WHERE)]
    pub(crate) database: String,
}

/// Of commands that change something.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ConfirmArgs {
    /// Do it without asking
    ///
    /// Where nobody can be asked, without a terminal, nothing is changed unless this is given.
    #[arg(short, long, help_heading = OUTPUT)]
    pub(crate) yes: bool,
}
