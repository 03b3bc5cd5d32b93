//! What follows from an error for whoever has to mend it.

use crate::model::ids::Database;
use crate::model::outcome::Code;
use crate::model::suggested::{about, argument};
use jiff::SignedDuration;
use serde::{Serialize, Serializer};

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// It passes by itself, or nothing is wrong.
    Nobody,
    /// The customer.
    User,
    /// Whoever runs the job.
    Operator,
}

impl Who {
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::User => "user",
            Self::Operator => "operator",
        }
    }
}

impl Serialize for Who {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What is wrong, who has to act, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    /// The stable name for programs.
    pub(crate) reason: &'static str,
    /// What is wrong, behind "because".
    pub(crate) what: &'static str,
    /// Who has to act.
    pub(crate) who: Who,
    /// What they have to do.
    pub(crate) act: &'static str,
    mend: Mend,
}

/// What somebody heard who asked Alpaca with a user's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that says anything about the keys.
    Nothing,
    /// The same, while others are synced.
    NothingOfOne,
    /// It refuses them, of which nothing is recorded yet.
    Refusal,
    /// It refuses them, as it did before.
    RefusalAgain,
    /// It takes them, and answers with another account than the snapshot's.
    OtherAccount,
}

/// How a failure stands that may pass by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Passing {
    /// It has not passed for so long that somebody has to look.
    pub(crate) is_long: bool,
    /// Others are synced meanwhile: it is not the service as a whole.
    pub(crate) is_one_alone: bool,
}

/// The alert for a single user goes off then.
const LONG: SignedDuration = SignedDuration::from_mins(30);

impl Passing {
    /// Of a user who has been failing for so long, when the last pulse synced so many, and so many failed for the same.
    #[must_use]
    pub(crate) fn of(failing_for: SignedDuration, (synced, failed): (u64, u64)) -> Self {
        // More than a fifth is the alert for many.
        let are_few = failed <= 1 || failed.saturating_mul(4) <= synced;
        Self { is_long: failing_for >= LONG, is_one_alone: synced > 0 && are_few }
    }
}

/// The command that mends something, whoever and wherever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mend {
    Nothing,
    /// Of `pulse`, about the user, with its own flags.
    OfUser(&'static str, &'static str),
    /// Of `pulse`, about the place.
    OfPlace(&'static str),
    /// What the log says of the user.
    Log,
}

/// Of what mostly passes.
const PASSES: &str = "nobody has to act yet, as every pulse tries again";

const SET_KEYS: Mend = Mend::OfUser("keys set", "");
const DOCTOR: Mend = Mend::OfPlace("doctor");
const ASK: Mend = Mend::OfUser("explain", " --ask");

/// What Alpaca rejects for good.
pub(crate) const NEEDS_REAUTH: Advice = Advice {
    reason: "NeedsReauth",
    what: "Alpaca rejects their keys",
    who: Who::User,
    act: "the user has to reconnect their Alpaca account",
    mend: SET_KEYS,
};

/// What Alpaca rejects of so many at once that nobody is held responsible.
pub(crate) const FLEET_GUARD: Advice = Advice {
    reason: "BrokerRejectsMany",
    what: "Alpaca rejects the keys of many users at once, which is no user's fault",
    who: Who::Operator,
    act: "the operator has to find out what Alpaca holds against the calls (https://status.alpaca.markets)",
    mend: Mend::OfPlace("users --error=broker_rejected"),
};

impl Advice {
    /// For a user who fails with that code; whether they `ever_synced` tells keys that were never stored from such that
    /// may not be read.
    #[must_use]
    pub(crate) fn on(code: Code, ever_synced: bool) -> Self {
        let advice = |reason, what, (who, act), mend| Self { reason, what, who, act, mend };
        let connect = (Who::User, "the user has to connect their Alpaca account");
        let passes = (Who::Nobody, PASSES);
        match code {
            Code::KeysMissing => advice("KeysMissing", "no keys are stored for them", connect, SET_KEYS),
            Code::KeysForbidden if !ever_synced => {
                advice("KeysForbidden", "there are no keys for them that the job may read", connect, SET_KEYS)
            }
            Code::KeysForbidden => {
                let act = (Who::Operator, "the operator has to look in the log who refuses it, and why");
                advice("KeysForbidden", "the job is refused their secret", act, Mend::Log)
            }
            Code::KeysDisabled => {
                let what = "the newest version of their keys is disabled or destroyed";
                advice("KeysDisabled", what, connect, SET_KEYS)
            }
            Code::KeysMalformed => {
                advice("KeysMalformed", "what is stored as their keys cannot be used", connect, SET_KEYS)
            }
            Code::KeysUnavailable => {
                advice("KeysUnavailable", "Secret Manager does not give their keys", passes, DOCTOR)
            }
            Code::UserIdInvalid => {
                let act = (Who::Operator, "the operator has to give the user another id");
                advice("UserIdInvalid", "their id cannot name a secret", act, Mend::Nothing)
            }
            Code::UserUnknown => {
                let act = (Who::Operator, "the operator has to check the id, the project and the database");
                advice("UserUnknown", "there is no such document in users", act, Mend::Nothing)
            }
            Code::BrokerRejected => {
                let act = (Who::Nobody, "nobody has to act yet, as one rejection proves little");
                advice("BrokerRejected", "Alpaca rejected their keys", act, ASK)
            }
            other => Self::on_broker_or_store(other),
        }
    }

