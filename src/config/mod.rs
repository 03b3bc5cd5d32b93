//! The configuration of one pass: a pure function of the command line and the environment.

pub(crate) mod args;
pub(crate) mod filter;
pub(crate) mod variables;

use crate::config::args::{OnOff, SyncArgs};
use crate::config::filter::UserFilter;
use crate::execution::shards::MAX_TASKS;
use crate::execution::ticks::Repeat;
use crate::firestore::query::IdRange;
use crate::limits::rate::{Budgets, Share};
use crate::model::ids::{Database, DocumentId, TenantId};
use crate::model::keys::AlpacaKeys;
use crate::pass::user_pages::Selection;
use crate::shutdown::last_start;
use crate::telemetry::ExecutionLabel;
use hyper_util::client::proxy::matcher::Matcher;
use jiff::Timestamp;
use reqwest::Url;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

/// A configuration that can be run.
#[derive(Debug)]
pub(crate) struct Config {
    /// Where users and secrets are. `--project` and `--database`.
    pub(crate) database: Database,
    /// Users synced at the same time. `--concurrency`.
    pub(crate) concurrency: NonZeroUsize,
    /// Who is synced. `--user`, else everybody.
    pub(crate) selection: Selection,
    /// Which of all users take part. `--where`.
    pub(crate) filter: UserFilter,
    /// The time over which the users are started, if not as fast as possible. `--spread`.
    pub(crate) spread: Option<Duration>,
    /// The time from the start in which the pass has to be done. `--deadline`.
    pub(crate) deadline: Option<Duration>,
    /// How fast the services may be called, by all tasks together.
    pub(crate) budgets: Budgets,
    /// Write nothing. `--dry-run`.
    pub(crate) dry_run: bool,
    /// Write the tenants' documents. `--legacy-tenant-path`.
    pub(crate) legacy_tenant_path: bool,
    /// Keep whole answers. `--store-raw`.
    pub(crate) store_raw: bool,
    /// Read each user's snapshot, to know their account. `--pin-accounts`.
    pub(crate) pin_accounts: bool,
    /// Replacements of the services' own addresses.
    pub(crate) endpoints: Endpoints,
    /// The single account of old deployments. `APCA_API_KEY_ID` and `APCA_API_SECRET_KEY`.
    pub(crate) legacy_account: Option<Arc<LegacyAccount>>,
    /// How the pulse is repeated, if it is. `--every`, `--for`, `--key-ttl`, `--refresh-unchanged`.
    pub(crate) repeat: Option<Repeat>,
    /// Which run this is; of a loop, the first.
    pub(crate) execution: Execution,
}

/// Addresses that replace the services' own. None of them is plain HTTP beyond this machine, unless
/// `PULSE_ALLOW_INSECURE_ENDPOINTS` says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// `FIRESTORE_EMULATOR_HOST`.
    pub(crate) firestore: Option<Url>,
    /// `SECRET_MANAGER_EMULATOR_HOST`.
    pub(crate) secret_manager: Option<Url>,
    /// `APCA_API_BASE_URL`.
    pub(crate) alpaca: Option<Url>,
}

/// What goes before the tenant in the id of a legacy account.
pub(crate) const LEGACY_PREFIX: &str = "legacy:";

/// The single account of deployments that never had users.
#[derive(Debug)]
pub(crate) struct LegacyAccount {
    /// Its keys.
    pub(crate) keys: AlpacaKeys,
    /// `TENANT_ID`, else `local`.
    pub(crate) tenant: TenantId,
    /// `legacy:{tenant}`, where users have an id. The colon keeps it from ever being a user's with keys.
    pub(crate) id: DocumentId,
}

/// Which run of the job this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Execution {
    /// `CLOUD_RUN_EXECUTION`, or a fresh id outside Cloud Run; after the first pulse of a loop with its number.
    pub(crate) id: DocumentId,
    /// The same without a number.
    base: DocumentId,
    /// `CLOUD_RUN_TASK_INDEX`: which of the tasks this is, from 0.
    pub(crate) task_index: u32,
    /// `CLOUD_RUN_TASK_COUNT`: how many tasks the execution has.
    pub(crate) task_count: NonZeroU32,
}

