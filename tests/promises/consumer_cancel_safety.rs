//! The futures of a consumer may be dropped at any point: no record is lost, and nothing is committed that is not
//! finished.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use kafka_client::{Error, Received};
use tests::harness::{eventually, unique};

use crate::given;
use crate::group::{Account, Member, SOON, ahead, commits, committed, fill, quick};

/// Polls a future so many times, each time when it was woken, and drops it.
async fn polled<T>(times: usize, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[tokio::test]
async fn a_consumer_dropped_at_any_poll_loses_nothing_and_commits_nothing_unfinished() {
    const RECORDS: i64 = 300;
    let (topic, group, account) = (given::topic("orders", 2), unique("billing"), Account::default());
    for partition in [0, 1] {
        fill(&topic, partition, RECORDS as usize);
    }
    let handled = account.clone();
    let handler = move |record: Received<String, String>| {
        let handled = handled.clone();
        async move {
            if record.offset() % 5 == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            handled.record('a', &record);
            Ok::<_, Error>(())
        }
    };
    // A static member that is dropped without a word takes its place again at once.
    let consumer = || quick(&given::kafka(), &group).set("group.instance.id", "only").route(&topic, handler.clone());
    let mut dropped_in_the_middle = 0;
    for polls in [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40, 60, 80] {
        let before = account.len();
        let ended = polled(polls, consumer().build().unwrap().run()).await;
        assert!(ended.is_none(), "{ended:?}");
        // The handlers went with it.
        let after = account.len();
        dropped_in_the_middle += usize::from(after > before && after < 2 * RECORDS as usize);
        assert_eq!(ahead(&committed(&group, &topic), &account.unfinished(2)), [], "after {polls} polls");
        assert_eq!(account.len(), after, "a handler has outlived its consumer");
    }
    assert!(dropped_in_the_middle > 0, "it was dropped while it handled records, once at least");
    let member = Member::start(consumer());
    commits(&group, &topic, &[(0, RECORDS), (1, RECORDS)]).await;
    member.stop().await;
    assert_eq!(account.unfinished(2), [(0, RECORDS), (1, RECORDS)].into());
}

#[tokio::test]
async fn next_dropped_at_any_poll_loses_no_record() {
    const RECORDS: i64 = 200;
    let (topic, group) = (given::topic("orders", 1), unique("billing"));
    let mut stream = quick(&given::kafka(), &group).max_batch_records(3).stream(&topic).unwrap();
    // The consumer hands over three records at a time, so the stream is waited for again and again.
    fill(&topic, 0, RECORDS as usize);
    let mut seen = Vec::new();
    let mut cut = 0;
    for polls in (0..4).cycle() {
        if seen.len() == RECORDS as usize {
            break;
        }
        match polled(polls, stream.next()).await {
            Some(next) => {
                let record = next.unwrap().unwrap();
                seen.push(record.offset());
                record.ack();
            }
            None => cut += 1,
        }
        tokio::task::yield_now().await;
    }
    assert!(cut > RECORDS / 3, "{cut} were dropped while they waited");
    assert_eq!(seen, (0..RECORDS).collect::<Vec<_>>());
    let report = stream.close().await.unwrap();
    assert_eq!(report.handled, RECORDS as u64);
    assert_eq!(committed(&group, &topic), [(0, RECORDS)].into());
}

#[tokio::test]
async fn a_close_that_is_dropped_goes_on_behind_the_scenes() {
    let topic = given::topic("orders", 1);
    fill(&topic, 0, 10);
    for polls in 0..4 {
        let group = unique("billing");
        let consumer = || quick(&given::kafka(), &group).commit_interval(Duration::from_secs(600));
        let mut stream = consumer().stream(&topic).unwrap();
        for _ in 0..4 {
            stream.next().await.unwrap().unwrap().ack();
        }
        let closed = polled(polls, stream.close()).await;
        assert!(closed.is_none_or(|report| report.unwrap().left_group));
        commits(&group, &topic, &[(0, 4)]).await;
        // It has left the group too: the next member need not wait for its session.
        let account = Account::default();
        let handled = account.clone();
        let handler = move |record: Received<String, String>| {
            handled.record('b', &record);
            async { Ok::<_, Error>(()) }
        };
        let member = Member::start(consumer().route(&topic, handler));
        eventually("the next one goes on", SOON, async || account.offsets(0) == [4, 5, 6, 7, 8, 9]).await;
        member.stop().await;
    }
}
