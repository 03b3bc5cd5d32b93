//! One execution at a time has the pulse: what a task that joins is to do about that, and the commit of it.

use crate::config::Execution;
use crate::documents::ledger::LedgerWrites;
use crate::execution::dead_execution::DeadExecution;
use crate::execution::fence::report_unpublished;
use crate::execution::hand_over::{HandOver, LoopTick};
use crate::execution::record::Recording;
use crate::execution::silence::LastSynced;
use crate::execution::view::LedgerView;
use crate::firestore::StoreError;
use crate::firestore::write::Write;
use crate::model::ids::{Database, DocumentId};
use crate::model::ledger::Ledger;
use crate::model::loop_claim::LoopClaim;
use crate::model::shards::Shards;
use jiff::Timestamp;

/// A task that joins.
#[derive(Clone, Copy, Debug)]
pub(super) struct JoiningTask<'a> {
    /// Its execution.
    pub(super) execution: &'a Execution,
    /// The pulse of a loop that it is, if it is one.
    pub(super) looping: Option<&'a LoopTick>,
    /// Whether its writes follow a ramp.
    pub(super) is_ramping: bool,
    /// How it is going to be recorded.
    pub(super) recording: Recording,
}

/// How a task finds the pulse, which one execution has at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum LeaseState<'a> {
    /// Its own execution has it.
    Ours,
    /// No execution that is alive has it; one that never came back may have left it.
    Free(Option<DeadExecution<'a>>),
    /// Another execution has it, and is at work.
    Taken(&'a DocumentId),
}

/// What a task that joins is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum JoinDecision<'a> {
    /// Take part.
    Join,
    /// Make its execution the current one, which may be instead of a dead one, and take part.
    Claim(Option<DeadExecution<'a>>),
    /// Leave, because of that other execution.
    Leave(&'a DocumentId),
    /// The same, and say so in a new ledger.
    ///
    /// What one task finds counts for all of its execution: the others might claim what is left of the time, and
    /// some shares would be synced and others not.
    LeaveForAll(&'a DocumentId),
}

impl<'a> JoiningTask<'a> {
    fn tasks(&self) -> usize {
        self.execution.task_count.get() as usize
    }

    /// The execution that may be in the way: the current one, unless it is the task's own.
    #[must_use]
    pub(super) fn rival(&self, current: Option<&'a DocumentId>) -> Option<&'a DocumentId> {
        // Of the pulses of one loop no two run at the same time, whatever their ledgers say.
        let is_own_loop = |id: &DocumentId| self.looping.is_some() && self.execution.is_of_same_loop(id);
        current.filter(|id| **id != self.execution.id && !is_own_loop(id))
    }

    /// Whether another execution may have synced everybody since the loop's last pulse.
    #[must_use]
    pub(super) fn follows_others(&self, view: &LedgerView) -> bool {
        let is_own = |id: Option<&DocumentId>| id.is_some_and(|id| self.execution.is_of_same_loop(id));
        !(is_own(view.current.execution.as_ref()) && is_own(view.last.id.as_ref()))
    }

    /// The loop that a loop's pulse takes over from as if it did not exist, because no loop can have claimed that.
    #[must_use]
    pub(super) fn disbelieved<'b>(&self, view: &'b LedgerView) -> Option<&'b LoopClaim> {
        view.current.looping.as_ref().filter(|last| self.looping.is_some() && !last.is_possible(view.now))
    }

    /// The execution that there is something to learn from: the last one, if its shares or its ramp are wanted.
    #[must_use]
    pub(super) fn model_execution(
        &self,
        own: Option<&Ledger>,
        last: Option<&'a DocumentId>,
    ) -> Option<&'a DocumentId> {
        // One task has everybody, whatever the last execution saw.
        let plans = self.tasks() > 1 && own.is_none();
        last.filter(|_| plans || self.is_ramping)
    }

    /// The plan for a new ledger: even shares, as the model execution teaches them, and first those whom the execution
    /// before did not reach.
    #[must_use]
    pub(super) fn plan(&self, model: Option<&Ledger>, before: Option<&Ledger>) -> Shards {
        let learned = model.and_then(|ledger| ledger.plan_next(self.tasks()));
        let shards = learned.unwrap_or_else(|| Shards::guessed(self.tasks()));
        shards.beginning_with(&before.map(Ledger::unreached).unwrap_or_default())
    }

    /// What a loop's pulse is to do instead of taking place, if another loop has that point in time, or it had its
    /// pulse. An earlier attempt of this very pulse is gone on with.
    #[must_use]
    pub(super) fn hand_over(
        &self,
        view: &LedgerView,
        rival: Option<DeadOrAlive<'_>>,
        lease: LeaseState<'_>,
    ) -> Option<HandOver> {
        let tick = self.looping.filter(|_| self.recording != Recording::Nowhere)?;
        let last = view.current.looping.as_ref();
        let of_last = rival.zip(last).filter(|((id, _), last)| id.is_one_of(&last.id));
        let is_at_work = of_last.is_some_and(|((_, ledger), last)| match ledger.ended_at {
            Some(ended_at) => last.is_waiting_since(ended_at, view.now),
            None => matches!(lease, LeaseState::Taken(_)),
        });
        match tick.hand_over(last, is_at_work, view.now) {
            HandOver::Now => None,
            HandOver::Done if view.own.is_some() => None,
            other => Some(other),
        }
    }

    /// What to do, the pulse being in that state; `has_ledger` is whether the execution has one.
    #[must_use]
    pub(super) fn decide<'b>(&self, lease: LeaseState<'b>, has_ledger: bool) -> JoinDecision<'b> {
        match lease {
            // Who is not recorded writes nothing, and is in nobody's way.
            _ if self.recording == Recording::Nowhere => JoinDecision::Join,
            LeaseState::Ours => JoinDecision::Join,
            LeaseState::Free(dead) => JoinDecision::Claim(dead),
            LeaseState::Taken(other) if self.tasks() > 1 && !has_ledger => JoinDecision::LeaveForAll(other),
            LeaseState::Taken(other) => JoinDecision::Leave(other),
        }
    }
}

