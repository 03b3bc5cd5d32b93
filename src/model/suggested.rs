//! Commands to be copied into a shell. Whatever an id is made of, it stays one argument, and the id that it is.

use crate::model::clean::acts;
use std::borrow::Cow;

/// A text as one argument.
#[must_use]
pub(crate) fn argument(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+,=".contains(c);
    // To zsh, `=ls` is where `ls` is.
    if !text.is_empty() && !text.starts_with('=') && text.chars().all(is_plain) {
        text.into()
    } else if text.contains(acts) {
        format!("$'{}'", text.chars().map(escaped).collect::<String>()).into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''")).into()
    }
}

/// What would not reach a shell as it is, for bash, zsh and ksh; nothing else reads such an argument as another id.
fn escaped(c: char) -> String {
    match c {
        '\'' | '\\' => format!("\\{c}"),
        c if acts(c) => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    }
}

/// A command of `pulse` about a user. Each of the `flags` comes after a space.
#[must_use]
pub(crate) fn about(command: &str, user: &str, flags: &str) -> String {
    let id = argument(user);
    match user.starts_with('-') {
        true => format!("pulse {command}{flags} -- {id}"),
        false => format!("pulse {command} {id}{flags}"),
    }
}

/// The command that syncs a user alone.
#[must_use]
pub(crate) fn sync_alone(user: &str, flags: &str) -> String {
    format!("pulse sync --user={}{flags}", argument(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_argument_and_no_flag_and_nothing_runs() {
        let flags = " --project=p";
        for (user, expected) in [
            ("ana", "pulse explain ana --project=p"),
            ("a.b@example.com", "pulse explain a.b@example.com --project=p"),
            ("$(touch pwned)", "pulse explain '$(touch pwned)' --project=p"),
            (" user-0001", "pulse explain ' user-0001' --project=p"),
            ("it's;ls", r"pulse explain 'it'\''s;ls' --project=p"),
            ("~root", "pulse explain '~root' --project=p"),
            ("=ls", "pulse explain '=ls' --project=p"),
            ("a=b", "pulse explain a=b --project=p"),
            ("Zoë", "pulse explain 'Zoë' --project=p"),
            ("a\u{202e}'b\n\\", r"pulse explain $'a\u202e\'b\u000a\\' --project=p"),
            ("", "pulse explain '' --project=p"),
            ("-rf", "pulse explain --project=p -- -rf"),
            ("-a b", "pulse explain --project=p -- '-a b'"),
        ] {
            assert_eq!(about("explain", user, flags), expected);
        }
        assert_eq!(sync_alone("-rf", flags), "pulse sync --user=-rf --project=p");
        assert_eq!(sync_alone("a b", flags), "pulse sync --user='a b' --project=p");
    }

    #[test]
    fn a_shell_takes_each_for_what_it_is() {
        for id in
            ["$(touch pwned)", " x", "it's", "`ls`", "a\"b", "a\\b", "*", "~", "!x", "#x", "a\u{202e}\n'\\b"]
        {
            let script = format!("printf %s {}", argument(id));
            let told =
                std::process::Command::new("bash").env("LC_ALL", "C.UTF-8").args(["-c", &script]).output();
            let told = told.expect("bash runs").stdout;
            assert_eq!(String::from_utf8(told).expect("UTF-8"), id);
        }
    }
}
