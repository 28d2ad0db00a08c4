//! Recurring schedules over HTTP, on a real broker.

use serde_json::json;

use crate::api::{begin, end};
use crate::api_support::*;
use crate::schedules_overlap::next_into;
use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_made_paused_and_listed_over_http() {
    let (broker, config, worker, api) =
        begin("api-schedules", |config| config.commands.enabled = true).await;
    let put = async |path: &str, body: serde_json::Value| {
        api.ask("PUT", path, GUEST, &[], &body.to_string()).await
    };
    let beat =
        json!({ "every": "1s", "target": { "queue": "mail" }, "body": { "run": "{{run}}" } });
    let answer = put("/v1/schedules/beat?if_revision=0", beat.clone()).await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (201, Some("created")));
    let revision = answer.body["revision"].as_str().unwrap().to_owned();
    let connection = broker.connect().await;
    let came = take(&connection, "mail", 1).await;
    assert_eq!(body(&came[0].1), r#"{"run":"1"}"#);
    put("/v1/schedules/beat?if_revision=0", beat.clone()).await.is(409, "refused");
    let report =
        json!({ "cron": "0 3 * * *", "zone": "Europe/Berlin", "target": { "queue": "mail" } });
    assert_eq!(put("/v1/schedules/report", report.clone()).await.status, 201);
    // what is wrong is told with field and value
    let mut wrong = report.clone();
    wrong["zone"] = json!("Mars");
    let answer = put("/v1/schedules/report", wrong).await;
    answer.is(409, "refused");
    assert!(answer.body["detail"].as_str().unwrap().contains("zone \"Mars\" is no zone"));
    put("/v1/schedules/other", json!({ "name": "report" })).await.is(422, "invalid");
    put("/v1/schedules/other", json!({ "crn": "x" })).await.is(422, "invalid");
    for no_object in [json!(5), json!("report"), json!(null), json!([])] {
        put("/v1/schedules/other", no_object).await.is(422, "invalid");
    }
    let mut closed = report.clone();
    closed["target"] = json!({ "exchange": "closed" });
    put("/v1/schedules/report", closed).await.is(409, "refused");
    let listed = api.get("/v1/schedules?limit=1").await;
    assert_eq!(listed.body["schedules"][0]["definition"]["name"], "beat");
    assert_eq!(
        (listed.body["schedules"][0]["revision"].as_str(), &listed.body["more"]),
        (Some(&*revision), &json!(true))
    );
    let listed = api.get("/v1/schedules?after=beat").await;
    assert_eq!(listed.body["schedules"][0]["words"], "at 03:00 every day");
    assert!(
        listed.body["zones"].as_str().unwrap().contains("20"),
        "a year: {}",
        listed.body["zones"]
    );
    let shown = api.get("/v1/schedules/report?next=7").await;
    assert_eq!(shown.body["next_ms"].as_array().unwrap().len(), 7);
    for too_many in ["/v1/schedules/report?next=1001", "/v1/schedules?limit=101"] {
        api.get(too_many).await.is(422, "invalid");
    }
    let paused = api.post("/v1/schedules/beat:pause", json!({ "note": "quiet" })).await;
    assert_eq!((paused.status, paused.body["outcome"].as_str()), (200, Some("paused")));
    assert_eq!(api.get("/v1/schedules/beat").await.body["paused"]["note"], "quiet");
    let triggered = api.ask("POST", "/v1/schedules/report:trigger", GUEST, &[], "").await;
    assert_eq!(triggered.body["fired_ms"].as_array().unwrap().len(), 1, "{triggered:?}");
    let range = json!({ "from": "2026-01-01T00:00:00Z", "to": "2026-01-03T00:00:00Z" });
    let filled = api.post("/v1/schedules/report:backfill", range).await;
    assert_eq!(filled.body["fired_ms"].as_array().unwrap().len(), 2, "{filled:?}");
    api.post("/v1/schedules/report:stop", json!({})).await.is(404, "not-found");
    api.post("/v1/schedules/none:pause", json!({})).await.is(404, "not-found");
    let gone = api.ask("DELETE", "/v1/schedules/report", GUEST, &[], "").await;
    assert_eq!(gone.body["outcome"], "deleted");
    api.get("/v1/schedules/report").await.is(404, "not-found");
    drop(config);
    end(broker, worker, api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_says_over_http_that_its_run_is_over() {
    let (broker, config, worker, api) =
        begin("api-done", |config| config.commands.enabled = true).await;
    let beat = json!({
        "every": "1s", "target": { "queue": "mail" }, "overlap": "skip", "overlap_timeout": "1h"
    });
    let made = api.ask("PUT", "/v1/schedules/beat", GUEST, &[], &beat.to_string()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let connection = broker.connect().await;
    let first = next_into(&connection, "mail").await;
    let shown = async || api.get("/v1/schedules/beat").await.body;
    until("a tick is left out", async || shown().await["skipped"].as_u64() >= Some(1)).await;
    let done = async |tick_ms: u64, run: u64| {
        let said = json!({ "tick_ms": tick_ms, "run": run });
        api.post("/v1/schedules/beat:done", said).await
    };
    // of another run it says nothing
    let answer = done(first.tick.0, first.run + 1).await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (200, Some("unchanged")));
    assert_eq!(depth(&connection, "mail").await, Some(0), "the first is not over");
    let answer = done(first.tick.0, first.run).await;
    assert_eq!((answer.status, answer.body["outcome"].as_str()), (200, Some("done")));
    let second = next_into(&connection, "mail").await;
    assert_eq!((second.run, second.tick > first.tick), (first.run + 1, true));
    assert_eq!(shown().await["running"][0]["run"], second.run);
    for wrong in [json!({}), json!({ "run": 1 }), json!({ "tick_ms": 1, "run": 1, "note": "x" })] {
        api.post("/v1/schedules/beat:done", wrong).await.is(422, "invalid");
    }
    let none = api.post("/v1/schedules/none:done", json!({ "tick_ms": 1, "run": 1 })).await;
    none.is(404, "not-found");
    drop(config);
    end(broker, worker, api).await;
}
