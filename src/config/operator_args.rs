//! What all commands for operators take.

use crate::model::ids::DocumentId;
use crate::model::outcome::Code;
use crate::model::sync_state::State;
use account_reader::{Action, BigDecimal, decimal};
use clap::Args;
use clap::builder::PossibleValuesParser;
use humantime::parse_duration;
use std::time::Duration;

const WHERE: &str = "Where";
const OUTPUT: &str = "Output";
const WHICH_USERS: &str = "Which users";

pub(crate) const STATUS_CODES: &str = "\
Exit codes:
  0  fine, or nothing that cannot wait
  1  could not look
  2  bad usage or configuration
  3  the last pulse is older than --stale or failed, or a user is stale for a cause of ours";

pub(crate) const USERS_CODES: &str = "\
Without --all it reads those in trouble alone, by one query, and for each their document and snapshot.

Exit codes:
  0  listed, however many there are
  1  could not look
  2  bad usage or configuration";

pub(crate) const EXPLAIN_CODES: &str = "\
Exit codes:
  0  readers see fresh figures of the user, whatever else there is to know
  1  could not look
  2  bad usage or configuration
  3  readers see no fresh figures of the user: the last finding says why, and who has to act";

pub(crate) const READ_CODES: &str = "\
Examples:
  pulse read ana                     whether the figures of ana are of now
  pulse read ana --order buy:400     whether ana may buy for 400 dollars
  pulse read ana --order flat:0      whether ana may close a position

Exit codes:
  0  the figures are fresh; with --order, the order may go out
  1  could not look
  2  bad usage or configuration
  3  not fresh; with --order, denied";

/// What a user whom nothing is wrong with but that nobody wants them synced is called.
pub(crate) const PAUSED: &str = "paused";

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

impl ConfirmArgs {
    /// As it was typed, after a space.
    #[must_use]
    pub(crate) fn as_typed(self) -> &'static str {
        if self.yes { " --yes" } else { "" }
    }
}

/// The options of `pulse status`.
#[derive(Args, Clone, Debug)]
pub(crate) struct StatusArgs {
    /// Age at which the last pulse is too old
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_duration)]
    pub(crate) stale: Duration,

    /// Read every user's snapshot too
    ///
    /// Tells how old they are: the median, the oldest of 95 and of 99 in 100, and the oldest of all. Reads two documents
    /// for each user, and says how many before it begins.
    #[arg(long)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

/// The options of `pulse users`.
#[derive(Args, Clone, Debug)]
pub(crate) struct UsersArgs {
    /// Only users in this state
    ///
    /// ok and paused are states of users whom nobody has to help: for them every user is read, as with --all.
    #[arg(long, value_name = "STATE", value_parser = states(), help_heading = WHICH_USERS)]
    pub(crate) state: Option<String>,

    /// Only users with this error
    #[arg(long, value_name = "CODE", value_parser = codes(), hide_possible_values = true,
          help_heading = WHICH_USERS)]
    pub(crate) error: Option<String>,

    /// Only users who have been failing for so long
    #[arg(long, value_name = "TIME", value_parser = parse_duration, help_heading = WHICH_USERS)]
    pub(crate) failing_for: Option<Duration>,

    /// Everybody, not only users in trouble
    ///
    /// Reads two documents for each user, and says how many before it begins.
    #[arg(long, help_heading = WHICH_USERS)]
    pub(crate) all: bool,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

impl UsersArgs {
    /// Whether users are asked for whom the query for trouble does not find.
    #[must_use]
    pub(crate) fn is_about_everybody(&self) -> bool {
        self.all || self.state.as_deref().is_some_and(|state| state == State::Ok.as_str() || state == PAUSED)
    }
}

/// The options of `pulse explain`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ExplainArgs {
    /// Whose way is told
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: DocumentId,

    /// Try the keys at Alpaca
    ///
    /// One access to the secret and one call, as the next pulse would make them. Nothing is written.
    #[arg(long)]
    pub(crate) ask: bool,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

/// The options of `pulse read`.
#[derive(Args, Clone, Debug)]
pub(crate) struct ReadArgs {
    /// Whose snapshot is read
    #[arg(value_name = "USER", value_parser = user)]
    pub(crate) user: DocumentId,

    /// An order to decide on: buy, sell or flat, and US dollars
    ///
    /// flat only closes a position: it is denied for blocks, never for money or age. Any other has to be paid from what
    /// the account can spend (buying_power), less the signals of the backend that are pending, which are read for that.
    #[arg(long, value_name = "SIDE:NOTIONAL", value_parser = order)]
    pub(crate) order: Option<OrderAsked>,

    #[command(flatten)]
    pub(crate) common: OperatorArgs,
}

/// What somebody asks whether they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OrderAsked {
    /// Which way.
    pub(crate) action: Action,
    /// For how many US dollars.
    pub(crate) notional: BigDecimal,
}

fn user(text: &str) -> Result<DocumentId, String> {
    DocumentId::parse(text).map_err(|err| format!("no user has that id: {err}"))
}

fn order(text: &str) -> Result<OrderAsked, &'static str> {
    let usage = "use buy, sell or flat, a colon, and US dollars, such as buy:400.50";
    let (action, notional) = text.split_once(':').ok_or(usage)?;
    let action = [Action::Buy, Action::Sell, Action::Flat].into_iter().find(|side| side.as_str() == action);
    let notional = decimal::parse(notional).map_err(|_| usage)?;
    Ok(OrderAsked { action: action.ok_or(usage)?, notional })
}

fn states() -> PossibleValuesParser {
    let states = State::IN_TROUBLE.into_iter().chain([State::Ok]).map(State::as_str);
    states.chain([PAUSED]).collect::<Vec<_>>().into()
}

fn codes() -> PossibleValuesParser {
    Code::ALL.map(Code::as_str).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_side_and_an_exact_amount() {
        for (given, action, notional) in [
            ("buy:400", Action::Buy, "400"),
            ("sell:0.10", Action::Sell, "0.1"),
            ("flat:0", Action::Flat, "0"),
            ("buy:-1", Action::Buy, "-1"),
        ] {
            let asked = order(given).expect(given);
            assert_eq!((asked.action, decimal::plain(&asked.notional).as_str()), (action, notional));
        }
        for given in
            ["", "buy", "buy:", "buy:1,000", "buy:$1", "buy:NaN", "hold:1", "BUY:1", "400", "buy:1:2"]
        {
            assert!(order(given).is_err(), "{given}");
        }
    }
}
