//! The keys that are typed: unseen on a terminal, or from stdin. Never from arguments, which every process of the machine
//! can read and a shell keeps.

use crate::commands::failures::{Stopped, capitalised};
use crate::commands::frame::{CheckState, Finding, Refused};
use crate::config::keys_args::KeysSetArgs;
use crate::model::keys::Environment;
use crate::model::typed_keys::{TypedError, TypedKeys};
use secrecy::{ExposeSecret, SecretString};
use std::io::{self, IsTerminal, Read};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// As much as a secret holds.
const MOST: u64 = 64 * 1024;

/// Waits for the keys. Whoever could not be asked about them later is told so before.
pub(super) async fn typed(args: &KeysSetArgs) -> Result<TypedKeys, Stopped> {
    if !args.more.is_empty() {
        return Err(unusable(
            "Keys are not given as arguments, where other programs see them and the shell keeps them: they are asked \
             for, or read from stdin.",
        ));
    }
    let is_terminal = io::stdin().is_terminal();
    if !is_terminal && !args.confirm.yes {
        return Err(Refused::NoTerminal.into());
    }
    let (is_token, flag) = (args.token, args.environment());
    let read = spawn_blocking(move || match is_terminal {
        true => prompted(is_token, flag),
        false => Ok(TypedKeys::read(&piped()?, is_token, flag)),
    });
    match read.await {
        Ok(Ok(typed)) => typed.map_err(|err| unusable(format!("{}.", capitalised(&err.to_string())))),
        Ok(Err(err)) if err.kind() == io::ErrorKind::InvalidData => {
            Err(unusable("What was typed is no UTF-8 text."))
        }
        Ok(Err(err)) => Err(unusable(format!("The keys could not be read: {}.", err.kind()))),
        Err(_) => Err(unusable("The keys could not be read.")),
    }
}

fn prompted(is_token: bool, flag: Option<Environment>) -> io::Result<Result<TypedKeys, TypedError>> {
    if is_token {
        let token = prompt("OAuth token: ")?;
        return Ok(TypedKeys::of_token(token.expose_secret().trim(), flag));
    }
    let (key_id, secret_key) = (prompt("Key id: ")?, prompt("Secret key: ")?);
    Ok(TypedKeys::of_pair(key_id.expose_secret().trim(), secret_key.expose_secret().trim(), flag))
}

fn prompt(what: &str) -> io::Result<SecretString> {
    rpassword::prompt_password(what).map(SecretString::from)
}

fn piped() -> io::Result<SecretString> {
    let mut text = Zeroizing::new(String::with_capacity(MOST as usize));
    io::stdin().lock().take(MOST).read_to_string(&mut text)?;
    Ok(SecretString::from(text.as_str()))
}

pub(super) fn unusable(sentence: impl Into<String>) -> Stopped {
    Stopped::Usage(Finding::new(CheckState::Failed, "KeysUnusable", sentence))
}
