//! What a pulse left behind, as a table for people.

use crate::Sandbox;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use gcloud_sdk::google::firestore::v1::{Document, Value, value::ValueType};
use std::collections::{BTreeMap, HashMap};

type Fields = HashMap<String, Value>;

/// Every user, with the snapshot that was written or the trouble that was recorded.
#[must_use]
pub fn table(sandbox: &Sandbox) -> Table {
    let database = format!("projects/{}/databases/(default)", sandbox.project());
    let root = format!("{database}/documents/");
    let documents: BTreeMap<String, Document> = sandbox
        .firestore()
        .documents(&database)
        .into_iter()
        .filter_map(|document| Some((document.name.strip_prefix(&root)?.to_owned(), document)))
        .collect();
    let fields = |path: String| documents.get(&path).map(|document| &document.fields);
    let tenants = tenants_by_owner(&documents);

    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["user", "tenant document", "status", "equity", "buying power", "cash", "trouble"]);
    for column in 3..=5 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for user in users(&documents) {
        let snapshot = fields(format!("users/{user}/alpacaAccounts/snapshot"));
        let trouble = fields(format!("users/{user}/alpacaAccounts/sync"));
        let figure = |name| {
            snapshot.and_then(|fields| map_fields(fields.get("exact")?)).and_then(|exact| word(exact, name))
        };
        table.add_row([
            user,
            tenants.get(user).copied().unwrap_or_default(),
            snapshot.and_then(|fields| word(fields, "status")).unwrap_or_default(),
            figure("equity").unwrap_or_default(),
            figure("buying_power").unwrap_or_default(),
            figure("cash").unwrap_or_default(),
            &trouble
                .map(trouble_in_words)
                .or_else(|| switched_off(fields(format!("users/{user}"))?))
                .unwrap_or_default(),
        ]);
    }
    table
}

fn users(documents: &BTreeMap<String, Document>) -> impl Iterator<Item = &str> {
    documents.keys().filter_map(|path| path.strip_prefix("users/").filter(|id| !id.contains('/')))
}

/// The tenant's path of each user who owns one's account document.
fn tenants_by_owner(documents: &BTreeMap<String, Document>) -> BTreeMap<&str, &str> {
    let owned = documents.iter().filter_map(|(path, document)| {
        let path = path.strip_suffix("/accounts/primary")?;
        Some((word(&document.fields, "user_id")?, path))
    });
    owned.collect()
}

fn switched_off(user: &Fields) -> Option<String> {
    let switch = user.get("sync_enabled")?.value_type.as_ref()?;
    (*switch == ValueType::BooleanValue(false)).then(|| "sync_enabled is false".to_owned())
}

fn trouble_in_words(fields: &Fields) -> String {
    let words = [word(fields, "state"), word(fields, "error")];
    words.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

fn map_fields(value: &Value) -> Option<&Fields> {
    match &value.value_type {
        Some(ValueType::MapValue(map)) => Some(&map.fields),
        _ => None,
    }
}

fn word<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    match fields.get(name)?.value_type.as_ref()? {
        ValueType::StringValue(text) => Some(text),
        _ => None,
    }
}
