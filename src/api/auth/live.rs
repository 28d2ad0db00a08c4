//! The tokens of a file that may change while the service runs.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::{error, info};

use super::tokens::{Token, Tokens, TokensFault, digest, read};

/// How often the file is read.
pub const LOOK: Duration = Duration::from_secs(1);

/// What is in force. Cheap to clone.
#[derive(Clone, Default)]
pub struct LiveTokens(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    file: Option<PathBuf>,
    text: String,
    tokens: Tokens,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    #[error("{file}: {source}")]
    Fault { file: String, source: TokensFault },
    #[error("{file} cannot be read: {source}")]
    Unreadable { file: String, source: std::io::Error },
}

impl LiveTokens {
    /// Errors: the file cannot be read, or a line of it.
    pub fn open(file: Option<PathBuf>) -> Result<Self, TokensError> {
        let live = Self::default();
        live.state().file = file;
        live.refresh()?;
        Ok(live)
    }

    pub fn find(&self, token: &str) -> Option<Arc<Token>> {
        self.state().tokens.get(&digest(token)).cloned()
    }

    /// Takes up what has changed. A file that is gone has no tokens.
    ///
    /// Errors: it cannot be read; then what was in force stays so.
    fn refresh(&self) -> Result<bool, TokensError> {
        let Some(file) = self.state().file.clone() else { return Ok(false) };
        let name = || file.display().to_string();
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(source) => return Err(TokensError::Unreadable { file: name(), source }),
        };
        let mut state = self.state();
        if state.text == text {
            return Ok(false);
        }
        // remembered also if it is faulty, so that a fault is told once
        state.text.clone_from(&text);
        state.tokens = read(&text).map_err(|source| TokensError::Fault { file: name(), source })?;
        Ok(true)
    }

    /// Takes up what changes, for ever.
    pub async fn follow(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            match self.refresh() {
                Ok(false) => {}
                Ok(true) => {
                    let tokens = self.state().tokens.len();
                    info!(name: "api-tokens-changed", tokens, "the file of tokens has changed, and is in force");
                }
                Err(error) => {
                    error!(name: "api-tokens-unchanged", %error, "the tokens that were in force before stay so")
                }
            }
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no panic while tokens are looked for")
    }
}
