//! `pulse keys set --destroy-old`: the older versions go only when nobody is given them any more.

use crate::commands::failures::Stopped;
use crate::commands::frame::{CheckState, Finding, Report, counted};
use crate::commands::keys::store::Shelf;
use crate::config::keys_args::KeysSetArgs;
use crate::firestore::Store;
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::key_version::KeyVersion;
use crate::model::settling::Settling;
use jiff::Timestamp;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;
use tokio::time::Instant;

/// Answers of `latest` that the time is made of.
const LOOKS: u32 = 30;

/// Least and most time between two of them.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(10)];

/// Waits for the new version to be the one that everybody is given.
pub(super) struct Waiting<'a> {
    pub(super) shelf: Shelf<'a>,
    pub(super) store: &'a Store,
    pub(super) id: &'a DocumentId,
    pub(super) version: &'a KeyVersion,
    /// The command that goes on with it.
    pub(super) again: String,
    /// When the snapshot was written that the command itself made.
    pub(super) own_snapshot: Option<Timestamp>,
}

/// What is still missing when the time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Latest,
    Pulse,
}

impl Waiting<'_> {
    /// Destroys the older versions, once that is safe; else says what to do later.
    pub(super) async fn destroy_old(&self, args: &KeysSetArgs, report: &mut Report) -> Result<(), Stopped> {
        let line = ProgressLine;
        let waited = self.wait(args).await;
        drop(line);
        if let Err(missing) = waited {
            let why = match missing {
                Missing::Latest => "Secret Manager does not give the new version as `latest` for good yet",
                Missing::Pulse => "no pulse has synced the user by the new version yet",
            };
            report.field("destroyed", &[""; 0]);
            return self.tell_later(why, report).await;
        }
        let mut destroyed = Vec::new();
        for version in self.shelf.older(self.version).await? {
            self.shelf.destroy(&version).await?;
            destroyed.push(version.as_str().to_owned());
        }
        report.field("destroyed", &destroyed);
        let sentence = match destroyed.len() {
            0 => "There is no older version left.".to_owned(),
            _ => format!("The older versions are destroyed: {}.", destroyed.join(", ")),
        };
        report.found(Finding::new(CheckState::Ok, "OldVersionsDestroyed", sentence));
        Ok(())
    }

    /// Which older versions there are, and how they go: by the command that looks itself whether that is safe.
    pub(super) async fn tell_later(&self, why: &str, report: &mut Report) -> Result<(), Stopped> {
        let older = self.shelf.older(self.version).await?;
        let older: Vec<&str> = older.iter().map(KeyVersion::as_str).collect();
        report.field("older_versions", &older);
        if older.is_empty() {
            return Ok(());
        }
        let them = if older.len() == 1 { "it" } else { "them" };
        let sentence = format!(
            "{} ({why}). In an hour type this, and the same keys: it looks whether {them} can go, and only then destroys \
             {them}. Until it has, leave the old keys alone at Alpaca.",
            older_left(older.len() as u64, &older.join(", "))
        );
        let finding = Finding::new(CheckState::Warning, "OlderVersionsLeft", sentence);
        report.found(finding.mended_by(&self.again));
        Ok(())
    }

    async fn wait(&self, args: &KeysSetArgs) -> Result<(), Missing> {
        let start = Instant::now();
        let pause = (args.settled_for / LOOKS).clamp(PAUSES[0], PAUSES[1]);
        let mut settling = Settling::new(args.settled_for);
        loop {
            let is_new = self.is_latest().await;
            let is_settled = settling.saw(is_new, start.elapsed());
            if is_settled && self.is_pulsed().await {
                return Ok(());
            }
            if start.elapsed() + pause > args.wait_for {
                return Err(if is_settled { Missing::Pulse } else { Missing::Latest });
            }
            let waited = start.elapsed();
            tell_progress(&progress(waited, settling.new_for(waited), args));
            tokio::time::sleep(pause).await;
        }
    }

    /// What cannot be read proves nothing.
    async fn is_latest(&self) -> bool {
        let Shelf { secrets, database, user } = self.shelf;
        let latest = secrets.keys(database, user, Deadline::after(USER_BUDGET)).await;
        latest.is_ok_and(|stored| stored.version == *self.version)
    }

    /// Whether somebody else than this command has synced the user by the new version.
    async fn is_pulsed(&self) -> bool {
        let pin = self.store.pin(self.id, Deadline::after(USER_BUDGET)).await;
        let pin = pin.ok().flatten().filter(|pin| pin.version == *self.version);
        pin.is_some_and(|pin| pin.updated_at > self.own_snapshot)
    }
}

/// So many older versions, and which they are. What they open nobody has tried.
pub(super) fn older_left(count: u64, which: &str) -> String {
    let words = ["older version is left, and costs money", "older versions are left, and cost money"];
    format!("{}: {which}", counted(count, words))
}

/// The line that says how long was waited, which goes with this: also where a signal ends the waiting.
struct ProgressLine;

impl Drop for ProgressLine {
    fn drop(&mut self) {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let _ = stderr.write_all(b"\r\x1b[K");
        }
    }
}

/// A line that is written over, on a terminal alone.
fn tell_progress(line: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // Whoever does not look misses nothing.
        let _ = write!(stderr, "\r\x1b[K{line} ").and_then(|()| stderr.flush());
    }
}

/// For how long it waits, of how long at most, and for what.
fn progress(waited: Duration, new_for: Option<Duration>, args: &KeysSetArgs) -> String {
    let of = |part: Duration, whole: Duration| format!("{} of {} s", part.as_secs(), whole.as_secs());
    let what = match new_for {
        None => "`latest` is still the old version".to_owned(),
        Some(new_for) if new_for < args.settled_for => {
            format!("`latest` has been the new version for {}", of(new_for, args.settled_for))
        }
        Some(_) => "waiting for a pulse by the new version".to_owned(),
    };
    format!("{} at most: {what}", of(waited, args.wait_for))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::args::{Cli, Command};
    use crate::config::keys_args::KeysCommand;
    use clap::Parser;

    #[test]
    fn the_line_of_progress_says_of_how_long_and_fits_the_screen() {
        let cli =
            Cli::try_parse_from(["pulse", "keys", "set", "ana", "--destroy-old"]).expect("a command line");
        let Command::Keys(KeysCommand::Set(args)) = cli.command else { panic!("not `keys set`") };
        for (waited, new_for, expected) in [
            (0, None, "0 of 600 s at most: `latest` is still the old version"),
            (599, Some(299), "599 of 600 s at most: `latest` has been the new version for 299 of 300 s"),
            (310, Some(300), "310 of 600 s at most: waiting for a pulse by the new version"),
        ] {
            let line = progress(Duration::from_secs(waited), new_for.map(Duration::from_secs), &args);
            assert_eq!(line, expected);
            assert!(line.len() < 80, "{line}");
        }
    }
}
