//! Asking before something is changed.

use crate::config::operator_args::ConfirmArgs;
use std::io::{self, BufRead, IsTerminal, Write};
use tokio::task::spawn_blocking;

/// Why nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// Nobody can be asked.
    #[error("nothing was changed: there is no terminal to ask on; say --yes to do it without asking")]
    NoTerminal,
    /// Whoever was asked said no.
    #[error("nothing was changed")]
    Declined,
}

impl Refused {
    /// What the command exits with.
    #[must_use]
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::NoTerminal => 2,
            Self::Declined => 1,
        }
    }
}

/// Goes on if `--yes` or a person says so.
pub(crate) async fn confirm(question: &str, args: ConfirmArgs) -> Result<(), Refused> {
    if args.yes {
        return Ok(());
    }
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Err(Refused::NoTerminal);
    }
    let question = format!("{question} [y/N] ");
    let asked = spawn_blocking(move || ask(&question)).await;
    match asked {
        Ok(Ok(answer)) if is_yes(&answer) => Ok(()),
        _ => Err(Refused::Declined),
    }
}

/// On stderr, so that what goes to stdout stays what it is.
fn ask(question: &str) -> io::Result<String> {
    io::stderr().write_all(question.as_bytes())?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer)
}

fn is_yes(answer: &str) -> bool {
    ["y", "yes"].iter().any(|yes| answer.trim().eq_ignore_ascii_case(yes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_one() {
        for (answer, expected) in
            [("y\n", true), ("YES\r\n", true), ("\n", false), ("", false), ("yep\n", false), ("n\n", false)]
        {
            assert_eq!(is_yes(answer), expected, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn yes_on_the_command_line_is_not_asked_again() {
        assert_eq!(confirm("Remove ana?", ConfirmArgs { yes: true }).await, Ok(()));
    }
}
