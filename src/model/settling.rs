//! When `latest` can be taken for the new version: it is right after a version was added that it may still be the old
//! one, and it may waver.

use std::time::Duration;

/// For how long every answer has been the new version.
#[derive(Debug)]
pub(crate) struct Settling {
    needed: Duration,
    since: Option<Duration>,
}

impl Settling {
    /// Nothing was seen yet.
    #[must_use]
    pub(crate) fn new(needed: Duration) -> Self {
        Self { needed, since: None }
    }

    /// For how long it has been by now.
    #[must_use]
    pub(crate) fn new_for(&self, now: Duration) -> Option<Duration> {
        self.since.map(|since| now.saturating_sub(since))
    }

    /// Takes an answer in, which came so long after the first question; whether all answers of the time that is needed
    /// were the new version by now. One that is not, or none at all, makes it begin again.
    pub(crate) fn saw(&mut self, is_new: bool, now: Duration) -> bool {
        if !is_new {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.saturating_sub(since) >= self.needed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_that_were_all_new_for_long_enough_settle_it() {
        let mut settling = Settling::new(Duration::from_secs(300));
        for (seconds, is_new, expected) in [
            (0, true, false),
            (290, true, false),
            (295, false, false),
            (300, true, false),
            (599, true, false),
            (600, true, true),
            (610, false, false),
            (620, true, false),
        ] {
            assert_eq!(settling.saw(is_new, Duration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
