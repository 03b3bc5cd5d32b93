//! The keys that are typed: unseen on a terminal, or from stdin. Never from arguments, which every process of the machine
//! can read and a shell keeps.

use crate::commands::failures::{Stopped, capitalised};
use crate::commands::frame::{CheckState, Finding, Refused};
use crate::commands::keys::unseen::{Prompt, Unseen};
use crate::config::keys_args::KeysSetArgs;
use crate::model::keys::Environment;
use crate::model::typed_keys::{TypedError, TypedKeys};
use secrecy::{ExposeSecret, SecretString};
use std::io::{self, IsTerminal, Read as _};
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// As much as a secret holds.
const MOST: u64 = 64 * 1024;

/// Refuses what could not go on once the keys are there: nobody types them for nothing.
pub(super) fn can_be_typed(args: &KeysSetArgs) -> Result<(), Stopped> {
    if !args.more.is_empty() {
        return Err(unusable(
            "Keys are not given as arguments, where other programs see them and the shell keeps them: they are asked \
             for, or read from stdin.",
        ));
    }
    match io::stdin().is_terminal() {
        false if !args.confirm.yes => Err(Refused::NoTerminal.into()),
        // What is piped in may say it itself.
        true if args.token && args.environment().is_none() => Err(no_key(TypedError::NoEnvironment)),
        _ => Ok(()),
    }
}

/// Waits for the keys. Whoever gives up waiting has the terminal as it was before.
pub(super) async fn typed(args: &KeysSetArgs) -> Result<TypedKeys, Stopped> {
    let (is_token, flag) = (args.token, args.environment());
    let read = match io::stdin().is_terminal() {
        true => prompted(is_token, flag).await,
        false => on_a_thread(move || Ok(TypedKeys::read(&piped()?, is_token, flag))).await,
    };
    match read {
        Ok(typed) => typed.map_err(no_key),
        Err(err) if err.kind() == io::ErrorKind::InvalidData => {
            Err(unusable("What was typed is no UTF-8 text."))
        }
        Err(err) => Err(unusable(format!("The keys could not be read: {}.", err.kind()))),
    }
}

/// What was read, or why it is no key.
type Answer = io::Result<Result<TypedKeys, TypedError>>;

async fn prompted(is_token: bool, flag: Option<Environment>) -> Answer {
    let unseen = Unseen::begin()?;
    let mut prompt = unseen.prompt()?;
    let read = on_a_thread(move || asked(&mut prompt, is_token, flag)).await;
    drop(unseen);
    read
}

fn asked(prompt: &mut Prompt, is_token: bool, flag: Option<Environment>) -> Answer {
    if is_token {
        return Ok(TypedKeys::of_token(prompt.ask("OAuth token: ")?.expose_secret(), flag));
    }
    let (key_id, secret_key) = (prompt.ask("Key id: ")?, prompt.ask("Secret key: ")?);
    Ok(TypedKeys::of_pair(key_id.expose_secret(), secret_key.expose_secret(), flag))
}

async fn on_a_thread(read: impl FnOnce() -> Answer + Send + 'static) -> Answer {
    spawn_blocking(read).await.map_err(io::Error::other)?
}

fn piped() -> io::Result<SecretString> {
    let mut text = Zeroizing::new(String::with_capacity(MOST as usize));
    io::stdin().lock().take(MOST).read_to_string(&mut text)?;
    Ok(SecretString::from(text.as_str()))
}

fn no_key(err: TypedError) -> Stopped {
    unusable(format!("{}.", capitalised(&err.to_string())))
}

pub(super) fn unusable(sentence: impl Into<String>) -> Stopped {
    Stopped::Usage(Finding::new(CheckState::Failed, "KeysUnusable", sentence))
}