impl<'a> LeaseState<'a> {
    /// How the pulse is found by an execution with that ledger, if it has one, which may be the current one
    /// already. `rival` is the current one if that is another.
    #[must_use]
    pub(super) fn of(
        own: Option<&Ledger>,
        is_current: bool,
        rival: Option<DeadOrAlive<'a>>,
        now: Timestamp,
    ) -> Self {
        match (own, rival) {
            (Some(_), _) if is_current => Self::Ours,
            (_, Some((id, ledger))) if ledger.is_alive(now) => Self::Taken(id),
            (_, rival) => Self::Free(
                rival
                    .filter(|(_, ledger)| ledger.ended_at.is_none())
                    .map(|(id, ledger)| DeadExecution { id, ledger }),
            ),
        }
    }

    /// The execution that is taken over from, where there is one.
    #[must_use]
    pub(super) fn dead(self) -> Option<DeadExecution<'a>> {
        match self {
            Self::Free(dead) => dead,
            Self::Ours | Self::Taken(_) => None,
        }
    }
}

/// An execution and what it has left.
pub(super) type DeadOrAlive<'a> = (&'a DocumentId, &'a Ledger);

/// What the commit of a decision goes by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim<'a> {
    /// The execution that claims, or leaves.
    pub(super) execution: &'a DocumentId,
    /// The pulse of a loop that it is.
    pub(super) looping: Option<&'a LoopTick>,
    /// What it has seen. Where that is no longer so, the commit is refused as a conflict.
    pub(super) view: &'a LedgerView,
    /// For a new ledger.
    pub(super) shards: &'a Shards,
    /// When anybody was last synced.
    pub(super) last_synced: LastSynced,
}

/// What is committed for a decision.
#[derive(Debug, Default)]
pub(super) struct ClaimWrites {
    claim: Vec<Write>,
    /// What there is to say of a dead execution.
    last_words: Option<Write>,
}

impl Claim<'_> {
    /// What is to be committed for the decision, if anything is.
    #[must_use]
    pub(super) fn writes(&self, decision: JoinDecision<'_>, database: &Database) -> ClaimWrites {
        let ledger = LedgerWrites { database, execution: self.execution };
        let now = self.view.now;
        match decision {
            JoinDecision::Leave(_) => ClaimWrites::default(),
            JoinDecision::Join => {
                ClaimWrites { claim: self.renewal(database).into_iter().collect(), last_words: None }
            }
            JoinDecision::LeaveForAll(other) => {
                ClaimWrites { claim: vec![ledger.skip_for(other, self.shards, now)], last_words: None }
            }
            JoinDecision::Claim(dead) => {
                let own = match &self.view.own {
                    None => ledger.begin(self.shards, now, self.looping.map(|tick| tick.due_at)),
                    Some(_) => ledger.touch(),
                };
                let looping = self.looping.map(|tick| &tick.claim);
                let current = self.view.current.replaced_by(self.execution, looping, database);
                let last_words = dead.map(|dead| dead.last_pulse(self.last_synced).to_write(database));
                ClaimWrites { claim: vec![own, current], last_words }
            }
        }
    }

    /// The write by which a later attempt at a loop's pulse has it recorded what that pulse now stands for: else its loop
    /// would pass for one that is gone. It only takes the record further, so the tasks of an execution soon agree.
    #[must_use]
    fn renewal(&self, database: &Database) -> Option<Write> {
        let own = &self.looping?.claim;
        let current = &self.view.current;
        let is_ours = current.execution.as_ref() == Some(self.execution);
        let is_behind = current.looping.as_ref().is_none_or(|last| {
            last.id == own.id && (last.next_at, last.ends_at) < (own.next_at, own.ends_at)
        });
        (is_ours && is_behind).then(|| current.replaced_by(self.execution, Some(own), database))
    }
}

impl ClaimWrites {
    /// Commits them. A conflict means that another task was faster, whatever it decided.
    pub(super) async fn commit(
        self,
        commit: impl AsyncFn(Vec<Write>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let Self { claim, last_words } = self;
        if claim.is_empty() {
            return Ok(());
        }
        let Some(last_words) = last_words else { return commit(claim).await };
        match commit([&claim[..], &[last_words]].concat()).await {
            Err(err) if err.may_be_one_documents() && !matches!(err, StoreError::Conflict(_)) => {
                // What is only for the dashboards must not keep the pulse from running.
                commit(claim).await?;
                report_unpublished(&err);
                Ok(())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests;
