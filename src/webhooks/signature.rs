//! In: a secret, an id, a moment and a body. Out: what a receiver checks, by Standard Webhooks:
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. Pure.
//!
//! Bodies are bytes: the crate of that name refuses what is not UTF-8, which a message may well be.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dormouse_core::schedule::UnixMs;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The specification's bounds for what is random in a secret.
const LEAST_BYTES: usize = 24;
const MOST_BYTES: usize = 64;
/// Begins a secret, so that it is known by its look.
const PREFIX: &str = "whsec_";

/// What a receiver and we know. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    key: Vec<u8>,
    /// From then on nothing is signed with it any more.
    expires: Option<UnixMs>,
}

/// Why a text is no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretFault {
    #[error("it does not begin with {PREFIX}")]
    Prefix,
    #[error("what follows {PREFIX} is not base64")]
    Base64,
    #[error("it has {0} bytes: give it {LEAST_BYTES} to {MOST_BYTES}")]
    Length(usize),
}

impl Secret {
    /// From `whsec_` and base64.
    pub fn parse(text: &str, expires: Option<UnixMs>) -> Result<Self, SecretFault> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretFault::Prefix)?;
        let key = STANDARD.decode(encoded).map_err(|_| SecretFault::Base64)?;
        match key.len() {
            LEAST_BYTES..=MOST_BYTES => Ok(Self { key, expires }),
            bytes => Err(SecretFault::Length(bytes)),
        }
    }

    /// Whether it signs at that time.
    pub fn is_valid(&self, at: UnixMs) -> bool {
        self.expires.is_none_or(|expires| at < expires)
    }

    fn sign(&self, id: &str, seconds: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key of any length");
        mac.update(id.as_bytes());
        mac.update(format!(".{seconds}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("whsec_…")
    }
}

/// The value of `webhook-signature`: one for each secret that has not expired, so that a receiver may change to the
/// next one while both are known. `seconds` is the value of `webhook-timestamp`.
pub fn signatures(secrets: &[Secret], id: &str, seconds: u64, body: &[u8]) -> String {
    let at = UnixMs(seconds.saturating_mul(1_000));
    let live = secrets.iter().filter(|secret| secret.is_valid(at));
    live.map(|secret| secret.sign(id, seconds, body)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECONDS: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[test]
    fn the_example_of_the_specification_is_signed_as_there() {
        let secret = Secret::parse(SECRET, None).unwrap();
        assert_eq!(signatures(&[secret], ID, SECONDS, BODY), SIGNED);
    }

    #[test]
    fn each_secret_signs_until_it_expires() {
        let at = |ms| Secret::parse(SECRET, Some(UnixMs(ms))).unwrap();
        let secrets = [at(SECONDS * 1_000), at(SECONDS * 1_000 + 1), at(u64::MAX)];
        assert_eq!(signatures(&secrets, ID, SECONDS, BODY), format!("{SIGNED} {SIGNED}"));
        assert_eq!(signatures(&secrets[..1], ID, SECONDS, BODY), "");
    }

    #[test]
    fn what_is_no_secret_is_told_and_one_that_is_shows_nowhere() {
        assert_eq!(Secret::parse("MfKQ9r8G", None), Err(SecretFault::Prefix));
        assert_eq!(Secret::parse("whsec_?", None), Err(SecretFault::Base64));
        assert_eq!(Secret::parse("whsec_AAAA", None), Err(SecretFault::Length(3)));
        let shown = format!("{:?}", Secret::parse(SECRET, None).unwrap());
        assert_eq!(shown, "whsec_…");
    }
}
