//! On a real broker: who may look and act in the console, what the pages show, and what is done with it.

use serde_json::json;

use crate::api_support::*;
use crate::console_support::{OURS, Person, config, pages, scheduled, serving, user};
use crate::support::*;
use tempfile::TempDir;

/// What acts, as the router has it: a path that is added there is tried here as each role.
fn acting() -> Vec<&'static str> {
    dormouse::console::paths().acting
}

/// What a form of any of them has, with nothing there that it could be about.
const FORM: [(&str, &str); 5] =
    [("key", "x"), ("to", "1s"), ("token", "x"), ("name", "x"), ("note", "x")];

/// What has an effect on who asks, and on nothing else.
const OF_ONESELF: [&str; 3] = ["/login", "/logout", "/theme"];

#[tokio::test(flavor = "multi_thread")]
async fn users_look_or_act_by_their_tags_and_strangers_do_neither() {
    let (broker, scratch) = (Broker::fresh("console-who").await, TempDir::new().unwrap());
    let api = serving(&config(&broker, &scratch), &broker).await;
    let stranger = Person::stranger(&api);
    for path in pages().into_iter().chain(["/live/sky", "/live/cascade", "/live/places"]) {
        let page = stranger.get(path).await;
        assert_eq!(page.status, 303, "{path}: {page:?}");
        assert!(page.location().starts_with("/login?next="), "{page:?}");
        assert!(page.text.is_empty(), "{page:?}");
    }
    stranger.get("/login").await.says("RabbitMQ user");
    assert_eq!(stranger.log_in("guest", "wrong").await.status, 401);
    assert_eq!(stranger.log_in("guest", "").await.status, 401);
    let untagged = user(&broker, "untagged", &[]).await;
    stranger.log_in(&untagged, "secret").await.says("has none of RabbitMQ's tags");
    let looker = user(&broker, "looker", &["management"]).await;

    let page = stranger.log_in(&looker, "secret").await;
    let cookie = page.header("set-cookie");
    for part in ["dormouse=", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let looker = stranger;
    let of_tag = async |tag: &str| {
        let user = user(&broker, tag, &[tag]).await;
        Person::logged_in(&api, &user, "secret").await
    };
    let (watcher, actor) = (of_tag("monitoring").await, of_tag("policymaker").await);
    let administrator = of_tag("administrator").await;
    for person in [&looker, &watcher] {
        person.get("/").await.says("looks");
        person.get("/message?of=x").await.says("Your tags let you look");
    }
    for person in [&actor, &administrator] {
        person.get("/").await.says("may act");
    }
    for path in acting() {
        for person in [&looker, &watcher] {
            let refused = person.post(path, &FORM).await;
            assert_eq!(refused.says("Your tags let you look").status, 403, "{path}: {refused:?}");
        }
        for person in [&actor, &administrator] {
            let done = person.post(path, &FORM).await;
            assert_eq!(done.status, 303, "{path}: {done:?}");
            assert!(!done.location().starts_with("/login"), "{path}: {done:?}");
        }
        for foreign in [&[("sec-fetch-site", "cross-site")][..], &[("origin", "http://evil")], &[]]
        {
            let refused = actor.ask("POST", path, foreign, &[("key", "x")]).await;
            assert_eq!(refused.status, 403, "{path} {foreign:?}: {refused:?}");
        }
        let strange = Person::stranger(&api).post(path, &[("key", "x")]).await;
        assert!(strange.status == 303 && strange.location().starts_with("/login"), "{strange:?}");
    }
    // elsewhere is the same path with more in its form
    let elsewhere = [("elsewhere", "yes"), ("routing_key", "x"), ("token", "x")];
    assert_eq!(looker.post("/dlq/redrive", &elsewhere).await.status, 403);
    only_what_acts_takes_anything(&administrator).await;
    let own = [("origin", &*api.uri(""))];
    assert_eq!(actor.ask("POST", "/message/cancel", &own, &[("key", "x")]).await.status, 303);
    // who logs out is out, with the cookie as it was
    let kept = Person::logged_in(&api, "guest", "guest").await;
    assert_eq!(kept.get("/help").await.status, 200);
    assert_eq!(kept.ask("POST", "/logout", &OURS, &[]).await.location(), "/login");
    assert_eq!(kept.get("/help").await.status, 303);
    api.stop().await;
    broker.drop_it().await;
}

/// What is for looking takes nothing but questions, so no other path can have an effect.
async fn only_what_acts_takes_anything(person: &Person<'_>) {
    let paths = dormouse::console::paths();
    for path in paths.looking.iter().chain(&paths.acting) {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let is_meant = paths.acting.contains(path) || OF_ONESELF.contains(path);
            if method == "POST" && is_meant {
                continue;
            }
            let page = person.ask(method, &path.replace("{name}", "x"), &OURS, &FORM).await;
            assert_eq!(page.status, 405, "{method} {path}: {page:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_console_that_only_shows_has_nothing_that_acts_and_stands_below_its_path() {
    let (broker, scratch) = (Broker::fresh("console-only").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.console.read_only = true;
    config.console.base_path = "/dormouse".into();
    let api = serving(&config, &broker).await;
    let person = Person::stranger(&api).at("/dormouse");
    let begun = person.log_in("guest", "guest").await;
    assert_eq!((begun.status, begun.location()), (303, "/dormouse/"), "{begun:?}");
    person.get("/").await.says("looks").says("href=\"/dormouse/cascade\"");
    assert_eq!(person.get("").await.status, 200);
    for path in acting() {
        let gone = person.post(path, &FORM).await;
        assert_eq!(gone.status, 404, "{path}: {gone:?}");
    }
    person.get("/message?of=x").await.says("This console only shows");
    // what is elsewhere is the API's, or nobody's
    let root = Person::stranger(&api);
    assert_eq!(root.get("/").await.status, 404);
    assert_eq!(root.get("/v1/levels").await.status, 401);
    assert_eq!(api.get("/v1/nothing").await.content_type, "application/problem+json");
    // the console alone leaves the API out
    config.service.roles = vec!["console".into()];
    let alone = Api::of_service(&config);
    assert_eq!(Person::stranger(&alone).get("/v1/levels").await.status, 404);
    Person::stranger(&alone).at("/dormouse").get("/login").await.says("RabbitMQ user");
    alone.stop().await;
    api.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_whole_small_and_lets_nothing_in() {
    let (broker, scratch) = (Broker::fresh("console-pages").await, TempDir::new().unwrap());
    let config = config(&broker, &scratch);
    let connection = broker.connect().await;
    queues(&connection, &["mail"]).await;
    let api = serving(&config, &broker).await;
    let person = Person::logged_in(&api, "guest", "guest").await;
    let look = async |of_message: u16| {
        for path in pages() {
            let page = person.get(path).await;
            let wanted = if path.starts_with("/message") { of_message } else { 200 };
            assert_eq!(page.status, wanted, "{path}: {page:?}");
            let policy = page.header("content-security-policy");
            for part in [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "frame-ancestors 'none'",
            ] {
                assert!(policy.contains(part), "{policy}");
            }
            assert_eq!(page.header("cache-control"), "no-store");
            assert!(page.text.len() <= 60_000, "{path}: {}", page.text.len());
            for inline in [" style=", " onclick=", "javascript:", "<style", "http://", "https://"] {
                page.says_not(inline);
            }
            assert_eq!(page.text.matches("<script").count(), 1, "{path}");
            assert_eq!(page.text.matches("<h1>").count(), 1, "{path}");
        }
    };
    person.get("/").await.says("Nothing sleeps.");
    person.get("/dlq").await.says("Nothing is dead.");
    look(404).await;
    for number in 0..30 {
        let body = json!({ "target": { "queue": "mail" }, "delay": "50s", "body": 1, "key": format!("k-{number}") });
        scheduled(&api, body).await;
    }
    let nowhere = json!({ "target": { "queue": "nowhere" }, "delay": 0, "body": 1 });
    scheduled(&api, nowhere).await;
    until("the index knows all", async || {
        person.get("/list?target=mail").await.text.contains("30 match")
    })
    .await;
    until("one is dead", async || person.get("/dlq").await.text.contains("unroutable")).await;
    look(200).await;
    person.get("/").await.says("exact, by the index");
    person.get("/cascade").await.says("Level 0");
    person.get("/list?key_prefix=k-29").await.says("1 match").says("k-29");
    person.get("/list?state=asleep").await.says("known are");
    person.get("/message?of=k-3").await.says("accepted, and put to sleep").says("now, by its plan");
    let style = person.get("/").await.text;
    let style = style.split("href=\"").find(|part| part.contains(".css\"")).unwrap();
    let style = person.get(style.split('"').next().unwrap()).await;
    assert!(style.header("cache-control").contains("immutable"), "{style:?}");
    assert_eq!(person.get("/assets/0.css").await.status, 404);
    api.stop().await;
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_is_trusted_says_what_the_browser_sees() {
    let (broker, scratch) = (Broker::fresh("console-proxy").await, TempDir::new().unwrap());
    let mut config = config(&broker, &scratch);
    config.service.roles = vec!["console".into()];
    let far = [("x-forwarded-proto", "https"), ("x-forwarded-host", "console.example")];
    let origin = ("origin", "https://console.example");
    let form = [("user", "guest"), ("password", "guest")];
    for is_trusted in [false, true] {
        config.api.trusted_proxies =
            is_trusted.then(|| "127.0.0.1".to_owned()).into_iter().collect();
        let api = Api::of_service(&config);
        let person = Person::stranger(&api);
        let headers = [far[0], far[1], origin];
        let begun = person.ask("POST", "/login", &headers, &form).await;
        if is_trusted {
            let cookie = begun.header("set-cookie");
            assert!(
                cookie.starts_with("__Host-dormouse=") && cookie.ends_with("; Secure"),
                "{begun:?}"
            );
            assert_eq!(person.ask("GET", "/help", &far, &[]).await.status, 200);
            assert_eq!(person.get("/help").await.status, 303, "a cookie of another name");
        } else {
            assert_eq!(begun.status, 403, "whoever says so: {begun:?}");
        }
        // whoever logs in from elsewhere than RabbitMQ's machine is not its guest
        let afar = [far[0], far[1], origin, ("x-forwarded-for", "192.0.2.7")];
        let refused = Person::stranger(&api).ask("POST", "/login", &afar, &form).await;
        assert_eq!(refused.status, if is_trusted { 401 } else { 403 }, "{refused:?}");
        api.stop().await;
    }
    broker.drop_it().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_logs_people_in_brings_whom_the_operator_lets_in() {
    let (broker, scratch) = (Broker::fresh("console-brought").await, TempDir::new().unwrap());
    queues(&broker.connect().await, &["mail"]).await;
    let mut config = config(&broker, &scratch);
    let password = ("x-dormouse-proxy-password", "0123456789abcdef0123456789abcdef");
    std::fs::write(scratch.path().join("password"), password.1).unwrap();
    config.console.proxy_user_header = "Remote-User".into();
    config.console.proxy_groups_header = "Remote-Groups".into();
    config.console.proxy_password_file = Some(scratch.path().join("password"));
    config.console.proxy_look = vec!["user:ann".into()];
    config.console.proxy_act = vec!["group:ops".into()];
    config.api.trusted_proxies = vec!["127.0.0.1".into()];
    let api = serving(&config, &broker).await;
    let person = Person::stranger(&api);
    let (ann, ops) = (("remote-user", "ann"), ("remote-groups", "ops"));
    let get =
        async |path: &str, headers: &[(&str, &str)]| person.ask("GET", path, headers, &[]).await;
    // not without the password, not somebody else
    let forged = get("/login?next=/help", &[ann]).await;
    assert_eq!(forged.says("the proxy did not send the password").status, 403);
    let unknown = get("/login?next=/help", &[password, ("remote-user", "bob")]).await;
    assert_eq!(unknown.says("is let in neither").status, 403);
    let begun = get("/login?next=/help", &[password, ann]).await;
    assert_eq!((begun.status, begun.location()), (303, "/help"), "{begun:?}");
    // what it may, it may by each request
    get("/message?of=x", &[password, ann]).await.says("proxy:ann").says("console.proxy_act");
    let key = json!({ "target": { "queue": "mail" }, "delay": "40s", "body": 1, "key": "k", "unique": true });
    scheduled(&api, key).await;
    let cancel = async |headers: &[(&str, &str)]| {
        let headers = [headers, &OURS].concat();
        person.ask("POST", "/message/cancel", &headers, &[("key", "k")]).await
    };
    assert_eq!(cancel(&[password, ann]).await.status, 403);
    assert_eq!(cancel(&[password, ann, ops]).await.status, 303);
    get("/message?of=k", &[password, ann]).await.says("Cancelled: no attempt has begun");
    // the cookie alone is nothing, nor is it with another name; who logs out stays out until that is wanted
    let out = person.ask("POST", "/logout", &[password, ann, OURS[0]], &[]).await;
    assert_eq!(out.location(), "/login");
    get("/login", &[password, ann]).await.says("Go on as");
    for headers in [&[][..], &[ann], &[password, ("remote-user", "bob"), ops]] {
        let again = [password, ann, OURS[0]];
        let begun = person.ask("POST", "/login", &again, &[("brought", "yes")]).await;
        assert_eq!((begun.status, begun.location()), (303, "/"), "{begun:?}");
        assert_eq!(get("/help", headers).await.status, 303, "{headers:?}");
    }
    api.stop().await;
    // another machine's word is nobody's
    config.api.trusted_proxies = vec!["192.0.2.0/24".into()];
    let api = serving(&config, &broker).await;
    let page = Person::stranger(&api).ask("GET", "/login?next=/", &[password, ann, ops], &[]).await;
    assert_eq!(page.says_not("Go on as").status, 200);
    api.stop().await;
    broker.drop_it().await;
}
