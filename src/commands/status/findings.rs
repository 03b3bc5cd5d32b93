//! What of the users of a status somebody has to act on.

use crate::commands::frame::{CheckState, Finding, counted, grouped};
use crate::commands::pulse_check::{Looked, PULSE_NEVER};
use crate::commands::reading::skipped;
use crate::commands::standing::{Cause, Condition};
use crate::commands::status::gathered::{Gathered, Group, Kind};

/// Who has to reconnect, and who is stale for a cause of ours: behind it stands what matters more. `standstill` is why
/// nothing is recorded of anybody any more, if that is so.
pub(super) fn of_users(looked: &Looked<'_>, users: &Gathered, standstill: Option<&str>) -> Vec<Finding> {
    let reconnect = users.users_in(Condition::NeedsReauth);
    let reconnect = (reconnect > 0).then(|| {
        let sentence = format!("{} to reconnect their Alpaca account.", number(reconnect, "has", "have"));
        let finding = Finding::new(CheckState::Warning, "UsersMustReconnect", sentence);
        finding.mended_by(looked.pulse("users --state=needs_reauth"))
    });
    reconnect.into_iter().chain([stale(looked, users, standstill)]).collect()
}

fn stale(looked: &Looked<'_>, users: &Gathered, standstill: Option<&str>) -> Finding {
    let leads_on = || users.leads_on().map(|named| looked.about("explain", &named.user_id));
    match (users.stale, users.users(Cause::Ours), standstill) {
        // Whom no pulse reaches is on no record.
        (0, _, Some(because)) if because == PULSE_NEVER || !users.is_of_everybody() => {
            skipped("UsersStale", because)
        }
        (0, 0, _) => {
            Finding::new(CheckState::Ok, "NobodyStale", "Nobody is stale for a cause of ours.".to_owned())
        }
        (0, failing, _) => {
            let (failing, causes) = (number(failing, "is", "are"), causes(users, |group| group.users));
            let sentence = format!("{failing} failing for a cause of ours, and not stale yet ({causes}).");
            Finding { mend: leads_on(), ..Finding::new(CheckState::Warning, "UsersFailing", sentence) }
        }
        (stale, _, standstill) => {
            let (stale, causes) = (number(stale, "is", "are"), causes(users, |group| group.stale));
            let first = standstill.map(|reason| format!("; first see {reason}")).unwrap_or_default();
            let sentence = format!("{stale} stale for a cause of ours ({causes}){first}.");
            let mend = if standstill.is_some() { None } else { leads_on() };
            Finding { mend, ..Finding::new(CheckState::Failed, "UsersStale", sentence) }
        }
    }
}

/// The causes of ours with their numbers of users, the largest first.
fn causes(users: &Gathered, size: fn(&Group) -> u64) -> String {
    let cause = |(kind, group): (&Kind, &Group)| {
        format!("{} {}", kind.error.unwrap_or("not reached"), grouped(size(group)))
    };
    users.of_ours(size).into_iter().map(cause).collect::<Vec<_>>().join(", ")
}

