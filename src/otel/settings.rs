//! Where traces go: OpenTelemetry's own variables, as its other programs read them.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>

use std::fmt;

use hyper::Uri;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const SERVICE_NAME: &str = "OTEL_SERVICE_NAME";
const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Where to, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    pub uri: Uri,
    /// Name and value; a value may be a secret.
    pub headers: Vec<(String, String)>,
    pub service: String,
    pub attributes: Vec<(String, String)>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.uri, self.service)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("{variable}: {problem}; it is an address such as http://127.0.0.1:4318")]
    Address { variable: &'static str, problem: String },
    #[error("{variable} is no list of key=value, separated by commas")]
    List { variable: &'static str },
}

impl Settings {
    /// None: nobody wants traces. `look_up` gives the value of a variable.
    pub fn of(look_up: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, SettingsError> {
        let given = |variable| look_up(variable).filter(|value: &String| !value.trim().is_empty());
        let (variable, address) = match (given(TRACES_ENDPOINT), given(ENDPOINT)) {
            (Some(whole), _) => (TRACES_ENDPOINT, whole),
            (None, Some(base)) => {
                (ENDPOINT, format!("{}/v1/traces", base.trim().trim_end_matches('/')))
            }
            (None, None) => return Ok(None),
        };
        let uri: Uri = address
            .trim()
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| fault(variable, error.to_string()))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(fault(variable, "it names no host after http:// or https://".to_owned()));
        }
        let headers = list(HEADERS, given(HEADERS))?;
        let mut attributes = list(ATTRIBUTES, given(ATTRIBUTES))?;
        let named = attributes.iter().position(|(key, _)| key == "service.name");
        let named = named.map(|at| attributes.remove(at).1);
        let service = given(SERVICE_NAME).or(named).unwrap_or_else(|| "dormouse".to_owned());
        Ok(Some(Self { uri, headers, service, attributes }))
    }
}

fn fault(variable: &'static str, problem: String) -> SettingsError {
    SettingsError::Address { variable, problem }
}

/// `key=value,key=value`, percent-encoded.
fn list(
    variable: &'static str,
    given: Option<String>,
) -> Result<Vec<(String, String)>, SettingsError> {
    let decoded = |text: &str| {
        let decoded = percent_encoding::percent_decode_str(text.trim()).decode_utf8();
        decoded.map(|text| text.into_owned()).map_err(|_| SettingsError::List { variable })
    };
    let given = given.unwrap_or_default();
    let pairs = given.split(',').filter(|pair| !pair.trim().is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or(SettingsError::List { variable })?;
            Ok((decoded(key)?, decoded(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Settings>, SettingsError> {
        Settings::of(|name| {
            let given = variables.iter().find(|(variable, _)| *variable == name);
            given.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_variables_are_read_as_others_read_them() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[(ENDPOINT, " ")]), Ok(None));
        let read = of(&[(ENDPOINT, "http://collector:4318/"), (HEADERS, "api-key=a%20b, x=1")]);
        let read = read.expect("read").expect("some");
        assert_eq!(read.uri.to_string(), "http://collector:4318/v1/traces");
        let headers = [("api-key", "a b"), ("x", "1")];
        assert_eq!(read.headers, headers.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(read.service, "dormouse");
        let both = [
            (ENDPOINT, "http://a"),
            (TRACES_ENDPOINT, "https://b/c"),
            (ATTRIBUTES, "service.name=mail,env=test"),
        ];
        let read = of(&both).expect("read").expect("some");
        assert_eq!((read.uri.to_string().as_str(), &*read.service), ("https://b/c", "mail"));
        assert_eq!(read.attributes, [("env".to_owned(), "test".to_owned())]);
        for wrong in ["collector:4318", "ftp://a", "http://", "no address"] {
            assert!(of(&[(ENDPOINT, wrong)]).is_err(), "{wrong}");
        }
        assert!(of(&[(ENDPOINT, "http://a"), (HEADERS, "x")]).is_err());
    }
}
