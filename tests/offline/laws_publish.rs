//! The laws of what the client publishes: who is refused, and what is seen before.

use std::collections::VecDeque;
use std::time::Duration;

use dormouse::amqp::{Again, Fault};
use dormouse::message::{
    FieldArray, LONGEST_EXPIRATION_MS, Message, Properties, Unacceptable, Value, text,
};
use proptest::collection::vec;
use proptest::prelude::*;

proptest! {
    /// RabbitMQ handles publishes in order, confirms some of what it handled, and closes the channel over
    /// the first that it refuses. Whoever is refused is told so and nobody else is, and nobody is
    /// published so often that it could arrive three times.
    #[test]
    fn only_who_is_refused_is_called_so(bad in vec(proptest::bool::weighted(0.2), 1..80), quick in vec(any::<bool>(), 1..50), losses in vec(any::<u16>(), 0..3)) {
        const WIDEST: usize = 16;
        let mut again = Again::new(WIDEST);
        let mut fresh: VecDeque<usize> = (0..bad.len()).collect();
        let (mut told, mut arrived) = (vec![None; bad.len()], vec![0; bad.len()]);
        let (mut outstanding, mut publishes) = (Vec::new(), 0usize);
        let mut quick = quick.iter().cycle();
        let mut cut = losses.len();
        while told.contains(&None) {
            // what fits is published ...
            while again.has_room(outstanding.len()) {
                let Some(item) = again.pop().or_else(|| fresh.pop_front()) else { break };
                outstanding.push(item);
                publishes += 1;
                prop_assert!(publishes <= 40 * bad.len() + 100, "it ends");
            }
            prop_assert!(outstanding.len() <= WIDEST);
            // ... handled, and confirmed in part
            let closed_at = outstanding.iter().position(|item| bad[*item]);
            let handled = closed_at.unwrap_or(outstanding.len());
            outstanding[..handled].iter().for_each(|item| arrived[*item] += 1);
            let (mut kept, mut settled) = (Vec::new(), 0);
            for (place, item) in outstanding.drain(..).enumerate() {
                let confirmed = place < handled && (closed_at.is_none() || *quick.next().unwrap());
                if confirmed {
                    told[item] = Some("confirmed");
                    settled += 1;
                } else {
                    kept.push(item);
                }
            }
            again.settled(settled);
            if closed_at.is_some() && let Some(refused) = again.lost(Fault::Channel, kept) {
                prop_assert!(bad[refused], "a good one was called refused");
                told[refused] = Some("refused");
            } else if cut > 0 {
                // a connection is lost between two rounds, with nothing on its way
                cut -= 1;
                prop_assert_eq!(again.lost(Fault::Elsewhere, Vec::new()), None);
            }
        }
        for (item, bad) in bad.iter().enumerate() {
            prop_assert_eq!(told[item], Some(if *bad { "refused" } else { "confirmed" }));
            let times = arrived[item];
            prop_assert!(if *bad { times == 0 } else { (1..=2).contains(&times) }, "{} arrived {} times", item, times);
        }
    }

    /// The same while new publishes go on, on a channel beside the one for what is published again.
    #[test]
    fn only_who_is_refused_is_called_so_beside_new_ones(bad in vec(proptest::bool::weighted(0.2), 1..80), quick in vec(any::<bool>(), 1..50), turns in vec(any::<bool>(), 1..50)) {
        const WIDEST: usize = 16;
        let mut again = Again::new(WIDEST);
        let mut fresh: VecDeque<usize> = (0..bad.len()).collect();
        let (mut told, mut arrived) = (vec![None; bad.len()], vec![0; bad.len()]);
        let (mut beside, mut outstanding, mut publishes) = (Vec::new(), Vec::new(), 0usize);
        let (mut quick, mut turns) = (quick.iter().cycle(), turns.iter().cycle());
        while told.contains(&None) {
            let is_again = fresh.is_empty() || !again.is_empty() && *turns.next().unwrap();
            let channel = if is_again { &mut outstanding } else { &mut beside };
            while channel.len() < WIDEST {
                let next = if !is_again {
                    fresh.pop_front()
                } else if again.has_room(channel.len()) {
                    again.pop()
                } else {
                    None
                };
                let Some(item) = next else { break };
                channel.push(item);
                publishes += 1;
            }
            prop_assert!(publishes <= 40 * bad.len() + 100, "it ends");
            let closed_at = channel.iter().position(|item| bad[*item]);
            let handled = closed_at.unwrap_or(channel.len());
            channel[..handled].iter().for_each(|item| arrived[*item] += 1);
            let (mut kept, mut settled) = (Vec::new(), 0);
            for (place, item) in channel.drain(..).enumerate() {
                if place < handled && (closed_at.is_none() || *quick.next().unwrap()) {
                    told[item] = Some("confirmed");
                    settled += 1;
                } else {
                    kept.push(item);
                }
            }
            if is_again {
                again.settled(settled);
            }
            if closed_at.is_some() {
                let lost = if is_again { Again::lost } else { Again::lost_beside };
                if let Some(refused) = lost(&mut again, Fault::Channel, kept) {
                    prop_assert!(bad[refused], "a good one was called refused");
                    told[refused] = Some("refused");
                }
            }
        }
        prop_assert!(again.is_empty());
        for (item, bad) in bad.iter().enumerate() {
            prop_assert_eq!(told[item], Some(if *bad { "refused" } else { "confirmed" }));
            let times = arrived[item];
            prop_assert!(if *bad { times == 0 } else { (1..=2).contains(&times) }, "{} arrived {} times", item, times);
        }
    }
}

