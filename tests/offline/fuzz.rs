//! The fuzz targets of fuzz/, without a fuzzer: over seeds and some thousand random mutations of them.
//! A failure prints the bytes.

use amq_protocol::frame::WriteContext;
use amq_protocol::types::generation::gen_field_table;
use dormouse::message::{FieldArray, FieldTable, Headers, Value, text};
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Runs `target` over each seed, and over mutations: bytes changed, cut out, doubled and put in.
fn mutate(target: fn(&[u8]), seeds: Vec<Vec<u8>>, runs: u32) {
    for seed in &seeds {
        target(seed);
    }
    let step = (any::<prop::sample::Index>(), any::<u8>(), 0..4u8, 1..9usize);
    let mutations = (prop::sample::select(seeds), prop::collection::vec(step, 1..6));
    let mutated = mutations.prop_map(|(mut bytes, steps)| {
        for (place, byte, how, count) in steps {
            let at = place.index(bytes.len() + 1);
            let end = (at + count).min(bytes.len());
            match how {
                0 => bytes[at..end].fill(byte),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.extend_from_within(at..end),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    });
    let mut runner = TestRunner::new(Runs { cases: runs, ..Runs::default() });
    let ran = runner.run(&mutated, |bytes| {
        target(&bytes);
        Ok(())
    });
    ran.unwrap();
}

fn encoded(headers: Headers) -> Vec<u8> {
    let table = FieldTable::from(headers);
    gen_field_table(&table)(WriteContext::from(Vec::new())).unwrap().into_inner().0
}

#[test]
fn header_tables() {
    let inner =
        Headers::from([("queue".into(), text("inbox")), ("reason".into(), text("expired"))]);
    let death = Value::FieldTable(FieldTable::from(inner));
    let all = Headers::from([
        ("x-delay".into(), Value::LongInt(300)),
        ("x-opt-delivery-time".into(), Value::Timestamp(1_800_000_001)),
        ("x-death".into(), Value::FieldArray(FieldArray::from(vec![death.clone()]))),
        ("x-dormouse-origin".into(), death.clone()),
        ("x-dormouse-id".into(), text("id")),
        ("x-dormouse-due-ms".into(), Value::LongLongInt(1)),
        ("x-dormouse-attempt".into(), Value::LongInt(1)),
        ("CC".into(), Value::FieldArray(FieldArray::from(vec![text("copy")]))),
    ]);
    let one = |name: &str, value| encoded(Headers::from([(name.into(), value)]));
    let seeds = vec![
        encoded(Headers::new()),
        encoded(all),
        one("x-delay", text("300")),
        one("x-delay", Value::Double(300.9)),
        one("x-opt-delivery-delay", Value::ShortShortInt(100)),
        one("nested", death),
    ];
    mutate(targets::headers, seeds, 10_000);
}

#[test]
fn amqp_1_0_messages() {
    // header, annotations, properties, application properties and a body of each kind
    let seeds = [
        &b"\x00\x53\x70\xc0\x06\x03\x41\x50\x07\x52\xc8"[..],
        b"\x00\x53\x72\xc1\x20\x02\xa3\x14x-opt-delivery-delay\x81\0\0\0\0\0\0\0\x64",
        b"\x00\x53\x72\xc1\x1a\x02\xa3\x0cx-opt-deaths\xe0\x09\x01\xc1\x06\x02\xa1\x01a\xa1\x00",
        b"\x00\x53\x73\xc0\x09\x03\xa1\x02id\x40\xa1\x01t",
        b"\x00\x53\x74\xc1\x17\x02\xa1\x03uid\x98\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09",
        b"\x00\x53\x75\xa0\x02ab",
        b"\x00\x53\x76\xc0\x05\x02\x54\x01\xa1\x00",
        b"\x00\x53\x77\xa1\x05words",
    ];
    let mut seeds: Vec<_> = seeds.into_iter().map(<[u8]>::to_vec).collect();
    seeds.push(seeds.concat());
    let (_, problems) = dormouse::amqp::amqp10::sections::carried(&seeds[seeds.len() - 1]);
    assert_eq!(problems, ["uid is a UUID"], "every seed can be read");
    mutate(targets::amqp10, seeds, 10_000);
}

#[test]
fn configurations() {
    let seeds = [
        include_str!("../../topology/dormouse.toml"),
        "[topology]\nunit = \"1s\"\nradix = 16\n",
        "[[delay_exchange]]\nname = \"orders.delay\"\ntarget_exchange = \"orders\"\n",
        "[broker]\nuri = [\"amqp://user:password@host/%2f\"]\n",
        "",
    ];
    mutate(targets::configuration, seeds.map(|seed| seed.as_bytes().to_vec()).into(), 2_000);
}

#[test]
fn management_answers() {
    let mut seeds = Vec::new();
    for recording in [
        include_str!("data/management/3.10.8.json"),
        include_str!("data/management/4.0.5.json"),
        include_str!("data/management/4.3.6.json"),
    ] {
        let parts: serde_json::Map<_, _> = serde_json::from_str(recording).unwrap();
        seeds.extend(parts.values().map(|part| serde_json::to_vec(part).unwrap()));
    }
    mutate(targets::management, seeds, 4_000);
}
