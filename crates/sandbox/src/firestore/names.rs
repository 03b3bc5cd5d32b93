//! Resource names, and the order Firestore gives them: segment by segment.

use super::errors::invalid;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use tonic::Status;

/// Longest collection or document id, in bytes of UTF-8.
const MAX_ID_BYTES: usize = 1500;

/// Sorts after every id: no UTF-8 text contains this byte.
const AFTER_EVERY_ID: u8 = 0xFF;

/// The path of a document or collection below `.../documents`, such as `users/ana`, ordered as Firestore orders
/// names: segment by segment, and numeric ids (`__id7__`) before all others.
///
/// Held as bytes rather than text so that a bound such as "behind everything below `users/ana`" is a value too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Path(Arc<[u8]>);

impl Path {
    /// The path of the database's root: the parent of the top level collections.
    pub(super) fn root() -> Self {
        Self(Arc::from([]))
    }

    /// The path as text. Lossless, as all but the bounds used for seeking are UTF-8.
    pub(super) fn as_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// This path with one more segment.
    pub(super) fn child(&self, id: &str) -> Self {
        self.joined(id.as_bytes())
    }

    /// A bound behind everything below this path, and before whatever follows.
    pub(super) fn after_descendants(&self) -> Self {
        self.joined(&[AFTER_EVERY_ID])
    }

    fn joined(&self, segment: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + segment.len());
        if !self.0.is_empty() {
            bytes.extend_from_slice(&self.0);
            bytes.push(b'/');
        }
        bytes.extend_from_slice(segment);
        Self(bytes.into())
    }

    /// The collection id of a document's path: its last segment but one.
    pub(super) fn collection_id(&self) -> &[u8] {
        self.segments().rev().nth(1).unwrap_or_default()
    }

    /// What follows `ancestor` in this path, or `None` where this path is not below it.
    pub(super) fn below(&self, ancestor: &Self) -> Option<&[u8]> {
        if ancestor.0.is_empty() {
            return Some(&self.0);
        }
        self.0.strip_prefix(&*ancestor.0)?.strip_prefix(b"/")
    }

    /// The id that follows `ancestor` in this path.
    pub(super) fn child_of(&self, ancestor: &Self) -> Option<Cow<'_, str>> {
        self.below(ancestor)?.split(|byte| *byte == b'/').next().map(String::from_utf8_lossy)
    }

    /// Whether this document lies directly in a collection of `parent`, whatever the collection's name.
    pub(super) fn is_grandchild_of(&self, parent: &Self) -> bool {
        self.below(parent).is_some_and(|rest| rest.iter().filter(|byte| **byte == b'/').count() == 1)
    }

    fn segments(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/')
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str())
    }
}

