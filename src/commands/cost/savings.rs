//! What would save most, each setting by itself: only what `pulse sync` takes.

use crate::commands::cost::workload::looped;
use crate::config::choices::Readers;
use crate::config::cost_args::{CostArgs, CostSettings};
use crate::config::freshness::LONGEST_REFRESH;
use crate::model::costs::{TenantDocuments, Workload};
use serde::Serialize;
use std::time::Duration;

/// How rare pulses are a saving that readers notice.
const RARER: Duration = Duration::from_mins(5);

/// A loop as the docs set it up.
const USUAL_LENGTH: Duration = Duration::from_mins(23 * 60 + 45);

/// How long a loop keeps keys, unless it says otherwise.
const USUAL_KEY_TTL: Duration = Duration::from_hours(1);

/// What a setting would save a month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Saving {
    pub(super) setting: &'static str,
    pub(super) dollars: f64,
}

/// What can be saved, most first.
#[must_use]
pub(super) fn savings(settings: &CostSettings, workload: &Workload) -> Vec<Saving> {
    let sum = workload.sum();
    let saving = |(setting, changed): (_, Workload)| Saving { setting, dollars: sum - changed.sum() };
    let changed = paced(settings, workload).chain(written(workload));
    let mut savings: Vec<_> = changed.map(saving).collect();
    savings.retain(|saving| saving.dollars >= 0.005);
    savings.sort_by(|one, other| other.dollars.total_cmp(&one.dollars));
    savings
}

/// The same users with less being written, said and stored of them.
fn written(workload: &Workload) -> impl Iterator<Item = (&'static str, Workload)> {
    let with = |tenant_documents| workload.with_tenants(workload.members, tenant_documents);
    let members = match workload.tenant_documents {
        TenantDocuments::Everybody => with(TenantDocuments::Members),
        TenantDocuments::Members | TenantDocuments::Nobody => *workload,
    };
    let changed = [
        ("--legacy-tenant-path=members", members),
        ("--legacy-tenant-path=off", with(TenantDocuments::Nobody)),
        ("--user-lines=failed", Workload { has_healthy_lines: false, ..*workload }),
        ("older keys destroyed", Workload { versions: workload.versions.min(workload.users), ..*workload }),
    ];
    changed.into_iter()
}

/// The same users at another pace, or kept for longer, as far as `pulse sync` takes it.
fn paced(settings: &CostSettings, workload: &Workload) -> impl Iterator<Item = (&'static str, Workload)> {
    let tasks = u32::try_from(workload.tasks).ok();
    let changed = other_paces(&CostArgs { tasks, ..settings.args.clone() });
    let usable = |(setting, args)| Some((setting, CostSettings::parse(args).ok()?));
    changed.into_iter().filter_map(usable).map(|(setting, CostSettings { args, repeat })| {
        (setting, Workload { every: args.every, repeats: repeat.as_ref().map(looped), ..*workload })
    })
}

