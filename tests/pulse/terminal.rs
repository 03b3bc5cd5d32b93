//! A terminal of a given size, on which the binary runs.

use crate::world::World;
use nix::pty::{Winsize, openpty};
use std::fs::File;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// Longest a run on a terminal may take before the test gives up on it.
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// Runs a command whose stdout and stderr are a terminal with so many columns. Returns its exit code and all that the
/// terminal got.
pub(crate) async fn run_on_terminal(command: &mut Command, columns: u16) -> (Option<i32>, String) {
    let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).expect("a terminal");
    let mut screen = File::from(pty.master);
    let stderr = pty.slave.try_clone().expect("the same terminal once more");
    let mut child =
        command.stdout(Stdio::from(pty.slave)).stderr(Stdio::from(stderr)).spawn().expect("pulse starts");
    // The terminal ends when nobody holds its other side any more.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reading = tokio::task::spawn_blocking(move || {
        let mut shown = Vec::new();
        // Linux ends it with an error.
        let _ = screen.read_to_end(&mut shown);
        String::from_utf8(shown).expect("UTF-8").replace("\r\n", "\n")
    });
    let ended = tokio::time::timeout(RUN_LIMIT, child.wait()).await.expect("pulse ends in time");
    (ended.expect("pulse can be waited for").code(), reading.await.expect("no panic"))
}

/// The lines without what colours them.
pub(crate) fn plain(shown: &str) -> Vec<String> {
    let mut plain = String::new();
    let mut rest = shown;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        plain.push_str(before);
        let end = after.find(|c: char| c.is_ascii_alphabetic()).expect("a whole sequence");
        rest = &after[end + 1..];
    }
    plain.push_str(rest);
    plain.lines().map(str::to_owned).collect()
}

impl World {
    /// An operator's command on a terminal.
    pub(crate) async fn on_terminal(&self, args: &[&str], columns: u16) -> (Option<i32>, String) {
        run_on_terminal(&mut self.bare_command(args), columns).await
    }
}
