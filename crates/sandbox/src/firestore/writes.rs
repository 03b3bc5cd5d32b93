//! Writes: what a client may ask for, and how a list of them is applied as one.

use super::clock::{Micros, micros, timestamp};
use super::errors::{
    already_exists, contradicts_earlier_write, invalid, nothing_to_update, version_mismatch,
};
use super::fields::{FieldPath, parse_mask};
use super::names::{Path, parse_document_in};
use super::store::{Store, Stored};
use super::transforms::{Transform, parse_transforms};
use super::values::{Fields, check_document_size, check_fields, identical_fields};
use gcloud_sdk::google::firestore::v1::precondition::ConditionType;
use gcloud_sdk::google::firestore::v1::write::Operation;
use gcloud_sdk::google::firestore::v1::{self, CommitResponse, Value, Write, WriteResult};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use tonic::Status;

/// A checked write of one document.
#[derive(Clone, Debug)]
pub(super) struct Mutation {
    path: Path,
    precondition: Precondition,
    action: Action,
}

#[derive(Clone, Copy, Debug)]
enum Precondition {
    None,
    Exists(bool),
    UpdateTime(Micros),
}

#[derive(Clone, Debug)]
enum Action {
    Delete,
    Update {
        fields: Fields,
        /// The fields to replace, or `None` for the whole document.
        mask: Option<Vec<FieldPath>>,
        transforms: Vec<Transform>,
    },
}

impl Mutation {
    /// Checks a write to `database`. What it refuses, it refuses whatever the documents hold.
    pub(super) fn parse(database: &str, write: Write) -> Result<Self, Status> {
        let precondition = Precondition::parse(write.current_document)?;
        let mask = parse_mask(write.update_mask.as_ref())?;
        let (name, action) = match write.operation {
            None => return Err(invalid("A write has no operation.")),
            Some(Operation::Update(mut document)) => {
                check_fields(&mut document.fields)?;
                let transforms = parse_transforms(write.update_transforms)?;
                (document.name, Action::Update { fields: document.fields, mask, transforms })
            }
            Some(Operation::Delete(name)) => {
                if mask.is_some() || !write.update_transforms.is_empty() {
                    return Err(invalid("A delete must have neither a mask nor transforms."));
                }
                (name, Action::Delete)
            }
            Some(Operation::Transform(transform)) => {
                if mask.is_some() || !write.update_transforms.is_empty() {
                    return Err(invalid("A transform must have neither a mask nor further transforms."));
                }
                if transform.field_transforms.is_empty() {
                    return Err(invalid("A transform has no field transforms."));
                }
                let transforms = parse_transforms(transform.field_transforms)?;
                // An empty mask: no field of the document is replaced but those that the transforms set.
                (
                    transform.document,
                    Action::Update { fields: Fields::new(), mask: Some(Vec::new()), transforms },
                )
            }
        };
        Ok(Self { path: parse_document_in(database, &name)?, precondition, action })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What the document holds afterwards (`None`: it is gone), and the results of the transforms.
    fn apply(self, current: Option<Fields>, time: Micros) -> (Option<Fields>, Vec<Value>) {
        let Action::Update { fields, mask, transforms } = self.action else {
            return (None, Vec::new());
        };
        let mut fields = match mask {
            None => fields,
            Some(mask) => merged(current.unwrap_or_default(), &fields, &mask),
        };
        let results = transforms.iter().map(|transform| transform.apply(&mut fields, time)).collect();
        (Some(fields), results)
    }
}

/// `current` with the masked fields replaced. A masked field that `new` lacks is removed.
fn merged(mut current: Fields, new: &Fields, mask: &[FieldPath]) -> Fields {
    for path in mask.iter().filter(|path| !path.is_name()) {
        match path.get(new) {
            Some(value) => path.set(&mut current, value.clone()),
            None => path.remove(&mut current),
        }
    }
    current
}

impl Precondition {
    fn parse(precondition: Option<v1::Precondition>) -> Result<Self, Status> {
        match precondition {
            None => Ok(Self::None),
            Some(v1::Precondition { condition_type: Some(ConditionType::Exists(exists)) }) => {
                Ok(Self::Exists(exists))
            }
            Some(v1::Precondition { condition_type: Some(ConditionType::UpdateTime(time)) }) => {
                Ok(Self::UpdateTime(micros(&time)))
            }
            Some(v1::Precondition { condition_type: None }) => {
                Err(invalid("A precondition has no condition."))
            }
        }
    }

    fn check(self, path: &Path, stored: Option<&Stored>) -> Result<(), Status> {
        match (self, stored) {
            (Self::Exists(true), None) => Err(nothing_to_update(path)),
            (Self::Exists(false), Some(_)) => Err(already_exists(path)),
            (Self::UpdateTime(required), stored) => {
                let version = stored.map_or(0, |stored| stored.update_time);
                if version == required { Ok(()) } else { Err(version_mismatch(path, version, required)) }
            }
            _ => Ok(()),
        }
    }

