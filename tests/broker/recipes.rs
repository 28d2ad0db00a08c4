//! The recipes of docs/recipes.md, run as they are, with seconds for half an hour. What they need is fetched by
//! scripts/get-clients.sh.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::json;

use crate::client::client;
use crate::clients::{Copied, folder};
use crate::schedules::definition;
use crate::support::*;
use dormouse::topology::Names;
use dormouse::worker::Clock;

#[tokio::test(flavor = "multi_thread")]
async fn each_recipe_does_what_it_says() {
    let Some(folder) = folder("python") else { return };
    let broker = Broker::fresh("recipes").await;
    let mut config = broker.config();
    config.commands.enabled = true;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["orders.unpaid", "cache.refresh", "coupons.due"]).await;
    let names = Names::of(&config);
    until("commands are decided", async || depth(&connection, &names.command()).await == Some(0))
        .await;
    let copied = Copied::of("recipes.py", &folder, &broker);
    let unpaid = |order: u32| format!("order-{order}: cancelled, as it was not paid");
    let recipes = [
        ("order", vec![unpaid(1), unpaid(3)]),
        ("cache", vec!["refreshed lamp=5".to_owned(), "refreshed chair=7".to_owned()]),
        ("coupon", vec!["ada gets a coupon".to_owned(), "bob gets a coupon".to_owned()]),
    ];
    let running = recipes.map(|(recipe, says)| {
        let mut command = copied.command(&folder, "venv/bin/python", &broker);
        command.arg(recipe).env("RECIPE_SECONDS", "4");
        (recipe, says, tokio::task::spawn_blocking(move || command.output()))
    });
    for (recipe, says, running) in running {
        let output =
            tokio::time::timeout(DEADLINE, running).await.expect("it ends").unwrap().unwrap();
        assert!(output.status.success(), "{recipe}: {output:?}");
        let said = String::from_utf8_lossy(&output.stdout);
        let said: Vec<_> = said.lines().map(str::to_owned).collect();
        let [said, says] =
            [said, says].map(|lines| (lines.len(), lines.into_iter().collect::<BTreeSet<_>>()));
        assert_eq!(said, says, "{recipe}");
    }
    assert_eq!(depth(&connection, &names.dlq()).await, Some(0));
    worker.stop().await;
    broker.drop_it().await;
}

/// With 2 s for an hour, and a log that is written beforehand, into the time to come.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_archived_every_hour() {
    const HOUR_MS: i64 = 2_000;
    let Some(folder) = folder("python") else { return };
    let broker = Broker::fresh("archive").await;
    let mut config = broker.config();
    config.commands.enabled = true;
    let worker = Worker::start(&config).await;
    let connection = broker.connect().await;
    queues(&connection, &["logs.archive"]).await;
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("shop.log");
    let now_ms = Clock::default().now().0 as i64;
    let times = (now_ms..now_ms + 120_000).step_by(50);
    let lines: Vec<_> = times.map(|time| format!("{time} a line\n")).collect();
    std::fs::write(&log, lines.concat()).unwrap();

    let client = client(&config).await;
    let hourly =
        json!({ "name": "archive-logs", "every": "2s", "target": { "queue": "logs.archive" } });
    client.schedules().put(&definition(hourly)).await.unwrap();
    let copied = Copied::of("recipes.py", &folder, &broker);
    let mut command = copied.command(&folder, "venv/bin/python", &broker);
    command.arg("archive").arg(&log).env("RECIPE_SECONDS", "2");
    let running = tokio::task::spawn_blocking(move || command.output());
    let archives = || {
        let files = std::fs::read_dir(scratch.path()).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|end| end == "gz"))
            .collect::<BTreeSet<_>>()
    };
    until("three hours", async || archives().len() >= 3).await;
    client.schedules().delete("archive-logs", None).await.unwrap();
    let output = tokio::time::timeout(DEADLINE, running).await.expect("it ends").unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");

    let mut next_ms = None;
    for archive in archives() {
        let tick_ms = archive.file_stem().unwrap().to_str().unwrap().rsplit_once('.').unwrap().1;
        let tick_ms: i64 = tick_ms.parse().unwrap();
        assert!(next_ms.is_none_or(|next| next == tick_ms), "an hour is left out: {archive:?}");
        next_ms = Some(tick_ms + HOUR_MS);
        let output = Command::new("gzip").arg("-dc").arg(&archive).output().unwrap();
        let of_hour = lines.iter().filter(|line| {
            let time_ms: i64 = line.split_once(' ').unwrap().0.parse().unwrap();
            (tick_ms - HOUR_MS..tick_ms).contains(&time_ms)
        });
        let expected = of_hour.map(String::as_str).collect::<String>();
        assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{archive:?}");
    }
    assert_eq!(depth(&connection, &Names::of(&config).dlq()).await, Some(0));
    client.close().await;
    worker.stop().await;
    broker.drop_it().await;
}
