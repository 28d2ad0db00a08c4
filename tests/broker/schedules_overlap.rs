//! Schedules whose runs may not overlap, on a real broker: what waits, what is left out, and who says that a run is over.

use std::time::Duration;

use crate::client::{Log, Running, client};
use crate::client_commands::dormouse;
use crate::control::begun;
use crate::schedules::definition;
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::message::{Message, Properties};
use dormouse_client::{Delivery, ScheduleOutcome, ScheduledRun, Schedules, Shown};
use dormouse_core::control::schedules::command::DONE;
use serde_json::json;

/// The next run that comes.
async fn next(connection: &Connection) -> ScheduledRun {
    next_into(connection, "inbox").await
}

/// The next run that comes into a queue.
pub async fn next_into(connection: &Connection, queue: &str) -> ScheduledRun {
    let (_, message) = take(connection, queue, 1).await.pop().unwrap();
    let whole = |name| u64::try_from(number(&message, name)).unwrap();
    let tick = dormouse::schedule::UnixMs(whole("dormouse-tick-ms"));
    ScheduledRun { name: words(&message, "dormouse-schedule"), tick, run: whole("dormouse-run") }
}

async fn shown(schedules: &Schedules) -> Shown {
    schedules.get("beat", 0).await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tick_waits_or_is_left_out_until_the_run_before_is_done() {
    let (broker, config, connection, worker) = begun("overlap").await;
    let client = client(&config).await;
    let schedules = client.schedules();
    let skip = definition(json!({ "overlap": "skip", "overlap_timeout": "1h" }));
    schedules.put(&skip).await.unwrap();
    let first = next(&connection).await;
    until("two ticks are left out", async || shown(&schedules).await.skipped >= 2).await;
    let told = shown(&schedules).await;
    assert_eq!((told.running.len(), told.running[0].run, told.waiting_ms), (1, first.run, None));
    assert_eq!(depth(&connection, "inbox").await, Some(0), "nothing ran beside");
    // of another run it says nothing, and twice it says the same
    let other = ScheduledRun { run: first.run + 1, ..first.clone() };
    assert_eq!(schedules.done(&other).await.unwrap().outcome, ScheduleOutcome::Unchanged);
    assert_eq!(schedules.done(&first).await.unwrap().outcome, ScheduleOutcome::Done);
    let second = next(&connection).await;
    assert_eq!(schedules.done(&first).await.unwrap().outcome, ScheduleOutcome::Unchanged);
    assert_eq!((second.run, second.tick > first.tick), (first.run + 1, true));
    assert_eq!(shown(&schedules).await.running[0].run, second.run);

    // from now on the newest waits, and comes at once when it may
    let buffer = definition(json!({ "overlap": "buffer_one", "overlap_timeout": "1h" }));
    schedules.put(&buffer).await.unwrap();
    let before = shown(&schedules).await.skipped;
    until("one waits, and others do no more", async || {
        let told = shown(&schedules).await;
        told.waiting_ms.is_some() && told.skipped >= before + 2
    })
    .await;
    // over AMQP, as any consumer would
    let body = json!({ "name": "beat", "tick_ms": second.tick.0, "run": second.run });
    let done = Message {
        exchange: "dormouse.command".into(),
        routing_key: DONE.into(),
        properties: Properties { message_id: Some("done 2".into()), ..Properties::default() },
        body: body.to_string().into(),
    };
    publish(&connection, [done]).await;
    let third = next(&connection).await;
    assert_eq!(third.run, second.run + 1);
    assert!(third.tick.0 >= second.tick.0 + 3_000, "the newest of those that waited");

    // a pause leaves out what waits; and nobody need say that a run is over, if it takes too long
    until("one waits", async || shown(&schedules).await.waiting_ms.is_some()).await;
    schedules.pause("beat", None).await.unwrap();
    assert_eq!(shown(&schedules).await.waiting_ms, None);
    let (_, _, printed) = dormouse(&broker, &["schedule", "show", "beat"]);
    assert!(printed.contains("not over"), "{printed}");
    let arguments = [&*third.tick.0.to_string(), &*third.run.to_string()];
    let (code, _, printed) =
        dormouse(&broker, &[&["schedule", "done", "beat"], &arguments[..]].concat());
    assert_eq!((code, printed.trim()), (0, "beat: done."));
    assert_eq!(depth(&connection, "inbox").await, Some(0), "it is paused");
    let short = definition(json!({ "overlap": "skip", "overlap_timeout": "2s" }));
    schedules.put(&short).await.unwrap();
    schedules.resume("beat").await.unwrap();
    let (fourth, fifth) = (next(&connection).await, next(&connection).await);
    let apart = Duration::from_millis(fifth.tick.0 - fourth.tick.0);
    assert!(apart >= Duration::from_secs(2), "{apart:?}");
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}

/// A consumer that takes longer than the interval, and says when it is done: no run begins while another goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_says_when_it_is_done_has_one_run_at_a_time() {
    let (broker, config, connection, worker) = begun("overlap-consumer").await;
    let client = client(&config).await;
    let schedules = client.schedules();
    let buffer = definition(json!({ "overlap": "buffer_one", "overlap_timeout": "1h" }));
    schedules.put(&buffer).await.unwrap();
    let log = Log::<(ScheduledRun, bool)>::default();
    let (consumer, seen, says) =
        (client.consumer_of_bytes("inbox"), log.clone(), schedules.clone());
    let running = Running::start(move |stop| {
        consumer.run(
            move |delivery: Delivery<bytes::Bytes>| {
                let (seen, says) = (seen.clone(), says.clone());
                async move {
                    let run = delivery.scheduled_run().expect("it is one");
                    seen.note((run.clone(), true));
                    tokio::time::sleep(Duration::from_millis(1_700)).await;
                    seen.note((run.clone(), false));
                    says.done(&run).await.map(|_| ())
                }
            },
            stop,
        )
    });
    let seen = log.until(8).await;
    for pair in seen.chunks(2).take(4) {
        assert_eq!((&pair[0].0, pair[0].1, pair[1].1), (&pair[1].0, true, false), "{seen:?}");
    }
    let ticks: Vec<_> = seen.chunks(2).take(4).map(|pair| pair[0].0.tick).collect();
    assert!(ticks.is_sorted_by(|one, next| one < next), "{ticks:?}");
    running.stop().await;
    assert_eq!(depth(&connection, &dormouse::topology::Names::of(&config).dlq()).await, Some(0));
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}
