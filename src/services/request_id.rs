//! What an answer of Alpaca's is known by.

use reqwest::header::HeaderMap;

/// Alpaca's `X-Request-ID`, which its support asks for. Shown as `, request id …`, or as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestId(Option<String>);

impl RequestId {
    /// The one in an answer, if there is one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        // It goes to the logs, so only what looks like an id does.
        let plausible =
            |id: &&str| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        Self(id.filter(plausible).map(str::to_owned))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.as_ref().map_or(Ok(()), |id| write!(f, ", request id {id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_request_id_that_is_none_does_not_reach_the_logs() {
        let shown = |id: &'static str| {
            let headers = HeaderMap::from_iter([(
                "x-request-id".parse().expect("a name"),
                HeaderValue::from_static(id),
            )]);
            RequestId::of(&headers).to_string()
        };
        assert_eq!(
            shown("0123456789abcdef0123456789abcdef"),
            ", request id 0123456789abcdef0123456789abcdef"
        );
        assert_eq!(shown("not an id"), "");
    }
}
