//! When the alerts in PromQL go off, by Prometheus' own `promtool`: one pass a minute, told as the log tells it.

use crate::alerts::{policies, query};
use crate::promtool;
use serde_json::{Value as Json, json};

const DAY: usize = 24 * 60;

/// What each pass of some minutes says.
#[derive(Clone, Copy, Default)]
struct Pass {
    users: u32,
    synced: u32,
    our_errors: u32,
    reconnect: u32,
    stale: u32,
    /// For how many minutes the first of those who fail for long; 0 where nobody does.
    longest: u32,
    /// Each with an even share of the above.
    tasks: u32,
}

/// Minutes of passes; no pass at all is `None`.
type Phase = (usize, Option<Pass>);

struct Case {
    name: &'static str,
    phases: Vec<Phase>,
    goes_off: bool,
}

const HEALTHY: Pass =
    Pass { users: 100, synced: 100, our_errors: 0, reconnect: 0, stale: 0, longest: 0, tasks: 1 };

fn case(name: &'static str, phases: &[Phase], goes_off: bool) -> Case {
    Case { name, phases: phases.to_vec(), goes_off }
}

fn failing(users: u32, our_errors: u32) -> Option<Pass> {
    Some(Pass { users, synced: users - our_errors, our_errors, ..HEALTHY })
}

