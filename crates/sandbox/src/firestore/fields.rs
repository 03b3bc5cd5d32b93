//! Field paths, such as `` exact.`buying power` ``, and what they pick from a document.

use super::errors::invalid;
use super::names::is_reserved;
use super::values::{Fields, value};
use gcloud_sdk::google::firestore::v1::value::ValueType;
use gcloud_sdk::google::firestore::v1::{DocumentMask, MapValue, Value};
use tonic::Status;

/// The pseudo field that stands for a document's name.
pub(super) const NAME: &str = "__name__";

/// A path into nested maps: at least one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct FieldPath(Vec<String>);

impl FieldPath {
    /// Parses the text form: names joined by dots, each plain (`[a-zA-Z_][a-zA-Z_0-9]*`) or in backticks, where a
    /// backslash escapes the next character.
    pub(super) fn parse(text: &str) -> Result<Self, Status> {
        let mut names = Vec::new();
        let mut rest = Some(text);
        while let Some(current) = rest {
            let (name, behind) = first_name(current).ok_or_else(|| {
                invalid(format!(
                    "Invalid field path \"{text}\": quote names that are not plain in backticks."
                ))
            })?;
            if is_reserved(&name) && name != NAME {
                return Err(invalid(format!("Field path \"{text}\" contains the reserved name \"{name}\".")));
            }
            names.push(name);
            rest = behind.strip_prefix('.');
            if rest.is_none() && !behind.is_empty() {
                return Err(invalid(format!("Invalid field path \"{text}\": a dot is missing.")));
            }
        }
        Ok(Self(names))
    }

    /// Whether this is the field of that name, at the top of a document.
    pub(super) fn is(&self, name: &str) -> bool {
        self.0 == [name]
    }

    /// Whether this is [`NAME`].
    pub(super) fn is_name(&self) -> bool {
        self.is(NAME)
    }

    /// Whether the field that this path names lies within the other's.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self.0.len() > other.0.len() && self.0.starts_with(&other.0)
    }

    pub(super) fn get<'a>(&self, fields: &'a Fields) -> Option<&'a Value> {
        let (last, maps) = self.0.split_last()?;
        let mut fields = fields;
        for name in maps {
            fields = &as_map(fields.get(name)?)?.fields;
        }
        fields.get(last)
    }

    /// Puts a value at this path, replacing whatever is in the way by a map.
    pub(super) fn set(&self, fields: &mut Fields, new: Value) {
        let Some((last, maps)) = self.0.split_last() else {
            return;
        };
        let mut fields = fields;
        for name in maps {
            fields = enter_map(fields.entry(name.clone()).or_default());
        }
        fields.insert(last.clone(), new);
    }

    /// Removes the value at this path. The maps around it stay, even if empty.
    pub(super) fn remove(&self, fields: &mut Fields) {
        let Some((last, maps)) = self.0.split_last() else {
            return;
        };
        let mut fields = fields;
        for name in maps {
            match fields.get_mut(name) {
                Some(Value { value_type: Some(ValueType::MapValue(map)) }) => fields = &mut map.fields,
                _ => return,
            }
        }
        fields.remove(last);
    }
}

pub(super) fn parse_mask(mask: Option<&DocumentMask>) -> Result<Option<Vec<FieldPath>>, Status> {
    mask.map(|mask| mask.field_paths.iter().map(|path| FieldPath::parse(path)).collect()).transpose()
}

/// The fields that the paths pick; all of them where there is no mask.
pub(super) fn project(fields: Fields, mask: Option<&[FieldPath]>) -> Fields {
    let Some(mask) = mask else { return fields };
    let picked = |path: &&FieldPath| !path.is_name() && !mask.iter().any(|outer| path.is_within(outer));
    let mut projected = Fields::new();
    for path in mask.iter().filter(picked) {
        if let Some(value) = path.get(&fields) {
            path.set(&mut projected, value.clone());
        }
    }
    projected
}

/// The name that a path begins with, and what follows it.
fn first_name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('`') else {
        let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (name, behind) = text.split_at(end);
        let plain = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        return plain.then(|| (name.to_owned(), behind));
    };
    let mut name = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '`' if name.is_empty() => return None,
            '`' => return Some((name, chars.as_str())),
            '\\' => name.push(chars.next()?),
            c => name.push(c),
        }
    }
}

fn as_map(value: &Value) -> Option<&MapValue> {
    match &value.value_type {
        Some(ValueType::MapValue(map)) => Some(map),
        _ => None,
    }
}

/// The fields of the map in `slot`, which becomes one if it is not.
fn enter_map(slot: &mut Value) -> &mut Fields {
    if as_map(slot).is_none() {
        *slot = value(ValueType::MapValue(MapValue::default()));
    }
    match &mut slot.value_type {
        Some(ValueType::MapValue(map)) => &mut map.fields,
        _ => unreachable!("the slot was made a map above"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::int;
    use super::*;

    fn path(text: &str) -> FieldPath {
        FieldPath::parse(text).unwrap()
    }

    #[test]
    fn names_are_plain_or_quoted() {
        assert_eq!(path("a.`b c`.d").0, ["a", "b c", "d"]);
        assert_eq!(path(r"`a\`b\\c`").0, [r"a`b\c"]);
        assert_eq!(path("`a.b`").0, ["a.b"]);
    }

    #[test]
    fn malformed_and_reserved_paths_are_refused() {
        for text in
            ["", "a b", "a.", ".a", "a..b", "1a", "`a", "``", "`a`b", "a-b", "é", "*", "__x__", "a.__x__"]
        {
            assert!(FieldPath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn setting_through_a_scalar_replaces_it_by_a_map() {
        let mut fields = Fields::from([("a".to_owned(), int(1))]);
        path("a.x.y").set(&mut fields, int(2));
        assert_eq!(path("a.x.y").get(&fields), Some(&int(2)));
    }

    #[test]
    fn removing_leaves_the_maps_around() {
        let mut fields = Fields::new();
        path("a.x").set(&mut fields, int(1));
        path("a.x").remove(&mut fields);
        assert_eq!(path("a").get(&fields), Some(&value(ValueType::MapValue(MapValue::default()))));
        path("a.x.y").remove(&mut fields);
        assert_eq!(fields.len(), 1);
    }

    #[test]
    fn a_projection_keeps_only_the_picked_fields() {
        let mut fields = Fields::new();
        for name in ["a.b", "a.c", "d"] {
            path(name).set(&mut fields, int(1));
        }
        let picked = project(fields.clone(), Some(&[path("a.b"), path("d.x"), path("zz"), path(NAME)]));
        assert_eq!(
            (picked.len(), path("a.b").get(&picked), path("a.c").get(&picked)),
            (1, Some(&int(1)), None)
        );
        assert_eq!(project(fields.clone(), Some(&[path("a.b"), path("a")])).len(), 1);
        assert_eq!(path("a.c").get(&project(fields, Some(&[path("a.b"), path("a")]))), Some(&int(1)));
    }
}
