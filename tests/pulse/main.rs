//! The binary `pulse` from outside: what it writes, sends, logs and exits with, for every promise of its
//! contract. Scenarios run against the sandbox's Firestore and against Google's emulator alike.

#![cfg(feature = "sandbox")]
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "all of this is test code, though not all of it is a test"
)]

mod answers;
mod command_line;
mod credentials;
mod crowd;
mod desk;
mod dry_diff;
#[path = "../support/emulator.rs"]
mod emulator;
mod equity_history;
mod error_codes;
mod faults;
mod frozen;
mod google;
mod hand_over;
mod held_alpaca;
mod incidents;
mod kept_users;
mod keys_command;
mod keys_prompt;
mod last_pulse;
mod left_overs;
mod legacy_account;
mod limits;
mod live;
mod logs;
mod loop_settings;
mod loops;
mod metrics;
mod migration;
mod monitoring;
mod named_runs;
mod network;
mod operators_secrecy;
mod other_account;
mod outputs;
mod ownership;
#[path = "../support/promtool.rs"]
mod promtool;
mod read;
mod readers;
mod refusals;
mod refused_documents;
mod safety;
mod secrecy;
mod secret_files;
mod signals;
mod silence;
mod snapshots;
mod strays;
mod tasks;
mod tcp_proxy;
mod tenancy;
mod tenant_path;
mod terminal;
mod traffic;
mod trouble;
mod typed;
mod user_command;
mod user_lines;
mod variables;
#[cfg(target_os = "linux")]
mod vitals;
mod waiting;
mod watched;
mod world;
mod wrong_clock;

/// Makes two tests of a scenario, one for each Firestore.
macro_rules! on_both {
    ($($(#[$doc:meta])* async fn $name:ident($world:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports, reason = "a scenario uses what it needs of its module")]
            use super::*;
            use crate::world::{Backend, World, sandbox};

            async fn scenario($world: World) $body

            #[tokio::test(flavor = "multi_thread")]
            async fn in_the_sandbox() {
                scenario(sandbox().await).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_the_emulator() {
                if let Some(world) = World::new(Backend::Emulator).await {
                    scenario(world).await;
                }
            }
        }
    )*};
}
pub(crate) use on_both;
