//! `gcloud secrets` against the Secret Manager of the local cloud.

use crate::gcloud::secrets_at;
use pulse_sandbox::secret_manager::VersionState;
use pulse_sandbox::{Options, Sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn gcloud_lists_describes_and_changes_the_secrets_of_the_local_cloud() {
    let options = Options { users: 3, project: "a-project".into(), ..Options::default() };
    let sandbox = Sandbox::start(options).await.expect("loopback has a free port");
    let (address, secret) = (sandbox.address(), "alpaca-keys-user-0002");
    sandbox.secrets().add_version(secret, "newer");
    sandbox.secrets().set_state(secret, "1", VersionState::Destroyed);
    let of_secret = format!("--secret={secret}");
    let printed = tokio::task::spawn_blocking(move || {
        secrets_at(
            address,
            &[
                &["list", "--format=value(name)"],
                &["list", "--filter=name:user-0003", "--page-size=1", "--limit=1", "--format=value(name)"],
                &["describe", secret],
                &["versions", "list", secret, "--format=csv[no-heading](name.basename(),state)"],
                &["versions", "disable", "2", &of_secret],
                &["versions", "list", secret, "--filter=state=DISABLED", "--format=value(name.basename())"],
                &["delete", "alpaca-keys-user-0001"],
                &["list", "--format=value(name)"],
            ],
        )
    });
    let Some(printed) = printed.await.expect("no panic") else { return };
    let lines = |index: usize| printed[index].lines().collect::<Vec<_>>();
    assert_eq!(lines(0), ["alpaca-keys-user-0001", secret, "alpaca-keys-user-0003"]);
    assert_eq!(lines(1), ["alpaca-keys-user-0003"]);
    assert!(printed[2].contains("automatic") && printed[2].contains(secret), "{}", printed[2]);
    assert_eq!((lines(3), lines(5)), (vec!["2,enabled", "1,destroyed"], vec!["2"]));
    assert_eq!(lines(7), [secret, "alpaca-keys-user-0003"]);
}
