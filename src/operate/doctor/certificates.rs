//! Certificates that are in use, and until when each is valid.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::validity::not_after;
use crate::amqp::served_certificates;
use crate::config::Config;
use crate::inventory::Visible;
use crate::schedule::UnixMs;

/// One that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// `broker.cert_file`, or the address of a node.
    pub of: String,
    pub not_after: Visible<UnixMs>,
}

/// Those that the nodes show, and those of the files that the configuration names.
pub async fn seen(config: &Config) -> Vec<Certificate> {
    let mut seen = Vec::new();
    match served_certificates(&config.broker).await {
        Ok(served) => seen.extend(served.into_iter().map(|(node, shown)| {
            let end = shown.and_then(|der| {
                not_after(&der).ok_or_else(|| "it shows no certificate that can be read".to_owned())
            });
            Certificate { of: node, not_after: end }
        })),
        Err(error) => {
            let not_after = Err(error.to_string());
            seen.push(Certificate { of: "broker.uri".to_owned(), not_after });
        }
    }
    let files = [
        ("broker.cert_file", &config.broker.cert_file),
        ("broker.ca_file", &config.broker.ca_file),
        ("api.cert_file", &config.api.cert_file),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            seen.push(Certificate { of: key.to_owned(), not_after: of_file(file) });
        }
    }
    seen
}

/// The first to end of those in the file.
fn of_file(file: &Path) -> Visible<UnixMs> {
    let unreadable = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let pem = std::fs::read(file).map_err(|error| unreadable(&error))?;
    let mut first: Option<UnixMs> = None;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        let end = not_after(&certificate);
        let end = end.ok_or_else(|| unreadable(&"a certificate in it cannot be read"))?;
        first = Some(first.map_or(end, |first| first.min(end)));
    }
    first.ok_or_else(|| unreadable(&"it holds no certificate"))
}
