//! The command line of `pulse doctor`.

use crate::config::operator_args::OperatorArgs;
use clap::Args;

const JOB: &str = "Job";

/// What the job is called where nobody says so.
pub(crate) const USUAL_JOB: &str = "pulse";

pub(crate) const DOCTOR_CODES: &str = "\
It reads, makes one access to Secret Manager and knocks at Alpaca's hosts; it writes nothing. As the job:
  gcloud run jobs execute pulse --region=REGION --args=doctor,--region=REGION

Exit codes:
  0  nothing is wrong, as far as nothing is unknown
  1  something could not be looked at: the finding says why, as far as Google does
  2  bad usage or configuration
  3  something is wrong";

/// What `pulse doctor` takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    /// Where the job is; without it neither job nor schedule are looked at
    ///
    /// [env: REGION]
    #[arg(long, value_name = "REGION", env = "REGION", hide_env = true, value_parser = segment,
          help_heading = JOB)]
    pub(crate) region: Option<String>,

    /// The job's name, which its trigger in Cloud Scheduler has too
    #[arg(long, value_name = "NAME", default_value = USUAL_JOB, value_parser = segment, help_heading = JOB)]
    pub(crate) job: String,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

/// What stands alone between two slashes.
fn segment(text: &str) -> Result<String, &'static str> {
    let is_legal = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let is_name = !text.is_empty() && !text.starts_with('-') && text.chars().all(is_legal);
    is_name.then(|| text.to_owned()).ok_or("use letters, digits and hyphens, and begin with none of these")
}
