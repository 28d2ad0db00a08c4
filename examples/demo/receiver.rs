//! A webhook's receiver, as somebody writes one who knows <https://www.standardwebhooks.com> and nothing of Dormouse.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::mpsc;

/// What a receiver and who sends have agreed on.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub struct Receiver {
    address: SocketAddr,
    came: mpsc::UnboundedReceiver<Webhook>,
}

/// One that came.
#[derive(Debug)]
pub struct Webhook {
    pub path: String,
    pub body: String,
    /// It was signed with the secret, and is as it was signed.
    pub is_right: bool,
}

impl Receiver {
    pub async fn start() -> anyhow::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (tell, came) = mpsc::unbounded_channel();
        let routes = Router::new().fallback(any(receive)).with_state(tell);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok(Self { address, came })
    }

    /// The operator's file that names it.
    pub fn endpoints(&self) -> String {
        format!(
            "allow = [\"127.0.0.0/8\"]\n[[endpoint]]\nname = \"billing\"\nurl = \"http://{}\"\nsecrets = [{SECRET:?}]\n",
            self.address
        )
    }

    pub async fn next(&mut self) -> anyhow::Result<Webhook> {
        self.came.recv().await.context("the receiver ended")
    }
}

async fn receive(
    State(tell): State<mpsc::UnboundedSender<Webhook>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let is_right = is_signed(&headers, &body).unwrap_or(false);
    let body = String::from_utf8_lossy(&body).into_owned();
    let _ = tell.send(Webhook { path: uri.path().to_owned(), body, is_right });
    if is_right { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

/// HMAC-SHA256 over `id.timestamp.body`.
fn is_signed(headers: &HeaderMap, body: &[u8]) -> Option<bool> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let signature = header("webhook-signature")?.strip_prefix("v1,")?;
    let signature = BASE64_STANDARD.decode(signature).ok()?;
    let secret = BASE64_STANDARD.decode(SECRET.strip_prefix("whsec_")?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).ok()?;
    mac.update(format!("{}.{}.", header("webhook-id")?, header("webhook-timestamp")?).as_bytes());
    mac.update(body);
    Some(mac.verify_slice(&signature).is_ok())
}
