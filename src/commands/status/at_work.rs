//! Whether a pulse is at work that is in no record of ended ones yet.

use crate::documents::current_pulse::CurrentPulse;
use crate::documents::pulse_view::PulseView;
use jiff::Timestamp;
use serde::Serialize;

/// The execution that has claimed the pulse, and has not ended it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct AtWork {
    pub(super) execution: String,
    pub(super) claimed_at: Timestamp,
}

impl AtWork {
    /// Of the execution that claimed last, if it is not the one that ended last. Whether it is alive is not known.
    pub(super) fn of(current: &CurrentPulse, ended: Option<&PulseView>) -> Option<Self> {
        let (execution, claimed_at) = (current.execution.as_ref()?, current.claimed_at()?);
        let ended = ended.and_then(|pulse| pulse.execution.as_deref());
        unfinished((execution.as_str(), claimed_at), ended)
    }
}

fn unfinished((execution, claimed_at): (&str, Timestamp), ended: Option<&str>) -> Option<AtWork> {
    (ended != Some(execution)).then(|| AtWork { execution: execution.to_owned(), claimed_at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_claimed_and_did_not_end_is_at_work() {
        for (execution, ended, is_at_work) in
            [("a", None, true), ("b", Some("a"), true), ("a", Some("a"), false), ("a-2", Some("a"), true)]
        {
            let found = unfinished((execution, Timestamp::UNIX_EPOCH), ended);
            assert_eq!(found.is_some(), is_at_work, "{execution} {ended:?}");
        }
    }
}
