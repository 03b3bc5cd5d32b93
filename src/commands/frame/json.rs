//! One JSON object, written as its parts come: a list of 100,000 users is never held as a whole.

use serde::Serialize;
use std::io::{self, Write};

/// An object that is being written.
#[derive(Debug)]
pub(super) struct JsonObject {
    has_fields: bool,
    /// Within a list: whether it has an item.
    list: Option<bool>,
}

impl JsonObject {
    /// Begins it.
    pub(super) fn begin(out: &mut impl Write) -> io::Result<Self> {
        out.write_all(b"{")?;
        Ok(Self { has_fields: false, list: None })
    }

    /// A field of it.
    pub(super) fn field(
        &mut self,
        out: &mut impl Write,
        name: &str,
        value: &impl Serialize,
    ) -> io::Result<()> {
        self.name(out, name)?;
        serde_json::to_writer(out, value).map_err(io::Error::from)
    }

    /// Begins a field whose value is a list.
    pub(super) fn begin_list(&mut self, out: &mut impl Write, name: &str) -> io::Result<()> {
        self.name(out, name)?;
        self.list = Some(false);
        out.write_all(b"[")
    }

    /// An item of that list, on a line of its own: whoever has only a screen can read it.
    pub(super) fn item(&mut self, out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
        let comma: &[u8] = if self.list.replace(true) == Some(true) { b"," } else { b"" };
        out.write_all(comma)?;
        out.write_all(b"\n")?;
        serde_json::to_writer(out, value).map_err(io::Error::from)
    }

    /// Ends the object, whatever was begun in it.
    pub(super) fn end(mut self, out: &mut impl Write) -> io::Result<()> {
        self.end_list(out)?;
        out.write_all(b"}\n")
    }

    fn name(&mut self, out: &mut impl Write, name: &str) -> io::Result<()> {
        self.end_list(out)?;
        let comma: &[u8] = if self.has_fields { b",\n" } else { b"" };
        self.has_fields = true;
        out.write_all(comma)?;
        serde_json::to_writer(&mut *out, name)?;
        out.write_all(b":")
    }

    fn end_list(&mut self, out: &mut impl Write) -> io::Result<()> {
        match self.list.take() {
            Some(true) => out.write_all(b"\n]"),
            Some(false) => out.write_all(b"]"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_parts_make_one_object() {
        let mut out = Vec::new();
        let mut object = JsonObject::begin(&mut out).expect("room");
        object.field(&mut out, "version", &1).expect("room");
        for (list, items) in [("none", &[][..]), ("some", &["a", "b"])] {
            object.begin_list(&mut out, list).expect("room");
            for item in items {
                object.item(&mut out, item).expect("room");
            }
        }
        object.field(&mut out, "a \"b\"", &json!(null)).expect("room");
        object.end(&mut out).expect("room");
        let read: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(read, json!({"version": 1, "none": [], "some": ["a", "b"], "a \"b\"": null}));
    }

    #[test]
    fn an_object_that_ends_with_a_list_is_whole_too() {
        let mut out = Vec::new();
        let mut object = JsonObject::begin(&mut out).expect("room");
        object.begin_list(&mut out, "users").expect("room");
        object.item(&mut out, &7).expect("room");
        object.end(&mut out).expect("room");
        assert_eq!(String::from_utf8(out).expect("a text"), "{\"users\":[\n7\n]}\n");
    }
}
