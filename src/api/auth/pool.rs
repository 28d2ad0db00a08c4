//! Connections as users of RabbitMQ's: whoever logs in gets one of their own, and RabbitMQ decides what they may.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use dormouse_client::Client;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tracing::{info, warn};

use super::slow::Failures;
use crate::amqp::Connection;
use crate::api::problem::{Kind, Problem};
use crate::api::trouble;
use crate::config::{Config, Uri};

/// Users with a connection at once.
pub const MOST_USERS: usize = 64;
/// After so long without a request a connection is closed.
const IDLE: Duration = Duration::from_secs(300);
/// How often it is looked for those.
pub const LOOK: Duration = Duration::from_secs(15);
/// RabbitMQ closes no connection when a password changes: so it is asked again.
pub const TRUSTED_FOR: Duration = Duration::from_secs(30);
/// Logins at once: each is a connection, and RabbitMQ's hash of a password.
const LOGINS: usize = 8;

/// Of users, by what they logged in with. Cheap to clone.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    config: Config,
    /// Of this process only, so that what is in its memory tells no password.
    salt: [u8; 16],
    entries: Mutex<HashMap<[u8; 32], Arc<Entry>>>,
    failures: Mutex<Failures>,
    logins: Semaphore,
}

/// A user, by this password. Nobody is logged in with a wrong one.
struct Entry {
    login: Mutex<Option<Arc<Login>>>,
    /// One of many requests logs in, the others wait for it.
    tries: AsyncMutex<()>,
    used: Mutex<Instant>,
}

/// A user of RabbitMQ's, connected.
pub struct Login {
    pub user: Arc<str>,
    pub client: Client,
    /// The service's configuration with this user's name and password.
    pub config: Arc<Config>,
    checked: Instant,
}

