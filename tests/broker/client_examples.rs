//! The worked examples do on a real broker what they say, with their delays shortened.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::*;
use dormouse::topology::Names;

#[path = "../../examples/payment_notifications.rs"]
mod payment_notifications;
#[path = "../../examples/unpaid_orders.rs"]
mod unpaid_orders;

#[tokio::test(flavor = "multi_thread")]
async fn unpaid_orders_are_cancelled_in_time_and_paid_ones_stay() {
    let broker = Broker::fresh("example-orders").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let (placed, cancel_after) = (Instant::now(), Duration::from_millis(1_500));
    let orders = unpaid_orders::run(config.clone(), cancel_after).await.unwrap();
    assert!(placed.elapsed() >= cancel_after, "never early");
    let states: BTreeMap<u32, unpaid_orders::State> = orders.all();
    assert_eq!(states.len(), 10);
    for (order, state) in states {
        let right = match order % 2 {
            0 => unpaid_orders::State::Paid,
            _ => unpaid_orders::State::Cancelled,
        };
        assert_eq!(state, right, "order {order}");
    }
    worker.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payment_notifications_climb_their_ladder() {
    let broker = Broker::fresh("example-payments").await;
    let config = broker.config();
    let worker = Worker::start(&config).await;
    let ladder = [100, 200, 300].map(Duration::from_millis);
    let began = Instant::now();
    let last = |told: &payment_notifications::Told| told.get(&4).is_some_and(|told| told.0 == 4);
    let told = payment_notifications::run(config.clone(), ladder.to_vec(), last).await.unwrap();
    assert!(began.elapsed() >= ladder.iter().sum::<Duration>(), "never early");
    let right = BTreeMap::from([(1, (1, true)), (2, (3, true)), (3, (1, false)), (4, (4, false))]);
    assert_eq!(told, right);
    let connection = broker.connect().await;
    let dlq = Names::of(&config).dlq();
    until("both are in the DLQ", async || depth(&connection, &dlq).await == Some(2)).await;
    worker.stop().await;
    broker.drop_it().await;
}
