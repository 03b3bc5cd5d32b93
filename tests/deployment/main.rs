//! What deploys `pulse`: the image, `cloudbuild.yaml`, the alerts, and the docs.

#![cfg(feature = "sandbox")] // Not that it matters here, but once is enough.
#![allow(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "all of this is test code, though not all of it is a test"
)]

mod alerts;
mod cloud_build;
mod doc_facts;
mod docs;
mod gcloud;
mod image;
mod images;
mod picture;
mod promql;
#[path = "../support/promtool.rs"]
mod promtool;
mod sandbox_admin;
mod sandbox_secrets;
mod shell;
mod version;

use std::fs;
use std::path::Path;

/// A file of the project.
fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}
