//! What a person sees at the end of a pass: who failed, by code, and what to type next.

use crate::documents::snapshot::snapshot_name;
use crate::model::advice::{Advice, NEEDS_REAUTH};
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::Code;
use crate::model::suggested::about;
use crate::pass::sync_outcome::Told;
use crate::telemetry::{LEAST_WIDTH, clean, wrapped};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Users who are named for each code.
const NAMED: usize = 5;

/// Some of those who failed, for each code; whoever has to reconnect, apart.
#[derive(Debug, Default)]
pub(crate) struct Failed {
    kinds: BTreeMap<(Code, bool), Kind>,
    /// Those who are paused.
    paused: Kind,
}

/// How many they are, and the first ones.
#[derive(Debug, Default)]
struct Kind {
    users: u64,
    named: Vec<DocumentId>,
    /// What happened to the first one.
    why: Option<Told>,
}

impl Failed {
    /// Takes in one, by name while there is room. Whether it is on record that they have to reconnect decides who acts.
    pub(crate) fn add(&mut self, (code, needs_reauth): (Code, bool), user: &DocumentId, why: Option<&Told>) {
        let kind = self.kinds.entry((code, needs_reauth && code == Code::BrokerRejected)).or_default();
        if kind.users == 0 {
            kind.why = why.cloned();
        }
        kind.add(user);
    }

    /// Takes in one who is paused.
    pub(crate) fn add_paused(&mut self, user: &DocumentId) {
        self.paused.add(user);
    }

    /// Those who are paused, for whoever has named them; nothing where nobody is.
    #[must_use]
    pub(crate) fn paused(&self, database: &Database, columns: usize) -> String {
        let Kind { users, named, .. } = &self.paused;
        let Some(first) = named.first() else { return String::new() };
        let mend = about("user resume", first.as_str(), &database.flags());
        format!(
            "\npaused: {}\n  {}\n  sync_enabled of their document is not true\n  $ {mend}\n",
            many(*users),
            names(named, *users, columns.saturating_sub(2))
        )
    }

    /// Lines of at most so many columns, commands and ids apart; nothing where nobody failed.
    #[must_use]
    pub(crate) fn summary(&self, database: &Database, columns: usize) -> String {
        let mut text = String::new();
        for ((code, needs_reauth), Kind { users, named, why }) in &self.kinds {
            let users = *users;
            let Some(first) = named.first() else { continue };
            let advice = if *needs_reauth { NEEDS_REAUTH } else { Advice::on(*code, true) };
            let advice = if why.is_some() { advice.once_told() } else { advice };
            // Writing to a text never fails.
            let _ = writeln!(text, "\n{code}: {}", many(users));
            let _ = writeln!(text, "  {}", names(named, users, columns.saturating_sub(2)));
            for line in why.iter().flat_map(|why| reason(&why.reason, (first, users), columns)) {
                let _ = writeln!(text, "  {line}");
            }
            if why.as_ref().is_some_and(|why| why.is_one_documents) {
                let _ = writeln!(
                    text,
                    "  the operator has to look at this one document:\n  {}",
                    path(first, database)
                );
                continue;
            }
            let _ = writeln!(text, "  {}", advice.act);
            if let Some(mend) = advice.mend(first.as_str(), database) {
                let _ = writeln!(text, "  $ {mend}");
            }
        }
        text
    }
}

impl Kind {
    fn add(&mut self, user: &DocumentId) {
        self.users += 1;
        if self.named.len() < NAMED {
            self.named.push(user.clone());
        }
    }
}

fn many(users: u64) -> String {
    format!("{users} {}", if users == 1 { "user" } else { "users" })
}

/// Where the user's snapshot is in its database.
fn path(user: &DocumentId, database: &Database) -> String {
    let name = snapshot_name(database, user);
    let path = name.split_once("/documents/").map_or(name.as_str(), |(_, path)| path);
    clean(path).into_owned()
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
            \u{20} nobody has to act yet, as every pulse tries again\n\
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

    fn told(reason: &str) -> Told {
        Told { reason: reason.to_owned(), is_one_documents: false }
    }

    #[test]
    fn a_document_that_is_refused_is_not_blamed_on_the_project() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        let refused = Told {
            reason: "Firestore refused: InvalidArgument: the document is too large".into(),
            is_one_documents: true,
        };
        failed.add((Code::StoreRejected, false), &id("ana"), Some(&refused));
        let expected = "\n\
            store_rejected: 1 user\n\
            \u{20} ana\n\
            \u{20} Firestore refused: InvalidArgument: the document is too large\n\
            \u{20} the operator has to look at this one document:\n\
            \u{20} users/ana/alpacaAccounts/snapshot\n";
        assert_eq!(failed.summary(&database, 80), expected);
    }

    #[test]
    fn whoever_is_paused_is_told_how_to_be_synced_again() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        assert_eq!(failed.paused(&database, 80), "");
        failed.add_paused(&id("ana"));
        failed.add_paused(&id("ben"));
        let expected = "\n\
            paused: 2 users\n\
            \u{20} ana, ben\n\
            \u{20} sync_enabled of their document is not true\n\
            \u{20} $ pulse user resume ana --project=p\n";
        assert_eq!(
            (failed.paused(&database, 80).as_str(), failed.summary(&database, 80)),
            (expected, String::new())
        );
    }

    #[test]
    fn nobody_is_sent_to_the_log_for_what_was_just_told() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        let why = "IAM_PERMISSION_DENIED: grant roles/secretmanager.secretAccessor to the account it runs as";
        failed.add((Code::KeysForbidden, false), &id("ana"), Some(&told(why)));
        let summary = failed.summary(&database, 120);
        let act = "  the operator has to see to it that the job may read the secret\n";
        assert!(summary.ends_with(act) && !summary.contains("log"), "{summary}");
    }

    #[test]
    fn why_it_is_so_is_told_once_for_each_code() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        let refused = "Firestore refused: grant roles/datastore.user to the account it runs as: PermissionDenied: x\u{1b}";
        failed.add((Code::StoreRejected, false), &id("ana"), Some(&told(refused)));
        let one = "\n\
            store_rejected: 1 user\n\
            \u{20} ana\n\
            \u{20} Firestore refused: grant roles/datastore.user to the account it runs as:\n\
            \u{20} PermissionDenied: x\\u{1b}\n\
            \u{20} the operator has to set the project up right\n\
            \u{20} $ pulse doctor --project=p\n";
        assert_eq!(failed.summary(&database, 80), one);
        failed.add((Code::StoreRejected, false), &id("ben"), Some(&told("something else")));
        let two = failed.summary(&database, 80);
        assert!(two.contains("  ana, ben\n  ana: Firestore refused: grant"), "{two}");
        assert!(
            two.lines().all(|line| line.chars().count() <= 80) && !two.contains("something else"),
            "{two}"
        );
    }
}
