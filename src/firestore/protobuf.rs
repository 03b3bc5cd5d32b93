//! Messages of Protocol Buffers, written field by field.
//!
//! The generated types hold every text as a `String` of its own and every map as a hash map. For what is sent once
//! for each user, building those costs many times as much as the bytes. The encoding:
//! <https://protobuf.dev/programming-guides/encoding/>.

use gcloud_sdk::prost;

/// Wire types, the last three bits of a field's key.
const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;

/// A message under construction.
#[derive(Debug)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// An empty one, with room for so many bytes before it has to be moved.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// The message's bytes.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a `string` or `bytes` field, or a message that is encoded already.
    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        self.key(tag, LENGTH_DELIMITED);
        self.0.extend(varint(bytes.len() as u64));
        self.0.extend_from_slice(bytes);
    }

    /// Adds a field of an integer, enum or `bool` type that is not negative.
    pub(super) fn number(&mut self, tag: u32, number: u64) {
        self.key(tag, VARINT);
        self.0.extend(varint(number));
    }

    /// Adds a `double` field.
    pub(super) fn double(&mut self, tag: u32, number: f64) {
        self.key(tag, EIGHT_BYTES);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Adds a message of a generated type.
    pub(super) fn embed(&mut self, tag: u32, message: &impl prost::Message) {
        self.key(tag, LENGTH_DELIMITED);
        self.0.extend_from_slice(&message.encode_length_delimited_to_vec());
    }

    /// Adds a message that `fill` writes.
    pub(super) fn message(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) {
        self.key(tag, LENGTH_DELIMITED);
        let start = self.0.len();
        // Most messages are short enough for a length of one byte.
        self.0.push(0);
        fill(self);
        match self.0.len() - start - 1 {
            short @ 0..0x80 => self.0[start] = short as u8,
            long => drop(self.0.splice(start..=start, varint(long as u64))),
        }
    }

    fn key(&mut self, tag: u32, wire_type: u32) {
        self.0.extend(varint(u64::from(tag << 3 | wire_type)));
    }
}

/// Seven bits a byte, the lowest first; all bytes but the last have the eighth bit set.
fn varint(mut number: u64) -> impl Iterator<Item = u8> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let low = (number & 0x7f) as u8;
        number >>= 7;
        is_over = number == 0;
        Some(if is_over { low } else { low | 0x80 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_number_is_read_back(number: u64, bits in 0_u32..64) {
            let number = number >> bits;
            let bytes: Vec<u8> = varint(number).collect();
            prop_assert_eq!(prost::decode_length_delimiter(bytes.as_slice()).map(|n| n as u64), Ok(number));
        }
    }
}
