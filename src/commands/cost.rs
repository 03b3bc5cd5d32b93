//! `pulse cost`: what a deployment costs a month, and what would save most.

mod savings;
mod workload;

use self::savings::{Saving, savings};
use self::workload::{as_counted, as_estimated};
use crate::commands::frame::{
    CheckState, Column, Finding, Page, Report, Table, counted, grouped, in_words, point, run_with,
};
use crate::commands::reading::{Unread, read_pulse};
use crate::config::Place;
use crate::config::cost_args::{CostArgs, CostSettings};
use crate::documents::pulse_view::PulseView;
use crate::model::costs::{Item, Loop, Workload};
use crate::model::prices::{AS_OF, DAYS};
use crate::services::desk::Desk;
use jiff::SignedDuration;
use std::process::ExitCode;
use std::time::Duration;

const SERVICES: [Column; 3] = [
    Column { title: "SERVICE", rank: 0 },
    Column { title: "A MONTH", rank: 0 },
    Column { title: "FOR", rank: 1 },
];

const SAVINGS: [Column; 2] =
    [Column { title: "SETTING", rank: 0 }, Column { title: "SAVES A MONTH", rank: 0 }];

const NOT_IN_IT: &str = "Not in it: what leaves Google for Alpaca, the documents' storage, Cloud Scheduler, Cloud \
                         Build and the images.";

/// Counts, and tells.
pub(crate) async fn cost(args: &CostArgs) -> ExitCode {
    let settings = CostSettings::parse(args.clone());
    run_with("cost", &args.common, settings, async |place, settings, report| match args.users {
        Some(users) => tell(report, &settings, &as_estimated(&settings, users), None),
        None => real(&settings, place, report).await,
    })
    .await
}

async fn real(settings: &CostSettings, place: &Place, report: &mut Report) {
    let desk = Desk::at(place);
    match read_pulse(&desk).await {
        Ok((_, pulse)) => match pulse.as_ref().filter(|pulse| pulse.counts.users_count > 0) {
            Some(pulse) => tell(report, settings, &as_counted(settings, pulse), Some(pulse)),
            None => report.found(nothing_counted(place)),
        },
        Err(unread) => report.found_all(unread_costs(unread)),
    }
    report.used(desk.used());
}

fn unread_costs(unread: Unread) -> Vec<Finding> {
    unread.with_skipped(&["MonthCounted"])
}

fn nothing_counted(place: &Place) -> Finding {
    let sentence = "No pulse has counted anything yet: ops/last_pulse says of no users.";
    let estimate = format!("pulse cost --users=1000{}", place.database.flags());
    Finding::new(CheckState::Unknown, "NothingCounted", sentence).mended_by(estimate)
}

fn tell(report: &mut Report, settings: &CostSettings, workload: &Workload, pulse: Option<&PulseView>) {
    let (bill, savings, sum) = (workload.bill(), savings(settings, workload), workload.sum());
    report.field("users", &workload.users);
    report.field("every_s", &workload.every.as_secs());
    report.field("for_s", &workload.repeats.map(|repeats| repeats.length.as_secs()));
    let kept = |time: fn(&Loop) -> Duration| workload.repeats.as_ref().map(|repeats| time(repeats).as_secs());
    report.field("key_ttl_s", &kept(|repeats| repeats.key_ttl));
    report.field("users_ttl_s", &kept(|repeats| repeats.users_ttl));
    report.field("refresh_unchanged_s", &kept(|repeats| repeats.refresh));
    report.field("members", &workload.members);
    report.field("tasks", &workload.tasks);
    report.field("key_versions", &workload.versions);
    report.field("counted_at", &pulse.and_then(|pulse| pulse.at));
    report.field("prices_as_of", &AS_OF);
    report.field("days", &DAYS);
    report.field("dollars", &cents(sum));
    let rounded = |item: &Item| Item { dollars: cents(item.dollars), amount: item.amount.round(), ..*item };
    report.field("services", &bill.iter().map(rounded).collect::<Vec<_>>());
    let rounded = |saving: &Saving| Saving { dollars: cents(saving.dollars), ..*saving };
    report.field("savings", &savings.iter().map(rounded).collect::<Vec<_>>());
    report.text(|page| show(page, (workload, &savings), pulse));
    let sentence =
        format!("{} for {DAYS} days, after what is free, at the list prices of {AS_OF}.", dollars(sum));
    report.found(Finding::new(CheckState::Ok, "MonthCounted", sentence));
    report.found_all(loop_of(workload, pulse).into_iter().collect());
}

