//! `ops/migrations/runs/{plan}`: a migration, and below it its journal, by which everything can be undone.
//!
//! What was there before is kept as Firestore's own encoding of the document, in bytes: exactly, as deep as it may be,
//! and without an index of any of its fields. An entry has the `update_time` of the change that it is of, because both
//! are in one commit.

use crate::firestore::reader::Collection;
use crate::firestore::values::{Fields, bytes, integer, octets, string, text, time, whole_number};
use crate::firestore::write::{FieldChange, Precondition, Write, delete, merge_at, put};
use crate::model::ids::Database;
use gcloud_sdk::google::firestore::v1::{Document, Value};
use gcloud_sdk::prost::Message;
use jiff::Timestamp;

/// Bytes of what was there before in one document, which may have 1 MiB with all else in it.
const PART_BYTES: usize = 900 << 10;

const SOURCE: &str = "source";
const TARGET: &str = "target";
const UNDO: &str = "undo";
const FIELD: &str = "field";
const BEFORE: &str = "before";
const PARTS: &str = "parts";

/// The words of [`UNDO`].
const DELETE: &str = "delete";
const RESTORE_FIELD: &str = "restore_field";
const RECREATE: &str = "recreate";
const DISABLE_SECRET: &str = "disable_secret";

/// Which of a migration's two journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Journal {
    /// Of what was applied.
    Applied,
    /// Of legacy documents that were deleted.
    Cleaned,
}

impl Journal {
    /// The collection's id.
    #[must_use]
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Applied => "entries",
            Self::Cleaned => "cleaned",
        }
    }
}

/// The path of a migration's own document.
#[must_use]
pub(crate) fn run_path(plan: &str) -> String {
    format!("ops/migrations/runs/{plan}")
}

/// How far a migration has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RunState {
    /// Changes are being made, or whoever made them was stopped.
    Applying,
    /// All are made.
    Applied,
    /// They are being undone, or whoever undid them was stopped.
    RollingBack,
    /// All are undone that could be.
    RolledBack,
    /// The legacy documents are being deleted, or whoever deleted them was stopped.
    Cleaning,
    /// They are deleted, and the journal has them.
    Cleaned,
    /// The journal is being deleted, or whoever deleted it was stopped.
    Closing,
    /// Nothing of before is left.
    Closed,
}

impl RunState {
    const ALL: [Self; 8] = [
        Self::Applying,
        Self::Applied,
        Self::RollingBack,
        Self::RolledBack,
        Self::Cleaning,
        Self::Cleaned,
        Self::Closing,
        Self::Closed,
    ];

    /// The word in the document.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::RollingBack => "rolling_back",
            Self::RolledBack => "rolled_back",
            Self::Cleaning => "cleaning",
            Self::Cleaned => "cleaned",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// A migration's own document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The plan's id.
    pub(crate) plan: String,
    /// Nothing if it is none that is known.
    pub(crate) state: Option<RunState>,
    /// The changes that were made, as counted by whoever made the last of them.
    pub(crate) moved: u64,
    /// The options that the plan stands for, as they were typed; empty where that is not known.
    pub(crate) options: String,
    /// When the document was written.
    pub(crate) updated_at: Option<Timestamp>,
}

/// What is said of how far a migration has come; what is not given stays as it was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    pub(crate) state: RunState,
    pub(crate) moved: Option<u64>,
    pub(crate) options: Option<&'a str>,
}

impl From<RunState> for Step<'_> {
    fn from(state: RunState) -> Self {
        Self { state, moved: None, options: None }
    }
}

impl Run {
    /// Reads it.
    #[must_use]
    pub(crate) fn of(document: &Document) -> Self {
        let word = document.fields.get(STATE).and_then(string);
        let moved = document.fields.get(MOVED).and_then(whole_number);
        Self {
            plan: document.name.rsplit('/').next().unwrap_or_default().to_owned(),
            state: RunState::ALL.into_iter().find(|state| Some(state.as_str()) == word),
            moved: moved.and_then(|moved| u64::try_from(moved).ok()).unwrap_or_default(),
            options: document.fields.get(OPTIONS).and_then(string).unwrap_or_default().to_owned(),
            updated_at: document.fields.get(UPDATED_AT).and_then(time),
        }
    }

    /// Whether its clean-up may have deleted documents of which another migration, planned at that time, has made
    /// others: those may be all that is left of them.
    #[must_use]
    pub(crate) fn may_have_deleted_since(&self, planned: Timestamp) -> bool {
        match self.state {
            Some(RunState::Cleaning | RunState::Cleaned | RunState::Closing) => true,
            Some(RunState::Closed) => self.updated_at.is_none_or(|closed| closed >= planned),
            _ => false,
        }
    }

    /// Whether its journal has no use any more once a migration of that plan, which was made later, is closed.
    #[must_use]
    pub(crate) fn ends_with(&self, plan: &str) -> bool {
        use RunState::{Applied, Applying, RolledBack, RollingBack};
        let has_deleted_nothing = matches!(self.state, Some(Applying | Applied | RollingBack | RolledBack));
        // The ids begin with the time.
        has_deleted_nothing && self.plan.as_str() < plan
    }

