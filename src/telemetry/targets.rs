//! Who is heard: lines by their target, which is the module that says them.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, Targets, filter_fn};

/// The job itself: its library, and the binary around it.
const OWN: [&str; 2] = ["alpaca_pulse", "pulse"];

/// Who is ever heard, whatever a variable says: the job itself, and of a library what says nothing but the addresses that
/// it connects to. Any other may print the payloads, tokens and headers that it carries, today or in its next version.
const HEARD: [(&str, Level); 3] = [
    (OWN[0], Level::TRACE),
    (OWN[1], Level::TRACE),
    ("hyper_util::client::legacy::connect::http", Level::DEBUG),
];

/// What is logged unless `RUST_LOG` says otherwise.
pub(super) fn usual() -> Targets {
    Targets::new().with_targets(OWN.map(|own| (own, Level::INFO)))
}

/// A filter with the job's own lines under the name that they have now. Most had the target `pulse` once, and
/// deployed jobs filter by it: their last line must not fall silent with a new version.
pub(super) fn as_named_now(filter: Targets) -> Targets {
    let others = filter.default_level();
    let named = filter.into_iter().map(|(target, level)| match is_within(&target, "pulse") {
        true => ("alpaca_pulse".to_owned(), level),
        false => (target, level),
    });
    let named = Targets::new().with_targets(named);
    match others {
        Some(level) => named.with_default(level),
        None => named,
    }
}

/// Lets nothing through but who is ever [`HEARD`].
pub(super) fn discretion() -> FilterFn {
    filter_fn(is_heard)
}

fn is_heard(event: &Metadata<'_>) -> bool {
    HEARD.iter().any(|(target, most)| is_within(event.target(), target) && event.level() <= most)
}

/// Whether a line with that target is the job's own.
pub(super) fn is_own(target: &str) -> bool {
    OWN.iter().any(|own| is_within(target, own))
}

/// Whether a target is a module, or within it.
fn is_within(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::memory::logged_by;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::layer::SubscriberExt;

    #[test]
    fn a_filter_by_the_jobs_old_name_is_one_by_its_new_name() {
        for (given, meant) in [
            ("pulse=info", "alpaca_pulse=info"),
            ("warn,pulse=info", "warn,alpaca_pulse=info"),
            ("info,pulse=off", "info,alpaca_pulse=off"),
            ("pulse::x=debug", "alpaca_pulse=debug"),
            ("warn,alpaca_pulse=debug", "warn,alpaca_pulse=debug"),
            ("pulsex=trace,alpaca_pulse::pass=info", "pulsex=trace,alpaca_pulse::pass=info"),
        ] {
            let [given, meant]: [Targets; 2] = [given, meant].map(|text| text.parse().expect("a filter"));
            assert_eq!(as_named_now(given), meant);
        }
        let everything: Targets = "debug".parse().expect("a filter");
        assert_eq!(as_named_now(everything).default_level(), Some(LevelFilter::DEBUG));
    }

    #[test]
    fn no_library_is_heard_but_where_it_says_nothing_but_addresses() {
        let told = |log: fn()| {
            let everything = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_ansi(false);
            logged_by(|memory| everything.with_writer(memory).finish().with(discretion()), log)
        };
        let heard = told(|| {
            tracing::trace!(target: "alpaca_pulse", "ours");
            tracing::trace!(target: "alpaca_pulse::execution::assignment", "a part of ours");
            tracing::info!(target: "pulse", "the binary");
            tracing::debug!(target: "hyper_util::client::legacy::connect::http", "connecting to 127.0.0.1:1");
        });
        assert_eq!(heard.lines().count(), 4, "{heard}");
        let kept = told(|| {
            tracing::error!(target: "google_cloud_gax_internal::http", "hush");
            tracing::error!(target: "google_cloud_auth", "hush");
            tracing::info!(target: "experimental.client.request", "hush");
            tracing::error!(target: "alpaca_pulses", "hush");
            tracing::warn!(target: "firestore::db", "hush");
            tracing::trace!(target: "hyper_util::client::legacy::connect::http", "hush");
            tracing::debug!(target: "hyper_util::client::legacy::connect::dns", "hush");
            let _in_a_span = tracing::error_span!(target: "tonic", "hush", secret = "hush").entered();
            tracing::info!(target: "pulse", "ours");
        });
        assert!(kept.contains("ours") && !kept.contains("hush"), "{kept}");
    }
}
