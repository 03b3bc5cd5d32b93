//! Faults on demand: calls that are slow, refused, cut off or answered wrongly.

mod body;
mod error;
mod rule;
mod spec;

use super::alpaca::scramble;
use super::call::Call;
pub(super) use body::{broken_after, corrupt_checksum, garbage, padded, slow, truncated};
pub(super) use error::{grpc_error, rest_error};
pub use rule::InvalidRule;
pub(super) use rule::{Fault, GrpcFault, RestFault, Rule};
pub(super) use spec::code_name;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// The rules in force.
#[derive(Default)]
pub struct Faults {
    rules: RwLock<Vec<Arc<Injected>>>,
}

/// A rule in force, and how often it applied.
#[derive(Debug)]
pub struct Injected {
    rule: Rule,
    matched: AtomicU64,
    applied: AtomicU64,
    /// When it first might have applied.
    began: OnceLock<Instant>,
}

impl Injected {
    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    /// How many calls it was about, those skipped included.
    pub(super) fn matched(&self) -> u64 {
        self.matched.load(Ordering::Relaxed)
    }

    /// How many calls had the fault.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Counts the call if the rule is about it, and gives how many came before it.
    fn count(&self, call: &Call) -> Option<u64> {
        self.rule.matches(call).then(|| self.matched.fetch_add(1, Ordering::Relaxed))
    }

    /// Decides whether a call that came after `before` others has the fault.
    fn strikes(&self, before: u64) -> bool {
        if before < self.rule.skip || !is_drawn(before, self.rule.share) {
            return false;
        }
        if self.rule.lasts.is_some_and(|lasts| self.began.get_or_init(Instant::now).elapsed() >= lasts) {
            return false;
        }
        let limit = self.rule.times.unwrap_or(u64::MAX);
        let next = |applied: u64| (applied < limit).then(|| applied.saturating_add(1));
        self.applied.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// Whether the `index`th call is among the `share` of calls, drawn by a generator with a fixed seed.
fn is_drawn(index: u64, share: f64) -> bool {
    // The top 32 bits, since an f64 holds them exactly.
    let random = u32::try_from(scramble(index) >> 32).unwrap_or(0);
    f64::from(random) < share * (f64::from(u32::MAX) + 1.0)
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// Added before anything else; that of all rules together.
    pub(super) latency: Duration,
    /// The first other fault.
    pub(super) fault: Option<Fault>,
}

impl Faults {
    /// Puts a rule in force, behind those that are.
    pub(super) fn add(&self, rule: Rule) -> Arc<Injected> {
        let (matched, applied, began) = Default::default();
        let injected = Arc::new(Injected { rule, matched, applied, began });
        self.rules.write().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&injected));
        injected
    }

    /// Puts the rule of a textual spec in force.
    pub fn inject(&self, spec: &str) -> Result<Arc<Injected>, InvalidRule> {
        Ok(self.add(spec.parse()?))
    }

