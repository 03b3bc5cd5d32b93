//! How much a pass may do, how fast, for how long, and for whom.

mod budgets;
mod deadline;
mod filter;
mod spread;

use crate::world::World;

/// What `ops/last_pulse` says that the pass read from Firestore.
async fn reads(world: &World) -> u64 {
    let document = world.document("ops/last_pulse").await;
    document["firestore_reads"]["integer"].as_u64().expect("a whole number")
}