/// The counts of one pulse of a loop say nothing of how often keys are fetched.
fn loop_of(workload: &Workload, pulse: Option<&PulseView>) -> Option<Finding> {
    let used = &pulse?.used;
    let is_one = workload.repeats.is_none() && used.secret_accesses < used.alpaca_calls / 2;
    let sentence = "The last pulse had most users' keys already, as in a loop: say how long it runs, such as --for=23h45m.";
    is_one.then(|| Finding::new(CheckState::Warning, "PulseOfALoop", sentence))
}

fn show(page: &mut Page, (workload, savings): (&Workload, &[Saving]), pulse: Option<&PulseView>) {
    let every = in_words(SignedDuration::try_from(workload.every).unwrap_or(SignedDuration::MAX));
    let tasks =
        if workload.tasks == 1 { "1 task".into() } else { format!("{} tasks", grouped(workload.tasks)) };
    let source = match pulse.and_then(|pulse| pulse.at) {
        Some(at) if workload.repeats.is_none() => format!("counted in the pulse of {}", point(at)),
        Some(at) => format!("users counted in the pulse of {}", point(at)),
        None => "estimated".to_owned(),
    };
    page.pair(
        "deployment",
        &format!("{}, a pulse every {every}, {tasks}; {source}", counted(workload.users, ["user", "users"])),
    );
    if let Some(Loop { length, key_ttl, users_ttl, refresh }) = workload.repeats {
        let times = [length, key_ttl, users_ttl, refresh];
        let [length, keys, users, refresh] = times.map(humantime::format_duration);
        let kept = format!("keys kept for {keys}, users for {users}, unchanged snapshots for {refresh}");
        page.pair("loop", &format!("{length}; {kept}; of 100 accounts {} moving", workload.moving));
    }
    page.gap();
    let rows: Vec<_> = workload.bill().iter().map(service).collect();
    Table::new(&SERVICES).rows(page, &rows);
    page.gap();
    let rows: Vec<_> = savings.iter().map(setting).collect();
    if !rows.is_empty() {
        Table::new(&SAVINGS).rows(page, &rows);
        page.gap();
    }
    page.paragraph(NOT_IN_IT);
}

fn service(item: &Item) -> Vec<String> {
    let amount = grouped(item.amount.round() as u64);
    vec![item.service.to_owned(), dollars(item.dollars), format!("{amount} {}", item.unit)]
}

fn setting(saving: &Saving) -> Vec<String> {
    vec![saving.setting.to_owned(), dollars(saving.dollars)]
}

fn cents(dollars: f64) -> f64 {
    (dollars * 100.0).round() / 100.0
}

/// Few dollars to the cent.
fn dollars(dollars: f64) -> String {
    match dollars {
        small if small < 9.995 => format!("${small:.2}"),
        large => format!("${}", grouped(large.round() as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::outcome::PassStatus;
    use crate::model::usage::Used;

    #[test]
    fn few_dollars_are_told_to_the_cent() {
        for (amount, expected) in [(0.0, "$0.00"), (2.144, "$2.14"), (9.996, "$10"), (3251.6, "$3,252")] {
            assert_eq!(dollars(amount), expected);
        }
    }

    #[test]
    fn one_pulse_of_a_loop_is_told_from_others() {
        let workload = Workload::expected(100, std::time::Duration::from_mins(1), 1);
        let used = |secret_accesses| Used { secret_accesses, alpaca_calls: 100, ..Used::default() };
        let pulse = |accesses| PulseView {
            used: used(accesses),
            status: Some(PassStatus::Ok),
            ..PulseView::default()
        };
        assert_eq!(loop_of(&workload, Some(&pulse(100))), None);
        assert_eq!(loop_of(&workload, Some(&pulse(3))).map(|found| found.reason), Some("PulseOfALoop"));
        assert_eq!(loop_of(&workload, None), None);
    }
}