    /// For a second write of a document in one request, after which it `exists` or not. Firestore refuses what
    /// could never hold as a contradiction, not as a failed precondition.
    fn check_again(self, path: &Path, exists: bool) -> Result<(), Status> {
        match self {
            Self::None => Ok(()),
            Self::Exists(required) if required == exists => Ok(()),
            Self::Exists(_) | Self::UpdateTime(_) => Err(contradicts_earlier_write(path)),
        }
    }
}

/// A document while the writes of one request are applied to it.
#[derive(Debug)]
struct Draft {
    stored: Option<Arc<Stored>>,
    fields: Option<Fields>,
    /// Deleted on the way: whatever is written behind that is another document, with its own create time.
    replaced: bool,
}

/// Applies all writes, or none of them.
pub(super) fn commit(
    store: &mut Store,
    mutations: Vec<Mutation>,
    time: Micros,
) -> Result<CommitResponse, Status> {
    if mutations.is_empty() {
        return Ok(CommitResponse::default());
    }
    let mut drafts = HashMap::<Path, Draft>::with_capacity(mutations.len());
    let mut results = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        let path = mutation.path.clone();
        let draft = match drafts.entry(path.clone()) {
            Entry::Vacant(slot) => {
                let stored = store.get(&path).cloned();
                mutation.precondition.check(&path, stored.as_deref())?;
                let fields = stored.as_deref().map(Stored::fields);
                slot.insert(Draft { stored, fields, replaced: false })
            }
            Entry::Occupied(slot) => {
                let draft = slot.into_mut();
                mutation.precondition.check_again(&path, draft.fields.is_some())?;
                draft
            }
        };
        let (fields, transform_results) = mutation.apply(draft.fields.take(), time);
        if let Some(fields) = &fields {
            check_document_size(&path.as_str(), fields)?;
        }
        draft.replaced |= fields.is_none();
        draft.fields = fields;
        results.push((path, transform_results));
    }
    // Nothing can fail from here on, so a refused request has changed nothing.
    let times: HashMap<_, _> = drafts
        .into_iter()
        .map(|(path, draft)| (path.clone(), store_draft(store, path, draft, time)))
        .collect();
    let write_results = results.into_iter().map(|(path, transform_results)| {
        let update_time = times.get(&path).copied().flatten().map(timestamp);
        WriteResult { update_time, transform_results }
    });
    Ok(CommitResponse { write_results: write_results.collect(), commit_time: Some(timestamp(time)) })
}

