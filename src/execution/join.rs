//! How a task joins its execution: it reads what there is, decides, commits, and tries again when another task was
//! faster.

use crate::config::Execution;
use crate::execution::assignment::{Earlier, Joined, OtherPlan, TaskAssignment};
use crate::execution::claim::{Claim, JoinDecision, JoiningTask, LeaseState};
use crate::execution::hand_over::{HandOver, LoopTick};
use crate::execution::silence::LastSynced;
use crate::execution::view::LedgerView;
use crate::firestore::StoreError;
use crate::limits::retry::Deadline;
use crate::model::ids::DocumentId;
use crate::model::ledger::Ledger;
use crate::model::loop_claim::LoopClaim;
use crate::model::outcome::PassStatus;
use crate::services::clients::Clients;
use crate::telemetry::Chain;
use std::time::Duration;
use tracing::{error, info, warn};

/// For joining an execution, all tries together.
const JOIN_BUDGET: Duration = Duration::from_secs(20);

/// For finding out whether anything is left to do: where that takes long, it is better to begin.
const DONE_BUDGET: Duration = Duration::from_secs(3);

/// Tries to become the current execution while others do the same.
const TRIES: u32 = 5;

/// What a task finds on joining.
#[derive(Debug)]
pub(crate) enum JoinOutcome {
    /// Its part.
    Assigned(Box<TaskAssignment>),
    /// That another execution is still running.
    Busy(DocumentId),
    /// Of a loop's pulse: that this point in time is not its own.
    NotIts(HandOver),
}

