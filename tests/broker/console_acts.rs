//! On a real broker: what is done in the console has its effect there.

use serde_json::json;

use crate::api_support::*;
use crate::console_support::{Person, config, scheduled, serving};
use crate::support::*;
use dormouse::amqp::Connection;
use dormouse::topology::Names;
use tempfile::TempDir;

async fn schedule(api: &Api, queue: &str, delay: &str, key: &str) {
    let body = json!({ "target": { "queue": queue }, "delay": delay, "body": key, "key": key, "unique": true });
    scheduled(api, body).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_cancelled_moved_and_run_now() {
    let (broker, scratch) = (Broker::fresh("console-acts").await, TempDir::new().unwrap());
    let connection = broker.connect().await;
    queues(&connection, &["mail"]).await;
    let api = serving(&config(&broker, &scratch), &broker).await;
    let person = Person::logged_in(&api, "guest", "guest").await;
    for key in ["cancel", "sooner", "now"] {
        schedule(&api, "mail", "40s", key).await;
    }
    until("the index knows them", async || person.get("/list").await.text.contains("3 match"))
        .await;
    person.get("/message?of=cancel").await.says("Cancel it for good").says("Run it now");

    let page = person.posts("/message/cancel", &[("key", "cancel"), ("of", "cancel")]).await;
    page.says("Cancelled: no attempt has begun");
    // it is told once
    person.get("/message?of=cancel").await.says_not("Cancelled: no attempt");
    until("the index knows of it", async || {
        person.get("/message?of=cancel").await.text.contains("its key was cancelled")
    })
    .await;
    let wrong = person.posts("/message/move", &[("key", "sooner"), ("to", "soon")]).await;
    wrong.says("is no time");
    let far = person.posts("/message/move", &[("key", "sooner"), ("to", "400d")]).await;
    far.says("longer than the longest delay");
    person.posts("/message/move", &[("key", "sooner"), ("to", "2s")]).await.says("new time");
    person.posts("/message/run-now", &[("key", "now")]).await;
    let came = take(&connection, "mail", 2).await;
    let mut came: Vec<_> = came.iter().map(|(_, message)| body(message)).collect();
    came.sort();
    assert_eq!(came, ["\"now\"", "\"sooner\""]);
    until("its life is told", async || {
        person.get("/message?of=now").await.text.contains("its target has confirmed it")
    })
    .await;
    assert_eq!(depth(&connection, "mail").await, Some(0), "what was cancelled stays away");
    api.stop().await;
    broker.drop_it().await;
}

async fn dead(connection: &Connection, names: &Names) -> u32 {
    depth(connection, &names.dlq()).await.unwrap_or(0)
}

fn token(text: &str) -> &str {
    let after = text.split("name=\"token\" value=\"").nth(1).expect("a token");
    after.split('"').next().unwrap()
}

/// The first that can be chosen.
fn id(text: &str) -> &str {
    let after = text.split("name=\"id\" value=\"").nth(1).expect("an id");
    after.split('"').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_messages_are_chosen_sent_again_and_deleted() {
    let (broker, scratch) = (Broker::fresh("console-dlq").await, TempDir::new().unwrap());
    let connection = broker.connect().await;
    let config = config(&broker, &scratch);
    let names = Names::of(&config);
    let api = serving(&config, &broker).await;
    let person = Person::logged_in(&api, "guest", "guest").await;
    let messages = (0..120).map(|at| delayed("late", 0, &format!("late-{at}")));
    publish(&connection, messages.chain([delayed("other", 0, "other")])).await;
    until("all are dead", async || dead(&connection, &names).await == 121).await;
    until("and given back", async || person.get("/dlq").await.text.contains("121 messages")).await;
    let filtered = person.get("/dlq?reason=unroutable&target=late").await;
    filtered.says("120 messages").says("the oldest 100 are shown");

    // none, one, and all that match
    person.posts("/dlq/choose", &[("which", "selected")]).await.says("No message is chosen");
    let all = [("which", "matching"), ("reason", "unroutable"), ("target", "late")];
    let chosen = person.posts("/dlq/choose", &all).await;
    chosen
        .says("120 messages of the DLQ")
        .says("reason = unroutable, target = late")
        .says("Frozen");
    let token = token(&chosen.text).to_owned();
    // what comes later is not meant
    publish(&connection, [delayed("late", 0, "later")]).await;
    until("one more is dead", async || dead(&connection, &names).await == 122).await;
    let form =
        |count: &str| [("token".to_owned(), token.clone()), ("count".to_owned(), count.to_owned())];
    let post = async |path: &str, count: &str| {
        let form = form(count);
        let form: Vec<_> =
            form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        person.posts(path, &form).await
    };
    post("/dlq/redrive", "").await.says("type the number of messages, 120");
    post("/dlq/redrive", "121").await.says("type the number of messages, 120");
    person
        .posts("/dlq/purge", &[("token", "other"), ("count", "120")])
        .await
        .says("not there any more");
    assert_eq!(dead(&connection, &names).await, 122);
    queues(&connection, &["late", "rescued"]).await;
    // elsewhere, with the same guards; what is not begun leaves the list as it was
    let elsewhere = async |to: &str, count: &str| {
        let to = [("elsewhere", "yes"), ("routing_key", to), ("token", &token), ("count", count)];
        person.posts("/dlq/redrive", &to).await
    };
    elsewhere("rescued", "").await.says("type the number of messages, 120");
    elsewhere("", "120").await.says("give a queue");
    elsewhere("gone", "120").await.says("there is no queue &quot;gone&quot;");
    elsewhere("dormouse.dlq", "120").await.says("Dormouse's own").says("120 messages of the DLQ");
    assert_eq!(dead(&connection, &names).await, 122);
    elsewhere("rescued", "120").await.says("120 messages sent to queue &quot;rescued&quot;");
    assert_eq!(take(&connection, "rescued", 120).await.len(), 120);
    until("two are left", async || dead(&connection, &names).await == 2).await;
    post("/dlq/redrive", "120").await.says("not there any more");

    // to where it was to go
    let page = person.get("/dlq?target=late").await;
    let chosen =
        person.posts("/dlq/choose", &[("which", "selected"), ("id", id(&page.text))]).await;
    let again = [("token", self::token(&chosen.text))];
    person.posts("/dlq/redrive", &again).await.says("1 message sent again");
    assert_eq!(body(&take(&connection, "late", 1).await[0].1), "later");

    let page = person.get("/dlq?target=other").await;
    let id = id(&page.text);
    person.get(&format!("/dlq/message?id={id}")).await.says("other").says("unroutable");
    let chosen = person.posts("/dlq/choose", &[("which", "selected"), ("id", id)]).await;
    chosen.says("1 message of the DLQ");
    let token = self::token(&chosen.text);
    person.posts("/dlq/purge", &[("token", token)]).await.says("1 message deleted");
    until("it is gone", async || dead(&connection, &names).await == 0).await;
    api.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_and_never_runs() {
    let (broker, scratch) = (Broker::fresh("console-hostile").await, TempDir::new().unwrap());
    let connection = broker.connect().await;
    let config = config(&broker, &scratch);
    let names = Names::of(&config);
    let api = serving(&config, &broker).await;
    let person = Person::logged_in(&api, "guest", "guest").await;
    let hostile = "<script>alert(1)</script>\u{202e}\u{7}\"'><img src=x onerror=alert(1)>";
    let large = format!("{hostile}{}", "x".repeat(1_000_000));
    publish(&connection, [delayed(hostile, 0, hostile), delayed("שלום", 0, &large)]).await;
    until("both are dead", async || dead(&connection, &names).await == 2).await;
    let values = regex::Regex::new(r#" value="[^"]*""#).unwrap();
    let list = person.get("/dlq").await;
    list.says("שלום").says("&lt;script&gt;");
    for page in [
        person.get(&format!("/message?of={}", escaped(hostile))).await,
        person.get(&format!("/dlq?reason={}&target=%00", escaped(hostile))).await,
        person.get(&format!("/list?target={0}&state={0}", escaped(hostile))).await,
        person.get(&format!("/dlq/message?id={}", escaped(hostile))).await,
        person.get(&format!("/{}", escaped(hostile))).await,
        list,
    ] {
        page.says_not("<script>alert").says_not("<img src");
        // a form gives back what it was given; what is shown has none of it
        let shown = values.replace_all(&page.text, "");
        assert!(!shown.contains(['\u{202e}', '\u{7}']), "{shown}");
    }
    let list = person.get("/dlq").await;
    let ids =
        list.text.split("name=\"id\" value=\"").skip(1).map(|part| part.split('"').next().unwrap());
    for id in ids {
        let page = person.get(&format!("/dlq/message?id={id}")).await;
        page.says_not("<script>alert").says_not("<img src").says("&lt;script&gt;");
        assert!(page.text.len() < 150_000, "{}", page.text.len());
    }
    api.stop().await;
    broker.drop_it().await;
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