impl PartialOrd for Path {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Path {
    fn cmp(&self, other: &Self) -> Ordering {
        let (ours, theirs) = (&*self.0, &*other.0);
        let same = ours.iter().zip(theirs).take_while(|(a, b)| a == b).count();
        let start = ours[..same].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (our_id, their_id) = (segment_at(ours, start), segment_at(theirs, start));
        let rank = |id| (numeric_id(id).is_none(), numeric_id(id));
        // Equal ids here mean that one path goes on where the other ends.
        rank(our_id)
            .cmp(&rank(their_id))
            .then_with(|| our_id.cmp(their_id))
            .then_with(|| ours.len().cmp(&theirs.len()))
    }
}

fn segment_at(path: &[u8], start: usize) -> &[u8] {
    let rest = &path[start..];
    rest.split(|byte| *byte == b'/').next().unwrap_or(rest)
}

/// The number in an id of the form `__id7__`, which imports from Datastore have.
fn numeric_id(id: &[u8]) -> Option<i64> {
    let digits = id.strip_prefix(b"__id")?.strip_suffix(b"__")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The database in a name `projects/{project}/databases/{database}`.
pub(super) fn parse_database(name: &str) -> Result<&str, Status> {
    match name.split('/').collect::<Vec<_>>()[..] {
        ["projects", project, "databases", database] if !project.is_empty() && !database.is_empty() => {
            Ok(name)
        }
        _ => Err(invalid(format!("Database name \"{name}\" is not of the form projects/*/databases/*."))),
    }
}

/// A document's full name, split into database and path.
pub(super) fn parse_document(name: &str) -> Result<(&str, Path), Status> {
    let (database, segments) = split("Document name", name)?;
    if segments.is_empty() || segments.len() % 2 == 1 {
        return Err(invalid(format!("Document name \"{name}\" does not end in a document id.")));
    }
    Ok((database, path_of("Document name", name, &segments)?))
}

/// A parent's full name: a document, or the root `.../documents`.
pub(super) fn parse_parent(name: &str) -> Result<(&str, Path), Status> {
    let (database, segments) = split("Document parent name", name)?;
    if segments.len() % 2 == 1 {
        return Err(invalid(format!("Document parent name \"{name}\" names a collection, not a document.")));
    }
    Ok((database, path_of("Document parent name", name, &segments)?))
}

/// A name that must lie in `database`, as in a request about that database.
pub(super) fn parse_document_in(database: &str, name: &str) -> Result<Path, Status> {
    let (actual, path) = parse_document(name)?;
    if actual == database {
        Ok(path)
    } else {
        Err(invalid(format!("Document name \"{name}\" lies outside the database \"{database}\".")))
    }
}

/// The full name of what lies at `path`.
pub(super) fn full_name(database: &str, path: &Path) -> String {
    format!("{database}/documents/{path}")
}

/// Refuses a collection id that Firestore would refuse.
pub(super) fn check_collection_id(id: &str) -> Result<(), Status> {
    check_length("Collection id", id)?;
    if id.contains('/') {
        return Err(invalid(format!("Collection id \"{id}\" is invalid because it contains \"/\".")));
    }
    if is_reserved(id) {
        return Err(invalid(format!("Collection id \"{id}\" is invalid because it is reserved.")));
    }
    Ok(())
}

/// Refuses a document id that Firestore would refuse.
pub(super) fn check_document_id(id: &str) -> Result<(), Status> {
    check_length("Resource id", id)?;
    if id.contains('/') {
        return Err(invalid(format!("Resource id \"{id}\" is invalid because it contains \"/\".")));
    }
    if is_reserved(id) && numeric_id(id.as_bytes()).is_none() {
        return Err(invalid(format!("Resource id \"{id}\" is invalid because it is reserved.")));
    }
    Ok(())
}

/// Whether Firestore keeps this name of a document, collection or field for itself: `__.*__`.
pub(super) fn is_reserved(id: &str) -> bool {
    id.len() >= 4 && id.starts_with("__") && id.ends_with("__")
}

fn check_length(kind: &str, id: &str) -> Result<(), Status> {
    match id {
        "" => Err(invalid(format!("{kind} is the empty string."))),
        "." | ".." => Err(invalid(format!("{kind} \"{id}\" is invalid."))),
        _ if id.len() > MAX_ID_BYTES => Err(invalid(format!("{kind} is longer than {MAX_ID_BYTES} bytes."))),
        _ => Ok(()),
    }
}

/// Splits a full name into its database and the segments behind `/documents`.
fn split<'a>(kind: &str, name: &'a str) -> Result<(&'a str, Vec<&'a str>), Status> {
    let segments: Vec<_> = name.split('/').collect();
    match segments[..] {
        ["projects", project, "databases", database, "documents", ref path @ ..]
            if !project.is_empty() && !database.is_empty() =>
        {
            let end = "projects/".len() + project.len() + "/databases/".len() + database.len();
            Ok((&name[..end], path.to_vec()))
        }
        _ => {
            Err(invalid(format!("{kind} \"{name}\" is not of the form projects/*/databases/*/documents/**.")))
        }
    }
}

fn path_of(kind: &str, name: &str, segments: &[&str]) -> Result<Path, Status> {
    for (index, segment) in segments.iter().enumerate() {
        let check = if index % 2 == 0 { check_collection_id } else { check_document_id };
        check(segment).map_err(|refusal| invalid(format!("{kind} \"{name}\": {}", refusal.message())))?;
    }
    Ok(Path(segments.join("/").into_bytes().into()))
}

#[cfg(test)]
mod tests;
