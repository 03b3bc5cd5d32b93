//! Finds the users that a Firestore request is about without decoding it.
//!
//! Protobuf carries strings as plain bytes behind their length, so that a document name can be read out of any
//! message. The length matters: what follows a string is the tag of the next field, which may look like a letter.

const DOCUMENTS: &[u8] = b"/documents/users/";
const PROJECTS: &[u8] = b"projects/";
/// Longest way from the start of a document name to `/documents/`: project and database ids are short.
const LONGEST_DATABASE_NAME: usize = 256;

/// The id in each document name below `users/`, in the order they appear, repeated when they are.
pub(super) fn mentioned_users(message: &[u8]) -> impl Iterator<Item = &str> {
    let mut searched = 0;
    std::iter::from_fn(move || {
        loop {
            let found = searched + position(&message[searched..], DOCUMENTS)?;
            searched = found + DOCUMENTS.len();
            if let Some(user) = user_at(message, found) {
                return Some(user);
            }
        }
    })
}

/// The id in the name whose `/documents/users/` starts at `found`.
fn user_at(message: &[u8], found: usize) -> Option<&str> {
    let earliest = found.saturating_sub(LONGEST_DATABASE_NAME);
    let start = earliest + last_position(&message[earliest..found], PROJECTS)?;
    let id_start = found + DOCUMENTS.len();
    let name_end = start.checked_add(length_before(message, start)?)?;
    let id = message.get(id_start..name_end)?.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(id).ok().filter(|id| !id.is_empty())
}

/// The varint that ends right before `start`.
///
/// Before it stands the tag of the field, itself a varint, whose last byte has its high bit clear: a byte with the
/// high bit set therefore belongs to this length.
fn length_before(message: &[u8], start: usize) -> Option<usize> {
    let last = usize::from(*message.get(start.checked_sub(1)?)?);
    match start.checked_sub(2).and_then(|index| message.get(index)) {
        Some(first) if first & 0x80 != 0 => Some(usize::from(first & 0x7f) | (last << 7)),
        _ => Some(last),
    }
}

fn position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn last_position(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).rposition(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gcloud_sdk::google::firestore::v1::write::Operation;
    use gcloud_sdk::google::firestore::v1::{CommitRequest, Document, GetDocumentRequest, Write};
    use prost::Message;

    const DATABASE: &str = "projects/p/databases/(default)";

    fn users_of(message: &impl Message) -> Vec<String> {
        mentioned_users(&message.encode_to_vec()).map(str::to_owned).collect()
    }

    fn write(path: &str) -> Write {
        let document = Document { name: format!("{DATABASE}/documents/{path}"), ..Document::default() };
        Write { operation: Some(Operation::Update(document)), ..Write::default() }
    }

    #[test]
    fn each_written_user_is_found_and_nothing_else() {
        let writes = vec![
            write("users/user-0003/alpacaAccounts/snapshot"),
            write("tenants/t/users/intruder"),
            write("users/user-00031"),
        ];
        let request = CommitRequest { database: DATABASE.into(), writes, ..CommitRequest::default() };
        assert_eq!(users_of(&request), ["user-0003", "user-00031"]);
    }

    #[test]
    fn the_tag_after_a_name_is_not_part_of_the_id() {
        let name = format!("{DATABASE}/documents/users/u");
        let mut message = GetDocumentRequest { name, ..GetDocumentRequest::default() }.encode_to_vec();
        message.extend_from_slice(b"2\x00");
        assert_eq!(mentioned_users(&message).collect::<Vec<_>>(), ["u"]);
    }

    #[test]
    fn a_name_longer_than_one_length_byte_is_found() {
        let user = "u".repeat(200);
        let name = format!("{DATABASE}/documents/users/{user}");
        assert_eq!(users_of(&GetDocumentRequest { name, ..GetDocumentRequest::default() }), [user]);
    }

    #[test]
    fn bytes_that_only_look_like_a_name_are_passed_over() {
        for message in
            [&b"/documents/users/"[..], b"projects/p/documents/users/u", b"\xff\xffprojects/documents/users/"]
        {
            assert_eq!(mentioned_users(message).count(), 0, "{message:?}");
        }
    }
}