    fn on_broker_or_store(code: Code) -> Self {
        let advice = |reason, what, (who, act), mend| Self { reason, what, who, act, mend };
        let passes = (Who::Nobody, PASSES);
        match code {
            Code::AccountIncomplete => {
                let act = (Who::User, "the user has to finish opening it, and Alpaca to approve it");
                advice("AccountIncomplete", "their account at Alpaca is not open yet", act, Mend::Nothing)
            }
            Code::BrokerRateLimited => {
                let act = (Who::Operator, "the operator has to find out who else uses them");
                advice("BrokerRateLimited", "Alpaca limits the rate of their keys", act, ASK)
            }
            Code::BrokerUnavailable => {
                advice("BrokerUnavailable", "Alpaca does not answer as it should", passes, ASK)
            }
            Code::BrokerBadAnswer => {
                let act = (Who::Operator, "the operator has to tell Alpaca's support what the log says");
                advice("BrokerBadAnswer", "Alpaca's answer for their account cannot be used", act, Mend::Log)
            }
            Code::BrokerOtherAccount => {
                let what = "Alpaca answers with another account than their snapshot's";
                let act = (Who::Operator, "the operator has to find out whether the user changed it");
                advice("BrokerOtherAccount", what, act, Mend::OfUser("keys set", " --new-account"))
            }
            Code::StoreUnavailable => {
                advice("StoreUnavailable", "Firestore does not take their snapshot", passes, DOCTOR)
            }
            Code::StoreRejected => {
                let act = (Who::Operator, "the operator has to set the project up right");
                advice("StoreRejected", "Firestore refuses their snapshot", act, DOCTOR)
            }
            _ => {
                let act = (Who::Operator, "the operator has to report the bug with what the log says");
                advice("Internal", "pulse has a bug", act, Mend::Log)
            }
        }
    }

    /// The same, of a failure that may pass, once it is known for how long it has not, and whether others are synced.
    #[must_use]
    pub(crate) fn while_passing(self, Passing { is_long, is_one_alone }: Passing) -> Self {
        let (of_one, of_many) = match self.reason {
            "BrokerUnavailable" => (
                "the operator has to send Alpaca's support the request id that the log has",
                "the operator has to find out whether it is Alpaca (https://status.alpaca.markets) or the way there",
            ),
            "KeysUnavailable" => (
                "the operator has to find out from the log what is with this secret",
                "the operator has to find out whether it is Secret Manager (https://status.cloud.google.com) or the \
                 way there",
            ),
            "StoreUnavailable" => (
                "the operator has to find out from the log what is with this user's documents",
                "the operator has to find out whether it is Firestore (https://status.cloud.google.com) or the way \
                 there",
            ),
            _ => return self,
        };
        match (is_long, is_one_alone) {
            (true, true) => Self { who: Who::Operator, act: of_one, mend: Mend::Log, ..self },
            (true, false) => Self { who: Who::Operator, act: of_many, mend: DOCTOR, ..self },
            (false, true) if self.mend == DOCTOR => Self { mend: Mend::Log, ..self },
            (false, _) => self,
        }
    }

    /// The same below a line that says what happened: nobody has to look for that any more.
    #[must_use]
    pub(crate) fn once_told(self) -> Self {
        let act = match self.reason {
            "KeysForbidden" => "the operator has to see to it that the job may read the secret",
            "BrokerBadAnswer" => "the operator has to send Alpaca's support the request id, if it has one",
            _ => return self,
        };
        Self { act, mend: Mend::Nothing, ..self }
    }

