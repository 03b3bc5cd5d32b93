//! What is said to whoever typed a command line that is none.

use crate::world::{Run, sandbox};

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_fits_the_screen_and_nothing_that_was_typed_acts_on_it() {
    let world = sandbox().await;
    for args in [
        &["users", "--error=nonsense"][..],
        &["status", "--project=Bad_Project!"],
        &["explain", "a\u{202e}b/\nError: all is lost"],
        &["user", "add", "ana", "--tenant=a\u{202e}/\nb"],
        &["keys", "\u{202e}\nset"],
        &["status", "--frobnicate\u{202e}\nb"],
    ] {
        let (exit, shown) = world.on_terminal(args, 80).await;
        assert_eq!(exit, Some(2), "{shown}");
        assert!(shown.starts_with("error: "), "{shown}");
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{args:?}: {line}");
            assert!(
                !line.starts_with("Error: ") && !line.starts_with('b') && !line.contains('\u{202e}'),
                "{shown}"
            );
        }
        let piped = Run::of(&mut world.bare_command(args)).await;
        assert!(
            !piped.stderr.contains('\u{202e}') && piped.stderr.starts_with("error: "),
            "{}",
            piped.stderr
        );
    }
}
