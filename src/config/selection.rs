//! Who takes part: users who are named, else those whom a filter lets through, else everybody.

use crate::config::args::SyncArgs;
use crate::config::filter::UserFilter;
use crate::model::ids::DocumentId;
use crate::model::selection::{Round, Selection};

/// `--user`, else `PULSE_USERS`, else everybody. Named users that turn out to be nobody are refused: a
/// script whose variable is empty must not start a pass over all users.
pub(super) fn selection(
    users: &[String],
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<Selection, String> {
    let from_variable = || lookup("PULSE_USERS").map(|users| ("PULSE_USERS", vec![users]));
    let from_flags = (!users.is_empty()).then(|| ("--user", users.to_vec()));
    let Some((name, users)) = from_flags.or_else(from_variable) else {
        return Ok(Selection::Round(Round::default()));
    };
    let mut named = Vec::new();
    for user in users.iter().flat_map(|users| users.split(',')).map(str::trim).filter(|user| !user.is_empty())
    {
        let id = DocumentId::parse(user).map_err(|err| format!("{name} {user:?} is no user id: {err}"))?;
        // Twice the same user would write the same documents at the same time.
        if !named.contains(&id) {
            named.push(id);
        }
    }
    if named.is_empty() { Err(format!("{name} names nobody")) } else { Ok(Selection::Named(named)) }
}

/// `--where`, else `PULSE_WHERE`, else everybody. A user who is named is synced, whatever their document
/// says: with the flag beside it, a person wants two things at once, while a job's variable gives way to
/// a flag as it always does.
pub(super) fn filter(
    args: &SyncArgs,
    lookup: &impl Fn(&str) -> Option<String>,
) -> Result<UserFilter, String> {
    let from_variable = || lookup("PULSE_WHERE").map(|conditions| ("PULSE_WHERE", vec![conditions]));
    let from_flags = (!args.conditions.is_empty()).then(|| ("--where", args.conditions.clone()));
    let is_flag = from_flags.is_some();
    let Some((name, conditions)) = from_flags.or_else(from_variable) else {
        return Ok(UserFilter::default());
    };
    let mut filter = UserFilter::default();
    for part in &conditions {
        let with = UserFilter::parse(part).and_then(|more| filter.and(more));
        filter = with.map_err(|err| format!("{name} {part:?} is no condition: {err}"))?;
    }
    match (args.users.is_empty(), lookup("PULSE_USERS").is_some()) {
        (true, false) => Ok(filter),
        (false, _) if !is_flag => Ok(UserFilter::default()),
        _ => Err(format!("{name} and --user exclude each other: a named user is synced in any case")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables<'a>(set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let value = set.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            value.filter(|value| !value.is_empty())
        }
    }

    fn selected(users: &[&str], variable: &str) -> Result<Selection, String> {
        let users: Vec<_> = users.iter().map(|user| (*user).to_owned()).collect();
        selection(&users, &variables(&[("PULSE_USERS", variable)]))
    }

    fn named(ids: &[&str]) -> Selection {
        Selection::Named(ids.iter().map(|id| DocumentId::parse(id).expect("legal")).collect())
    }

    #[test]
    fn users_are_named_by_the_flag_or_the_variable_and_taken_once() {
        for (users, variable, expected) in [
            (&["ana, ben,ana,"][..], "", named(&["ana", "ben"])),
            (&["ana", "ben,ana"], "", named(&["ana", "ben"])),
            (&["ana"], "ben", named(&["ana"])),
            (&[], "ben", named(&["ben"])),
            (&[], "", Selection::Round(Round::default())),
        ] {
            assert_eq!(selected(users, variable), Ok(expected), "{users:?} {variable:?}");
        }
    }

    #[test]
    fn nobody_by_name_is_not_everybody() {
        for (users, variable) in [(&[""][..], ""), (&[" , "], ""), (&[], " , "), (&[""], "ben")] {
            let told = selected(users, variable).expect_err("refused");
            assert!(told.contains("names nobody"), "{users:?} {variable:?}: {told}");
        }
        let told = selected(&["a/b"], "").expect_err("refused");
        assert!(told.starts_with("--user \"a/b\" is no user id"), "{told}");
    }

    fn filtered(flags: &[&str], users: &[&str], set: &[(&str, &str)]) -> Result<UserFilter, String> {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let args = SyncArgs { conditions: texts(flags), users: texts(users), ..SyncArgs::default() };
        filter(&args, &variables(set))
    }

    #[test]
    fn conditions_come_from_the_flags_or_the_variable() {
        let of = |text| Ok(UserFilter::parse(text).expect("usable"));
        let everybody = Ok(UserFilter::default());
        assert_eq!(filtered(&[], &[], &[]), everybody);
        assert_eq!(filtered(&["a=1", "b=2,c=3"], &[], &[]), of("a=1,b=2,c=3"));
        assert_eq!(filtered(&[], &[], &[("PULSE_WHERE", "a=1,b=2")]), of("a=1,b=2"));
        assert_eq!(filtered(&["a=1"], &[], &[("PULSE_WHERE", "b=2")]), of("a=1"));
        assert_eq!(filtered(&[], &[], &[("PULSE_WHERE", "")]), everybody);
        for (flags, variable) in [(&[""][..], ""), (&["a=1", "b"], ""), (&[], " ")] {
            assert!(filtered(flags, &[], &[("PULSE_WHERE", variable)]).is_err(), "{flags:?} {variable:?}");
        }
    }

    #[test]
    fn a_filter_and_named_users_exclude_each_other_unless_the_flag_wins() {
        let (ana, conditions) = (("PULSE_USERS", "ana"), ("PULSE_WHERE", "a=1"));
        assert!(filtered(&["a=1"], &["ana"], &[]).is_err());
        assert!(filtered(&["a=1"], &[], &[ana]).is_err());
        assert!(filtered(&[], &[], &[ana, conditions]).is_err());
        assert_eq!(filtered(&[], &["ana"], &[conditions]), Ok(UserFilter::default()));
        assert!(filtered(&[], &["ana"], &[("PULSE_WHERE", "a")]).is_err(), "wrong in any case");
    }
}