    /// What leads on for whoever has just asked Alpaca, where the advice is to ask it.
    #[must_use]
    pub(crate) fn once_asked(self, heard: Heard) -> Self {
        match heard {
            _ if self.mend != ASK => self,
            Heard::Nothing | Heard::NothingOfOne if self.reason == "BrokerRateLimited" => {
                Self { mend: Mend::OfPlace("users --error=broker_rate_limited"), ..self }
            }
            Heard::NothingOfOne if self.reason == "BrokerUnavailable" => Self { mend: Mend::Log, ..self },
            Heard::Nothing | Heard::NothingOfOne => Self { mend: DOCTOR, ..self },
            Heard::Refusal => Self { mend: Mend::Nothing, ..self },
            Heard::RefusalAgain => Self {
                what: "Alpaca rejected their keys, and does so now",
                who: Who::User,
                act: NEEDS_REAUTH.act,
                mend: NEEDS_REAUTH.mend,
                ..self
            },
            Heard::OtherAccount => Self { mend: Mend::OfUser("keys check", ""), ..self },
        }
    }

    /// The same for a line that has room for little.
    #[must_use]
    pub(crate) fn in_few_words(&self) -> &'static str {
        match self.who {
            Who::Nobody => "will be tried again",
            Who::User => "the user's to mend",
            Who::Operator => "the operator's to mend",
        }
    }

    /// The exact command for that user, if one mends it.
    #[must_use]
    pub(crate) fn mend(&self, user: &str, database: &Database) -> Option<String> {
        match self.mend {
            Mend::Nothing => None,
            Mend::OfUser(command, flags) => {
                Some(about(command, user, &format!("{flags}{}", database.flags())))
            }
            Mend::OfPlace(command) => Some(format!("pulse {command}{}", database.flags())),
            Mend::Log => Some(log_of(user, database)),
        }
    }
}

/// What the log says of a user's failures.
fn log_of(user: &str, database: &Database) -> String {
    let id = user.replace('\\', r"\\").replace('"', "\\\"");
    log(&format!("jsonPayload.user_id=\"{id}\" severity>=ERROR"), database)
}

/// The command that tells what the log says of all users who failed with that code.
#[must_use]
pub(crate) fn log_of_code(code: Code, database: &Database) -> String {
    log(&format!("jsonPayload.error=\"{code}\" severity>=ERROR"), database)
}

