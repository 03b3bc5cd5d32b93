//! Documents as Firestore has them, without a client of Firestore.

use jiff::Timestamp;
use std::collections::BTreeMap;

/// A document's fields, or a map's entries, by name.
pub type Fields = BTreeMap<String, Value>;

/// A field's value, of the type that Firestore stores it as. An integer, a double and a text that look alike are
/// three different things.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A null. It is not the same as an absent field.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number. Clients in JavaScript store a double without a fraction as one.
    Integer(i64),
    /// A double; may be `NaN` or infinite.
    Double(f64),
    /// A point in time.
    Timestamp(Timestamp),
    /// A text.
    String(String),
    /// A list.
    Array(Vec<Value>),
    /// A map.
    Map(Fields),
    /// What no rule reads: bytes, references, points on the globe, vectors.
    Other,
}

impl Value {
    /// The number, as a double; of an integer the nearest one, which is all that some readers ever get.
    #[must_use]
    pub(crate) fn number(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
            Self::Integer(number) => Some(*number as f64),
            Self::Double(number) => Some(*number).filter(|number| number.is_finite()),
            _ => None,
        }
    }

    /// The text.
    #[must_use]
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The point in time.
    #[must_use]
    pub(crate) fn time(&self) -> Option<Timestamp> {
        match self {
            Self::Timestamp(time) => Some(*time),
            _ => None,
        }
    }
}

/// The first field, in the order in which they are read, that is not what `pulse` writes there.
#[derive(Clone, Debug)]
pub(crate) struct Malformed {
    /// The field's name; `exact.cash` for an entry of a map.
    pub(crate) field: String,
}

impl Malformed {
    pub(crate) fn field(name: &str) -> Self {
        Self { field: name.to_owned() }
    }
}

/// A field that has to be a text with something in it.
pub(crate) fn required_text<'a>(fields: &'a Fields, name: &str) -> Result<&'a str, Malformed> {
    let text = fields.get(name).and_then(Value::text).filter(|text| !text.is_empty());
    text.ok_or_else(|| Malformed::field(name))
}

/// A field that may be absent, but if it is there, is what `read` takes.
pub(crate) fn optional<'a, T>(
    fields: &'a Fields,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Malformed> {
    let found = fields.get(name).map(|value| read(value).ok_or_else(|| Malformed::field(name)));
    found.transpose()
}

/// A field of any type but that one is no point in time.
pub(crate) fn time(fields: &Fields, name: &str) -> Option<Timestamp> {
    fields.get(name).and_then(Value::time)
}

/// A field of any type but that one is no text.
pub(crate) fn text<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::text)
}
