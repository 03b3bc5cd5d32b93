//! What a person sees at the end of a pass: who failed, by code, and what to type next.

use crate::model::advice::{Advice, NEEDS_REAUTH};
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::Code;
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
}

impl Failed {
    /// Takes in one, by name while there is room. Whether it is on record that they have to reconnect decides who acts.
    pub(crate) fn add(&mut self, code: Code, needs_reauth: bool, user: &DocumentId) {
        let kind = self.0.entry((code, needs_reauth && code == Code::BrokerRejected)).or_default();
        kind.users += 1;
        if kind.named.len() < NAMED {
            kind.named.push(user.clone());
        }
    }

    /// Lines of at most so many columns, commands and ids apart; nothing where nobody failed.
    #[must_use]
    pub(crate) fn summary(&self, database: &Database, columns: usize) -> String {
        let mut text = String::new();
        for ((code, needs_reauth), Kind { users, named }) in &self.0 {
            let users = *users;
            let Some(first) = named.first() else { continue };
            let advice = if *needs_reauth { NEEDS_REAUTH } else { Advice::on(*code, true) };
            // Writing to a text never fails.
            let _ = writeln!(text, "\n{code}: {users} {}", if users == 1 { "user" } else { "users" });
            let _ = writeln!(text, "  {}", names(named, users, columns.saturating_sub(2)));
            let _ = writeln!(text, "  {}", advice.act);
            if let Some(mend) = advice.mend(first.as_str(), database) {
                let _ = writeln!(text, "  $ {mend}");
            }
        }
        text
    }
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
            failed.add(code, false, &id(&user));
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
        failed.add(Code::Internal, false, &id("a\u{202e}'b"));
        let summary = failed.summary(&database, 80);
        assert!(!summary.contains('\u{202e}') && summary.contains("  a\\u{202e}'b"), "{summary}");
    }

    #[test]
    fn whoever_is_known_to_have_to_reconnect_is_not_said_to_pass_by_itself() {
        let mut failed = Failed::default();
        let database = Database::parse("p", "(default)").expect("legal");
        for (needs_reauth, user) in [(false, "ana"), (true, "ben"), (true, "cy")] {
            failed.add(Code::BrokerRejected, needs_reauth, &id(user));
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
}
