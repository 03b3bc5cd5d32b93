//! What every line says of the process.

use crate::model::ids::DocumentId;
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

/// The execution that every line names, and its task. Clones name the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExecutionLabel {
    execution: Arc<RwLock<String>>,
    task_index: u32,
}

impl ExecutionLabel {
    pub(crate) fn new(execution: &DocumentId, task_index: u32) -> Self {
        Self { execution: Arc::new(RwLock::new(execution.to_string())), task_index }
    }

    /// Lines from now on are about this one.
    pub(crate) fn set(&self, execution: &DocumentId) {
        // Whatever panics while it is locked leaves a whole name.
        *self.execution.write().unwrap_or_else(PoisonError::into_inner) = execution.to_string();
    }

    pub(super) fn execution(&self) -> impl Deref<Target = String> {
        self.execution.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn task_index(&self) -> u32 {
        self.task_index
    }
}
