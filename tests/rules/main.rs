//! `firestore.rules` in the real rules engine, that of the Firestore emulator: every cell of the table of who reads and
//! writes what, each allowed and denied, and the ways around it.

#![allow(clippy::expect_used, reason = "all of this is test code, though not all of it is a test")]

mod alpaca_accounts;
mod caller;
mod coverage;
mod elsewhere;
#[allow(unreachable_pub, reason = "other tests share it")]
#[path = "../support/emulator.rs"]
mod emulator;
mod older_rules;
mod ops;
mod project;
mod scenario;
mod tenants;
mod trading_signals;
mod users;

/// Makes a test of each scenario, in a project of its own, and a table of all of them for the coverage test.
macro_rules! scenarios {
    ($($name:ident: $scenario:expr;)*) => {
        /// This module's part of the table.
        pub(crate) fn scenarios() -> Vec<(&'static str, crate::scenario::Scenario)> {
            vec![$((stringify!($name), $scenario)),*]
        }

        $(
            #[tokio::test]
            async fn $name() {
                if let Some(project) = crate::project::Project::new().await {
                    $scenario.check(&project, stringify!($name)).await;
                }
            }
        )*
    };
}
pub(crate) use scenarios;

/// The table of all of them.
fn all_scenarios() -> Vec<(&'static str, scenario::Scenario)> {
    let modules = [
        users::scenarios(),
        alpaca_accounts::scenarios(),
        trading_signals::scenarios(),
        tenants::scenarios(),
        ops::scenarios(),
        elsewhere::scenarios(),
    ];
    modules.into_iter().flatten().collect()
}

/// The one of that name.
fn named(name: &str) -> scenario::Scenario {
    all_scenarios().into_iter().find(|(other, _)| *other == name).expect(name).1
}