/// Everything that is wrong with the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ConfigError(Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// An error if anything is wrong.
    pub(crate) fn unless_none(wrong: Vec<String>) -> Result<(), Self> {
        if wrong.is_empty() { Ok(()) } else { Err(Self(wrong)) }
    }
}

impl Execution {
    /// Reads Cloud Run's variables; what is not there gets its meaning outside Cloud Run.
    pub(crate) fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let mut wrong = Vec::new();
        let fresh = || format!("local-{}-{:08x}", now.as_second(), fastrand::u32(..));
        let id = lookup("CLOUD_RUN_EXECUTION").unwrap_or_else(fresh);
        let id = DocumentId::parse(&id)
            .map_err(|err| format!("CLOUD_RUN_EXECUTION {id:?} is no execution id: {err}"));
        let id = keep(&mut wrong, id);
        let mut number = |name: &str, default: u32| {
            let number = lookup(name).map_or(Ok(default), |text| {
                text.parse().map_err(|_| format!("{name} {text:?} is no number of tasks"))
            });
            keep(&mut wrong, number)
        };
        let (index, count) = (number("CLOUD_RUN_TASK_INDEX", 0), number("CLOUD_RUN_TASK_COUNT", 1));
        let task_count = count.and_then(NonZeroU32::new).filter(|count| count.get() <= MAX_TASKS);
        match (id, index, task_count) {
            (Some(id), Some(task_index), Some(task_count)) if task_index < task_count.get() => {
                Ok(Self { base: id.clone(), id, task_index, task_count })
            }
            (_, Some(index), _) => {
                let is_wrong = |count: &u32| !(1..=MAX_TASKS).contains(count) || index >= *count;
                wrong.extend(count.filter(is_wrong).map(|count| {
                    format!(
                        "CLOUD_RUN_TASK_INDEX {index} of CLOUD_RUN_TASK_COUNT {count}: there are 1 to {MAX_TASKS} \
                         tasks, counted from 0"
                    )
                }));
                Err(ConfigError(wrong))
            }
            _ => Err(ConfigError(wrong)),
        }
    }

    /// What every line of the log says of it.
    #[must_use]
    pub(crate) fn label(&self) -> ExecutionLabel {
        ExecutionLabel::new(&self.id, self.task_index)
    }

    /// This task's part of what the execution may use.
    #[must_use]
    pub(crate) fn share(&self) -> Share {
        Share { task_index: self.task_index, task_count: self.task_count }
    }
}

impl Execution {
    /// The execution of the pulse with this number in a loop, from 1.
    #[must_use]
    pub(crate) fn nth(&self, number: u32) -> Self {
        let id = if number > 1 { self.base.numbered(number) } else { self.base.clone() };
        Self { id, ..self.clone() }
    }

    /// Whether that is a pulse of the same loop. One process runs them one after the other.
    #[must_use]
    pub(crate) fn is_of_same_loop(&self, other: &DocumentId) -> bool {
        let number = other.as_str().strip_prefix(self.base.as_str());
        let digits = number.and_then(|number| number.strip_prefix('-'));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        number == Some("") || digits.is_some_and(is_number)
    }
}

impl Config {
    /// Checks everything and reports everything that is wrong at once. `lookup` is the environment; what
    /// it has as an empty text counts as not set.
    pub(crate) fn new(
        args: &SyncArgs,
        lookup: impl Fn(&str) -> Option<String>,
        execution: Execution,
    ) -> Result<Self, ConfigError> {
        let environment = lookup;
        let lookup = |name: &str| environment(name).filter(|value| !value.is_empty());
        let mut wrong = Vec::new();
        let database = keep(&mut wrong, database(args, &lookup));
        let selection = keep(&mut wrong, selection(&args.users, &lookup));
        let filter = keep(&mut wrong, filter(args, &lookup));
        if let (Some(spread), Some(deadline)) = (args.spread, args.deadline)
            && spread > last_start(deadline)
        {
            wrong.push(
                "--spread must end when the last users are started, 10s before --deadline or at half of it, where \
                 that is later"
                    .into(),
            );
        }
        if let (Some(spread), Some(every)) = (args.spread, args.every)
            && spread >= every
        {
            wrong.push("--spread must be shorter than --every: the next pulse would be skipped".into());
        }
        if let (Some(length), Some(deadline)) = (args.length, args.deadline)
            && deadline < length
        {
            wrong.push("--deadline is about the whole process, and would end the loop before --for does: set it above --for".into());
        }
        let endpoints = endpoints(&lookup, &environment, &mut wrong);
        let legacy_account = keep(&mut wrong, legacy_account(&lookup)).flatten().map(Arc::new);
        let repeat = Repeat::from_args(args, &execution, &mut wrong);
        match (database, selection, filter, wrong.is_empty()) {
            (Some(database), Some(selection), Some(filter), true) => Ok(Self {
                database,
                concurrency: NonZeroUsize::new(args.concurrency.into()).unwrap_or(NonZeroUsize::MIN),
                selection,
                filter,
                spread: args.spread,
                deadline: args.deadline,
                budgets: Budgets {
                    secret_accesses_per_minute: args.secret_accesses_per_minute,
                    alpaca_calls_per_second: args.alpaca_calls_per_second,
                    max_writes_per_second: args.max_writes_per_second,
                    ramp_writes: args.ramp_writes,
                },
                dry_run: args.dry_run,
                legacy_tenant_path: args.legacy_tenant_path == OnOff::On,
                store_raw: args.store_raw,
                pin_accounts: args.pin_accounts,
                endpoints,
                legacy_account,
                repeat,
                execution,
            }),
            _ => Err(ConfigError(wrong)),
        }
    }
}

