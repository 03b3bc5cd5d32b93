//! What shows Alpaca whose account it is, as headers.

use crate::model::keys::Credentials;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

const KEY_ID: HeaderName = HeaderName::from_static("apca-api-key-id");
const SECRET_KEY: HeaderName = HeaderName::from_static("apca-api-secret-key");

/// A pair goes out in two headers of Alpaca's own, a token as everywhere.
#[must_use]
pub(super) fn authorization(credentials: &Credentials) -> HeaderMap {
    match credentials {
        Credentials::Pair { key_id, secret_key } => HeaderMap::from_iter([
            (KEY_ID, sensitive(key_id.expose_secret())),
            (SECRET_KEY, sensitive(secret_key.expose_secret())),
        ]),
        Credentials::Token(token) => {
            let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
            HeaderMap::from_iter([(AUTHORIZATION, sensitive(&bearer))])
        }
    }
}

#[expect(clippy::expect_used, reason = "AlpacaKeys hold printable ASCII only")]
fn sensitive(secret: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(secret).expect("printable ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::keys::AlpacaKeys;

    #[test]
    fn each_kind_has_its_own_headers_and_none_can_be_printed() {
        for (payload, expected) in [
            (
                r#"{"key_id":"PKTEST","secret_key":"hush"}"#,
                &[("apca-api-key-id", "PKTEST"), ("apca-api-secret-key", "hush")][..],
            ),
            (r#"{"oauth_token":"hush","environment":"paper"}"#, &[("authorization", "Bearer hush")]),
        ] {
            let keys = AlpacaKeys::from_payload(payload.as_bytes()).expect("well-formed");
            let headers = authorization(keys.credentials());
            let sent = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("a text")));
            assert_eq!(sent.collect::<Vec<_>>(), expected);
            let shown = format!("{headers:?}");
            assert!(!shown.contains("hush") && !shown.contains("PKTEST"), "{shown}");
        }
    }
}
