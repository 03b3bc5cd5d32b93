//! Why a user's figures are fresh or not, who has to act, and when they are tried next: the root cause first.

use crate::commands::explain::ask::Asked;
use crate::commands::explain::known::Known;
use crate::commands::explain::next::attempt;
use crate::commands::frame::{CheckState, Finding, in_words};
use crate::commands::pulse_check::{Failed, WHY_NONE, why_failed};
use crate::commands::standing::Cause;
use crate::model::advice::{Advice, FLEET_GUARD, Heard, NEEDS_REAUTH, Passing, Who};
use crate::model::fleet_guard::FEWEST;
use crate::model::ids::UserId;
use crate::model::outcome::Code;
use crate::model::sync_state::{State, SyncState};
use crate::model::user::Switch;
use account_reader::documents::snapshot as field;
use account_reader::{Account, Verdict};
use jiff::SignedDuration;
use serde::Serialize;

/// A single rejection is followed by another, or by success, before this: who goes on without being marked is held by the
/// guard against marking many at once.
const ONE_REJECTION: SignedDuration = SignedDuration::from_mins(5);

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Conclusion {
    /// The stable name for programs.
    pub(super) reason: &'static str,
    /// For people.
    pub(super) sentence: String,
    /// Who has to act.
    pub(super) who: Who,
    /// When the user is tried next.
    pub(super) next: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
    #[serde(skip)]
    state: CheckState,
}

impl Conclusion {
    pub(super) fn finding(&self) -> Finding {
        let finding = Finding::new(self.state, self.reason, self.sentence.clone());
        Finding { mend: self.mend.clone(), ..finding }
    }
}

/// Why, who and how.
struct Why {
    reason: &'static str,
    /// Behind "because"; nothing where all is well.
    what: String,
    who: Who,
    act: String,
    mend: Option<String>,
}

/// The root cause: what keeps everything behind it from working comes first.
pub(super) fn conclude(known: &Known<'_>) -> Conclusion {
    let why = known
        .of_document()
        .or_else(|| known.of_keys(Cause::User))
        .or_else(|| known.of_job().filter(stands_still))
        .or_else(|| known.of_keys(Cause::Ours))
        .or_else(|| known.of_job())
        .unwrap_or_else(|| known.of_snapshot());
    let next = attempt(known.view.user.as_ref(), known.trouble(), known.looked.now);
    let next = if known.of_job().as_ref().is_some_and(stands_still) {
        format!("{next}, once that is mended")
    } else {
        next
    };
    let is_fresh = matches!(known.verdict(), Verdict::Fresh { .. });
    let state = match (is_fresh, why.what.is_empty()) {
        (true, true) => CheckState::Ok,
        (true, false) => CheckState::Warning,
        (false, _) => CheckState::Failed,
    };
    let sentence = known.sentence(&why, &next);
    let Why { reason, who, mend, .. } = why;
    Conclusion { reason, sentence, who, next, mend, state }
}

/// Whether no pulse is recorded: then it matters little what the last one said of the user. A pulse that failed as a whole
/// did so for what it says of its users.
fn stands_still(of_job: &Why) -> bool {
    of_job.reason != "PulseFailed"
}

