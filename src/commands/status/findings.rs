//! What of the users of a status somebody has to act on.

use crate::commands::frame::{CheckState, Finding, grouped};
use crate::commands::pulse_check::Looked;
use crate::commands::standing::{Cause, Condition};
use crate::commands::status::gathered::{Gathered, Group, Kind};

/// Who is stale for a cause of ours, and who has to reconnect.
pub(super) fn of_users(looked: &Looked<'_>, users: &Gathered) -> Vec<Finding> {
    let reconnect = users.users_in(Condition::NeedsReauth);
    let reconnect = (reconnect > 0).then(|| {
        let sentence = format!("{} to reconnect their Alpaca account.", number(reconnect, "has", "have"));
        let finding = Finding::new(CheckState::Warning, "UsersMustReconnect", sentence);
        finding.mended_by(looked.pulse("users --state=needs_reauth"))
    });
    [stale(looked, users)].into_iter().chain(reconnect).collect()
}

fn stale(looked: &Looked<'_>, users: &Gathered) -> Finding {
    let causes: Vec<_> =
        users.trouble.iter().filter(|(kind, _)| kind.cause == Cause::Ours).map(cause).collect();
    let causes = causes.join(", ");
    let longest = users.longest_stale.as_ref().or(users.longest.first());
    let mend = longest.map(|named| looked.about("explain", &named.user_id));
    let (state, reason, sentence) = match (users.stale, users.users(Cause::Ours)) {
        (0, 0) => (CheckState::Ok, "NobodyStale", "Nobody is stale for a cause of ours.".to_owned()),
        (0, failing) => {
            let failing = number(failing, "is", "are");
            let sentence = format!("{failing} failing for a cause of ours, and not stale yet ({causes}).");
            (CheckState::Warning, "UsersFailing", sentence)
        }
        (stale, _) => {
            let sentence = format!("{} stale for a cause of ours ({causes}).", number(stale, "is", "are"));
            (CheckState::Failed, "UsersStale", sentence)
        }
    };
    Finding { mend, ..Finding::new(state, reason, sentence) }
}

fn cause((kind, group): (&Kind, &Group)) -> String {
    format!("{} {}", kind.error.unwrap_or("not reached"), grouped(group.users))
}

fn number(users: u64, one: &str, many: &str) -> String {
    if users == 1 { format!("1 user {one}") } else { format!("{} users {many}", grouped(users)) }
}
