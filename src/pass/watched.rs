//! What a person sees at the end of a pass: who failed, by code, and what to type next.

use crate::model::advice::{Advice, NEEDS_REAUTH};
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::Code;
use crate::telemetry::{LEAST_WIDTH, clean, wrapped};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Users who are named for each code.
const NAMED: usize = 5;

/// Some of those who failed, for each code; whoever has to reconnect, apart.
#[derive(Debug, Default)]
pub(crate) struct Failed(BTreeMap<(Code, bool), Kind>);

/// How many they are, and the first ones.
#[derive(Debug, Default)]
struct Kind {
    users: u64,
    named: Vec<DocumentId>,
    /// What happened to the first one.
    why: Option<String>,
}

impl Failed {
    /// Takes in one, by name while there is room. Whether it is on record that they have to reconnect decides who acts.
    pub(crate) fn add(&mut self, (code, needs_reauth): (Code, bool), user: &DocumentId, why: Option<&str>) {
        let kind = self.0.entry((code, needs_reauth && code == Code::BrokerRejected)).or_default();
        if kind.users == 0 {
            kind.why = why.map(str::to_owned);
        }
        kind.users += 1;
        if kind.named.len() < NAMED {
            kind.named.push(user.clone());
        }
    }

    /// Lines of at most so many columns, commands and ids apart; nothing where nobody failed.
    #[must_use]
    pub(crate) fn summary(&self, database: &Database, columns: usize) -> String {
        let mut text = String::new();
        for ((code, needs_reauth), Kind { users, named, why }) in &self.0 {
            let users = *users;
            let Some(first) = named.first() else { continue };
            let advice = if *needs_reauth { NEEDS_REAUTH } else { Advice::on(*code, true) };
            // Writing to a text never fails.
            let _ = writeln!(text, "\n{code}: {users} {}", if users == 1 { "user" } else { "users" });
            let _ = writeln!(text, "  {}", names(named, users, columns.saturating_sub(2)));
            for line in why.iter().flat_map(|why| reason(why, (first, users), columns)) {
                let _ = writeln!(text, "  {line}");
            }
            let _ = writeln!(text, "  {}", advice.act);
            if let Some(mend) = advice.mend(first.as_str(), database) {
                let _ = writeln!(text, "  $ {mend}");
            }
        }
        text
    }
}

/// What happened, in lines; of several users to the first one.
fn reason(why: &str, (first, users): (&DocumentId, u64), columns: usize) -> Vec<String> {
    let whose = if users == 1 { String::new() } else { format!("{first}: ") };
    wrapped(&format!("{whose}{}", clean(why)), columns.max(LEAST_WIDTH) - 2)
}

/// As many names as fit, at least one, and how many more there are.
fn names(named: &[DocumentId], users: u64, columns: usize) -> String {
    let mut line = String::new();
    let mut told = 0;
    for user in named {
        let user = user.to_string();
        let gap = if told == 0 { "" } else { ", " };
        let more = " and 1234567 more".len();
        if told > 0 && line.chars().count() + gap.len() + user.chars().count() + more > columns {
            break;
        }
        line.push_str(gap);
        line.push_str(&user);
        told += 1;
    }
    match users.saturating_sub(told) {
        0 => line,
        more => format!("{line} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> DocumentId {
        DocumentId::parse(text).expect("legal")
    }

    #[test]
    fn each_code_has_some_names_and_the_next_command() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        assert_eq!(failed.summary(&database, 80), "");
        for (code, user) in (0..7)
            .map(|n| (Code::BrokerUnavailable, format!("user-{n}")))
            .chain([(Code::KeysMissing, "dan".into())])
        {
            failed.add((code, false), &id(&user), None);
        }
        let expected = "\n\
            keys_missing: 1 user\n\
            \u{20} dan\n\
            \u{20} the user has to connect their Alpaca account\n\
            \u{20} $ pulse keys set dan --project=p\n\
            \n\
            broker_unavailable: 7 users\n\
            \u{20} user-0, user-1, user-2, user-3, user-4 and 2 more\n\
            \u{20} nobody has to act, as it passes by itself\n\
            \u{20} $ pulse explain user-0 --ask --project=p\n";
        assert_eq!(failed.summary(&database, 80), expected);
        assert!(failed.summary(&database, 40).contains("  user-0, user-1 and 5 more\n"));
        let mut failed = Failed::default();
        failed.add((Code::Internal, false), &id("a\u{202e}'b"), None);
        let summary = failed.summary(&database, 80);
        assert!(!summary.contains('\u{202e}') && summary.contains("  a\\u{202e}'b"), "{summary}");
    }

    #[test]
    fn whoever_is_known_to_have_to_reconnect_is_not_said_to_pass_by_itself() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        for (needs_reauth, user) in [(false, "ana"), (true, "ben"), (true, "cy")] {
            failed.add((Code::BrokerRejected, needs_reauth), &id(user), None);
        }
        let expected = "\n\
            broker_rejected: 1 user\n\
            \u{20} ana\n\
            \u{20} nobody has to act yet, as one rejection proves little\n\
            \u{20} $ pulse explain ana --ask --project=p\n\
            \n\
            broker_rejected: 2 users\n\
            \u{20} ben, cy\n\
            \u{20} the user has to reconnect their Alpaca account\n\
            \u{20} $ pulse keys set ben --project=p\n";
        assert_eq!(failed.summary(&database, 80), expected);
    }

    #[test]
    fn why_it_is_so_is_told_once_for_each_code() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        let refused = "Firestore refused: grant roles/datastore.user to the account it runs as: PermissionDenied: x\u{1b}";
        failed.add((Code::StoreRejected, false), &id("ana"), Some(refused));
        let one = "\n\
            store_rejected: 1 user\n\
            \u{20} ana\n\
            \u{20} Firestore refused: grant roles/datastore.user to the account it runs as:\n\
            \u{20} PermissionDenied: x\\u{1b}\n\
            \u{20} the operator has to set the project up right\n\
            \u{20} $ pulse doctor --project=p\n";
        assert_eq!(failed.summary(&database, 80), one);
        failed.add((Code::StoreRejected, false), &id("ben"), Some("something else"));
        let two = failed.summary(&database, 80);
        assert!(two.contains("  ana, ben\n  ana: Firestore refused: grant"), "{two}");
        assert!(
            two.lines().all(|line| line.chars().count() <= 80) && !two.contains("something else"),
            "{two}"
        );
    }
}
