//! How long Alpaca asks to wait, and what it says of whom it limits.

use super::{FAILED, SYNCED};
use crate::on_both;
use crate::world::World;
use jiff::{Timestamp, ToSpan};

/// A user who is told that once, or always.
async fn told(world: &World, user: &str, headers: &[String], times: &str) {
    world.user(user).await;
    let headers: String = headers.iter().map(|header| format!(",header={header}")).collect();
    world.fault(&format!("alpaca:error=429{headers},user={user}{times}"));
}

fn reset(at: Timestamp) -> String {
    format!("X-RateLimit-Reset: {}", at.as_second())
}

fn after(seconds: u32) -> String {
    format!("Retry-After: {seconds}")
}

on_both! {
    /// A reset that says nothing says nothing against the other header either.
    async fn the_longest_wait_that_can_be_believed_is_waited_for(world) {
        let now = Timestamp::now();
        let in_milliseconds = format!("X-RateLimit-Reset: {}", (now + 3.seconds()).as_millisecond());
        for (user, reset) in [
            ("now", reset(now)),
            ("past", reset(now - 3.seconds())),
            ("milliseconds", in_milliseconds),
            ("far", reset(now + 2.hours())),
        ] {
            told(&world, user, &[reset, after(2)], ",times=1").await;
        }
        let far_enough = reset(now + 5.seconds());
        told(&world, "reset", &[far_enough, after(1)], ",times=1").await;
        let run = world.pulse().await;
        run.assert_completed("5 successful, 0 errors", 0);
        for user in ["now", "past", "milliseconds", "far"] {
            let took = run.entry(&format!("{SYNCED}{user}"))["duration_ms"].as_u64();
            assert!(took >= Some(2000), "{user}: {took:?} ms");
            assert_eq!(world.account_calls(user), 2, "{user}");
        }
        let answered = world.snapshot("reset").await["updated_at_iso"].clone();
        let answered: Timestamp = answered.as_str().expect("a text").parse().expect("a point in time");
        assert!(answered.as_second() >= (now + 5.seconds()).as_second(), "{answered}");
        assert_eq!(world.account_calls("reset"), 2);
    }

    /// Nobody is given up for it: it is as if Alpaca had said nothing.
    async fn a_reset_that_cannot_be_believed_is_none(world) {
        let now = Timestamp::now();
        let in_milliseconds = format!("X-RateLimit-Reset: {}", now.as_millisecond());
        for (user, reset) in [("milliseconds", in_milliseconds), ("far", reset(now + 2.hours()))] {
            told(&world, user, &[reset], ",times=1").await;
        }
        world.pulse().await.assert_completed("2 successful, 0 errors", 0);
        assert_eq!((world.account_calls("milliseconds"), world.account_calls("far")), (2, 2));
    }

    async fn a_429_says_whose_rate_is_limited_as_far_as_it_is_known(world) {
        let soon = reset(Timestamp::now() + 30.minutes());
        told(&world, "limit", &["X-RateLimit-Limit: 200".into(), after(3600)], "").await;
        told(&world, "reset", &[soon], "").await;
        told(&world, "address", &[after(3600)], "").await;
        let run = world.pulse().await;
        run.assert_completed("0 successful, 3 errors", 1);
        let says = |user| run.entry(&format!("{FAILED}{user}: "))["message"].as_str().expect("a text").to_owned();
        for user in ["limit", "reset", "address"] {
            let may_be_address = says(user).contains("of the job's address");
            assert_eq!(may_be_address, user == "address", "{}", says(user));
            assert!(says(user).contains("of these keys"), "{}", says(user));
            assert_eq!(run.error_of(user).as_deref(), Some("broker_rate_limited"));
        }
    }
}
