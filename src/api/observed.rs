//! Around every request: what is counted of it; and of each that changes something, a line in the log that says who did
//! what, from where, and what it came to. Never a body or a password.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tracing::info;

use super::metrics;
use super::problem::Kind;
use crate::counted::Counted;

/// Of the lines, so that `log.filter` can have them alone, or leave them out.
const AUDIT: &str = "dormouse::audit";
/// It looks like a question, and takes a message out of its queue.
const PULL: &str = "/delay/task/pull";
const METHODS: [Method; 4] = [Method::GET, Method::POST, Method::PATCH, Method::DELETE];

/// The other end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What becomes known of a request while it is carried out. Cheap to clone.
#[derive(Clone, Default)]
pub struct Note(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    who: Option<Arc<str>>,
    from: Option<IpAddr>,
    what: String,
}

impl Note {
    /// Who asks is known.
    pub fn who(&self, name: &Arc<str>) {
        self.noted().who = Some(name.clone());
    }

    /// From where.
    pub fn from(&self, address: IpAddr) {
        self.noted().from = Some(address);
    }

    /// What it is about to do, or has done.
    pub fn what(&self, what: String) {
        self.noted().what = what;
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().expect("no panic while something is noted")
    }
}

/// A request under way. Also one whose caller hangs up is counted and told.
struct Observed {
    route: String,
    is_action: bool,
    begun: Instant,
    note: Note,
    answer: Option<(u16, Option<Kind>)>,
    _in_flight: Counted,
}

/// Around every route.
pub async fn observe(mut request: Request, next: Next) -> Response {
    let note = Note::default();
    if let Some(Peer(address)) = request.extensions().get::<Peer>() {
        note.from(*address);
    }
    request.extensions_mut().insert(note.clone());
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let method = request.method();
    let route = match path {
        Some(path) if METHODS.contains(method) => format!("{method} {path}"),
        _ => "other".to_owned(),
    };
    let mut observed = Observed {
        route,
        is_action: path == Some(PULL) || path.is_some() && !method.is_safe(),
        begun: Instant::now(),
        note,
        answer: None,
        _in_flight: metrics::in_flight(),
    };
    let response = next.run(request).await;
    let kind = response.extensions().get::<Kind>().copied();
    observed.answer = Some((response.status().as_u16(), kind));
    response
}

impl Drop for Observed {
    fn drop(&mut self) {
        let (status, kind) = self.answer.unzip();
        let outcome = kind.flatten().map(Kind::name);
        metrics::answered(&self.route, status.map(class), self.begun.elapsed());
        if let Some(reason) = outcome {
            metrics::refused(reason);
        }
        if self.is_action {
            let Noted { who, from, what } = &*self.note.noted();
            info!(
                name: "api-audit",
                target: AUDIT,
                who = who.as_deref().unwrap_or("-"),
                from = from.map(|from| from.to_string()),
                action = self.route,
                what,
                status,
                outcome = outcome.unwrap_or(if status.is_some() { "done" } else { "hung-up" }),
                "audit"
            );
        }
    }
}

fn class(status: u16) -> &'static str {
    match status {
        ..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500.. => "5xx",
    }
}
