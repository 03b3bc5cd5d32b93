//! With a machine that answers as each test says, and the clock paused.

use super::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

/// After how long the machine answers, and what.
type Answer = (u64, Result<u8, &'static str>);

/// Names that are looked up as told, one answer after the other, and how often they were.
fn names(answers: impl IntoIterator<Item = Answer>) -> (Names, Arc<AtomicUsize>) {
    let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let names = Names::looked_up_by(Arc::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        let (seconds, answer) = answers.lock().expect("no panic").pop_front().expect("asked no more often");
        let answer = answer.map(|last| vec![address(last)]).map_err(io::Error::other);
        async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            answer
        }
        .boxed()
    }));
    (names, asked)
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

async fn first(names: &Names) -> Result<IpAddr, String> {
    names.addresses("a.test").await.map(|all| all[0]).map_err(|err| err.to_string())
}

/// Lets a lookup in the background come to its end.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn hundreds_share_one_lookup_and_later_ones_need_none() {
    let (names, asked) = names([(5, Ok(1))]);
    let begun = Instant::now();
    let all = futures::future::join_all((0..400).map(|_| first(&names))).await;
    assert!(all.iter().all(|found| *found == Ok(address(1))));
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    pass(100).await;
    assert_eq!((first(&names).await, asked.load(Ordering::Relaxed)), (Ok(address(1)), 1));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_has_a_limit_of_its_own_which_is_named() {
    let (names, _) = names([(60, Ok(1)), (0, Err("no such name"))]);
    let begun = Instant::now();
    let late = "the name a.test could not be looked up within 10 s: no name server answered";
    assert_eq!(first(&names).await, Err(late.to_owned()));
    assert_eq!(begun.elapsed(), LOOKUP_LIMIT);
    assert_eq!(first(&names).await, Err("the name a.test could not be looked up: no such name".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_connection_has_less_patience_than_the_lookup_that_goes_on_for_the_next_one() {
    let (names, asked) = names([(5, Ok(1))]);
    let connect = || names.clone().addresses_for_connection("a.test".to_owned());
    let late = "the name a.test could not be looked up within 2.5 s: no name server answered";
    assert_eq!(connect().await.expect_err("too early").to_string(), late);
    assert_eq!(connect().await.expect_err("too early").to_string(), late);
    assert_eq!(connect().await, Ok(vec![SocketAddr::new(address(1), 0)]));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn old_addresses_serve_until_there_are_newer_ones() {
    let (names, asked) = names([(0, Ok(1)), (5, Err("server failure")), (5, Ok(2))]);
    assert_eq!(first(&names).await, Ok(address(1)));
    pass(121).await;
    // Once for the lookup that fails, once after it.
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(first(&names).await, Ok(address(1)));
        assert_eq!(begun.elapsed(), Duration::ZERO);
        pass(6).await;
    }
    assert_eq!((first(&names).await, asked.load(Ordering::Relaxed)), (Ok(address(2)), 3));
}

#[tokio::test(start_paused = true)]
async fn a_failed_connection_has_the_name_looked_up_again_but_not_all_the_time() {
    let (names, asked) = names([(0, Ok(1)), (0, Err("server failure")), (0, Ok(2))]);
    assert_eq!(first(&names).await, Ok(address(1)));
    names.doubt("a.test");
    assert_eq!((first(&names).await, asked.load(Ordering::Relaxed)), (Ok(address(1)), 1));
    for (last, times) in [(1, 2), (1, 3), (2, 3)] {
        pass(1).await;
        assert_eq!(
            (first(&names).await, asked.load(Ordering::Relaxed)),
            (Ok(address(last)), times - 1 + usize::from(last == 2)),
            "{times}"
        );
    }
}

#[tokio::test]
async fn the_machine_is_asked() {
    let names = Names::of_the_machine();
    let found = names.addresses("localhost").await.expect("every machine knows it");
    assert!(found.iter().all(IpAddr::is_loopback), "{found:?}");
    assert!(names.addresses("nobody.invalid").await.is_err());
}