fn other_paces(args: &CostArgs) -> Vec<(&'static str, CostArgs)> {
    let same = || args.clone();
    let rarer = CostArgs { every: args.every.max(RARER), ..same() };
    if args.length.is_none() {
        let looped = CostArgs { length: Some(USUAL_LENGTH), ..same() };
        return vec![("a loop: --every with --for=23h45m", looped), ("a pulse every 5 minutes", rarer)];
    }
    let rarer = match args.refresh_unchanged.filter(|refresh| !refresh.is_zero()) {
        None => ("--every=5m", rarer),
        Some(_) => {
            let refresh_unchanged = Some(Duration::ZERO);
            ("--every=5m, --refresh-unchanged=0s", CostArgs { refresh_unchanged, ..rarer })
        }
    };
    let keys_kept = CostArgs { key_ttl: args.key_ttl.max(USUAL_KEY_TTL), ..same() };
    let (readers, refresh_unchanged) = (Readers::FreshUntil, Some(LONGEST_REFRESH));
    let standing = CostArgs { readers, refresh_unchanged, ..same() };
    vec![
        rarer,
        ("--key-ttl=1h in that loop", keys_kept),
        ("--readers=fresh-until, --refresh-unchanged=15m", standing),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cost::workload::as_estimated;
    use crate::config::args::{Cli, Command};
    use crate::config::{Config, Execution};
    use clap::Parser;
    use jiff::Timestamp;
    use std::collections::BTreeMap;

    /// What `pulse cost` with these flags counts.
    fn counted(flags: &str) -> (CostSettings, Workload) {
        let words = ["pulse", "cost"].into_iter().chain(flags.split_whitespace());
        let Command::Cost(args) = Cli::parse_from(words).command else { panic!("another command") };
        let settings = CostSettings::parse(*args).expect(flags);
        let users = settings.args.users.expect("an estimate");
        let workload = as_estimated(&settings, users);
        (settings, workload)
    }

    fn saves(flags: &str, setting: &str) -> Option<f64> {
        let (settings, workload) = counted(flags);
        let savings = savings(&settings, &workload);
        savings.iter().find(|saving| saving.setting.contains(setting)).map(|saving| saving.dollars.round())
    }

    #[test]
    fn a_setting_saves_what_the_bill_is_less() {
        let of_10_000 = |flags: &str, setting| saves(&format!("--users=10000 {flags}"), setting);
        assert_eq!(of_10_000("", "path=off"), Some(518.0));
        assert_eq!(of_10_000("", "path=members"), Some(518.0), "there are none");
        assert_eq!(of_10_000("", "user-lines"), Some(277.0));
        assert_eq!(of_10_000("", "destroyed"), None, "there are none");
        assert!(of_10_000("", "a loop") > Some(1_500.0));
        assert_eq!((of_10_000("", "key-ttl"), of_10_000("", "readers")), (None, None), "it is none");
        let looped = "--for=23h45m --key-ttl=10m";
        assert_eq!((of_10_000(looped, "a loop"), of_10_000(looped, "key-ttl")), (None, Some(108.0)));
        // 10,000 users, 70 % at rest, two documents: 96 writes a day in place of 480.
        assert_eq!(of_10_000(looped, "readers"), Some(145.0));
        let without = "--legacy-tenant-path=off";
        assert_eq!(
            (of_10_000(without, "path=off"), of_10_000(without, "path=members")),
            (None, None),
            "it is off"
        );
        assert_eq!(of_10_000("--tasks=2", "a loop"), None, "it is one process");
        assert_eq!(of_10_000("--versions=20000", "destroyed"), Some(600.0));
    }

    /// The flags of `pulse sync` after a saving's are taken, which are those before with its own.
    fn flags_after(flags: &str, setting: &str) -> Vec<String> {
        let of_sync =
            |word: &&str| !["--users=", "--tasks=", "--moving="].iter().any(|own| word.starts_with(own));
        let typed = flags.split_whitespace().filter(of_sync);
        let saved = setting.split([' ', ',']).filter(|word| word.starts_with("--") && word.contains('='));
        let usual = ["--every=60s", "--project=p"].into_iter();
        let all = usual.chain(typed).chain(saved).filter_map(|word| word.split_once('='));
        // Without `--for`, Cloud Scheduler has it.
        let last: BTreeMap<_, _> = all.collect();
        let is_loop = last.contains_key("--for");
        let meant = last.into_iter().filter(|(flag, _)| is_loop || *flag != "--every");
        meant.map(|(flag, value)| format!("{flag}={value}")).collect()
    }

    #[test]
    fn every_saving_is_one_that_sync_takes() {
        let mut told = BTreeMap::new();
        for flags in [
            "",
            "--tasks=20",
            "--every=5m",
            "--refresh-unchanged=15m --users-ttl=5h --key-ttl=48h",
            "--for=23h45m",
            "--for=24h --readers=fresh-until",
            "--for=23h45m --refresh-unchanged=3m",
            "--for=23h45m --refresh-unchanged=0s --key-ttl=0s --users-ttl=0s",
            "--for=23h45m --readers=fresh-until --refresh-unchanged=1m",
            "--for=23h45m --readers=fresh-until --refresh-unchanged=15m --user-lines=failed",
            "--every=90s --for=23h45m --key-ttl=1m",
            "--every=240s --for=23h45m",
            "--every=241s --for=23h45m",
            "--every=5m --for=23h45m --key-ttl=1m",
            "--every=5m --for=23h45m --readers=fresh-until",
            "--every=1s --for=1h --legacy-tenant-path=members",
        ] {
            let (settings, workload) = counted(&format!("--users=10000 --moving=0 {flags}"));
            for Saving { setting, .. } in savings(&settings, &workload) {
                let after = flags_after(flags, setting);
                let words = ["pulse", "sync"].map(str::to_owned).into_iter().chain(after.iter().cloned());
                let Command::Sync(args) = Cli::parse_from(words).command else { panic!("another command") };
                let execution = Execution::from_lookup(|_| None, Timestamp::UNIX_EPOCH).expect("usable");
                let refusal = Config::new(&args, |_| None, execution).err().map(|err| err.to_string());
                assert_eq!(refusal, None, "{flags}: {setting} makes {after:?}");
                told.entry(setting).or_insert_with(Vec::new).push(flags);
            }
        }
        assert!(told.len() >= 8, "{told:?}");
        let by_promise = &told["--readers=fresh-until, --refresh-unchanged=15m"];
        assert!(by_promise.contains(&"--every=240s --for=23h45m"), "{by_promise:?}");
        assert!(
            !by_promise.iter().any(|flags| flags.contains("241s") || flags.contains("--every=5m")),
            "{by_promise:?}"
        );
    }
}