    /// Ends all rules.
    pub fn clear(&self) {
        self.rules.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The rules in force, oldest first.
    pub fn rules(&self) -> Vec<Arc<Injected>> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Decides what happens to a call. Latencies add up; of other faults the first one counts, while later rules
    /// only count the call, so that their `skip` does not depend on the rules before them.
    pub(super) fn judge(&self, call: &Call) -> Effect {
        let mut effect = Effect::default();
        for injected in self.rules.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let Some(before) = injected.count(call) else {
                continue;
            };
            match &injected.rule.fault {
                Fault::Latency(latency) if injected.strikes(before) => {
                    effect.latency = effect.latency.saturating_add(*latency);
                }
                Fault::Latency(_) => {}
                fault if effect.fault.is_none() && injected.strikes(before) => {
                    effect.fault = Some(fault.clone());
                }
                _ => {}
            }
        }
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http::Request;

    fn call(path: &str) -> Call {
        Call::recognise(Request::get(path).body(Bytes::new()).unwrap(), |_| None).unwrap()
    }

    fn access(user: &str) -> Call {
        call(&format!("/v1/projects/p/secrets/alpaca-keys-{user}/versions/latest:access"))
    }

    fn struck(faults: &Faults, calls: u32) -> Vec<bool> {
        (0..calls).map(|_| faults.judge(&call("/v2/account")).fault.is_some()).collect()
    }

    #[test]
    fn a_rule_is_only_about_its_service_method_and_user() {
        let faults = Faults::default();
        let rule = faults.inject("secret-manager/AccessSecretVersion:stall,user=ana").unwrap();
        assert_eq!(faults.judge(&access("ana")).fault, Some(Fault::Stall));
        for other in [access("anabel"), call("/v2/account"), call("/v1/projects/p/secrets/alpaca-keys-ana")] {
            assert_eq!(faults.judge(&other), Effect::default(), "{}", other.path);
        }
        assert_eq!((rule.matched(), rule.applied()), (1, 1));
        faults.clear();
        assert_eq!(faults.judge(&access("ana")), Effect::default());
    }

    #[test]
    fn a_star_stands_for_any_text_in_a_users_id() {
        for (users, user, expected) in [
            ("silent-*", "silent-7", true),
            ("*-silent", "user-0007-silent", true),
            ("user-*-silent", "user-0007-silent", true),
            ("*", "ana", true),
            ("an*na", "ana", false),
            ("silent-*", "user-0007", false),
            ("silent", "silent-7", false),
        ] {
            let faults = Faults::default();
            faults.inject(&format!("secret-manager:stall,user={users}")).unwrap();
            assert_eq!(faults.judge(&access(user)).fault.is_some(), expected, "{users} {user}");
        }
    }

    #[test]
    fn a_rule_may_last_for_a_time_from_its_first_call_on() {
        for (lasts, expected) in [("1h", [true, true]), ("0s", [false, false])] {
            let faults = Faults::default();
            let rule = faults.inject(&format!("alpaca:stall,skip=1,for={lasts}")).unwrap();
            faults.judge(&call("/v2/account"));
            assert!(rule.began.get().is_none(), "the time begins behind those that are skipped");
            assert_eq!(struck(&faults, 2), expected, "{lasts}");
            assert!(rule.began.get().is_some());
        }
    }

    #[test]
    fn an_old_latest_is_only_for_whoever_asks_for_the_latest() {
        let faults = Faults::default();
        faults.inject("secret-manager:old-latest,times=1").unwrap();
        assert_eq!(faults.judge(&call("/v1/projects/p/secrets/s/versions/2:access")), Effect::default());
        let expected = Some(Fault::Rest(RestFault::OldLatest));
        assert_eq!(faults.judge(&access("ana")).fault, expected);
        assert_eq!(faults.judge(&access("ana")).fault, None);
    }

    #[test]
    fn skip_and_times_bound_the_calls() {
        let faults = Faults::default();
        let rule = faults.inject("alpaca:stall,skip=1,times=2").unwrap();
        assert_eq!(struck(&faults, 5), [false, true, true, false, false]);
        assert_eq!((rule.matched(), rule.applied()), (5, 2));
    }

    #[test]
    fn a_share_is_about_right_and_the_same_every_time() {
        let once = |share| {
            let faults = Faults::default();
            faults.inject(&format!("alpaca:stall,share={share}")).unwrap();
            struck(&faults, 1000)
        };
        assert_eq!(once(0.1), once(0.1));
        for (share, range) in [(0.0, 0..=0), (0.1, 60..=140), (1.0, 1000..=1000)] {
            let count = once(share).into_iter().filter(|struck| *struck).count();
            assert!(range.contains(&count), "{share}: {count}");
        }
    }

    #[test]
    fn latencies_add_up_and_the_first_other_fault_counts() {
        let faults = Faults::default();
        for spec in ["alpaca:latency=1s", "alpaca:stall", "alpaca:drop-before", "alpaca:latency=2s"] {
            faults.inject(spec).unwrap();
        }
        let expected = Effect { latency: Duration::from_secs(3), fault: Some(Fault::Stall) };
        assert_eq!(faults.judge(&call("/v2/account")), expected);
        let cut = &faults.rules()[2];
        assert_eq!((cut.matched(), cut.applied()), (1, 0));
    }

    #[test]
    fn rules_with_skip_follow_each_other() {
        let faults = Faults::default();
        faults.inject("alpaca:stall,times=1").unwrap();
        faults.inject("alpaca:drop-before,skip=1,times=1").unwrap();
        let judged: Vec<_> = (0..3).map(|_| faults.judge(&call("/v2/account")).fault).collect();
        assert_eq!(judged, [Some(Fault::Stall), Some(Fault::DropBefore), None]);
    }
}
