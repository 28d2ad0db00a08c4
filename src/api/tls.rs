//! The certificate of the API, taken up again when its files change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{error, info};

use super::state::ApiError;

/// How often the files are read.
pub const LOOK: Duration = Duration::from_secs(5);

/// Cheap to clone.
#[derive(Clone)]
pub struct LiveTls(Arc<Files>);

struct Files {
    certificates: PathBuf,
    key: PathBuf,
    now: Mutex<(Contents, TlsAcceptor)>,
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificates: Vec<u8>,
    key: Vec<u8>,
}

impl LiveTls {
    /// Errors: a file cannot be read, or the key is of another certificate.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, ApiError> {
        let contents = Contents::read(certificates, key).map_err(ApiError::Tls)?;
        let acceptor = contents.acceptor().map_err(ApiError::Tls)?;
        let now = Mutex::new((contents, acceptor));
        Ok(Self(Arc::new(Files { certificates: certificates.into(), key: key.into(), now })))
    }

    /// For a new connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.now.lock().expect("no panic while it is set").1.clone()
    }

    /// Takes up what changes, for ever. What cannot be read changes nothing: it may be written in this moment.
    pub async fn follow(&self) {
        let mut told = String::new();
        loop {
            tokio::time::sleep(LOOK).await;
            match self.refresh() {
                Ok(false) => told.clear(),
                Ok(true) => {
                    info!(name: "api-certificate-changed", "the certificate of the API has changed, and is in force")
                }
                Err(problem) if problem == told => {}
                Err(problem) => {
                    error!(name: "api-certificate-unchanged", problem, "the certificate that was in force before stays so");
                    told = problem;
                }
            }
        }
    }

    fn refresh(&self) -> Result<bool, String> {
        let contents = Contents::read(&self.0.certificates, &self.0.key)?;
        let mut now = self.0.now.lock().expect("no panic while it is set");
        if now.0 == contents {
            return Ok(false);
        }
        let acceptor = contents.acceptor()?;
        *now = (contents, acceptor);
        Ok(true)
    }
}

impl Contents {
    fn read(certificates: &Path, key: &Path) -> Result<Self, String> {
        let read = |file: &Path| {
            std::fs::read(file).map_err(|error| format!("cannot read {}: {error}", file.display()))
        };
        Ok(Self { certificates: read(certificates)?, key: read(key)? })
    }

    fn acceptor(&self) -> Result<TlsAcceptor, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificates).collect();
        let chain = chain.map_err(|error| format!("the certificate is no PEM: {error}"))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|error| format!("the key is no PEM: {error}"))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| error.to_string())?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
