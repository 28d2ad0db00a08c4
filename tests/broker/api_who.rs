//! Who may do what over HTTP: RabbitMQ's users by their own rights, tokens by their lines.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use crate::api::{begin, end};
use crate::api_support::*;
use crate::support::*;
use dormouse::api::auth::pool::TRUSTED_FOR;
use dormouse::api::auth::tokens::{Line, NewToken, Scope};

fn to(queue: &str) -> String {
    json!({ "target": { "queue": queue }, "delay": 0, "body": 1 }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_may_what_rabbitmq_says_and_is_known_by_the_right_password_only() {
    let (broker, _, worker, api) =
        begin("api-users", |config| config.commands.enabled = true).await;
    let management = &broker.management;
    let names = ["writer", "nobody", "stranger", "looker"]
        .map(|name| format!("{name}:{}", broker.vhost).replace(':', "-"));
    let [writer, nobody, stranger, looker] = &names;
    for name in &names {
        management.put_user(name, "sec:ret/%", &[]).await.unwrap();
    }
    let put = async |name: &str, read: &str, write: &str| {
        management.put_permissions(&broker.vhost, name, "^$", write, read).await.unwrap();
    };
    put(writer, "^$", r"^dormouse\.delay$").await;
    put(nobody, "^$", "^$").await;
    put(looker, r"^dormouse\.", "^$").await;
    let ask = async |method: &str, path: &str, user: &str, password: &str, body: &str| {
        api.ask(method, path, &basic(user, password), &[], body).await
    };
    let post = async |user: &str, password: &str| {
        ask("POST", "/v1/messages", user, password, &to("mail")).await
    };
    assert_eq!(post(writer, "sec:ret/%").await.status, 201);
    // once right, it is not right for another password
    post(writer, "sec:ret").await.is(401, "unauthenticated");
    post(writer, "").await.is(401, "unauthenticated");
    post("guest", "").await.is(401, "unauthenticated");
    api.ask("POST", "/v1/messages", "", &[], &to("mail")).await.is(401, "unauthenticated");
    post(nobody, "sec:ret/%").await.is(403, "forbidden");
    post(stranger, "sec:ret/%").await.is(403, "forbidden");
    // each by its own rights
    assert_eq!(ask("GET", "/v1/levels", looker, "sec:ret/%", "").await.status, 200);
    // since 4.2.6 RabbitMQ tells how much is in a queue to who has a permission on it only
    let levels = ask("GET", "/v1/levels", writer, "sec:ret/%", "").await;
    assert!(levels.status == 200 || levels.kind() == "forbidden", "{levels:?}");
    ask("DELETE", "/v1/messages/a", writer, "sec:ret/%", "").await.is(403, "forbidden");
    ask("GET", "/v1/dlq", writer, "sec:ret/%", "").await.is(403, "forbidden");
    let purge = json!({ "all": true, "dry_run": false }).to_string();
    ask("POST", "/v1/dlq:purge", writer, "sec:ret/%", &purge).await.is(403, "forbidden");
    ask("GET", "/v1/topology", writer, "sec:ret/%", "").await.is(403, "forbidden");
    // who is refused often waits, and who is known does not
    let mut last = post(writer, "wrong").await;
    for _ in 0..8 {
        last = post(writer, "wrong").await;
    }
    last.is(429, "too-many-logins");
    assert_eq!(post(writer, "sec:ret/%").await.status, 201);
    // RabbitMQ closes no connection over a new password, so the old one holds for a while, and no longer
    management.put_user(writer, "new", &[]).await.unwrap();
    let changed = std::time::Instant::now();
    while post(writer, "sec:ret/%").await.status == 201 {
        assert!(changed.elapsed() < 2 * TRUSTED_FOR, "the old password still holds");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // a user that is gone has no connection any more
    management.delete_user(writer).await.unwrap();
    until("the user is known no more", async || post(writer, "new").await.status != 201).await;
    for name in [nobody, stranger, looker] {
        management.delete_user(name).await.unwrap();
    }
    end(broker, worker, api).await;
}

/// Nor does a user whose password is asked again wait for those who fail from the same address.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_logged_in_does_not_wait_for_failed_logins() {
    let (broker, _, worker, api) = begin("api-logged-in", |_| {}).await;
    let begun = std::time::Instant::now();
    let post = async |authorization: &str| {
        api.ask("POST", "/v1/messages", authorization, &[], &to("mail")).await
    };
    let mut slowed = 0;
    while begun.elapsed() < TRUSTED_FOR + Duration::from_secs(5) {
        assert_eq!(post(GUEST).await.status, 201);
        slowed += u32::from(post(&basic("guest", "wrong")).await.status == 429);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(slowed > 50, "{slowed}");
    end(broker, worker, api).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_what_its_line_says_while_the_line_is_there() {
    let file = std::env::temp_dir().join(format!("tokens-{}", uuid::Uuid::now_v7().simple()));
    let issue = |name: &str, scopes: &[Scope], rate, expires: Option<&str>| {
        let targets = vec!["queue:mail".to_owned()];
        let expires = expires.map(|text| text.parse().unwrap());
        Line {
            name: name.into(),
            sha256: String::new(),
            scopes: scopes.into(),
            targets,
            rate,
            expires,
        }
        .issue()
    };
    let tokens = [
        issue("shop", &[Scope::Schedule], None, None),
        issue("old", &[Scope::Schedule], None, Some("2020-01-01T00:00:00Z")),
        issue("look", &[Scope::Read], None, None),
        issue("slow", &[Scope::Schedule], Some(1), None),
    ];
    let write = |tokens: &[NewToken]| {
        let mut out = std::fs::File::create(&file).unwrap();
        for token in tokens {
            writeln!(out, "{}", serde_json::to_string(&token.line).unwrap()).unwrap();
        }
    };
    write(&tokens);
    let (broker, _, worker, api) = begin("api-tokens", |config| {
        config.api.tokens_file = Some(file.clone());
        config.commands.enabled = true;
    })
    .await;
    let post = async |token: &str, body: &str| {
        api.ask("POST", "/v1/messages", &format!("Bearer {token}"), &[], body).await
    };
    let [shop, old, look, slow] = tokens.each_ref().map(|token| token.token.as_str());
    assert_eq!(post(shop, &to("mail")).await.status, 201);
    post(shop, &to("mail2")).await.is(403, "target-forbidden");
    post(old, &to("mail")).await.is(401, "unauthenticated");
    post(look, &to("mail")).await.is(403, "forbidden");
    post("dmt_nonsense", &to("mail")).await.is(401, "unauthenticated");
    let batch = format!("{}\n{}", to("mail"), to("shop"));
    let bearer = format!("Bearer {shop}");
    let answer = api.ask("POST", "/v1/messages:batch", &bearer, &[], &batch).await;
    answer.is(403, "batch-incomplete");
    let unique = json!({ "target": { "queue": "mail" }, "delay": 0, "key": "a", "unique": true });
    post(shop, &unique.to_string()).await.is(403, "forbidden");
    for (method, path) in
        [("DELETE", "/v1/messages/a"), ("POST", "/v1/dlq:purge"), ("GET", "/v1/levels")]
    {
        let body = if method == "POST" { r#"{"all":true,"dry_run":false}"# } else { "" };
        api.ask(method, path, &bearer, &[], body).await.is(403, "forbidden");
    }
    assert_eq!(api.ask("GET", "/v1/levels", &format!("Bearer {look}"), &[], "").await.status, 200);
    assert_eq!(post(slow, &to("mail")).await.status, 201);
    post(slow, &to("mail")).await.is(429, "rate-limited");
    // a line that is taken out ends its token; a faulty file changes nothing
    std::fs::write(&file, "nonsense").unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(post(shop, &to("mail")).await.status, 201);
    write(&tokens[1..]);
    until("it is revoked", async || post(shop, &to("mail")).await.status == 401).await;
    std::fs::remove_file(&file).unwrap();
    until("all are", async || post(look, &to("mail")).await.status == 401).await;
    end(broker, worker, api).await;
}

/// As curl sends them: a form's type, and JSON all the same.
#[tokio::test(flavor = "multi_thread")]
async fn the_delay_service_answers_in_its_own_words() {
    let (broker, _, worker, api) =
        begin("api-tasks", |config| config.api.delay_service = true).await;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let add = async |body: &str| api.ask("POST", "/delay/task/add", GUEST, &form, body).await;
    let pull = async || api.get("/delay/task/pull?topic=mail").await;
    assert_eq!(pull().await.body["task"], json!(null));
    let now = dormouse::worker::Clock::default().now().0 / 1_000 + 2;
    let first =
        add(&format!(r#"{{"topic":"mail","timing_moment":{now},"content":"{{\"order\":7}}"}}"#))
            .await;
    assert_eq!((first.status, &first.body["dm_error"]), (200, &json!(0)), "{first:?}");
    let id = first.body["task_id"].as_u64().unwrap();
    assert!((1..1 << 53).contains(&id));
    let object = add(&format!(
        r#"{{"topic":"mail","timing_moment":"{}","content":{{"order": 8}}}}"#,
        now + 1
    ))
    .await;
    assert_eq!(object.status, 200, "{object:?}");
    for (body, status, said) in [
        (r#"{"topic":"mail","timing_moment":1,"content":"{}"}"#, 422, "max_past"),
        (r#"{"topic":"mail","timing_moment":99999999999,"content":"{}"}"#, 422, "max_delay"),
        (r#"{"topic":"mail","timing_moment":1,"content":"no json"}"#, 422, "JSON"),
        (
            r#"{"topic":"mail","timing_moment":1,"content":{"url":"http://x","sn":"a"}}"#,
            422,
            "content.url is no path",
        ),
        (r#"{"topic":"dormouse.dlq","timing_moment":1,"content":"{}"}"#, 422, ""),
        (r#"{"topic":"mail"}"#, 422, "timing_moment"),
        ("x=1", 400, "JSON"),
    ] {
        let answer = add(body).await;
        assert_eq!(
            (answer.status, &answer.body["dm_error"]),
            (status, &json!(status)),
            "{answer:?}"
        );
        assert!(answer.body["error_msg"].as_str().unwrap().contains(said), "{answer:?}");
        assert_eq!(answer.body["task_id"], 0);
    }
    let nobody = api.ask("POST", "/delay/task/add", "", &form, "{}").await;
    assert_eq!((nobody.status, &nobody.body["dm_error"]), (401, &json!(401)));
    let connection = broker.connect().await;
    until("both are there", async || depth(&connection, "mail").await == Some(2)).await;
    let task = pull().await.body["task"].clone();
    assert_eq!((&task["task_id"], &task["content"]), (&json!(id), &json!(r#"{"order":7}"#)));
    assert_eq!(pull().await.body["task"]["content"], r#"{"order": 8}"#);
    until("both are acked", async || depth(&connection, "mail").await == Some(0)).await;
    assert_eq!(pull().await.body["task"], json!(null));
    api.get("/delay/task/pull?topic=dormouse.dlq").await;
    assert_eq!(api.get("/delay/task/pull?topic=dormouse.dlq").await.status, 403);
    assert_eq!(api.get("/delay/task/pull?task_id=5").await.status, 501);
    end(broker, worker, api).await;
}
