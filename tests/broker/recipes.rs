//! The recipes of docs/recipes.md, run as they are, with seconds for half an hour. What they need is fetched by
//! scripts/get-clients.sh.

use std::collections::BTreeSet;

use crate::clients::{Copied, folder};
use crate::support::*;
use dormouse::topology::Names;

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
