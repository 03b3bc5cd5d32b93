//! What `cloudbuild.yaml` would set.

const FILE: &str = include_str!("../../../cloudbuild.yaml");

/// The default of one of its substitutions, such as `_TASKS`.
#[must_use]
pub(super) fn default_of(name: &str) -> &'static str {
    let of_line = |line: &'static str| line.trim_start().strip_prefix(name)?.strip_prefix(':');
    let value = FILE.lines().find_map(of_line).unwrap_or_default();
    let value = value.split(" #").next().unwrap_or(value).trim();
    value.trim_matches('\'')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_file() {
        for (name, expected) in [
            ("_TASKS", "1"),
            ("_TASK_TIMEOUT", "5m"),
            ("_SCHEDULE", "* * * * *"),
            ("_MEMORY", "512Mi"),
            ("_LEGACY_TENANT_PATH", "on"),
            ("_SERVICE_ACCOUNT", "pulse-job"),
            ("_TAG", ""),
        ] {
            assert_eq!(default_of(name), expected, "{name}");
        }
    }
}
