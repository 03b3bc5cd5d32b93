//! Section 5 at the wire: for every cause its code, its line, and how often the failing call is sent, while
//! another user is synced all the same.

mod broker;
mod keys;
mod stalls;
mod statuses;
mod store;
mod users;

use crate::world::{Run, World};
use serde_json::json;

const KEYS: &str = "Could not retrieve Alpaca keys for user";
const SYNC: &str = "Failed to sync Alpaca account for user";
const SKIPPED: &str = "Skipped Alpaca account for user";

/// The attempt more, at the end of the pass, of a user who failed for something that passes.
const SECOND_LAP: usize = 1;

/// Calls that a failing user costs.
type Calls = fn(&World, &str) -> usize;

const SECRET: Calls = |world, user| world.secret_accesses(user);
const ACCOUNT: Calls = |world, user| world.account_calls(user);
const COMMIT: Calls = |world, user| world.snapshot_commits(user);

/// What a row of the table promises.
struct Row {
    code: &'static str,
    line: &'static str,
    calls: (Calls, usize),
}

const fn row(code: &'static str, line: &'static str, calls: Calls, times: usize) -> Row {
    Row { code, line, calls: (calls, times) }
}

impl Row {
    /// One pass in which these users fail, and zoe is synced all the same.
    async fn fails(&self, world: &World, users: &[&str]) -> Run {
        world.user("zoe").await;
        let run = world.pulse().await;
        let counts = match self.line {
            SKIPPED => format!("1 successful, 0 errors, {} skipped", users.len()),
            _ => format!("1 successful, {} errors", users.len()),
        };
        run.assert_completed(&counts, 0);
        assert!(run.says("Successfully synced Alpaca account for user zoe"));
        assert!(world.snapshot("zoe").await.is_object());
        for user in users {
            self.is_logged_for(&run, user);
            let (count, times) = self.calls;
            assert_eq!(count(world, user), times, "{user}: calls in\n{}", run.stdout);
            assert_eq!(world.snapshot(user).await, json!(null), "{user}");
            assert_eq!(world.primary(user).await, json!(null), "{user}");
            assert_eq!(world.trouble(user).await["error"], self.code, "{user}");
        }
        run
    }

    fn is_logged_for(&self, run: &Run, user: &str) {
        let entry = run.entry(&format!("{} {user}: ", self.line));
        let severity = if self.line == SKIPPED { "INFO" } else { "ERROR" };
        assert_eq!(
            (&entry["error"], &entry["severity"], &entry["user_id"]),
            (&json!(self.code), &json!(severity), &json!(user)),
            "{entry}"
        );
        assert!(entry["duration_ms"].is_u64(), "{entry}");
    }
}

/// A user for each of these faults; returns their names.
async fn faulty<'a>(world: &World, faults: &[(&'a str, &str)]) -> Vec<&'a str> {
    for (user, fault) in faults {
        world.user(user).await;
        world.fault(&format!("{fault},user={user}"));
    }
    faults.iter().map(|(user, _)| *user).collect()
}
