//! The environment variables that are read, by the job and by its libraries.

use crate::config::error::ConfigError;
use std::ffi::{OsStr, OsString};

/// How the names begin of those that are the job's own, or say where and as whom it calls Google.
const BEGINNINGS: [&str; 9] =
    ["PULSE_", "APCA_", "OTEL_", "CLOUD_RUN_", "GCP_", "GCLOUD_", "GOOGLE_", "FIRESTORE_", "SECRET_MANAGER_"];

/// The others.
const NAMES: [&str; 12] = [
    "TENANT_ID",
    "RUST_LOG",
    "NO_COLOR",
    "GCE_METADATA_HOST",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
];

/// What a variable is set to. Those that are no text are refused by [`check`].
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Refuses variables that are read and are no text: whoever reads them takes them for not set, and then users who were
/// named are everybody. Only their names are told, for their values may be secrets.
///
/// # Errors
/// Names all of them.
pub(crate) fn check(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<(), ConfigError> {
    let is_unreadable = |(name, value): (OsString, OsString)| {
        let name = name.into_string().ok().filter(|name| is_read(name))?;
        OsStr::to_str(&value).is_none().then_some(name)
    };
    let told = |name| format!("{name} is not UTF-8: set it anew, or unset it");
    ConfigError::unless_none(environment.into_iter().filter_map(is_unreadable).map(told).collect())
}

fn is_read(name: &str) -> bool {
    NAMES.contains(&name) || BEGINNINGS.iter().any(|beginning| name.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn refusal(variables: &[(&str, &[u8])]) -> Option<String> {
        let variables =
            variables.iter().map(|(name, value)| (name.into(), OsString::from_vec(value.to_vec())));
        check(variables).err().map(|err| err.to_string())
    }

    #[test]
    fn variables_that_are_no_text_are_named_without_their_values() {
        for name in [
            "PULSE_USERS",
            "PULSE_WHERE",
            "GCP_PROJECT",
            "FIRESTORE_EMULATOR_HOST",
            "SECRET_MANAGER_EMULATOR_HOST",
            "APCA_API_SECRET_KEY",
            "TENANT_ID",
            "CLOUD_RUN_TASK_INDEX",
            "GOOGLE_APPLICATION_CREDENTIALS",
            "RUST_LOG",
            "no_proxy",
        ] {
            assert_eq!(refusal(&[(name, b"ana")]), None);
            let told = refusal(&[(name, b"hush\xff")]).expect("refused");
            assert!(told.contains(name) && !told.contains("hush"), "{told}");
        }
        let both = refusal(&[("PULSE_WHERE", b"\xc3\x28"), ("HOME", b"\xff"), ("PULSE_USERS", b"\x80")]);
        let expected = "PULSE_WHERE is not UTF-8: set it anew, or unset it; PULSE_USERS is not UTF-8: set it anew, or \
                        unset it";
        assert_eq!(both.as_deref(), Some(expected));
    }

    #[test]
    fn variables_that_are_none_of_ours_may_be_anything() {
        assert_eq!(refusal(&[("HOME", b"/home/\xff"), ("LESSOPEN", b"\xfe"), ("PULSE", b"\xff")]), None);
    }
}