impl Known<'_> {
    fn trouble(&self) -> Option<&SyncState> {
        self.view.trouble.as_ref()
    }

    fn sentence(&self, why: &Why, next: &str) -> String {
        let figures = match self.verdict() {
            Verdict::Fresh { age, .. } => format!("the figures are fresh ({} old)", in_words(age)),
            Verdict::Stale { age, .. } => format!("the figures are stale ({} old)", in_words(age)),
            Verdict::Missing => "there are no figures".to_owned(),
            Verdict::Malformed { field } => format!("the figures cannot be read ({field} is wrong)"),
        };
        let user = self.user;
        if why.what.is_empty() {
            return format!("{user}: {figures}, nobody has to act, and the user is tried {next}.");
        }
        // The user's trouble says nothing of when the job stopped.
        let trouble = self.trouble().filter(|_| !why.reason.starts_with("Pulse"));
        let since = trouble.map(|trouble| trouble.failing_since.unwrap_or(trouble.since));
        let since =
            since.map(|since| format!(", for {} now", in_words(self.looked.now.duration_since(since))));
        let (what, act) = (&why.what, &why.act);
        let joint = if matches!(self.verdict(), Verdict::Fresh { .. }) { "but" } else { "because" };
        format!("{user}: {figures}, {joint} {what}{}; {act}; tried again {next}.", since.unwrap_or_default())
    }

    /// The user's own document.
    fn of_document(&self) -> Option<Why> {
        let user = match &self.view.user {
            None => return Some(self.nobody()),
            Some(user) => user,
        };
        let (reason, what) = match user.sync {
            Switch::Off => ("Paused", "sync_enabled is false in the user's document"),
            Switch::Unreadable => {
                ("SwitchUnreadable", "sync_enabled is neither true nor false in the user's document")
            }
            Switch::On if UserId::parse(user.id.as_str()).is_err() => {
                return Some(self.advised(Advice::on(Code::UserIdInvalid, false)));
            }
            Switch::On => return None,
        };
        let act = "whoever wants the user synced has to switch that on".to_owned();
        let can_have_keys = UserId::parse(user.id.as_str()).is_ok();
        let mend = can_have_keys.then(|| self.looked.about("user resume", user.id.as_str()));
        Some(Why { reason, what: what.into(), who: Who::Operator, act, mend })
    }

    /// The keys and what Alpaca says to them, if that is whose cause: what was heard just now, else what is recorded.
    fn of_keys(&self, cause: Cause) -> Option<Why> {
        let (advice, is_ours) = match (&self.asked, self.trouble()) {
            (Some(Asked::Refused { code, .. }), trouble) => {
                let known = trouble.filter(|trouble| trouble.error == Some(*code));
                (
                    known.map_or_else(
                        || Advice::on(*code, self.has_ever_synced()),
                        |known| self.recorded(known),
                    ),
                    code.is_ours(self.has_ever_synced()),
                )
            }
            (_, Some(trouble)) => (self.recorded(trouble), self.standing().cause == Some(Cause::Ours)),
            (_, None) => return None,
        };
        let advice = self.heard().map_or(advice, |heard| advice.once_asked(heard));
        (is_ours == (cause == Cause::Ours)).then(|| self.after_asking(self.advised(advice)))
    }

    /// Whether others are synced meanwhile.
    fn is_one_alone(&self) -> bool {
        let of_code = |trouble: &SyncState| Some(self.passing(trouble, trouble.error?).is_one_alone);
        self.trouble().and_then(of_code).unwrap_or_default()
    }

    /// What was heard just now, if anybody asked.
    fn heard(&self) -> Option<Heard> {
        Some(match self.asked.as_ref()? {
            Asked::Unheard { .. } if self.is_one_alone() => Heard::NothingOfOne,
            Asked::Unheard { .. } => Heard::Nothing,
            Asked::Took { is_other, .. } => return is_other.then_some(Heard::OtherAccount),
            Asked::Refused { code, .. } => {
                match self.trouble().is_some_and(|known| known.error == Some(*code)) {
                    true => Heard::RefusalAgain,
                    false => Heard::Refusal,
                }
            }
        })
    }

    fn recorded(&self, trouble: &SyncState) -> Advice {
        match (trouble.state, trouble.error) {
            (State::NeedsReauth, _) => NEEDS_REAUTH,
            (_, Some(Code::BrokerRejected)) if self.is_one_of_many(trouble) => FLEET_GUARD,
            (_, Some(code)) => {
                Advice::on(code, self.has_ever_synced()).while_passing(self.passing(trouble, code))
            }
            (_, None) => Advice::on(Code::Internal, true),
        }
    }

    /// Whether the guard against marking many at once holds the user's rejections back: it does for those that do not
    /// count though the last pulse had many, and for those that go on and make nobody reconnect.
    fn is_one_of_many(&self, trouble: &SyncState) -> bool {
        let since = trouble.failing_since.unwrap_or(trouble.since);
        let errors = self.pulse.as_ref().map(|pulse| &pulse.errors);
        let rejected = errors.and_then(|errors| errors.get(Code::BrokerRejected.as_str()));
        // A person's own run counts none either, however few there are.
        let is_held_back = trouble.rejections == 0 && rejected.is_some_and(|users| *users >= FEWEST);
        is_held_back || self.looked.now.duration_since(since) > ONE_REJECTION
    }

    /// Alpaca takes by now what is recorded as rejected or unavailable: the next pulse ends it.
    fn after_asking(&self, why: Why) -> Why {
        let Some(Asked::Took { version, is_other: false, .. }) = &self.asked else { return why };
        let act =
            format!("Alpaca takes version {version} of the keys by now, so that the next pulse ends it");
        let mend = Some(self.looked.sync_alone(self.user.as_str()));
        Why { act, mend, who: Who::Nobody, ..why }
    }

    /// The job, whose pulses are recorded and work, or not.
    fn of_job(&self) -> Option<Why> {
        let failed = self.looked.at_pulse(self.pulse.as_ref());
        let failed = failed.into_iter().find(|finding| finding.state == CheckState::Failed)?;
        let (what, act) = self.of_pulse();
        Some(Why { reason: failed.reason, what, who: Who::Operator, act: act.into(), mend: failed.mend })
    }

    /// What is wrong with the pulses, and what is to be done.
    fn of_pulse(&self) -> (String, &'static str) {
        let find_out = "the operator has to find out why";
        let recorded = self.pulse.as_ref().and_then(|pulse| Some((pulse, pulse.at?)));
        let Some((pulse, at)) = recorded else {
            return ("no pulse has ever been recorded in this database".into(), find_out);
        };
        let age = self.looked.now.duration_since(at);
        if age > self.looked.stale {
            let ago = in_words(age);
            return (format!("no pulse has been recorded for {ago} ({WHY_NONE})"), find_out);
        }
        let Failed { why, act, .. } = why_failed(pulse);
        (format!("the last pulse failed: {why}"), act)
    }

    /// Nothing is recorded against the user, and pulses are recorded.
    fn of_snapshot(&self) -> Why {
        let (reason, what) = match self.verdict() {
            Verdict::Fresh { account, .. } => return of_account(account),
            Verdict::Stale { .. } => ("NotReached", "the pulses do not reach the user"),
            Verdict::Missing => ("NeverReached", "no pulse has reached the user yet"),
            Verdict::Malformed { .. } => ("SnapshotMalformed", "somebody else wrote into the snapshot"),
        };
        let refused = self.pulse.iter().flat_map(|pulse| &pulse.errors);
        let refused: Vec<_> = refused.filter(|(code, _)| code.starts_with("store_")).collect();
        let (what, act, mend) = match refused[..] {
            // Who cannot be written for cannot be recorded either.
            [(code, users), ..] => (
                format!(
                    "nothing is recorded of the user, and the last pulse could not write for {users} ({code})"
                ),
                "the operator has to sync the user alone to see whether it is that",
                self.looked.sync_alone(self.user.as_str()),
            ),
            [] => {
                let (act, mend) = self.unreached(reason);
                (what.to_owned(), act, mend)
            }
        };
        Why { reason, what, who: Who::Operator, act: act.into(), mend: Some(mend) }
    }

    /// What is to be done where nothing is recorded of the user, nor of the last pulse.
    fn unreached(&self, reason: &str) -> (&'static str, String) {
        let alone = self.looked.sync_alone(self.user.as_str());
        match reason {
            "NotReached" => {
                let act = "the operator has to look whether the job's --where or --user leaves the user out";
                (act, self.looked.pulse("doctor"))
            }
            "NeverReached" => {
                ("the next pulse does, unless the job's --where or --user leaves the user out", alone)
            }
            _ => ("the operator has to find out who, as the next pulse writes it anew", alone),
        }
    }

    /// Whoever looks at another project or database than they think sees it by its name.
    fn nobody(&self) -> Why {
        let why = self.advised(Advice::on(Code::UserUnknown, false));
        Why { what: format!("{} of {}", why.what, self.looked.place.database.in_words()), ..why }
    }

    /// What the last pulse says of those who fail with that code: whether others are synced.
    fn passing(&self, trouble: &SyncState, code: Code) -> Passing {
        let since = trouble.failing_since.unwrap_or(trouble.since);
        let counts = self.pulse.as_ref().map(|pulse| {
            (pulse.counts.success_count, pulse.errors.get(code.as_str()).copied().unwrap_or_default())
        });
        Passing::of(self.looked.now.duration_since(since), counts.unwrap_or_default())
    }

    fn advised(&self, advice: Advice) -> Why {
        let mend = advice.mend(self.user.as_str(), &self.looked.place.database);
        Why { reason: advice.reason, what: advice.what.into(), who: advice.who, act: advice.act.into(), mend }
    }
}