/// What Monitoring makes of a metric: a sum that grows with each line.
fn series(name: &str, phases: &[Phase], added: fn(&Pass) -> u32) -> Json {
    let (mut sum, mut values) = (0, vec!["0".to_owned()]);
    for (minutes, pass) in phases {
        for _ in 0..*minutes {
            sum += pass.as_ref().map_or(0, added);
            values.push(if pass.is_some() { sum.to_string() } else { "_".to_owned() });
        }
    }
    let series = format!(r#"logging_googleapis_com:user_pulse_{name}{{monitored_resource="cloud_run_job"}}"#);
    json!({"series": series, "values": values.join(" ")})
}

impl Case {
    fn test(&self) -> Json {
        let of = |name, added| series(name, &self.phases, added);
        let minutes: usize = self.phases.iter().map(|(minutes, _)| minutes).sum();
        let alerts = if self.goes_off { json!([{"exp_labels": {}}]) } else { json!([]) };
        json!({
            "name": self.name,
            "interval": "1m",
            "input_series": [
                of("users_sum", |pass| pass.users),
                of("users_count", |pass| pass.tasks),
                of("synced_sum", |pass| pass.synced),
                of("synced_count", |pass| pass.tasks),
                of("our_errors_sum", |pass| pass.our_errors),
                of("our_errors_count", |pass| pass.tasks),
                of("reconnect_sum", |pass| pass.reconnect),
                of("reconnect_count", |pass| pass.tasks),
                of("stale_sum", |pass| pass.stale),
                of("stale_count", |pass| pass.tasks),
                of("longest_failing_sum", |pass| 60 * pass.longest),
                of("longest_failing_count", |pass| u32::from(pass.longest > 0)),
            ],
            "alert_rule_test": [
                {"eval_time": format!("{minutes}m"), "alertname": "alert", "exp_alerts": alerts}
            ],
        })
    }
}

/// Asserts that a policy goes off in those cases, and in those only.
fn check(file: &str, cases: &[Case]) {
    let policy = &policies()[file];
    let wait = &policy["conditions"][0]["conditionPrometheusQueryLanguage"]["duration"];
    let rule = json!({"alert": "alert", "expr": query(policy), "for": wait});
    promtool::check(&[rule], &cases.iter().map(Case::test).collect::<Vec<_>>());
}

#[test]
fn many_errors_of_ours_for_ten_minutes_go_off() {
    let healthy = (30, Some(HEALTHY));
    let skipping: Vec<Phase> = (0..20).flat_map(|_| [(1, None), (1, failing(100, 50))]).collect();
    let waiting = Pass { users: 100, synced: 40, reconnect: 60, ..HEALTHY };
    let cases = [
        case("nothing is wrong", &[healthy], false),
        case("21 of 100", &[healthy, (15, failing(100, 21))], true),
        case("20 of 100", &[healthy, (15, failing(100, 20))], false),
        case("21 of 100, mended", &[healthy, (15, failing(100, 21)), (4, Some(HEALTHY))], false),
        case("all, for six minutes", &[healthy, (6, failing(100, 100))], false),
        case("all, for fifteen minutes", &[healthy, (15, failing(100, 100))], true),
        case("2 of 3", &[(30, failing(3, 2))], true),
        case("1 of 3", &[(30, failing(3, 1))], false),
        case("1 of 1", &[(30, failing(1, 1))], false),
        case("60 of 100 have to reconnect", &[(30, Some(waiting))], false),
        case("60 of 100 signed up without keys", &[(30, Some(Pass { synced: 40, ..HEALTHY }))], false),
        case(
            "24 of 100 in four tasks",
            &[(30, failing(100, 24).map(|pass| Pass { tasks: 4, ..pass }))],
            true,
        ),
        case("every other pass is skipped", &skipping, true),
        case("no users", &[(30, Some(Pass { tasks: 1, ..Pass::default() }))], false),
    ];
    check("deploy/monitoring/alert-share.json", &cases);
}

#[test]
fn nobody_synced_for_fifteen_minutes_goes_off() {
    let healthy = (120, Some(HEALTHY));
    let idle = |users| Some(Pass { users, tasks: 1, ..Pass::default() });
    let waiting = |users, reconnect| Some(Pass { users, reconnect, tasks: 1, ..Pass::default() });
    let half = Some(Pass { users: 100, synced: 50, reconnect: 50, ..HEALTHY });
    let alone = Some(Pass { users: 1, synced: 1, ..HEALTHY });
    let cases = [
        case("nothing is wrong", &[healthy], false),
        case("a day of health", &[(DAY + 60, Some(HEALTHY))], false),
        case("the job is silent", &[healthy, (20, None)], true),
        case("the job is silent for a moment", &[healthy, (12, None)], false),
        case("a wrong but existing database", &[healthy, (20, idle(0))], true),
        case("everybody paused", &[healthy, (20, idle(100))], true),
        case("everybody paused for hours", &[healthy, (600, idle(100))], true),
        case("everybody fails for a cause of ours", &[healthy, (20, failing(100, 100))], true),
        case("everybody fails for ten minutes", &[healthy, (10, failing(100, 100))], false),
        case("sign-ups without keys alone", &[(180, idle(5))], false),
        case("sign-ups alone, then the job is silent", &[(120, idle(5)), (20, None)], false),
        case("no users yet", &[(180, idle(0))], false),
        case("nobody for more than a day", &[healthy, (DAY + 5, idle(100))], false),
        case("the only user has to reconnect", &[(300, alone), (30, waiting(1, 1))], false),
        case("the only user has to reconnect for hours", &[(300, alone), (900, waiting(1, 1))], false),
        case("all have to reconnect, beside sign-ups", &[healthy, (30, waiting(140, 100))], false),
        case("half wait for long, the others are paused", &[(300, half), (30, waiting(100, 50))], true),
        case(
            "half wait for long, the others have to reconnect too",
            &[(300, half), (30, waiting(100, 100))],
            false,
        ),
        case(
            "four tasks, everybody paused",
            &[healthy, (20, idle(100).map(|pass| Pass { tasks: 4, ..pass }))],
            true,
        ),
    ];
    check("deploy/monitoring/alert-nobody.json", &cases);
}

/// So many of 1000 users are stale.
fn stale(users: u32) -> Option<Pass> {
    Some(Pass { users: 1000, synced: 1000 - users, our_errors: users, stale: users, ..HEALTHY })
}

#[test]
fn an_objective_that_burns_goes_off_and_ends() {
    let healthy = (DAY, stale(0));
    let cases = [
        case("nothing is stale", &[healthy], false),
        case("as many as are allowed", &[(DAY, stale(1))], false),
        case("five times too many", &[(DAY, stale(5))], false),
        case("six and a half times too many for six hours", &[healthy, (400, stale(7))], true),
        case("fifteen times too many for an hour", &[healthy, (61, stale(15))], true),
        case("all for one minute", &[healthy, (1, stale(1000))], true),
        case("all for one minute, ten minutes ago", &[healthy, (1, stale(1000)), (10, stale(0))], false),
        case("an hour of a fifth, mended", &[healthy, (60, stale(200)), (40, stale(0))], false),
        case("the job is silent", &[healthy, (60, None)], false),
        case(
            "sign-ups without keys alone",
            &[(DAY, Some(Pass { users: 100, tasks: 1, ..Pass::default() }))],
            false,
        ),
    ];
    check("deploy/monitoring/alert-objective.json", &cases);
}

#[test]
fn who_fails_for_half_an_hour_goes_off_and_who_flaps_does_not() {
    let failing_for = |minutes: std::ops::Range<u32>| {
        minutes.map(|longest| (1, Some(Pass { longest, our_errors: 1, synced: 99, ..HEALTHY })))
    };
    let (long, short) = (failing_for(5..45).collect::<Vec<_>>(), failing_for(5..30).collect::<Vec<_>>());
    let flapping: Vec<Phase> = (0..6).flat_map(|_| failing_for(5..20).chain([(3, Some(HEALTHY))])).collect();
    let mended = [&long[..], &[(8, Some(HEALTHY))]].concat();
    let cases = [
        case("nobody", &[(60, Some(HEALTHY))], false),
        case("one for 44 minutes", &long, true),
        case("one for 29 minutes", &short, false),
        case("one for 44 minutes, mended", &mended, false),
        case("one now and then", &flapping, false),
    ];
    check("deploy/monitoring/alert-failing.json", &cases);
}