/// Why a task could not take its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    /// Without the ledger, one of several tasks does not know which users are its own.
    #[error("the ledger of the execution could not be read or written, and this is one of several tasks")]
    Ledger(#[source] StoreError),
    /// Nor does it with a ledger that is not meant for it.
    #[error(transparent)]
    OtherPlan(#[from] OtherPlan),
}

/// What came of one try.
enum Try {
    Joined(Box<Joined>),
    Busy(DocumentId),
    NotIts(HandOver),
}

/// Takes this task's part in the execution, which may be a loop's pulse.
///
/// A single task goes on when Firestore does not let it keep a ledger: fresh snapshots matter more
/// than two passes at the same time, which do no harm.
pub(crate) async fn join(
    clients: &Clients,
    execution: &Execution,
    looping: Option<&LoopTick>,
) -> Result<JoinOutcome, JoinError> {
    let now = clients.store.clock().now();
    let used = clients.usage.so_far();
    let mut assignment = Box::new(TaskAssignment::new(&clients.config, execution, used, now));
    if !clients.config.takes_everybody() {
        return Ok(JoinOutcome::Assigned(assignment));
    }
    let deadline = Deadline::after(JOIN_BUDGET);
    let this = (execution, looping);
    let tried = until_no_conflict(async || try_once(&mut assignment, clients, this, deadline).await).await;
    match tried {
        Ok(Try::Joined(joined)) => {
            assignment.take(*joined)?;
            report_earlier(&assignment);
        }
        Ok(Try::Busy(other)) => return Ok(JoinOutcome::Busy(other)),
        Ok(Try::NotIts(hand_over)) => return Ok(JoinOutcome::NotIts(hand_over)),
        Err(err) if assignment.is_one_of_several() => return Err(JoinError::Ledger(err)),
        Err(err) => {
            report_no_ledger(&execution.id, &err);
            assignment.recording = assignment.recording.without_ledger();
        }
    }
    Ok(JoinOutcome::Assigned(assignment))
}

/// What the execution was worth, if an earlier attempt has done all of it. Whatever cannot be read is
/// not done.
pub(crate) async fn done_before(clients: &Clients, execution: &Execution) -> Option<PassStatus> {
    if !clients.config.takes_everybody() {
        return None;
    }
    let ledger = clients.store.ledgers([Some(&execution.id)], Deadline::after(DONE_BUDGET)).await;
    let [ledger] = ledger.ok()?;
    let outcome = ledger.filter(Ledger::is_done)?.pass_status();
    report_done_before(outcome);
    Some(outcome)
}

/// Tries as long as others are faster, and not for ever.
async fn until_no_conflict<T>(
    mut attempt: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    for _ in 1..TRIES {
        match attempt().await {
            Err(StoreError::Conflict(_)) => {}
            result => return result,
        }
    }
    attempt().await
}

/// Reads, decides and commits. What the task learns on the way is good even if it fails in the end.
async fn try_once(
    assignment: &mut TaskAssignment,
    clients: &Clients,
    (execution, looping): (&Execution, Option<&LoopTick>),
    deadline: Deadline,
) -> Result<Try, StoreError> {
    let store = &clients.store;
    let view = LedgerView::read(store, &execution.id, deadline).await?;
    assignment.last_synced = LastSynced::from(view.last.synced_at);
    if let Some(other) = view.own.as_ref().and_then(|own| own.skipped_for.clone()) {
        return Ok(Try::Busy(other));
    }
    if looping.is_none() && may_reckon(clients) {
        return Ok(Try::NotIts(HandOver::Reckon));
    }
    let joining = joining_task(assignment, clients, (execution, looping));
    assignment.follows_others = joining.follows_others(&view);
    let (current, own) = (view.current.execution.as_ref(), view.own.as_ref());
    let (rival, model) = (joining.rival(current), joining.model_execution(own, view.last.id.as_ref()));
    let [rival_ledger, model_ledger] = store.ledgers([rival, model], deadline).await?;
    resume_ramp(clients, model_ledger.as_ref());
    let rival = rival.zip(rival_ledger.as_ref());
    let lease = LeaseState::of(own, current == Some(&execution.id), rival, view.now);
    if let Some(hand_over) = joining.hand_over(&view, rival, lease) {
        return Ok(Try::NotIts(hand_over));
    }
    let synced_by_dead = lease.dead().and_then(|dead| dead.synced_at());
    assignment.last_synced = assignment.last_synced.or_later(synced_by_dead);
    let model = model_ledger.as_ref();
    // The one that claimed last, which need not have told the dashboards. In a loop it is in nobody's way, and not
    // read: its pulses reach everybody, or are the last.
    let before = rival_ledger.as_ref().or(model);
    let shards = own.map_or_else(|| joining.plan(model, before), |own| own.shards.clone());
    let decision = joining.decide(lease, own.is_some());
    let (execution, last_synced) = (&execution.id, assignment.last_synced);
    let claim = Claim { execution, looping, view: &view, shards: &shards, last_synced };
    let writes = claim.writes(decision, store.database());
    writes.commit(async |writes| store.commit(&writes, deadline).await).await?;
    Ok(match decision {
        JoinDecision::Leave(other) | JoinDecision::LeaveForAll(other) => Try::Busy(other.clone()),
        JoinDecision::Join | JoinDecision::Claim(_) => {
            report_disbelieved(joining.disbelieved(&view));
            let LedgerView { now, own, last, .. } = view;
            Try::Joined(Box::new(Joined { shards, own, previous: last.started_at, now }))
        }
    })
}

/// Whether a loop's pulse can find its point in time.
fn may_reckon(clients: &Clients) -> bool {
    clients.config.repeat.is_some() && clients.store.clock().is_known()
}

fn joining_task<'a>(
    assignment: &TaskAssignment,
    clients: &Clients,
    (execution, looping): (&'a Execution, Option<&'a LoopTick>),
) -> JoiningTask<'a> {
    JoiningTask {
        execution,
        looping,
        is_ramping: clients.limits.ramp().is_some(),
        recording: assignment.recording,
    }
}

fn resume_ramp(clients: &Clients, model: Option<&Ledger>) {
    if let Some((ramp, shown_rate)) = model.and_then(Ledger::ramp) {
        clients.limits.resume_ramp(ramp, shown_rate);
    }
}

fn report_earlier(assignment: &TaskAssignment) {
    if assignment.earlier.was_recorded() {
        info!("Going on where the attempt before ended: {} so far", assignment.finished.counts);
    }
    if let Earlier::Ended(outcome) = assignment.earlier {
        report_done_before(outcome);
    }
}

/// Whoever looks at the log of this attempt must not take it for one that found all well.
fn report_done_before(outcome: PassStatus) {
    if outcome == PassStatus::Failed {
        error!("An earlier attempt has ended this execution as failed: its log lines say why");
    }
}

fn report_disbelieved(claim: Option<&LoopClaim>) {
    if let Some(LoopClaim { id, due_at, .. }) = claim {
        warn!(
            "Took over from the loop of execution {id}: no loop can have claimed {due_at}, which is yet to come"
        );
    }
}

fn report_no_ledger(execution: &DocumentId, err: &StoreError) {
    error!(
        error = err.code().as_str(),
        "Could not keep the ledger ops/last_pulse/executions/{execution}, so this pulse runs without: {}",
        Chain(err)
    );
}

#[cfg(test)]
mod tests;