    /// The write that says how far it has come.
    #[must_use]
    pub(crate) fn write(database: &Database, plan: &str, step: Step<'_>) -> Write {
        let moved = step.moved.and_then(|moved| i64::try_from(moved).ok()).map(|moved| integer(moved).into());
        let mut changes: Vec<FieldChange<'_>> = vec![(STATE, Some(step.state.as_str().into()))];
        changes.extend(moved.map(|moved| (MOVED, Some(moved))));
        changes.extend(step.options.map(|options| (OPTIONS, Some(options.into()))));
        let name = database.document(format_args!("{}", run_path(plan)));
        merge_at(&name, &changes, UPDATED_AT, &Precondition::Nothing)
    }
}

/// The collection of all migrations.
pub(crate) const RUNS: Collection<'static> =
    Collection { parent: "ops/migrations", id: "runs", is_group: false, fields: None };

const STATE: &str = "state";
const MOVED: &str = "moved";
const OPTIONS: &str = "options";
const UPDATED_AT: &str = "updated_at";

/// How a change is undone.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Undo {
    /// The target did not exist.
    Delete,
    /// A field of the target had this value, or none.
    RestoreField(String, Option<Value>),
    /// The target had these fields, and was deleted.
    Recreate(Fields),
    /// The target is a secret, of which no version could be read: that of these keys is disabled.
    DisableSecret,
}

/// One change that was made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The legacy document's path.
    pub(crate) source: String,
    /// The path of the document that was changed.
    pub(crate) target: String,
    /// How it is undone.
    pub(crate) undo: Undo,
}

impl Entry {
    /// The entry's path: one for each source.
    #[must_use]
    pub(crate) fn path(&self, plan: &str, journal: Journal) -> String {
        format!("{}/{}/{:032x}", run_path(plan), journal.id(), hash(&self.source))
    }

    /// The writes that keep it. Those of an entry that is there already replace it.
    #[must_use]
    pub(crate) fn to_writes(&self, database: &Database, plan: &str, journal: Journal) -> Vec<Write> {
        let path = self.path(plan, journal);
        let before = self.before();
        let mut parts = before.chunks(PART_BYTES);
        let first = parts.next().unwrap_or_default();
        let mut fields = self.head();
        fields.insert(BEFORE.to_owned(), bytes(first.to_vec()));
        let mut writes: Vec<Write> = parts
            .zip(1_u32..)
            .map(|(part, number)| {
                let part = Fields::from([(BEFORE.to_owned(), bytes(part.to_vec()))]);
                put(&part_name(database, &path, number), &part, &Precondition::Nothing)
            })
            .collect();
        fields.insert(PARTS.to_owned(), integer(writes.len() as i64));
        writes.push(put(&database.document(format_args!("{path}")), &fields, &Precondition::Nothing));
        writes
    }

    fn head(&self) -> Fields {
        let undo = match &self.undo {
            Undo::Delete => DELETE,
            Undo::RestoreField(..) => RESTORE_FIELD,
            Undo::Recreate(_) => RECREATE,
            Undo::DisableSecret => DISABLE_SECRET,
        };
        let mut fields: Fields = [(SOURCE, &self.source), (TARGET, &self.target)]
            .map(|(name, path)| (name.to_owned(), text(path)))
            .into();
        fields.insert(UNDO.to_owned(), text(undo));
        if let Undo::RestoreField(field, _) = &self.undo {
            fields.insert(FIELD.to_owned(), text(field));
        }
        fields
    }

    fn before(&self) -> Vec<u8> {
        let fields = match &self.undo {
            Undo::Delete | Undo::DisableSecret => Fields::new(),
            Undo::RestoreField(field, value) => {
                value.iter().map(|value| (field.clone(), value.clone())).collect()
            }
            Undo::Recreate(fields) => fields.clone(),
        };
        Document { fields, ..Document::default() }.encode_to_vec()
    }
}

/// An entry as it is stored, and what of it is in other documents.
#[derive(Debug)]
pub(crate) struct StoredEntry {
    document: Document,
    parts: u32,
}

impl StoredEntry {
    /// Reads its first document.
    #[must_use]
    pub(crate) fn of(document: Document) -> Self {
        let parts = document.fields.get(PARTS).and_then(whole_number);
        Self { parts: parts.and_then(|parts| u32::try_from(parts).ok()).unwrap_or_default(), document }
    }