impl Config {
    /// Whether this is a pass over all users, rather than over some that a person named.
    #[must_use]
    pub(crate) fn takes_everybody(&self) -> bool {
        matches!(self.selection, Selection::Range(_))
    }
}

impl Config {
    /// What kind of pass it is, for those who count the passes in the log: a person's own run proves
    /// nothing about the schedule.
    #[must_use]
    pub(crate) fn scope(&self) -> &'static str {
        match (self.dry_run, self.takes_everybody()) {
            (true, _) => "dry run",
            (false, true) => "all users",
            (false, false) => "named users",
        }
    }
}

fn keep<T>(wrong: &mut Vec<String>, checked: Result<T, String>) -> Option<T> {
    checked.map_err(|reason| wrong.push(reason)).ok()
}

fn database(args: &SyncArgs, lookup: &impl Fn(&str) -> Option<String>) -> Result<Database, String> {
    let project = args
        .project
        .clone()
        .or_else(|| ["GCP_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_PROJECT"].into_iter().find_map(lookup))
        .ok_or("Missing GCP_PROJECT or GCLOUD_PROJECT environment variable")?;
    Database::parse(&project, &args.database).map_err(|err| {
        format!("--project {project:?} and --database {:?} name no database: {err}", args.database)
    })
}

/// `--user`, else `PULSE_USERS`, else everybody. Named users that turn out to be nobody are refused: a
/// script whose variable is empty must not start a pass over all users.
fn selection(users: &[String], lookup: &impl Fn(&str) -> Option<String>) -> Result<Selection, String> {
    let from_variable = || lookup("PULSE_USERS").map(|users| ("PULSE_USERS", vec![users]));
    let from_flags = (!users.is_empty()).then(|| ("--user", users.to_vec()));
    let Some((name, users)) = from_flags.or_else(from_variable) else {
        return Ok(Selection::Range(IdRange::default()));
    };
    let mut named = Vec::new();
    for user in users.iter().flat_map(|users| users.split(',')).map(str::trim).filter(|user| !user.is_empty())
    {
        let id = DocumentId::parse(user).map_err(|err| format!("{name} {user:?} is no user id: {err}"))?;
        // Twice the same user would write the same documents at the same time.
        if !named.contains(&id) {
            named.push(id);
        }
    }
    if named.is_empty() { Err(format!("{name} names nobody")) } else { Ok(Selection::Named(named)) }
}

/// `--where`, else `PULSE_WHERE`, else everybody. A user who is named is synced, whatever their document
/// says: with the flag beside it, a person wants two things at once, while a job's variable gives way to
/// a flag as it always does.
fn filter(args: &SyncArgs, lookup: &impl Fn(&str) -> Option<String>) -> Result<UserFilter, String> {
    let from_variable = || lookup("PULSE_WHERE").map(|conditions| ("PULSE_WHERE", vec![conditions]));
    let from_flags = (!args.conditions.is_empty()).then(|| ("--where", args.conditions.clone()));
    let is_flag = from_flags.is_some();
    let Some((name, conditions)) = from_flags.or_else(from_variable) else {
        return Ok(UserFilter::default());
    };
    let mut filter = UserFilter::default();
    for part in &conditions {
        let with = UserFilter::parse(part).and_then(|more| filter.and(more));
        filter = with.map_err(|err| format!("{name} {part:?} is no condition: {err}"))?;
    }
    match (args.users.is_empty(), lookup("PULSE_USERS").is_some()) {
        (true, false) => Ok(filter),
        (false, _) if !is_flag => Ok(UserFilter::default()),
        _ => Err(format!("{name} and --user exclude each other: a named user is synced in any case")),
    }
}