/// A connection that RabbitMQ closes may be one message's fault, or a node's that stops: the third time
/// that the same one closes it, alone, it is refused. What no publish did is nobody's fault.
#[test]
fn a_lost_connection_is_seldom_a_publishs_fault() {
    let mut again = Again::new(8);
    for _ in 0..10 {
        assert_eq!(again.lost(Fault::Elsewhere, vec!["a"]), None);
        assert_eq!(again.pop(), Some("a"));
    }
    assert_eq!(again.lost(Fault::Connection, vec!["a", "b", "c"]), None);
    for _ in 0..2 {
        assert_eq!(again.pop(), Some("a"));
        assert!(!again.has_room(1), "alone");
        again.settled(0); // said at each look, and by none
        assert_eq!(again.lost(Fault::Connection, vec!["a"]), None);
    }
    assert_eq!(again.pop(), Some("a"));
    assert_eq!(again.lost(Fault::Connection, vec!["a"]), Some("a"));
    assert_eq!((again.pop(), again.has_room(1)), (Some("b"), false));
    again.settled(1);
    assert_eq!((again.pop(), again.has_room(1)), (Some("c"), true), "as before, few at first");
    for (code, fault) in [
        (0, Fault::Elsewhere),
        (320, Fault::Elsewhere),
        (403, Fault::Channel),
        (404, Fault::Channel),
        (406, Fault::Channel),
        (501, Fault::Connection),
        (541, Fault::Connection),
    ] {
        assert_eq!(Fault::of_code(code), fault, "{code}");
    }
}

/// Whom nobody waits for is dropped, and the rest stays as suspected as it was.
#[test]
fn what_is_dropped_leaves_the_others_as_suspected() {
    let mut again = Again::new(8);
    assert_eq!(again.lost(Fault::Channel, vec![1, 2, 3]), None);
    assert_eq!(again.lost_beside(Fault::Elsewhere, vec![4, 5]), None);
    assert_eq!(again.lost_beside(Fault::Channel, vec![6]), Some(6), "alone there");
    again.suspect(7);
    again.retain(|item| Some(item).filter(|item| ![1, 4, 5].contains(item)));
    assert_eq!((again.len(), again.pop(), again.has_room(1)), (3, Some(2), false));
    assert_eq!((again.pop(), again.has_room(1)), (Some(3), false), "the next is of another group");
    assert_eq!(again.lost(Fault::Channel, vec![3]), Some(3));
    assert_eq!(again.drain().collect::<Vec<_>>(), [7]);
    assert!(again.is_empty());
}

/// What RabbitMQ closes a channel over, as `tests/broker` sees it do.
#[test]
fn what_rabbitmq_refuses_is_seen_before() {
    let with = |change: &dyn Fn(&mut Properties)| {
        let mut properties = Properties::default();
        change(&mut properties);
        Message { properties, ..Message::default() }.acceptable()
    };
    let expiring = |text: &str| with(&|p: &mut Properties| p.expiration = Some(text.into()));
    let list = || Value::FieldArray(FieldArray::from(vec![text("key")]));
    for header in ["CC", "BCC"] {
        let no_list = Err(Unacceptable::NoListOfKeys { header });
        for value in [text("key"), Value::Boolean(true), Value::LongLongInt(1), Value::Void] {
            let with =
                with(&|p: &mut Properties| drop(p.headers.insert(header.into(), value.clone())));
            assert_eq!(with, no_list, "{header} {value:?}");
        }
        assert_eq!(
            with(&|p: &mut Properties| drop(p.headers.insert(header.into(), list()))),
            Ok(())
        );
    }
    assert_eq!(
        with(&|p: &mut Properties| drop(p.headers.insert("cc".into(), text("key")))),
        Ok(())
    );
    let too_long = (LONGEST_EXPIRATION_MS + 1).to_string();
    for good in ["0", "1", &LONGEST_EXPIRATION_MS.to_string()] {
        assert_eq!(expiring(good), Ok(()), "{good}");
    }
    for bad in ["", "-1", "1.5", "soon", &too_long, &Duration::MAX.as_millis().to_string()] {
        assert_eq!(expiring(bad), Err(Unacceptable::Expiration { expiration: bad.into() }));
    }
    let replying = |text: &str| with(&|p: &mut Properties| p.reply_to = Some(text.into()));
    assert_eq!(replying("amq.rabbitmq.reply-to"), Err(Unacceptable::DirectReplyTo));
    assert_eq!(replying("amq.rabbitmq.reply-to.g1h2"), Ok(()), "RabbitMQ's own name for a channel");
    assert_eq!(replying("answers"), Ok(()));
}