/// What there is to know of an account whose figures are fresh.
fn of_account(account: &Account) -> Why {
    let Some(what) = blocked(&account.status, account.blocks()) else {
        let (what, act) = (String::new(), String::new());
        return Why { reason: "Fresh", what, who: Who::Nobody, act, mend: None };
    };
    let act = "the user has to settle that with Alpaca, and nothing may trade for them until then".to_owned();
    Why { reason: "AccountBlocked", what, who: Who::User, act, mend: None }
}

/// What keeps an account from trading, whatever its figures are.
fn blocked(status: &str, blocks: &[&str]) -> Option<String> {
    match (status == field::ACTIVE, blocks) {
        (true, []) => None,
        (true, blocks) => Some(format!("their account is blocked ({})", blocks.join(", "))),
        (false, []) => Some(format!("their account is {status} at Alpaca")),
        (false, blocks) => Some(format!("their account is {status} at Alpaca ({})", blocks.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_that_may_not_trade_is_told_by_what_keeps_it() {
        for (status, blocks, expected) in [
            ("ACTIVE", &[][..], None),
            ("ACTIVE", &["trading_blocked"], Some("their account is blocked (trading_blocked)")),
            ("ACCOUNT_CLOSED", &[], Some("their account is ACCOUNT_CLOSED at Alpaca")),
            ("INACTIVE", &["account_blocked"], Some("their account is INACTIVE at Alpaca (account_blocked)")),
        ] {
            assert_eq!(blocked(status, blocks).as_deref(), expected);
        }
    }
}
