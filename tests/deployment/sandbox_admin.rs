//! The admin answers of the local cloud, by gcloud's own message classes: none is invented.

use crate::gcloud::messages_take;
use pulse_sandbox::admin::MESSAGES;
use pulse_sandbox::{Options, Sandbox};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn every_admin_answer_is_one_that_gcloud_understands() {
    let options = Options { project: "a-project".into(), ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("loopback has a free port");
    let mut messages = Vec::new();
    for (method, api, version, kind) in MESSAGES {
        for is_bad in [false, true] {
            let message = sandbox.admin().message(method, is_bad).expect(method);
            messages.push((api, version, kind, message));
        }
    }
    for (message, unknown) in messages_take(&messages) {
        assert!(unknown.is_empty(), "gcloud does not know {unknown} of {message:#}");
    }
}

/// Without this, a check that never complains would look just as good.
#[test]
fn a_field_that_no_answer_has_is_found() {
    let message = json!({"schedule": "* * * * *", "when": "now"});
    for (_, unknown) in messages_take(&[("cloudscheduler", "v1", "Job", message)]) {
        assert_eq!(unknown, "when");
    }
}