fn endpoints(
    lookup: &impl Fn(&str) -> Option<String>,
    environment: &impl Fn(&str) -> Option<String>,
    wrong: &mut Vec<String>,
) -> Endpoints {
    let insecure = lookup("PULSE_ALLOW_INSECURE_ENDPOINTS").is_some_and(|value| value == "1");
    let mut endpoint = |name: &str| {
        let value = lookup(name)?;
        keep(wrong, parse_endpoint(&value, insecure).map_err(|reason| format!("{name} {reason}")))
    };
    let endpoints = Endpoints {
        firestore: endpoint("FIRESTORE_EMULATOR_HOST"),
        secret_manager: endpoint("SECRET_MANAGER_EMULATOR_HOST"),
        alpaca: endpoint("APCA_API_BASE_URL"),
    };
    let secrets = endpoints.secret_manager.iter().find(|url| url.scheme() == "http");
    keep(wrong, secrets.map_or(Ok(()), |url| bypasses_proxies(environment, url)));
    endpoints
}

/// Google's client for Secret Manager obeys the proxy variables, and a proxy would see the keys of a call without TLS.
/// Whether it would is decided by the code that decides it there, so that none of the variables' many forms is taken
/// for what it is not.
fn bypasses_proxies(environment: &impl Fn(&str) -> Option<String>, url: &Url) -> Result<(), String> {
    // The first that is set counts, even when it is empty.
    let either = |names: [&str; 2]| names.into_iter().find_map(environment).unwrap_or_default();
    let (http, all) = (["HTTP_PROXY", "http_proxy"], ["ALL_PROXY", "all_proxy"]);
    let rules =
        Matcher::builder().http(either(http)).all(either(all)).no(either(["NO_PROXY", "no_proxy"])).build();
    let target = url.as_str().parse().map_err(|_| "SECRET_MANAGER_EMULATOR_HOST is no URL")?;
    if rules.intercept(&target).is_none() {
        return Ok(());
    }
    let set = |name: &&str| environment(name).is_some_and(|proxy| !proxy.is_empty());
    let name = [http, all].into_iter().flatten().find(set).unwrap_or("HTTP_PROXY");
    // Brackets belong to URLs: with them it would be the name of a host.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let list = if environment("NO_PROXY").is_some() || environment("no_proxy").is_none() {
        "NO_PROXY"
    } else {
        "no_proxy"
    };
    Err(format!(
        "{name} would get the keys of plain HTTP calls to SECRET_MANAGER_EMULATOR_HOST: unset it, or add {host} to {list}"
    ))
}

