//! What a person sees at the end of a pass: who failed, by code, and what to type next.

use crate::model::advice::Advice;
use crate::model::ids::{Database, DocumentId};
use crate::model::outcome::{Code, Counts};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Users who are named for each code.
const NAMED: usize = 5;

/// Some of those who failed, for each code.
#[derive(Debug, Default)]
pub(crate) struct Failed(BTreeMap<Code, Vec<DocumentId>>);

impl Failed {
    /// Takes in one, while there is room.
    pub(crate) fn add(&mut self, code: Code, user: &DocumentId) {
        let named = self.0.entry(code).or_default();
        if named.len() < NAMED {
            named.push(user.clone());
        }
    }

    /// Lines of at most so many columns, commands and ids apart; nothing where nobody failed.
    #[must_use]
    pub(crate) fn summary(&self, counts: &Counts, database: &Database, columns: usize) -> String {
        let mut text = String::new();
        for (code, named) in &self.0 {
            let users = counts.errors.get(code).copied().unwrap_or_default();
            let Some(first) = named.first() else { continue };
            let advice = Advice::on(*code, true);
            // Writing to a text never fails.
            let _ = writeln!(text, "\n{code}: {users} {}", if users == 1 { "user" } else { "users" });
            let _ = writeln!(text, "  {}", names(named, users, columns.saturating_sub(2)));
            let _ = writeln!(text, "  {}", advice.act);
            if let Some(mend) = advice.mend(&first.to_string(), database) {
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
    use crate::model::outcome::Outcome;

    fn id(text: &str) -> DocumentId {
        DocumentId::parse(text).expect("legal")
    }

    #[test]
    fn each_code_has_some_names_and_the_next_command() {
        let (mut failed, mut counts) = (Failed::default(), Counts::default());
        let database = Database::parse("p", "(default)").expect("legal");
        assert_eq!(failed.summary(&counts, &database, 80), "");
        for (code, user) in (0..7)
            .map(|n| (Code::BrokerUnavailable, format!("user-{n}")))
            .chain([(Code::KeysMissing, "dan".into())])
        {
            failed.add(code, &id(&user));
            counts.add(Outcome::Failed(code));
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
        assert_eq!(failed.summary(&counts, &database, 80), expected);
        assert!(failed.summary(&counts, &database, 40).contains("  user-0, user-1 and 5 more\n"));
    }
}
