//! What `docs/deploy.md` says about a database that has rules already: which blocks of the platform's older versions must
//! not be merged into ours, and that the rest may be.

use crate::caller::{ANA, BOB, EVE};
use crate::project::{Project, RULES};
use crate::scenario::{Scenario, create, delete, get, list, merge};
use crate::{all_scenarios, named};
use serde_json::json;

const OLDER: &str = include_str!("older.rules");
const DOCS: &str = include_str!("../../docs/deploy.md");

/// The line that a file's own blocks begin after.
const ROOT: &str = "match /databases/{database}/documents {";

/// A block's path, or the beginning of one: what wildcards are called does not matter.
type Path = Vec<String>;

/// A line of the docs' table.
#[derive(Debug)]
struct Named {
    path: Path,
    /// Only what the block itself allows must go, not what is inside of it.
    is_about_itself: bool,
}

impl Named {
    fn from_row(row: &str) -> Option<Self> {
        let (path, rest) = row.strip_prefix("| `match ")?.split_once("` | ")?;
        let is_about_itself = rest.starts_with("its own `allow` lines");
        assert!(is_about_itself || rest.starts_with("all of it"), "how much of {path} goes? {rest}");
        Some(Self { path: segments(path), is_about_itself })
    }

    fn covers(&self, path: &Path) -> bool {
        if self.is_about_itself { *path == self.path } else { path.starts_with(&self.path) }
    }
}

fn table() -> Vec<Named> {
    let table: Vec<_> = DOCS.lines().filter_map(Named::from_row).collect();
    assert!(table.len() >= 8, "where is the table? {table:?}");
    table
}

fn segments(path: &str) -> Path {
    let segment = |name: &str| match name.strip_prefix('{') {
        Some(wildcard) if wildcard.ends_with("=**}") => "{**}".to_owned(),
        Some(_) => "{}".to_owned(),
        None => name.to_owned(),
    };
    path.split('/').filter(|name| !name.is_empty()).map(segment).collect()
}

/// What is between the braces of a block.
enum Item {
    /// A function or a condition, as it is.
    Text(String),
    Allow(String),
    Match(String, Vec<Item>),
}

/// Reads items up to the end of the block that they are in; `rest` is then what follows it.
fn items(rest: &mut &str) -> Vec<Item> {
    let mut items = Vec::new();
    loop {
        *rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix("match ") {
            let (path, inside) = after.split_once(" {").expect("a block");
            *rest = inside;
            items.push(Item::Match(path.to_owned(), self::items(rest)));
        } else if rest.starts_with("allow ") {
            items.push(Item::Allow(take(rest, rest.find(';').expect("the end of a statement"))));
        } else if rest.starts_with("function ") {
            items.push(Item::Text(take(rest, rest.find('}').expect("the end of a function"))));
        } else {
            *rest = rest.strip_prefix('}').expect("the end of a block");
            return items;
        }
    }
}

fn take(rest: &mut &str, last: usize) -> String {
    let (text, after) = rest.split_at(last + 1);
    *rest = after;
    text.to_owned()
}

/// The blocks of the older rules with those `allow` statements that are to stay, given the path of their block.
fn older(stays: &dyn Fn(&Path) -> bool) -> String {
    let text: Vec<&str> = OLDER.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let text = text.join("\n");
    let (_, mut blocks) = text.split_once(ROOT).expect("the root");
    render(&items(&mut blocks), &Path::new(), stays)
}

fn render(items: &[Item], path: &Path, stays: &dyn Fn(&Path) -> bool) -> String {
    let parts = items.iter().filter_map(|item| match item {
        Item::Text(text) => Some(text.clone()),
        Item::Allow(text) => stays(path).then(|| text.clone()),
        Item::Match(name, inside) => {
            let inside = render(inside, &[path.clone(), segments(name)].concat(), stays);
            // An empty block does not compile.
            (!inside.is_empty()).then(|| format!("match {name} {{\n{inside}\n}}"))
        }
    });
    parts.collect::<Vec<_>>().join("\n")
}

/// A project with those blocks below ours, in one file.
async fn merged_with(blocks: &str) -> Option<Project> {
    let (ours, end) =
        RULES.split_at(RULES.trim_end().trim_end_matches(['}', '\n', ' ']).len() + "\n    }".len());
    Project::with_rules(&format!("{ours}\n{blocks}\n{end}")).await
}

/// As the docs tell to merge them.
async fn merged() -> Option<Project> {
    let table = table();
    merged_with(&older(&|path| !table.iter().any(|named| named.covers(path)))).await
}

