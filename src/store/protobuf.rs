//! Messages of Protocol Buffers, written field by field.
//!
//! The generated types hold every text as a `String` of its own and every map as a hash map. For what is sent once
//! for each user, building those costs many times as much as the bytes.

use gcloud_sdk::prost;
use gcloud_sdk::prost::encoding::{WireType, encode_key, encode_varint};

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
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        encode_varint(bytes.len() as u64, &mut self.0);
        self.0.extend_from_slice(bytes);
    }

    /// Adds a field of an integer, enum or `bool` type; negative numbers as their two's complement.
    pub(super) fn varint(&mut self, tag: u32, number: u64) {
        encode_key(tag, WireType::Varint, &mut self.0);
        encode_varint(number, &mut self.0);
    }

    /// Adds a `double` field.
    pub(super) fn double(&mut self, tag: u32, number: f64) {
        encode_key(tag, WireType::SixtyFourBit, &mut self.0);
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    /// Adds a message of a generated type.
    pub(super) fn embed(&mut self, tag: u32, message: &impl prost::Message) {
        prost::encoding::message::encode(tag, message, &mut self.0);
    }

    /// Adds a message that `fill` writes.
    pub(super) fn message(&mut self, tag: u32, fill: impl FnOnce(&mut Self)) {
        encode_key(tag, WireType::LengthDelimited, &mut self.0);
        let start = self.0.len();
        // Most messages are short enough for a length of one byte.
        self.0.push(0);
        fill(self);
        match self.0.len() - start - 1 {
            short @ 0..0x80 => self.0[start] = short as u8,
            long => {
                let mut length = Vec::new();
                encode_varint(long as u64, &mut length);
                self.0.splice(start..=start, length);
            }
        }
    }
}
