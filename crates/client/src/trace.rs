//! W3C Trace Context: the headers `traceparent` and `tracestate`, read and written. Pure: random bytes
//! come in as arguments.
//!
//! <https://www.w3.org/TR/trace-context/>

use std::fmt;
use std::str::FromStr;

/// The header with trace, span and flags.
pub const TRACEPARENT: &str = "traceparent";
/// The header with what vendors add.
pub const TRACESTATE: &str = "tracestate";

/// Where in which trace something happens: a `traceparent` with its `tracestate`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
    /// The other systems' part, passed on as it is.
    state: Option<String>,
}

/// Why a header is no `traceparent`: it has to be passed over, as if it were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TraceFault {
    /// Not the form that W3C gives it.
    #[error("it is not 00-<32 hex digits>-<16 hex digits>-<2 hex digits>")]
    Shape,
    /// The version that W3C forbids.
    #[error("version ff is not allowed")]
    Version,
    /// Ids that stand for none.
    #[error("a trace id or span id of zeros is not allowed")]
    Zero,
}

/// `00-` trace id `-` span id `-` flags.
const LENGTH: usize = 55;
/// The only flag that is passed on: the caller may have recorded this trace.
const SAMPLED: u8 = 1;
/// Entries of a `tracestate` that have to be kept at least; more of them are refused as a whole.
const STATE_MEMBERS: usize = 32;

impl TraceContext {
    /// Reads both headers. A `tracestate` that is malformed is left out, as the standard asks.
    pub fn read(traceparent: &str, tracestate: Option<&str>) -> Result<Self, TraceFault> {
        let mut context: TraceContext = traceparent.parse()?;
        context.state = tracestate.filter(|state| is_state(state)).map(str::to_owned);
        Ok(context)
    }

    /// The beginning of a trace. None if chance made an id of zeros, which is not allowed.
    pub fn root(trace_id: [u8; 16], span_id: [u8; 8]) -> Option<Self> {
        let valid = trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self { trace_id, span_id, flags: SAMPLED, state: None })
    }

    /// A span of the same trace, below this one.
    pub fn child(&self, span_id: [u8; 8]) -> Self {
        // zeros are not allowed; the parent is then the nearest that can be named
        let span_id = if span_id == [0; 8] { self.span_id } else { span_id };
        Self { span_id, ..self.clone() }
    }

    /// The header `traceparent`, version 00.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id(), self.span_id(), self.flags & SAMPLED)
    }

    /// The header `tracestate`, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// 32 hex digits.
    pub fn trace_id(&self) -> String {
        hex(&self.trace_id)
    }

    /// 16 hex digits: `parent-id` in the standard's words.
    pub fn span_id(&self) -> String {
        hex(&self.span_id)
    }

    /// Whether the caller records this trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.traceparent())
    }
}

impl FromStr for TraceContext {
    type Err = TraceFault;

    fn from_str(text: &str) -> Result<Self, TraceFault> {
        let bytes = text.as_bytes();
        let fields = bytes.get(..LENGTH).ok_or(TraceFault::Shape)?;
        if [2, 35, 52].iter().any(|dash| fields[*dash] != b'-') {
            return Err(TraceFault::Shape);
        }
        let [version] = unhex(&fields[..2])?;
        match version {
            0xff => return Err(TraceFault::Version),
            0 if bytes.len() > LENGTH => return Err(TraceFault::Shape),
            // a later version may go on after a dash, and is read as far as it is known
            _ if bytes.get(LENGTH).is_some_and(|next| *next != b'-') => {
                return Err(TraceFault::Shape);
            }
            _ => {}
        }
        let (trace_id, span_id) = (unhex(&fields[3..35])?, unhex(&fields[36..52])?);
        let [flags] = unhex(&fields[53..55])?;
        if trace_id == [0; 16] || span_id == [0; 8] {
            return Err(TraceFault::Zero);
        }
        Ok(Self { trace_id, span_id, flags, state: None })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case digits only: the standard refuses others.
fn unhex<const N: usize>(digits: &[u8]) -> Result<[u8; N], TraceFault> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(TraceFault::Shape),
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(bytes)
}

/// `key=value` members, separated by commas; empty ones are allowed and keys are not repeated.
fn is_state(state: &str) -> bool {
    let members: Vec<&str> =
        state.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    let mut keys: Vec<&str> = Vec::new();
    for member in members.iter().filter(|member| !member.is_empty()) {
        match member.split_once('=') {
            Some((key, value)) if is_key(key) && is_value(value) => keys.push(key),
            Some(_) | None => return false,
        }
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    (1..=STATE_MEMBERS).contains(&count) && keys.len() == count
}

fn is_key(key: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/@".contains(&byte);
    let begins = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    key.len() <= 256 && key.as_bytes().first().is_some_and(begins) && key.bytes().all(plain)
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b',' && byte != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(allowed) && !value.ends_with(' ')
}