/// Stores what became of a document, and answers its update time: the old one where nothing has changed.
fn store_draft(store: &mut Store, path: Path, draft: Draft, time: Micros) -> Option<Micros> {
    match (draft.fields, draft.stored) {
        (None, None) => None,
        (None, Some(_)) => {
            store.remove(path, time);
            None
        }
        (Some(fields), Some(stored)) if !draft.replaced => {
            if identical_fields(&fields, &stored.fields()) {
                return Some(stored.update_time);
            }
            store.put(path, fields, stored.create_time, time);
            Some(time)
        }
        (Some(fields), _) => {
            store.put(path, fields, time, time);
            Some(time)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{DATABASE, document, int, map, to_fields};
    use super::*;
    use gcloud_sdk::google::firestore::v1::{Document, DocumentMask};
    use tonic::Code;

    fn update(path: &str, fields: &[(&str, Value)]) -> Write {
        let document = Document {
            name: format!("{DATABASE}/documents/{path}"),
            fields: to_fields(fields),
            ..Document::default()
        };
        Write { operation: Some(Operation::Update(document)), ..Write::default() }
    }

    fn delete(path: &str) -> Write {
        Write {
            operation: Some(Operation::Delete(format!("{DATABASE}/documents/{path}"))),
            ..Write::default()
        }
    }

    fn merge(path: &str, mask: &[&str], fields: &[(&str, Value)]) -> Write {
        let field_paths = mask.iter().map(|path| (*path).to_owned()).collect();
        Write { update_mask: Some(DocumentMask { field_paths }), ..update(path, fields) }
    }

    fn only_if(write: Write, condition: ConditionType) -> Write {
        let current_document = Some(v1::Precondition { condition_type: Some(condition) });
        Write { current_document, ..write }
    }

    fn apply(store: &mut Store, writes: &[Write], time: Micros) -> Result<CommitResponse, Code> {
        let parse = |write: &Write| Mutation::parse(DATABASE, write.clone());
        let mutations = writes.iter().map(parse).collect::<Result<_, _>>();
        mutations.and_then(|mutations| commit(store, mutations, time)).map_err(|refusal| refusal.code())
    }

    fn fields(store: &Store, path: &str) -> Option<Fields> {
        store.get(&document(path)).map(|stored| stored.fields())
    }

    /// A store in which `u/a` was written at 7, and `u/none` never.
    fn store() -> Store {
        let mut store = Store::default();
        apply(&mut store, &[update("u/a", &[("x", int(1))])], 7).expect("a plain write");
        store
    }

    #[test]
    fn a_precondition_decides_whether_a_write_is_applied() {
        use ConditionType::{Exists, UpdateTime};
        let cases = [
            ("u/a", Exists(true), None),
            ("u/a", Exists(false), Some(Code::AlreadyExists)),
            ("u/a", UpdateTime(timestamp(7)), None),
            ("u/a", UpdateTime(timestamp(6)), Some(Code::FailedPrecondition)),
            ("u/none", Exists(true), Some(Code::NotFound)),
            ("u/none", Exists(false), None),
            ("u/none", UpdateTime(timestamp(7)), Some(Code::FailedPrecondition)),
        ];
        for (path, condition, refusal) in cases {
            for write in [update(path, &[("x", int(2))]), delete(path)] {
                let applied = apply(&mut store(), &[only_if(write, condition)], 8);
                assert_eq!(applied.err(), refusal, "{path} {condition:?}");
            }
        }
    }

    #[test]
    fn writes_that_no_document_could_take_are_refused() {
        let masked = merge("u/a", &["x"], &[]).update_mask;
        let bad = [
            Write::default(),
            update("u", &[]),
            update("u/a", &[("", int(1))]),
            merge("u/a", &["x y"], &[]),
            Write { update_mask: masked, ..delete("u/a") },
            Write { current_document: Some(v1::Precondition::default()), ..delete("u/a") },
        ];
        for write in bad {
            assert_eq!(
                apply(&mut store(), std::slice::from_ref(&write), 8).err(),
                Some(Code::InvalidArgument),
                "{write:?}"
            );
        }
    }

    #[test]
    fn one_refused_write_refuses_them_all() {
        let mut store = store();
        let needy = only_if(update("u/none", &[]), ConditionType::Exists(true));
        let writes = [update("u/new", &[]), delete("u/a"), needy];
        assert_eq!(apply(&mut store, &writes, 8).err(), Some(Code::NotFound));
        assert_eq!(fields(&store, "u/new"), None);
        assert_eq!(fields(&store, "u/a"), Some(to_fields(&[("x", int(1))])));
    }

    #[test]
    fn a_mask_replaces_and_removes_only_what_it_names() {
        let current = to_fields(&[("a", int(1)), ("b", map(&[("c", int(2)), ("d", int(3))])), ("e", int(4))]);
        let new = to_fields(&[("a", int(9)), ("b", map(&[("c", int(9))])), ("x", int(9))]);
        let mask = ["b.c", "b.d", "e"].map(|path| FieldPath::parse(path).unwrap());
        let expected = to_fields(&[("a", int(1)), ("b", map(&[("c", int(9))]))]);
        assert_eq!(merged(current, &new, &mask), expected);
    }

    #[test]
    fn a_write_that_changes_nothing_keeps_the_version() {
        let mut store = store();
        for nothing in [update("u/a", &[("x", int(1))]), merge("u/a", &["gone"], &[])] {
            let committed = apply(&mut store, &[nothing], 8).unwrap();
            assert_eq!(committed.write_results[0].update_time, Some(timestamp(7)));
            assert_eq!(committed.commit_time, Some(timestamp(8)));
        }
        apply(&mut store, &[delete("u/a"), update("u/a", &[("x", int(1))])], 9).unwrap();
        let stored = store.get(&document("u/a")).unwrap();
        assert_eq!((stored.create_time, stored.update_time), (9, 9), "another document");
    }

    #[test]
    fn a_second_write_sees_the_first_and_must_not_contradict_it() {
        use ConditionType::Exists;
        let a = || update("u/a", &[]);
        for (first, second, is_fine) in [
            (a(), a(), true),
            (a(), only_if(delete("u/a"), Exists(true)), true),
            (delete("u/a"), only_if(a(), Exists(false)), true),
            (a(), only_if(a(), Exists(false)), false),
            (delete("u/a"), only_if(a(), Exists(true)), false),
            (a(), only_if(a(), ConditionType::UpdateTime(timestamp(7))), false),
        ] {
            let writes = [first, second];
            let refusal = (!is_fine).then_some(Code::InvalidArgument);
            assert_eq!(apply(&mut store(), &writes, 8).err(), refusal, "{writes:?}");
        }
    }
}