/// What each block of the table alone would let through.
fn attacks() -> Vec<(&'static str, &'static str)> {
    vec![
        ("/users/{userId}", "the_tenant_is_not_changed"),
        ("/users/{userId}/{document=**}", "a_snapshot_is_not_forged_by_its_user"),
        ("/users/{userId}/alpacaAccounts", "a_first_snapshot_is_not_made_by_its_user"),
        ("/users/{userId}/secrets", "keys_in_a_document_are_not_read_by_their_user"),
        ("/tenants/{tenantId}", "a_claim_without_membership_is_no_member"),
        ("/tenants/{tenantId}/{document=**}", "nobody_makes_themselves_a_member"),
        ("/tenants/{tenantId}/accounts", "a_claim_without_membership_gets_no_account"),
        ("/tenants/{tenantId}/users", "nobody_makes_themselves_a_member"),
        ("/ops", "nobody_gets_another_document_of_ops"),
        ("/alpacaAccounts", "the_legacy_snapshot_is_not_read"),
        ("/tradingSignals", "a_legacy_signal_is_not_created"),
    ]
}

#[tokio::test]
async fn each_block_that_the_docs_name_lets_an_attack_through() {
    let table = table();
    let attacks = attacks();
    let named_by_us: Vec<_> = attacks.iter().map(|(path, _)| segments(path)).collect();
    assert_eq!(table.iter().map(|named| named.path.clone()).collect::<Vec<_>>(), named_by_us);
    for (block, (path, attack)) in table.iter().zip(attacks) {
        let Some(project) = merged_with(&older(&|path| block.covers(path))).await else { return };
        assert!(named(attack).is_let_through(&project).await, "{path} is harmless against {attack}");
    }
}

#[tokio::test]
async fn older_rules_put_below_ours_as_they_are_let_all_of_these_attacks_through() {
    let Some(project) = merged_with(&older(&|_| true)).await else { return };
    for (path, attack) in attacks() {
        assert!(named(attack).is_let_through(&project).await, "{path}: {attack}");
    }
}

#[tokio::test]
async fn rules_merged_as_the_docs_say_deny_and_allow_what_ours_do() {
    let Some(project) = merged().await else { return };
    for (name, scenario) in all_scenarios() {
        scenario.check(&project, name).await;
    }
}

/// The app's own collections that may stay, and that ours alone would close.
fn apps_own() -> Vec<(&'static str, Scenario)> {
    let trade = || json!({"symbol": "SPY", "side": "buy"});
    vec![
        ("data_is_read", ANA.may(get("users/ana/data/settings"))),
        ("data_is_written", ANA.may(merge("users/ana/data/settings", &["text"], json!({"text": "y"})))),
        ("data_is_deleted", ANA.may(delete("users/ana/data/settings"))),
        ("trades_are_listed", ANA.may(list("users/ana/shadowTradeHistory"))),
        ("a_trade_is_created", ANA.may(create("users/ana/shadowTradeHistory/two", trade()))),
        ("signals_are_read", ANA.may(get("users/ana/signals/one"))),
        ("a_signal_is_created", ANA.may(create("users/ana/signals/two", json!({"text": "x"})))),
        ("strategies_are_listed", ANA.may(list("tenants/acme/strategies"))),
        ("an_order_is_created", ANA.may(create("tenants/acme/orders/two", json!({"text": "x"})))),
        ("announcements_are_read", BOB.may(get("announcements/one"))),
        ("data_is_its_owners", BOB.may_not(get("users/ana/data/settings"))),
        ("a_trade_stays", ANA.may_not(delete("users/ana/shadowTradeHistory/one"))),
        ("a_signal_stays", ANA.may_not(delete("users/ana/signals/one"))),
        ("orders_are_the_tenants", BOB.may_not(list("tenants/acme/orders"))),
        ("a_strategy_is_not_written", EVE.may_not(delete("tenants/acme/strategies/one"))),
    ]
}

#[tokio::test]
async fn rules_merged_as_the_docs_say_keep_the_apps_own_collections() {
    let Some(project) = merged().await else { return };
    for (name, scenario) in apps_own() {
        scenario.check(&project, name).await;
    }
}

#[test]
fn the_older_rules_are_read_whole() {
    let count = |text: &str, word: &str| text.matches(word).count();
    let rewritten = older(&|_| true);
    for word in ["match /", "allow ", "function "] {
        // The root is left out.
        assert_eq!(count(&rewritten, word), count(OLDER, word) - count(ROOT, word), "{word}");
    }
}
