//! A terminal that does not show what is typed.
//!
//! `rpassword` was here first. It leaves the terminal silent when a signal ends the process while it asks, and its
//! thread may silence it once more when somebody else has restored it.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// As long as a line of a terminal can be.
const LINE: usize = 4096;

/// The terminal that stdin is: silent until this is dropped.
pub(super) struct Unseen {
    terminal: File,
    before: Termios,
}

impl Unseen {
    /// From now on.
    pub(super) fn begin() -> io::Result<Self> {
        let terminal = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let before = tcgetattr(&terminal)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        // The line break alone is shown. Lines are edited, and Ctrl-C is a signal, whatever it was set to before.
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // Nothing else that is typed ends or stops the process: that would leave the terminal silent.
        for code in [SpecialCodeIndex::VQUIT, SpecialCodeIndex::VSUSP] {
            silent.special_codes[code] = 0;
        }
        tcsetattr(&terminal, OptionalActions::Now, &silent)?;
        Ok(Self { terminal, before })
    }

    /// What asks for lines, on whatever thread.
    pub(super) fn prompt(&self) -> io::Result<Prompt> {
        Ok(Prompt(self.terminal.try_clone()?))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // Half a key that is typed goes to no shell. Where the terminal is gone, nothing is to be restored.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// Asks for lines, and changes nothing of the terminal.
pub(super) struct Prompt(File);

impl Prompt {
    /// Asks for one, and waits for it.
    pub(super) fn ask(&mut self, what: &str) -> io::Result<SecretString> {
        say(what)?;
        let mut line = Zeroizing::new([0; LINE]);
        let length = loop {
            match self.0.read(&mut line[..]) {
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                // Ctrl-D says that there is nothing to come.
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                read => break read?,
            }
        };
        let text = str::from_utf8(&line[..length]).map_err(|_| ErrorKind::InvalidData)?;
        Ok(SecretString::from(text.trim()))
    }
}

/// Where the person sees it: stdout is for the answer.
fn say(what: &str) -> io::Result<()> {
    let mut stderr = io::stderr();
    match OpenOptions::new().write(true).open("/dev/tty") {
        Ok(mut terminal) if !stderr.is_terminal() => terminal.write_all(what.as_bytes()),
        _ => stderr.write_all(what.as_bytes()),
    }
}
