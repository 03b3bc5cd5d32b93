//! What a pulse left behind, as a table for people.

use crate::Sandbox;
use crate::firestore::Firestore;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use gcloud_sdk::google::firestore::v1::{Document, Value, value::ValueType};
use std::collections::{BTreeMap, HashMap};
use std::io::IsTerminal;

type Fields = HashMap<String, Value>;

/// Where no terminal says otherwise.
const USUAL_WIDTH: u16 = 80;

const NEXT: &str = "\
Next: `pulse sandbox` serves such a cloud, for `pulse sync` in another terminal.
      `pulse demo -v` shows the log of this pass too.
";

/// Every user, with the snapshot that was written or the trouble that was recorded, as wide as the terminal on stdout;
/// and what to try next.
#[must_use]
pub fn text(sandbox: &Sandbox) -> String {
    let database = format!("projects/{}/databases/(default)", sandbox.project());
    let documents = Documents::of(sandbox.firestore(), &database);
    format!("{}\n\n{NEXT}", table(&documents, width()))
}

fn width() -> u16 {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| terminal_size::terminal_size_of(stdout)).flatten();
    size.map_or(USUAL_WIDTH, |(width, _)| width.0)
}

fn table(documents: &Documents, width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(["user", "status", "equity", "buying\npower", "cash", "tenant, or trouble"]);
    for column in 2..=4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for user in documents.users() {
        table.add_row(documents.row(user));
    }
    table
}

/// A database, by the paths of its documents.
struct Documents(BTreeMap<String, Document>);

impl Documents {
    fn of(firestore: &Firestore, database: &str) -> Self {
        let root = format!("{database}/documents/");
        let documents = firestore.documents(database).into_iter();
        let by_path = documents.filter_map(|document| {
            let path = document.name.strip_prefix(&root)?.to_owned();
            Some((path, document))
        });
        Self(by_path.collect())
    }

    fn users(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|path| path.strip_prefix("users/").filter(|id| !id.contains('/')))
    }

    fn fields(&self, path: &str) -> Option<&Fields> {
        self.0.get(path).map(|document| &document.fields)
    }

    fn row(&self, user: &str) -> [String; 6] {
        let snapshot = self.fields(&format!("users/{user}/alpacaAccounts/snapshot"));
        let exact = snapshot.and_then(|fields| map_fields(fields.get("exact")?));
        let figure = |name| exact.and_then(|exact| word(exact, name)).unwrap_or_default().to_owned();
        [
            user.to_owned(),
            snapshot.and_then(|fields| word(fields, "status")).unwrap_or_default().to_owned(),
            figure("equity"),
            figure("buying_power"),
            figure("cash"),
            self.trouble(user).or_else(|| self.tenant(user)).unwrap_or_default(),
        ]
    }

    /// Why there is no snapshot.
    fn trouble(&self, user: &str) -> Option<String> {
        if let Some(state) = self.fields(&format!("users/{user}/alpacaAccounts/sync")) {
            let words = [word(state, "state"), word(state, "error")];
            return Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "));
        }
        let switch = self.fields(&format!("users/{user}"))?.get("sync_enabled")?.value_type.as_ref()?;
        (*switch == ValueType::BooleanValue(false)).then(|| "sync_enabled is false".to_owned())
    }

    /// The tenant's document with the same figures, or whose it is instead.
    fn tenant(&self, user: &str) -> Option<String> {
        let claimed = word(self.fields(&format!("users/{user}"))?, "tenant_id");
        let tenant = claimed.unwrap_or(user);
        let is_member = self.fields(&format!("tenants/{tenant}/users/{user}")).is_some();
        if claimed.is_some() && !is_member {
            return Some(format!("refused: no member of {tenant}"));
        }
        match word(self.fields(&format!("tenants/{tenant}/accounts/primary"))?, "user_id")? {
            owner if owner == user => Some(format!("tenants/{tenant}")),
            owner => Some(format!("{tenant} belongs to {owner}")),
        }
    }
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