    /// Its full name.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.document.name
    }

    /// The path of the document that was changed.
    #[must_use]
    pub(crate) fn target(&self) -> Option<&str> {
        self.document.fields.get(TARGET).and_then(string)
    }

    /// The path of the legacy document, where the one that was changed is one more, made of it.
    #[must_use]
    pub(crate) fn source_of_new(&self) -> Option<&str> {
        let is_new = self.document.fields.get(UNDO).and_then(string) == Some(DELETE);
        self.document.fields.get(SOURCE).and_then(string).filter(|_| is_new)
    }

    /// The time of the change.
    #[must_use]
    pub(crate) fn version(&self) -> Option<gcloud_sdk::prost_types::Timestamp> {
        self.document.update_time
    }

    /// The full names of its other documents.
    #[must_use]
    pub(crate) fn parts(&self) -> Vec<String> {
        (1..=self.parts).map(|number| format!("{}/parts/{number}", self.document.name)).collect()
    }

    /// The entry, with its other documents in the order of [`StoredEntry::parts`]; nothing if it cannot be read.
    #[must_use]
    pub(crate) fn entry(&self, parts: &[&Document]) -> Option<Entry> {
        let fields = &self.document.fields;
        let of = |name| fields.get(name).and_then(string).map(str::to_owned);
        let mut before = fields.get(BEFORE).and_then(octets)?.to_vec();
        for part in parts {
            before.extend_from_slice(part.fields.get(BEFORE).and_then(octets)?);
        }
        let mut before = Document::decode(before.as_slice()).ok()?.fields;
        let undo = match of(UNDO)?.as_str() {
            DELETE => Undo::Delete,
            RESTORE_FIELD => {
                let field = of(FIELD)?;
                let value = before.remove(&field);
                Undo::RestoreField(field, value)
            }
            RECREATE => Undo::Recreate(before),
            DISABLE_SECRET => Undo::DisableSecret,
            _ => return None,
        };
        Some(Entry { source: of(SOURCE)?, target: of(TARGET)?, undo })
    }

    /// The deletions of all its documents, if it is still this version.
    #[must_use]
    pub(crate) fn deletions(&self, parts: &[&Document]) -> Vec<Write> {
        let documents = parts.iter().copied().chain([&self.document]);
        documents.filter_map(|document| Some(delete(&document.name, document.update_time?))).collect()
    }
}

fn part_name(database: &Database, path: &str, number: u32) -> String {
    database.document(format_args!("{path}/parts/{number}"))
}

/// FNV-1a: the same in every version, and spread over all ids, which Firestore wants of documents that are written fast.
fn hash(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firestore::values::arbitrary::{any_fields, any_value};
    use crate::firestore::values::are_same;
    use gcloud_sdk::google::firestore::v1;
    use gcloud_sdk::google::firestore::v1::write::Operation;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn database() -> Database {
        Database::parse("p", "d").expect("legal")
    }

    /// The documents that the writes make.
    fn documents(writes: &[Write]) -> HashMap<String, Document> {
        let written = writes.iter().map(|write| v1::Write::decode(write.as_bytes()).expect("a write"));
        written
            .map(|write| match write.operation {
                Some(Operation::Update(document)) => (document.name.clone(), document),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn read_back(entry: &Entry) -> Option<Entry> {
        let writes = entry.to_writes(&database(), "plan", Journal::Applied);
        let documents = documents(&writes);
        let path = entry.path("plan", Journal::Applied);
        let head = documents[&database().document(format_args!("{path}"))].clone();
        let stored = StoredEntry::of(head);
        assert_eq!(stored.parts().len() + 1, writes.len());
        assert_eq!(stored.target(), Some(entry.target.as_str()));
        let parts: Vec<&Document> = stored.parts().iter().map(|name| &documents[name]).collect();
        stored.entry(&parts)
    }

    #[test]
    fn the_hash_is_the_one_that_others_compute() {
        assert_eq!(hash(""), 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        assert_eq!(hash("a"), 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
    }

    #[test]
    fn a_document_of_a_mebibyte_is_kept_in_parts_that_fit() {
        let long = text("x".repeat(1_040_000));
        let undo = Undo::Recreate([("long".to_owned(), long)].into());
        let entry = Entry { source: "users/ana/alpacaAccounts/snapshot".into(), target: "t".into(), undo };
        let writes = entry.to_writes(&database(), "plan", Journal::Cleaned);
        assert_eq!(writes.len(), 2);
        assert!(writes.iter().all(|write| write.as_bytes().len() < 1 << 20));
        assert_eq!(read_back(&entry), Some(entry));
    }

    proptest! {
        #[test]
        fn what_was_there_before_is_read_back_to_the_last_bit(
            fields in any_fields(&["a", "b", "__c__", "d.e"]),
            value in prop::option::of(any_value()),
            source in "\\PC{1,40}",
        ) {
            let entry = |undo| Entry { source: source.clone(), target: source.clone(), undo };
            for undo in [Undo::Delete, Undo::DisableSecret] {
                prop_assert_eq!(read_back(&entry(undo.clone())), Some(entry(undo)));
            }
            let Some(Undo::Recreate(read)) = read_back(&entry(Undo::Recreate(fields.clone()))).map(|e| e.undo)
            else { panic!("recreated") };
            prop_assert!(are_same(&read, &fields));
            let restored = Undo::RestoreField("user_id".into(), value.clone());
            let Some(Undo::RestoreField(field, read)) = read_back(&entry(restored)).map(|e| e.undo)
            else { panic!("restored") };
            prop_assert_eq!(field, "user_id");
            let same = |value: Option<Value>| Fields::from_iter(value.map(|value| ("v".to_owned(), value)));
            prop_assert!(are_same(&same(read), &same(value)));
        }
    }
}
