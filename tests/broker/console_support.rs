//! A person with a browser, as far as HTTP goes.

use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::api_support::Api;
use crate::support::*;
use dormouse::amqp::inspector::Inspector;
use dormouse::config::{Config, Uri};
use dormouse::topology::Names;
use tempfile::TempDir;

/// Every page that looks at something: those of the navigation, and what they lead to.
pub fn pages() -> Vec<&'static str> {
    let places = dormouse::console::PLACES.iter().map(|shown| shown.path);
    places.chain(["/list?state=any&target=mail", "/message?of=k-1", "/help"]).collect()
}

/// What a browser is told.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Page {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Where it leads.
    pub fn location(&self) -> &str {
        self.header("location")
    }

    fn main(&self) -> &str {
        self.text.split_once("<main").map_or(&self.text, |(_, main)| main)
    }

    #[track_caller]
    pub fn says(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "{text:?} is not in {}: {}", self.status, self.main());
        self
    }

    #[track_caller]
    pub fn says_not(&self, text: &str) -> &Self {
        assert!(!self.text.contains(text), "{text:?} is in {}: {}", self.status, self.main());
        self
    }
}

/// Somebody, logged in or not.
pub struct Person<'a> {
    pub api: &'a Api,
    base: String,
    cookie: Mutex<String>,
}

/// As a browser sends it from a page of ours.
pub const OURS: [(&str, &str); 1] = [("sec-fetch-site", "same-origin")];

impl<'a> Person<'a> {
    pub fn stranger(api: &'a Api) -> Self {
        Self { api, base: String::new(), cookie: Mutex::default() }
    }

    pub fn at(mut self, base: &str) -> Self {
        self.base = base.into();
        self
    }

    pub async fn logged_in(api: &'a Api, user: &str, password: &str) -> Self {
        let person = Self::stranger(api);
        let page = person.log_in(user, password).await;
        assert_eq!(page.status, 303, "{page:?}");
        person
    }

    pub async fn log_in(&self, user: &str, password: &str) -> Page {
        self.post("/login", &[("user", user), ("password", password)]).await
    }

    pub async fn get(&self, path: &str) -> Page {
        self.ask("GET", path, &[], &[]).await
    }

    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Page {
        self.ask("POST", path, &OURS, form).await
    }

    /// Posts, and goes where that leads.
    pub async fn posts(&self, path: &str, form: &[(&str, &str)]) -> Page {
        let page = self.post(path, form).await;
        assert_eq!(page.status, 303, "{page:?}");
        let to = page.location().to_owned();
        let to = to.strip_prefix(self.base.as_str()).expect("a path of ours");
        self.get(to).await
    }

    /// As its browser sends it.
    pub fn cookie(&self) -> String {
        self.cookie.lock().unwrap().clone()
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> Page {
        let uri = self.api.uri(&format!("{}{path}", self.base));
        let mut request = http::Request::builder().method(method).uri(uri);
        let cookie = self.cookie();
        if !cookie.is_empty() {
            request = request.header("cookie", cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(body).unwrap();
        let page = tokio::task::spawn_blocking(move || answer(request)).await.unwrap();
        let page = page.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        for set in page.headers.get_all("set-cookie") {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            if pair.starts_with("dormouse=") || pair.starts_with("__Host-") {
                *self.cookie.lock().unwrap() = pair.to_owned();
            }
        }
        page
    }
}

fn answer(request: http::Request<String>) -> Result<Page, ureq::Error> {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent();
    let mut response = agent.run(request)?;
    let (status, headers): (StatusCode, _) = (response.status(), response.headers().clone());
    let text = response.body_mut().read_to_string()?;
    Ok(Page { status: status.as_u16(), headers, text })
}

/// All roles, with an index, commands, and the levels of the tests.
pub fn config(broker: &Broker, scratch: &TempDir) -> Config {
    let mut config = crate::index_stand::config(broker, scratch);
    config.broker.management_uri = Some(Uri::new(broker.management_uri.clone()));
    config.commands.enabled = true;
    config.service.roles = ["worker", "index", "api", "console"].map(String::from).into();
    config
}

/// The service, once its worker has declared all and takes part.
pub async fn serving(config: &Config, broker: &Broker) -> Api {
    let api = Api::of_service(config);
    let connection = broker.connect().await;
    let names = Names::of(config);
    let queues = [names.due(), names.intake(&config.delay_exchanges[0]), names.command()];
    until("the worker works", async || {
        let mut inspector = Inspector::open(&connection).await.unwrap();
        for queue in &queues {
            let depth = inspector.queue(queue).await.unwrap();
            if depth.is_none_or(|depth| depth.consumers == 0) {
                return false;
            }
        }
        true
    })
    .await;
    api
}

/// Schedules over HTTP, as soon as the worker has declared all that it takes.
pub async fn scheduled(api: &Api, body: serde_json::Value) {
    until("it is scheduled", async || {
        let answer = api.post("/v1/messages", body.clone()).await;
        assert!(matches!(answer.status, 201 | 503), "{answer:?}");
        answer.status == 201
    })
    .await;
}

/// A user with that tag and all permissions, or none.
pub async fn user(broker: &Broker, name: &str, tags: &[&str]) -> String {
    let name = format!("{name}-{}", broker.vhost);
    broker.management.put_user(&name, "secret", tags).await.unwrap();
    broker.management.put_permissions(&broker.vhost, &name, "", ".*", ".*").await.unwrap();
    name
}
