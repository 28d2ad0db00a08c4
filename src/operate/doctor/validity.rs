//! In: a certificate in DER. Out: until when it is valid. Pure, and no more of X.509 than that:
//! <https://www.rfc-editor.org/rfc/rfc5280#section-4.1>

use jiff::civil;
use jiff::tz::TimeZone;

use crate::schedule::UnixMs;

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of its validity. None: it is no certificate.
pub fn not_after(der: &[u8]) -> Option<UnixMs> {
    let (certificate, _) = field(der, SEQUENCE)?;
    let (to_be_signed, _) = field(certificate, SEQUENCE)?;
    // version, which may be left out
    let rest = field(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    // serial number, algorithm, issuer
    let (_, rest) = any(rest)?;
    let (_, rest) = any(rest)?;
    let (_, rest) = any(rest)?;
    let (validity, _) = field(rest, SEQUENCE)?;
    let (_, not_after) = any(validity)?;
    let (tag, text) = (*not_after.first()?, any(not_after)?.0);
    moment(tag, std::str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`: RFC 5280 allows no other form.
fn moment(tag: u8, text: &str) -> Option<UnixMs> {
    let text = match tag {
        UTC_TIME if text.starts_with(|first: char| first >= '5') => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = civil::DateTime::strptime("%Y%m%d%H%M%SZ", &text).ok()?;
    let at = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    u64::try_from(at).ok().map(UnixMs)
}

/// The contents of a field with this tag, and what is behind it.
fn field(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    if *bytes.first()? == tag { any(bytes) } else { None }
}

/// The contents of the next field, and what is behind it.
fn any(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *bytes.get(1)? {
        short @ 0..0x80 => (usize::from(short), bytes.get(2..)?),
        long => {
            let octets = usize::from(long & 0x7f);
            let (length, rest) = bytes.get(2..)?.split_at_checked(octets)?;
            if octets > 4 {
                return None;
            }
            let add = |length: usize, octet: &u8| length << 8 | usize::from(*octet);
            (length.iter().fold(0, add), rest)
        }
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_time_are_read() {
        let at = |tag, text| moment(tag, text).map(|at| at.to_string());
        assert_eq!(at(UTC_TIME, "300102030405Z").as_deref(), Some("2030-01-02T03:04:05.000Z"));
        assert_eq!(at(UTC_TIME, "990102030405Z").as_deref(), Some("1999-01-02T03:04:05.000Z"));
        let far = at(GENERALIZED_TIME, "21000102030405Z");
        assert_eq!(far.as_deref(), Some("2100-01-02T03:04:05.000Z"));
        assert_eq!(at(GENERALIZED_TIME, "tomorrow"), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end_and_stops_nobody() {
        for bytes in
            [&b""[..], b"\x30", b"\x30\x84\xff\xff\xff\xff", b"\x30\x03\x30\x01\x02", b"hello"]
        {
            assert_eq!(not_after(bytes), None, "{bytes:?}");
        }
    }
}