impl Pool {
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Shared {
            config,
            salt: *uuid::Uuid::new_v4().as_bytes(),
            entries: Mutex::default(),
            failures: Mutex::default(),
            logins: Semaphore::new(LOGINS),
        }))
    }

    /// As the user whom the service's own configuration names.
    pub async fn own(&self) -> Result<Arc<Login>, Problem> {
        let user = crate::operate::user_name(&self.0.config);
        self.login(&user, None, [0; 32], IpAddr::from([127, 0, 0, 1])).await
    }

    /// As this user, whom a request from `address` says to be.
    ///
    /// Errors: RabbitMQ refuses the login or cannot be reached; or there were too many from there that failed.
    pub async fn user(
        &self,
        user: &str,
        password: &str,
        address: IpAddr,
    ) -> Result<Arc<Login>, Problem> {
        let mut hash = Sha256::new();
        hash.update(self.0.salt);
        // a name has no 0 byte
        for part in [user.as_bytes(), b"\0", password.as_bytes()] {
            hash.update(part);
        }
        self.login(user, Some(password), hash.finalize().into(), address).await
    }

    /// The service's configuration with this user's name and password.
    ///
    /// Errors: an address of the configuration is none.
    pub fn config_of(&self, user: &str, password: &str) -> Result<Config, Problem> {
        as_this_user(&self.0.config, user, password)
    }

    async fn login(
        &self,
        user: &str,
        password: Option<&str>,
        hash: [u8; 32],
        address: IpAddr,
    ) -> Result<Arc<Login>, Problem> {
        let entry = self.entry(hash)?;
        let known = entry.login();
        let is_fresh = |login: &Arc<Login>| login.checked.elapsed() < TRUSTED_FOR;
        let _turn = match &known {
            Some(login) if is_fresh(login) => return Ok(login.clone()),
            Some(login) => match entry.tries.try_lock() {
                Ok(turn) => turn,
                // another request asks
                Err(_) => return Ok(login.clone()),
            },
            None => entry.tries.lock().await,
        };
        if let Some(login) = entry.login().filter(is_fresh) {
            return Ok(login);
        }
        // who is logged in does not wait for others' failures
        if password.is_some() && known.is_none() {
            self.may_try(address)?;
        }
        let _place = self.0.logins.acquire().await.expect("it is never closed");
        let tried = match &known {
            Some(known) => again(known).await,
            None => first(&self.0.config, user, password).await,
        };
        match tried {
            Ok(new) => {
                let new = Arc::new(new);
                *entry.login.lock().expect("no panic while it is set") = Some(new.clone());
                Ok(new)
            }
            Err(problem) => {
                *entry.login.lock().expect("no panic while it is set") = None;
                self.forget(&hash);
                if password.is_none() {
                    let detail = format!("as the service itself: {}", problem.detail);
                    let kind = match problem.kind {
                        Kind::Unauthenticated => Kind::NoBroker,
                        other => other,
                    };
                    return Err(Problem::new(kind, detail));
                }
                if problem.kind == Kind::Unauthenticated {
                    warn!(name: "api-login-refused", user, %address, "RabbitMQ refused a login");
                    self.failures().failed(address, Instant::now());
                }
                Err(problem)
            }
        }
    }

    fn may_try(&self, address: IpAddr) -> Result<(), Problem> {
        let Some(wait) = self.failures().wait(address, Instant::now()) else { return Ok(()) };
        let detail = format!(
            "logins from {address} failed too often: the next one is looked at in {} ms",
            wait.as_millis()
        );
        Err(Problem::new(Kind::TooManyLogins, detail).retry_after(wait))
    }

    fn entry(&self, hash: [u8; 32]) -> Result<Arc<Entry>, Problem> {
        let now = Instant::now();
        let mut entries = self.entries();
        if let Some(entry) = entries.get(&hash) {
            *entry.used.lock().expect("no panic while it is set") = now;
            return Ok(entry.clone());
        }
        if entries.len() >= MOST_USERS {
            let idle = entries.iter().filter(|(_, entry)| Arc::strong_count(entry) == 1);
            let oldest = idle.min_by_key(|(_, entry)| entry.used()).map(|(hash, _)| *hash);
            let detail =
                format!("{MOST_USERS} users are connected already, and none of them is idle");
            let oldest = oldest.ok_or_else(|| Problem::new(Kind::Busy, detail))?;
            entries.remove(&oldest);
        }
        let entry = Arc::new(Entry {
            login: Mutex::new(None),
            tries: AsyncMutex::default(),
            used: Mutex::new(now),
        });
        entries.insert(hash, entry.clone());
        Ok(entry)
    }

    fn forget(&self, hash: &[u8; 32]) {
        self.entries().remove(hash);
    }

    /// Closes what nobody has used for long.
    pub fn close_idle(&self) {
        let is_used =
            |entry: &Arc<Entry>| Arc::strong_count(entry) > 1 || entry.used().elapsed() < IDLE;
        self.entries().retain(|_, entry| is_used(entry));
    }

    /// Closes all, after what is published is settled.
    pub async fn close(&self) {
        let entries = std::mem::take(&mut *self.entries());
        for entry in entries.into_values() {
            let login = entry.login.lock().expect("no panic while it is set").take();
            // else somebody still publishes with it, who is not waited for any more
            if let Some(login) = login.and_then(Arc::into_inner) {
                login.client.close().await;
            }
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<[u8; 32], Arc<Entry>>> {
        self.0.entries.lock().expect("no panic while an entry is looked for")
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.0.failures.lock().expect("no panic while a failure is noted")
    }
}

impl Entry {
    fn login(&self) -> Option<Arc<Login>> {
        self.login.lock().expect("no panic while it is set").clone()
    }

    fn used(&self) -> Instant {
        *self.used.lock().expect("no panic while it is read")
    }
}

async fn first(config: &Config, user: &str, password: Option<&str>) -> Result<Login, Problem> {
    let config = match password {
        Some(password) => as_this_user(config, user, password)?,
        None => config.clone(),
    };
    let client = Client::open(config.clone()).await.map_err(trouble::client)?;
    info!(name: "api-connected", user, "connected for the API");
    Ok(Login { user: user.into(), client, config: config.into(), checked: Instant::now() })
}

/// Whether the password is still that of the user.
async fn again(known: &Login) -> Result<Login, Problem> {
    let checked = match Connection::open(&known.config.broker, "dormouse api login").await {
        Ok(connection) => {
            connection.close().await;
            Ok(())
        }
        Err(error) => match trouble::amqp(&error) {
            no if matches!(no.kind, Kind::Unauthenticated | Kind::Forbidden) => Err(no),
            // whether that is so still, a publish will tell
            _ => Ok(()),
        },
    };
    checked.map(|()| Login {
        user: known.user.clone(),
        client: known.client.clone(),
        config: known.config.clone(),
        checked: Instant::now(),
    })
}

fn as_this_user(config: &Config, user: &str, password: &str) -> Result<Config, Problem> {
    let mut config = config.clone();
    for uri in config.broker.uri.iter_mut().chain(&mut config.broker.management_uri) {
        *uri = as_user(uri, user, password)?;
    }
    Ok(config)
}

/// The address with another user.
fn as_user(uri: &Uri, user: &str, password: &str) -> Result<Uri, Problem> {
    let broken = || Problem::new(Kind::Internal, format!("{uri} is no address to log in at"));
    let mut url = url::Url::parse(uri.expose()).map_err(|_| broken())?;
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    url.set_username(&encoded(user)).map_err(|()| broken())?;
    url.set_password(Some(&encoded(password))).map_err(|()| broken())?;
    // the service's own may be another than a name and a password
    let options: Vec<_> = url
        .query_pairs()
        .filter(|(name, _)| name != "auth_mechanism")
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    url.set_query((!options.is_empty()).then(|| options.join("&")).as_deref());
    Ok(Uri::new(url.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_changes_nothing_else_of_an_address() {
        let change = |uri: &str, user: &str, password: &str| {
            as_user(&Uri::new(uri), user, password).unwrap().expose().to_owned()
        };
        assert_eq!(
            change("amqp://guest:guest@host:5672/%2f?frame_max=8192", "a b", "p@:/?#%"),
            "amqp://a%20b:p%40%3A%2F%3F%23%25@host:5672/%2f?frame_max=8192"
        );
        assert_eq!(change("amqps://host?auth_mechanism=external", "a", "b"), "amqps://a:b@host");
        assert_eq!(change("http://guest:guest@host:15672", "a", "b"), "http://a:b@host:15672/");
    }
}
