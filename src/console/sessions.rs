//! Who is logged in: in this process's memory only, so that a restart logs everybody out. The time comes in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::dlq::chosen::Chosen;

/// At once; for one more, the one that was used longest ago goes.
const MOST: usize = 1_000;
/// However much it is used.
const LONGEST: Duration = Duration::from_secs(12 * 3_600);

/// By the value of a cookie.
pub struct Sessions {
    idle: Duration,
    open: Mutex<HashMap<String, Arc<Session>>>,
}

/// A person who is logged in.
pub struct Session {
    pub user: String,
    pub by: By,
    begun: Instant,
    seen: Mutex<Seen>,
    pub notice: Mutex<Option<Notice>>,
    /// Messages of the DLQ that something is to be done with.
    pub chosen: Mutex<Option<Chosen>>,
}

/// By what it is believed who the person is.
pub enum By {
    /// Of a user of RabbitMQ's, as whom the person acts.
    Password(Password),
    /// A proxy says so, with each request; the person acts with the service's own rights.
    Proxy,
}

/// Never shown.
pub struct Password(pub String);

#[derive(Debug, Clone, Copy)]
struct Seen {
    used: Instant,
    /// When RabbitMQ last said what it may.
    checked: Instant,
    may: May,
}

/// What a person may, by RabbitMQ's tags or by what the operator says of whom a proxy brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum May {
    /// `management` and `monitoring`.
    Look,
    /// `policymaker` and `administrator`.
    Act,
}

/// What came of the last thing that was done, told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub is_good: bool,
    pub text: String,
}

impl May {
    /// None if no tag lets a user look.
    pub fn of(tags: &[String]) -> Option<Self> {
        let has = |any: [&str; 2]| tags.iter().any(|tag| any.contains(&tag.as_str()));
        if has(["policymaker", "administrator"]) {
            Some(Self::Act)
        } else {
            has(["management", "monitoring"]).then_some(Self::Look)
        }
    }
}

impl Sessions {
    pub fn new(idle: Duration) -> Self {
        Self { idle, open: Mutex::default() }
    }

    /// Begins one, and returns what stands for it in a cookie.
    pub fn begin(&self, user: String, by: By, may: May, now: Instant) -> String {
        // 244 random bits of the system's
        let id = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let session = Arc::new(Session {
            user,
            by,
            begun: now,
            seen: Mutex::new(Seen { used: now, checked: now, may }),
            notice: Mutex::default(),
            chosen: Mutex::default(),
        });
        let mut open = self.open();
        open.retain(|_, session| session.is_open(self.idle, now));
        if open.len() >= MOST
            && let Some(oldest) =
                open.iter().min_by_key(|(_, session)| session.seen().used).map(|(id, _)| id.clone())
        {
            open.remove(&oldest);
        }
        open.insert(id.clone(), session);
        id
    }

    /// It is used now.
    pub fn find(&self, id: &str, now: Instant) -> Option<Arc<Session>> {
        let session = self.open().get(id).cloned()?;
        if !session.is_open(self.idle, now) {
            self.end(id);
            return None;
        }
        session.seen().used = now;
        Some(session)
    }

    pub fn end(&self, id: &str) {
        self.open().remove(id);
    }

    /// Whether it has not ended meanwhile.
    pub fn has(&self, session: &Arc<Session>, now: Instant) -> bool {
        session.is_open(self.idle, now)
            && self.open().values().any(|open| Arc::ptr_eq(open, session))
    }

    fn open(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.open.lock().expect("no panic while a session is looked for")
    }
}

impl Session {
    pub fn may(&self) -> May {
        self.seen().may
    }

    /// How long ago RabbitMQ last said what it may.
    pub fn checked_ago(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen().checked)
    }

    pub fn checked(&self, may: May, now: Instant) {
        let mut seen = self.seen();
        (seen.may, seen.checked) = (may, now);
    }

    pub fn tell(&self, is_good: bool, text: impl Into<String>) {
        let notice = Notice { is_good, text: text.into() };
        *self.notice.lock().expect("no panic while it is set") = Some(notice);
    }

    pub fn take_notice(&self) -> Option<Notice> {
        self.notice.lock().expect("no panic while it is taken").take()
    }

    fn is_open(&self, idle: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.seen().used) < idle
            && now.saturating_duration_since(self.begun) < LONGEST
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no panic while it is read")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(1_800);

    fn begin(sessions: &Sessions, now: Instant) -> String {
        sessions.begin("guest".into(), By::Password(Password("guest".into())), May::Act, now)
    }

    #[test]
    fn a_session_lives_while_it_is_used_and_no_longer_than_half_a_day() {
        let (sessions, start) = (Sessions::new(IDLE), Instant::now());
        let id = begin(&sessions, start);
        assert_eq!(id.len(), 64);
        let mut now = start;
        while now < start + LONGEST {
            assert!(sessions.find(&id, now).is_some());
            now += IDLE / 2;
        }
        assert!(sessions.find(&id, now).is_none());
        let id = begin(&sessions, start);
        assert!(sessions.find(&id, start + IDLE).is_none());
        assert!(sessions.find(&id, start).is_none(), "it has ended");
        let id = begin(&sessions, start);
        let session = sessions.find(&id, start).unwrap();
        assert!(sessions.has(&session, start));
        sessions.end(&id);
        assert!(!sessions.has(&session, start) && sessions.find(&id, start).is_none());
    }

    #[test]
    fn there_are_no_more_than_so_many_and_the_oldest_goes() {
        let (sessions, start) = (Sessions::new(IDLE), Instant::now());
        let first = begin(&sessions, start);
        let second = begin(&sessions, start + Duration::from_secs(1));
        for _ in 0..MOST - 1 {
            begin(&sessions, start + Duration::from_secs(2));
        }
        assert_eq!(sessions.open().len(), MOST);
        let now = start + Duration::from_secs(3);
        assert!(sessions.find(&first, now).is_none() && sessions.find(&second, now).is_some());
    }

    #[test]
    fn tags_say_what_a_user_may() {
        let may =
            |tags: &[&str]| May::of(&tags.iter().map(|tag| (*tag).to_owned()).collect::<Vec<_>>());
        assert_eq!(may(&[]), None);
        assert_eq!(may(&["impersonator"]), None);
        assert_eq!(may(&["management"]), Some(May::Look));
        assert_eq!(may(&["monitoring", "other"]), Some(May::Look));
        assert_eq!(may(&["management", "policymaker"]), Some(May::Act));
        assert_eq!(may(&["administrator"]), Some(May::Act));
    }
}
