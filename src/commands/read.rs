//! `pulse read`: what a reader may conclude from a user's snapshot, and whether an order may go out.

use crate::commands::frame::{CheckState, Finding, Page, Report, in_words, point, run};
use crate::commands::reading::Unread;
use crate::config::Place;
use crate::config::operator_args::{OrderAsked, ReadArgs};
use crate::limits::deadlines::USER_BUDGET;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::suggested::about;
use crate::services::desk::Desk;
use account_reader::decimal::plain;
use account_reader::documents::snapshot as field;
use account_reader::time::iso;
use account_reader::{
    Account, Action, BigDecimal, Decision, Environment, Funds, MAX_AGE, Order, Policy, Side, Snapshot, Sync,
    Verdict, decide, pending_sum,
};
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::process::ExitCode;

/// Looks, tells, and exits with 3 where the figures are not fresh, or the order is denied.
pub(crate) async fn read(args: &ReadArgs) -> ExitCode {
    run("read", &args.common, async |place, report| {
        report.field("user_id", &args.user.as_str());
        let desk = Desk::at(place);
        match look(args, &desk).await {
            Ok(seen) => {
                seen.tell_json(report);
                report.text(|page| seen.tell(page));
                report.found_all(seen.findings(place));
            }
            Err(unread) => report.found_all(unread.with_skipped(&[])),
        }
        report.used(desk.used());
    })
    .await
}

/// What was read, and when.
struct Seen<'a> {
    user: &'a DocumentId,
    snapshot: Snapshot,
    now: Timestamp,
    decided: Option<(&'a OrderAsked, Decision)>,
}

async fn look<'a>(args: &'a ReadArgs, desk: &Desk<'_>) -> Result<Seen<'a>, Unread> {
    let place = desk.place();
    let store = desk.store().await.map_err(|err| Unread::firestore(place, &err))?;
    let snapshot = store.snapshot(&args.user, Deadline::after(USER_BUDGET)).await;
    let snapshot = snapshot.map_err(|err| Unread::firestore(place, &err))?;
    let signals = match &args.order {
        // What only closes is not paid for.
        Some(OrderAsked { action: Action::Flat, .. }) | None => Vec::new(),
        Some(_) => {
            let pending = store.pending_signals(&args.user).await;
            pending.map_err(|err| Unread::firestore(place, &err))?
        }
    };
    let now = store.clock().now();
    let decided = args.order.as_ref().map(|asked| {
        let pending = pending_sum(signals.iter().map(|signal| signal.signal()), &snapshot, now);
        let order = Order {
            user: args.user.as_str().to_owned(),
            side: if asked.action == Action::Buy { Side::Buy } else { Side::Sell },
            notional: asked.notional.clone(),
            closes: asked.action == Action::Flat,
            pending,
        };
        (asked, decide(&order, &snapshot, &policy(&snapshot), now))
    });
    Ok(Seen { user: &args.user, snapshot, now, decided })
}

/// The account's own environment, and all that it can spend: a person asks what would be possible.
fn policy(snapshot: &Snapshot) -> Policy {
    Policy {
        environment: snapshot.environment().unwrap_or(Environment::Paper),
        currency: "USD".to_owned(),
        funds: Funds::BuyingPower,
        reserve: BigDecimal::from(0),
    }
}