fn log(filter: &str, database: &Database) -> String {
    format!(
        "gcloud logging read {} --project={} --limit=5 --format='value(jsonPayload.message)'",
        argument(filter),
        argument(&database.project)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn whoever_has_to_act_is_the_one_whose_cause_it_is() {
        for code in Code::ALL {
            for ever_synced in [false, true] {
                let advice = Advice::on(code, ever_synced);
                // Ours is what the operator mends or what passes; and only ours are an unknown user and a useless id.
                let is_ours =
                    advice.who != Who::User && !matches!(code, Code::UserIdInvalid | Code::UserUnknown);
                assert_eq!(is_ours, code.is_ours(ever_synced), "{code}");
            }
        }
    }

    #[test]
    fn each_code_has_a_reason_of_its_own_that_reads_like_it() {
        let reasons: BTreeSet<_> = Code::ALL.iter().map(|code| Advice::on(*code, true).reason).collect();
        assert_eq!(reasons.len(), Code::ALL.len());
        for code in Code::ALL {
            let camel = Advice::on(code, true).reason.to_lowercase();
            assert_eq!(camel, code.as_str().replace('_', ""), "{code}");
        }
    }

    #[test]
    fn an_id_in_a_command_is_quoted_wherever_it_stands() {
        let database = Database::parse("p", "d").expect("legal");
        let mend = |advice: &Advice, user| advice.mend(user, &database).unwrap_or_default();
        assert_eq!(mend(&NEEDS_REAUTH, "ana"), "pulse keys set ana --project=p --database=d");
        assert_eq!(
            mend(&FLEET_GUARD, "$(ls)"),
            "pulse users --error=broker_rejected --project=p --database=d"
        );
        let log = "gcloud logging read 'jsonPayload.user_id=\"ana\" severity>=ERROR' --project=p --limit=5 \
                   --format='value(jsonPayload.message)'";
        assert_eq!(mend(&Advice::on(Code::Internal, true), "ana"), log);
        let odd = mend(&Advice::on(Code::Internal, true), "'$(ls)\" or \\");
        assert!(odd.contains(r#"user_id="'\''$(ls)\" or \\""#), "{odd}");
        for code in Code::ALL {
            let mend = mend(&Advice::on(code, true), "$(ls)");
            assert!(mend.replace("'$(ls)'", "").find("$(").is_none_or(|_| mend.contains("read '")), "{mend}");
        }
    }

    #[test]
    fn whoever_has_asked_is_not_told_to_ask() {
        let database = Database::parse("p", "(default)").expect("legal");
        for code in Code::ALL {
            for heard in [
                Heard::Nothing,
                Heard::NothingOfOne,
                Heard::Refusal,
                Heard::RefusalAgain,
                Heard::OtherAccount,
            ] {
                let mend = Advice::on(code, true).once_asked(heard).mend("ana", &database);
                assert!(
                    mend.as_ref().is_none_or(|mend| !mend.contains("--ask")),
                    "{code} {heard:?}: {mend:?}"
                );
            }
        }
        for (code, heard, who, mend) in [
            (Code::BrokerUnavailable, Heard::Nothing, Who::Nobody, Some("pulse doctor --project=p")),
            (
                Code::BrokerRateLimited,
                Heard::Nothing,
                Who::Operator,
                Some("pulse users --error=broker_rate_limited --project=p"),
            ),
            (
                Code::BrokerUnavailable,
                Heard::NothingOfOne,
                Who::Nobody,
                Some(
                    "gcloud logging read 'jsonPayload.user_id=\"ana\" severity>=ERROR' --project=p --limit=5 \
                     --format='value(jsonPayload.message)'",
                ),
            ),
            (Code::BrokerRejected, Heard::Nothing, Who::Nobody, Some("pulse doctor --project=p")),
            (Code::BrokerRejected, Heard::Refusal, Who::Nobody, None),
            (Code::BrokerRejected, Heard::RefusalAgain, Who::User, Some("pulse keys set ana --project=p")),
            (
                Code::BrokerRejected,
                Heard::OtherAccount,
                Who::Nobody,
                Some("pulse keys check ana --project=p"),
            ),
            (Code::KeysMissing, Heard::RefusalAgain, Who::User, Some("pulse keys set ana --project=p")),
        ] {
            let advice = Advice::on(code, true).once_asked(heard);
            assert_eq!(
                (advice.who, advice.mend("ana", &database).as_deref()),
                (who, mend),
                "{code} {heard:?}"
            );
        }
    }

    #[test]
    fn what_does_not_pass_has_somebody_who_has_to_act() {
        let minutes = SignedDuration::from_mins;
        let database = Database::parse("p", "(default)").expect("legal");
        for (failing_for, counts, is_long, is_one_alone) in [
            (minutes(29), (10, 1), false, true),
            (minutes(30), (10, 1), true, true),
            (minutes(30), (1, 1), true, true),
            (minutes(30), (8, 2), true, true),
            (minutes(30), (7, 2), true, false),
            (minutes(30), (0, 1), true, false),
            // A pulse that nobody knows.
            (minutes(0), (0, 0), false, false),
        ] {
            assert_eq!(Passing::of(failing_for, counts), Passing { is_long, is_one_alone }, "{counts:?}");
        }
        for code in [Code::BrokerUnavailable, Code::KeysUnavailable, Code::StoreUnavailable] {
            for (is_long, is_one_alone, who, leads_to) in [
                (false, false, Who::Nobody, &["pulse doctor", "pulse explain"][..]),
                (false, true, Who::Nobody, &["gcloud logging read", "pulse explain"]),
                (true, false, Who::Operator, &["pulse doctor"]),
                (true, true, Who::Operator, &["gcloud logging read"]),
            ] {
                let advice = Advice::on(code, true).while_passing(Passing { is_long, is_one_alone });
                let mend = advice.mend("ana", &database).expect("a command");
                assert_eq!(advice.who, who, "{code}");
                assert!(leads_to.iter().any(|command| mend.starts_with(command)), "{code}: {mend}");
                assert!(!advice.act.contains("by itself"), "a guess: {}", advice.act);
            }
        }
        for code in Code::ALL {
            let advice = Advice::on(code, true);
            let lasting = advice.while_passing(Passing { is_long: true, is_one_alone: true });
            assert_eq!(lasting == advice, !code.as_str().ends_with("_unavailable"), "{code}");
        }
    }

    #[test]
    fn nobody_is_sent_to_the_log_for_what_stands_above() {
        let database = Database::parse("p", "(default)").expect("legal");
        for code in [Code::KeysForbidden, Code::BrokerBadAnswer] {
            let told = Advice::on(code, true).once_told();
            assert!(told.mend("ana", &database).is_none() && !told.act.contains("log"), "{}", told.act);
        }
        assert_eq!(Advice::on(Code::KeysMissing, true).once_told(), Advice::on(Code::KeysMissing, true));
    }

    /// Only the log says why; a role would be a guess.
    #[test]
    fn a_refusal_whose_cause_is_not_recorded_leads_to_the_log() {
        let database = Database::parse("p", "d").expect("legal");
        let advice = Advice::on(Code::KeysForbidden, true);
        assert!(!advice.act.contains("grant"), "{}", advice.act);
        assert!(advice.mend("ana", &database).expect("a command").starts_with("gcloud logging read "));
    }

    #[test]
    fn a_user_who_is_not_found_is_not_added_at_a_place_that_may_be_wrong() {
        let database = Database::parse("p", "d").expect("legal");
        assert_eq!(Advice::on(Code::UserUnknown, false).mend("ana", &database), None);
    }
}
