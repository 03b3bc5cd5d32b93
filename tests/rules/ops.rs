//! `ops/last_pulse`: every signed-in user gets that document alone, and only the backend writes it.

use crate::caller::Caller::Anonymous;
use crate::caller::{ANA, BOB};
use crate::scenario::{create, delete, get, group, list, merge, named, overwrite};
use crate::scenarios;
use serde_json::json;

scenarios! {
    a_user_gets_the_last_pulse: ANA.may(get("ops/last_pulse"));
    a_user_of_no_tenant_gets_the_last_pulse: BOB.may(get("ops/last_pulse"));
    nobody_anonymous_gets_the_last_pulse: Anonymous.may_not(get("ops/last_pulse"));
    nobody_lists_ops: ANA.may_not(list("ops"));
    nobody_lists_ops_by_the_name_of_the_last_pulse: ANA.may_not(named("ops/last_pulse"));
    nobody_gets_another_document_of_ops: ANA.may_not(get("ops/other"));
    nobody_changes_the_last_pulse: ANA.may_not(merge("ops/last_pulse", &["status"], json!({"status": "failed"})));
    nobody_overwrites_the_last_pulse: ANA.may_not(overwrite("ops/last_pulse", json!({"status": "failed"})));
    nobody_deletes_the_last_pulse: ANA.may_not(delete("ops/last_pulse"));
    nobody_creates_another_document_of_ops: ANA.may_not(create("ops/new", json!({"status": "ok"})));

    nobody_gets_the_ledger: ANA.may_not(get("ops/last_pulse/executions/one"));
    nobody_lists_the_ledger: ANA.may_not(list("ops/last_pulse/executions"));
    nobody_lists_the_ledger_as_a_group: ANA.may_not(group("", "executions"));
    nobody_creates_a_ledger: ANA.may_not(create("ops/last_pulse/executions/two", json!({"plan": "x"})));
    nobody_changes_the_ledger:
        ANA.may_not(merge("ops/last_pulse/executions/one", &["cursors"], json!({"cursors": {"0": "zoe"}})));
    nobody_gets_a_migrations_journal: ANA.may_not(get("ops/migrations/runs/one/entries/two"));
    nobody_lists_a_migrations_journal: ANA.may_not(list("ops/migrations/runs/one/cleaned"));
    nobody_lists_migrations_journals_as_a_group: ANA.may_not(group("", "entries"));
    nobody_creates_an_entry_of_a_journal:
        ANA.may_not(create("ops/migrations/runs/one/entries/three", json!({"undo": "delete"})));
    nobody_deletes_the_ledger: ANA.may_not(delete("ops/last_pulse/executions/one"));
}