fn number(users: u64, one: &str, many: &str) -> String {
    let verb = if users == 1 { one } else { many };
    format!("{} {verb}", counted(users, ["user", "users"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::standing::Standing;
    use crate::config::{Endpoints, Place};
    use crate::model::ids::Database;
    use jiff::{SignedDuration, Timestamp};

    /// So many users with that error, who are that old to their readers.
    type Crowd = (u64, Option<&'static str>, &'static str);

    fn found(crowds: &[Crowd], is_of_all: bool, standstill: Option<&str>) -> Vec<Finding> {
        let database = Database::parse("p", "(default)").expect("legal");
        let place = Place { database, endpoints: Endpoints::default() };
        let now = Timestamp::from_second(1_767_623_400).expect("in range");
        let looked = Looked { place: &place, now, stale: SignedDuration::from_secs(300), region: None };
        let mut users = Gathered::new(is_of_all);
        for (count, error, snapshot) in crowds {
            for n in 0..*count {
                let state = match error {
                    Some("broker_rejected") => Condition::NeedsReauth,
                    Some(_) => Condition::Retrying,
                    None => Condition::Ok,
                };
                let is_well = error.is_none() && *snapshot != "stale";
                let cause = if state == Condition::NeedsReauth { Cause::User } else { Cause::Ours };
                let id = format!("{}-{n}", error.unwrap_or("x"));
                let standing = Standing {
                    user_id: &id,
                    state,
                    error: *error,
                    cause: (!is_well).then_some(cause),
                    failing_since: error.map(|_| now - SignedDuration::from_secs(600)),
                    next_attempt_at: None,
                    snapshot,
                    age_s: Some(10),
                    environment: None,
                    tenant_id: None,
                };
                users.add(&standing, now);
            }
        }
        of_users(&looked, &users, standstill)
    }

    #[test]
    fn nobody_is_called_fresh_of_whom_nothing_is_recorded() {
        let (late, never) = (Some("PulseLate"), Some("PulseNever"));
        for (crowds, is_of_all, standstill, state, reason) in [
            (&[][..], false, None, CheckState::Ok, "NobodyStale"),
            (&[], false, late, CheckState::Skipped, "UsersStale"),
            (&[], false, never, CheckState::Skipped, "UsersStale"),
            (&[], true, never, CheckState::Skipped, "UsersStale"),
            (&[(3, None, "missing")], true, never, CheckState::Skipped, "UsersStale"),
            (&[(3, Some("keys_forbidden"), "fresh")], false, late, CheckState::Skipped, "UsersStale"),
            (&[(3, None, "fresh")], true, late, CheckState::Ok, "NobodyStale"),
            (&[(3, None, "stale")], true, late, CheckState::Failed, "UsersStale"),
        ] {
            let found = found(crowds, is_of_all, standstill);
            let last = found.last().expect("one");
            assert_eq!((last.state, last.reason), (state, reason), "{crowds:?} {standstill:?}");
            let tells_why = standstill.is_none_or(|why| last.sentence.contains(why));
            assert!(tells_why || last.state == CheckState::Ok, "{}", last.sentence);
            assert_eq!(last.mend, None, "the root has it");
        }
    }

    #[test]
    fn the_largest_group_comes_first_and_is_looked_into() {
        let two = [(10, Some("keys_forbidden"), "stale"), (20, Some("broker_unavailable"), "stale")];
        let found_stale = found(&two, false, None);
        let [stale] = &found_stale[..] else { panic!("one finding") };
        assert!(stale.sentence.contains("(broker_unavailable 20, keys_forbidden 10)"), "{}", stale.sentence);
        assert_eq!(stale.mend.as_deref(), Some("pulse explain broker_unavailable-0 --project=p"));
        // Those who are not stale are in no sum of those who are, and who has to reconnect matters less.
        let some = [
            (20, Some("broker_unavailable"), "fresh"),
            (1, Some("keys_forbidden"), "stale"),
            (5, None, "stale"),
            (30, Some("broker_rejected"), "stale"),
        ];
        let found_some = found(&some, false, None);
        let reasons: Vec<_> = found_some.iter().map(|finding| finding.reason).collect();
        assert_eq!(reasons, ["UsersMustReconnect", "UsersStale"]);
        assert!(found_some[1].sentence.contains("6 users are stale"), "{}", found_some[1].sentence);
        assert!(
            found_some[1].sentence.contains("(not reached 5, keys_forbidden 1)"),
            "{}",
            found_some[1].sentence
        );
        let failing = [(1, Some("broker_rejected"), "fresh"), (30, Some("broker_unavailable"), "fresh")];
        assert_eq!(found(&failing, false, None)[1].reason, "UsersFailing");
    }
}