/// Reads `host:port` (plain HTTP) or a URL.
fn parse_endpoint(text: &str, allow_insecure: bool) -> Result<Url, String> {
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url: Url = url.parse().map_err(|_| "is neither host:port nor a URL".to_owned())?;
    let host = url.host_str().ok_or("has no host")?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if allow_insecure || is_loopback(host) => Ok(url),
        "http" => Err(format!(
            "is plain HTTP to {host}, where keys would sync_target in the clear: use https, or set \
             PULSE_ALLOW_INSECURE_ENDPOINTS=1 if you trust the network"
        )),
        _ => Err("is neither http nor https".into()),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn legacy_account(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<LegacyAccount>, String> {
    let (key_id, secret_key) = match (lookup("APCA_API_KEY_ID"), lookup("APCA_API_SECRET_KEY")) {
        (None, None) => return Ok(None),
        (Some(key_id), Some(secret_key)) => (key_id, secret_key),
        _ => return Err("APCA_API_KEY_ID and APCA_API_SECRET_KEY must be set together".into()),
    };
    let keys = AlpacaKeys::new(key_id.into(), secret_key.into(), None)
        .map_err(|err| format!("APCA_API_KEY_ID and APCA_API_SECRET_KEY: {err}"))?;
    let tenant = lookup("TENANT_ID").unwrap_or_else(|| "local".into());
    let refused = |err| format!("TENANT_ID {tenant:?} is no tenant id: {err}");
    let id = DocumentId::parse(&format!("{LEGACY_PREFIX}{tenant}")).map_err(refused)?;
    let tenant = TenantId::parse(&tenant).map_err(refused)?;
    Ok(Some(LegacyAccount { keys, tenant, id }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// `pulse sync`, as far as its options go.
    #[derive(Parser)]
    struct Sync {
        #[command(flatten)]
        args: SyncArgs,
    }

    fn config(flags: &[&str], variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let Sync { args } = Sync::parse_from(["sync"].iter().chain(flags));
        let lookup =
            |name: &str| variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        Config::new(&args, lookup, Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH)?)
    }

    fn refusal(flags: &[&str], variables: &[(&str, &str)]) -> String {
        config(flags, variables).expect_err("refused").to_string()
    }

    #[test]
    fn the_project_comes_from_the_flag_or_the_first_variable_set() {
        let all = [("GOOGLE_CLOUD_PROJECT", "c"), ("GCLOUD_PROJECT", "b"), ("GCP_PROJECT", "a")];
        let project =
            |flags: &[&str], set: &[_]| config(flags, set).expect("usable").database.project.to_string();
        assert_eq!(project(&["--project", "flag"], &all), "flag");
        assert_eq!([project(&[], &all), project(&[], &all[..2]), project(&[], &all[..1])], ["a", "b", "c"]);
        assert_eq!(refusal(&[], &[]), "Missing GCP_PROJECT or GCLOUD_PROJECT environment variable");
        assert_eq!(
            refusal(&[], &[("GCP_PROJECT", "")]),
            "Missing GCP_PROJECT or GCLOUD_PROJECT environment variable"
        );
    }

    #[test]
    fn everything_that_is_wrong_is_reported_at_once() {
        let message = refusal(
            &["--user", "a/b"],
            &[("APCA_API_KEY_ID", "PK1"), ("APCA_API_BASE_URL", "http://example.com")],
        );
        for part in ["GCP_PROJECT", "--user", "APCA_API_SECRET_KEY", "APCA_API_BASE_URL"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
    }

    #[test]
    fn plain_http_stays_on_this_machine() {
        for (host, usable) in [
            ("127.0.0.1:8080", true),
            ("localhost:8080", true),
            ("[::1]:8080", true),
            ("127.9.9.9:1", true),
            ("firestore:8080", false),
            ("10.0.0.1:8080", false),
            ("localhost.example.com:80", false),
            ("http://0.0.0.0:1", false),
            ("https://example.com", true),
            ("ftp://localhost", false),
            ("http://", false),
        ] {
            for name in ["FIRESTORE_EMULATOR_HOST", "SECRET_MANAGER_EMULATOR_HOST", "APCA_API_BASE_URL"] {
                assert_eq!(
                    config(&[], &[("GCP_PROJECT", "p"), (name, host)]).is_ok(),
                    usable,
                    "{name}={host}"
                );
            }
        }
        let trusted = [
            ("GCP_PROJECT", "p"),
            ("FIRESTORE_EMULATOR_HOST", "firestore:8080"),
            ("PULSE_ALLOW_INSECURE_ENDPOINTS", "1"),
        ];
        assert!(config(&[], &trusted).is_ok());
    }

    #[test]
    fn no_proxy_gets_the_keys_of_a_call_without_tls() {
        let with = |more: &[(&'static str, &'static str)]| {
            let local = [("GCP_PROJECT", "p"), ("SECRET_MANAGER_EMULATOR_HOST", "127.0.0.1:1")];
            config(&[], &[&local, more].concat()).is_ok()
        };
        assert!(with(&[]));
        for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
            assert!(!with(&[(proxy, "http://proxy:3128")]), "{proxy}");
            assert!(!with(&[(proxy, "http://proxy:3128"), ("NO_PROXY", "example.com")]), "{proxy}");
            assert!(with(&[(proxy, "http://proxy:3128"), ("NO_PROXY", "example.com, 127.0.0.1")]), "{proxy}");
            assert!(with(&[(proxy, "http://proxy:3128"), ("no_proxy", "127.0.0.1")]), "{proxy}");
            let hidden = [(proxy, "http://proxy:3128"), ("NO_PROXY", ""), ("no_proxy", "127.0.0.1")];
            assert!(!with(&hidden), "{proxy}: the empty one counts");
        }
        assert!(with(&[("HTTPS_PROXY", "http://proxy:3128")]), "of no concern to plain HTTP");
    }

    #[test]
    fn the_hosts_without_a_proxy_are_those_of_googles_client() {
        for (host, list, exempt) in [
            ("127.0.0.1:1", "127.0.0.1", true),
            ("127.0.0.1:1", "127.0.0.0/8", true),
            ("127.0.0.1:1", "*", false),
            ("127.0.0.1:1", "127.0.0.1:1", false),
            ("127.0.0.1:1", "::ffff:127.0.0.1", false),
            ("[::1]:1", "::1", true),
            ("[::1]:1", "0:0::1", true),
            ("[::1]:1", "[::1]", false),
            ("[::1]:1", "::1/128", true),
            ("localhost:1", "LOCALHOST", true),
            ("localhost:1", ".localhost", true),
            ("localhost:1", "*", true),
            ("localhost:1", "*.localhost", false),
            ("localhost:1", "host", false),
            ("localhost:1", "127.0.0.1 localhost", false),
        ] {
            let set = [
                ("GCP_PROJECT", "p"),
                ("SECRET_MANAGER_EMULATOR_HOST", host),
                ("HTTP_PROXY", "http://proxy:3128"),
                ("NO_PROXY", list),
            ];
            assert_eq!(config(&[], &set).is_ok(), exempt, "{host} {list}");
        }
        let v6 = [
            ("GCP_PROJECT", "p"),
            ("SECRET_MANAGER_EMULATOR_HOST", "[::1]:1"),
            ("all_proxy", "socks5://proxy:1080"),
            ("no_proxy", "[::1]"),
        ];
        let told = refusal(&[], &v6);
        assert!(told.starts_with("all_proxy would get") && told.ends_with("add ::1 to no_proxy"), "{told}");
    }

    #[test]
    fn the_legacy_account_needs_both_keys_and_never_goes_by_a_users_id() {
        let key_pair = [("GCP_PROJECT", "p"), ("APCA_API_KEY_ID", "PK1"), ("APCA_API_SECRET_KEY", "hush")];
        let account = config(&[], &key_pair).expect("usable").legacy_account.expect("an account");
        assert_eq!(account.tenant.as_str(), "local");
        assert!(crate::model::ids::UserId::parse(account.id.as_str()).is_err());
        let named = [&key_pair[..], &[("TENANT_ID", "acme")]].concat();
        assert_eq!(
            config(&[], &named).expect("usable").legacy_account.expect("an account").tenant.as_str(),
            "acme"
        );
        let refused = refusal(&[], &[&key_pair[..2], &[("APCA_API_SECRET_KEY", "hush\n")]].concat());
        assert!(!refused.contains("hush"), "{refused}");
        assert!(config(&[], &key_pair[..2]).is_err() && config(&[], &[key_pair[0], key_pair[2]]).is_err());
    }

    #[test]
    fn named_users_are_taken_once() {
        let named = config(&["--user", "ana, ben,ana,"], &[("GCP_PROJECT", "p")]).expect("usable").selection;
        let ids = ["ana", "ben"].map(|id| DocumentId::parse(id).expect("legal"));
        assert_eq!(named, Selection::Named(ids.to_vec()));
    }

    #[test]
    fn conditions_come_from_the_flags_or_the_variable() {
        let filter = |flags: &[&str], variables: &[_]| {
            config(flags, &[&[("GCP_PROJECT", "p")], variables].concat()).map(|config| config.filter)
        };
        let of = |text| UserFilter::parse(text).expect("usable");
        assert_eq!(filter(&[], &[]), Ok(UserFilter::default()));
        assert_eq!(filter(&["--where", "a=1", "--where=b=2,c=3"], &[]), Ok(of("a=1,b=2,c=3")));
        assert_eq!(filter(&[], &[("PULSE_WHERE", "a=1,b=2")]), Ok(of("a=1,b=2")));
        assert_eq!(filter(&["--where", "a=1"], &[("PULSE_WHERE", "b=2")]), Ok(of("a=1")));
        assert_eq!(filter(&[], &[("PULSE_WHERE", "")]), Ok(UserFilter::default()));
        for (flags, variable) in
            [(["--where="].as_slice(), ""), (&["--where", "a=1", "--where", "b"], ""), (&[], " ")]
        {
            assert!(filter(flags, &[("PULSE_WHERE", variable)]).is_err(), "{flags:?} {variable:?}");
        }
    }

    #[test]
    fn a_filter_and_named_users_exclude_each_other_unless_the_flag_wins() {
        let of = |flags: &[&str], variables: &[_]| {
            config(flags, &[&[("GCP_PROJECT", "p")], variables].concat()).map(|config| config.filter)
        };
        assert!(of(&["--where", "a=1", "--user", "ana"], &[]).is_err());
        assert!(of(&["--where", "a=1"], &[("PULSE_USERS", "ana")]).is_err());
        assert!(of(&[], &[("PULSE_WHERE", "a=1"), ("PULSE_USERS", "ana")]).is_err());
        assert_eq!(of(&["--user", "ana"], &[("PULSE_WHERE", "a=1")]), Ok(UserFilter::default()));
        assert!(of(&["--user", "ana"], &[("PULSE_WHERE", "a")]).is_err(), "wrong in any case");
    }

    #[test]
    fn a_spread_and_a_deadline_must_fit_in_what_is_around_them() {
        let fits = |flags: &[&str]| config(flags, &[("GCP_PROJECT", "p")]).is_ok();
        assert!(fits(&["--spread=40s", "--deadline=50s"]));
        assert!(!fits(&["--spread=41s", "--deadline=50s"]));
        assert!(!fits(&["--spread=60s", "--every=60s", "--for=14m"]));
        assert!(fits(&["--deadline=14m", "--every=60s", "--for=14m"]));
        assert!(!fits(&["--deadline=50s", "--every=60s", "--for=14m"]));
    }

    #[test]
    fn nobody_by_name_is_not_everybody() {
        for (flags, variable) in
            [(["--user="].as_slice(), ""), (["--user", " , "].as_slice(), ""), (&[], " , ")]
        {
            assert!(
                refusal(flags, &[("GCP_PROJECT", "p"), ("PULSE_USERS", variable)]).contains("names nobody")
            );
        }
        let unset = config(&[], &[("GCP_PROJECT", "p"), ("PULSE_USERS", "")]).expect("usable");
        assert!(unset.takes_everybody());
        let both =
            config(&["--user", "ana"], &[("GCP_PROJECT", "p"), ("PULSE_USERS", "ben")]).expect("usable");
        assert_eq!(both.selection, Selection::Named(vec![DocumentId::parse("ana").expect("legal")]));
    }

    #[test]
    fn an_execution_outside_cloud_run_gets_an_id_of_its_own() {
        let execution = |set: Option<&str>| {
            Execution::from_lookup(
                |name| (name == "CLOUD_RUN_EXECUTION").then(|| set.map(str::to_owned))?,
                Timestamp::UNIX_EPOCH,
            )
        };
        let named = execution(Some("pulse-x7k2p")).expect("usable");
        assert_eq!((named.id.as_str(), named.task_index, named.task_count.get()), ("pulse-x7k2p", 0, 1));
        assert_ne!(execution(None).expect("usable").id, execution(None).expect("usable").id);
        assert!(execution(Some("a/b")).is_err());
    }

    #[test]
    fn a_task_is_one_of_those_there_are() {
        for (index, count, usable) in [
            ("0", "1", true),
            ("3", "4", true),
            ("99", "100", true),
            ("4", "4", false),
            ("0", "0", false),
            ("0", "101", false),
            ("-1", "4", false),
            ("x", "4", false),
            ("0", "many", false),
            ("", "", true),
        ] {
            let lookup = |name: &str| match name {
                "CLOUD_RUN_TASK_INDEX" => Some(index.to_owned()),
                "CLOUD_RUN_TASK_COUNT" => Some(count.to_owned()),
                _ => None,
            };
            let execution = Execution::from_lookup(lookup, Timestamp::UNIX_EPOCH);
            assert_eq!(execution.is_ok(), usable, "{index} of {count}: {execution:?}");
        }
    }
}