impl Seen<'_> {
    fn verdict(&self) -> Verdict<'_> {
        self.snapshot.verdict(self.now)
    }

    fn account(&self) -> Option<&Account> {
        match self.verdict() {
            Verdict::Fresh { account, .. } | Verdict::Stale { account, .. } => Some(account),
            Verdict::Missing | Verdict::Malformed { .. } => None,
        }
    }

    /// The names are those of the vectors and of the documents.
    fn tell_json(&self, report: &mut Report) {
        let verdict = self.verdict();
        report.field("source", &self.snapshot.source().as_str());
        report.field("verdict", &verdict.as_str());
        match verdict {
            Verdict::Fresh { age, .. } | Verdict::Stale { age, .. } => {
                report.field("age_ms", &i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            }
            Verdict::Malformed { field } => report.field("field", &field),
            Verdict::Missing => {}
        }
        if let Some(account) = self.account() {
            report.field("figures", &figures(account).collect::<Map<_, _>>());
            report.field("account", &account_json(account));
        }
        let Sync { state, error, since, failing_since, next_attempt_at } = self.snapshot.sync();
        report.field("sync", &state.as_str());
        report.field("error", error);
        report.field("since", since);
        report.field("failing_since", failing_since);
        report.field("next_attempt_at", next_attempt_at);
        if let Some((_, decision)) = &self.decided {
            report.field("decision", &decision_json(decision));
        }
    }

    fn tell(&self, page: &mut Page) {
        let Sync { state, error, failing_since, .. } = self.snapshot.sync();
        page.heading(&format!("{}: {}", self.user, self.verdict().as_str()));
        if let Some(account) = self.account() {
            page.pair("answered", &point(account.updated_at));
            page.pair("account", &account.external_account_id);
            page.pair("", &format!("{}, {}", account.environment().as_str(), account.status));
            for (name, figure) in figures(account) {
                let figure = figure.as_str().unwrap_or_default();
                page.pair(label(&name), &format!("{figure} {}", account.currency));
            }
            let blocks = account.blocks();
            page.pair(
                "blocked by",
                &if blocks.is_empty() { "nothing".to_owned() } else { blocks.join(", ") },
            );
        }
        let error = error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let since =
            failing_since.map(|since| format!(", failing since {}", point(since))).unwrap_or_default();
        page.pair("sync", &format!("{}{error}{since}", state.as_str()));
    }

    fn findings(&self, place: &Place) -> Vec<Finding> {
        let found = self.of_verdict(place);
        match &self.decided {
            None => vec![found],
            Some((asked, decision)) => {
                // The order decides: what only closes may go out on old figures too.
                let state = if found.state == CheckState::Failed { CheckState::Warning } else { found.state };
                vec![Finding { state, ..found }, of_decision(asked, decision)]
            }
        }
    }

    fn of_verdict(&self, place: &Place) -> Finding {
        let failed = |reason, sentence: String| {
            let explain = about("explain", self.user.as_str(), &place.database.flags());
            Finding::new(CheckState::Failed, reason, sentence).mended_by(explain)
        };
        let user = self.user;
        match self.verdict() {
            Verdict::Fresh { age, account } => {
                let until = account.fresh_until.filter(|_| age > MAX_AGE).map(point);
                let stands = until.map(|until| format!(", and may stand until {until}")).unwrap_or_default();
                let sentence = format!("The figures of {user} are fresh: {} old{stands}.", in_words(age));
                Finding::new(CheckState::Ok, "Fresh", sentence)
            }
            Verdict::Stale { age, .. } => {
                let sentence = "old: to be shown with their age, and nothing to trade on.";
                failed("Stale", format!("The figures of {user} are {} {sentence}", in_words(age)))
            }
            Verdict::Missing => failed("Missing", format!("{user} never synced: there is no snapshot.")),
            Verdict::Malformed { field } => {
                let sentence = "is not what pulse writes there: no figure of it means anything.";
                failed("Malformed", format!("In the snapshot of {user}, {field} {sentence}"))
            }
        }
    }
}

fn of_decision(OrderAsked { action, notional }: &OrderAsked, decision: &Decision) -> Finding {
    let order = format!("{} for {} USD", action.as_str(), plain(notional));
    match decision {
        Decision::Allow { max_notional } => {
            let most = plain(max_notional);
            Finding::new(CheckState::Ok, "Allowed", format!("{order}: it may go out, for up to {most} USD."))
        }
        Decision::Deny { code, reason } => {
            Finding::new(CheckState::Failed, "Denied", format!("{order}: {reason} ({code})."))
        }
    }
}

/// Every figure that there is, by its name.
fn figures(account: &Account) -> impl Iterator<Item = (String, Json)> {
    let figures = &account.figures;
    let named = [
        (field::EQUITY, Some(&figures.equity)),
        (field::BUYING_POWER, Some(&figures.buying_power)),
        (field::CASH, Some(&figures.cash)),
        (field::LAST_EQUITY, figures.last_equity.as_ref()),
        (field::NON_MARGINABLE_BUYING_POWER, figures.non_marginable_buying_power.as_ref()),
    ];
    named.into_iter().filter_map(|(name, figure)| Some((name.to_owned(), plain(figure?).into())))
}

/// What a person reads instead of a field's name.
fn label(name: &str) -> &str {
    match name {
        field::BUYING_POWER => "buying power",
        field::LAST_EQUITY => "last equity",
        field::NON_MARGINABLE_BUYING_POWER => "no margin",
        name => name,
    }
}

fn account_json(account: &Account) -> Json {
    json!({
        "user_id": account.user_id(),
        "external_account_id": account.external_account_id,
        "status": account.status,
        "environment": account.environment().as_str(),
        "currency": account.currency,
        "multiplier": account.multiplier,
        "blocks": account.blocks(),
        "pattern_day_trader": account.pattern_day_trader,
        "updated_at_iso": iso(account.updated_at),
        "fresh_until": account.fresh_until.map(|until| until.to_string()),
    })
}

fn decision_json(decision: &Decision) -> Json {
    match decision {
        Decision::Allow { max_notional } => json!({"allow": {"max_notional": plain(max_notional)}}),
        Decision::Deny { code, reason } => json!({"deny": code.as_str(), "reason": reason}),
    }
}
