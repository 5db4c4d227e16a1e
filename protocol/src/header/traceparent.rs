//! The header `traceparent` of W3C Trace Context: version, trace id, parent id and flags.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use crate::hash::ContentHash;
use crate::id::{CallKey, TraceId};

/// Characters of a header of version 00.
const CHARS: usize = 55;
/// The flag of a trace that the caller records.
const SAMPLED: u8 = 1;

/// A trace, and the span of the caller within it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traceparent {
    trace: TraceId,
    parent: NonZeroU64,
    is_sampled: bool,
}

impl Traceparent {
    /// A trace that is recorded, and a span of it; `None` unless the trace has 32 lower-case hex digits which are not all
    /// zero: an id of another form cannot be expressed.
    #[must_use]
    pub fn new(trace: TraceId, parent: NonZeroU64) -> Option<Self> {
        is_trace(trace.as_str()).then_some(Self { trace, parent, is_sampled: true })
    }

    /// A trace that is recorded, and the span of the call with this key, which is the same for each attempt; `None` as for
    /// [`Self::new`].
    #[must_use]
    pub fn for_call(trace: &TraceId, key: &CallKey) -> Option<Self> {
        let hash = ContentHash::from_content(key.as_str().as_bytes());
        let span = hash.as_bytes().iter().take(8).fold(0, |span, byte| (span << 8) | u64::from(*byte));
        Self::new(trace.clone(), NonZeroU64::new(span).unwrap_or(NonZeroU64::MIN))
    }

    /// The trace.
    #[must_use]
    pub const fn trace(&self) -> &TraceId {
        &self.trace
    }

    /// The span of the caller.
    #[must_use]
    pub const fn parent(&self) -> NonZeroU64 {
        self.parent
    }

    /// True if the caller records the trace.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{:016x}-{:02x}", self.trace, self.parent, u8::from(self.is_sampled))
    }
}

impl FromStr for Traceparent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        try_parse(text).ok_or_else(|| {
            "expected `00-TRACE-PARENT-FLAGS` with 32, 16 and 2 lower-case hex digits, TRACE and PARENT not zero"
                .to_owned()
        })
    }
}

fn try_parse(text: &str) -> Option<Traceparent> {
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // A later version may add parts after the flags; version 00 has none, and ff is no version.
    let is_whole = version != "00" || text.len() == CHARS;
    let is_version = is_hex(version, 2) && version != "ff";
    if !is_whole || !is_version || !is_trace(trace) || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return None;
    }
    let parent = NonZeroU64::new(u64::from_str_radix(parent, 16).ok()?)?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(Traceparent { trace: TraceId::new(trace).ok()?, parent, is_sampled: flags & SAMPLED != 0 })
}

fn is_trace(text: &str) -> bool {
    is_hex(text, 32) && text.bytes().any(|digit| digit != b'0')
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_survives_its_text() {
        for flags in ["00", "01"] {
            let text = format!("{}{flags}", &TEXT[..53]);
            let parsed: Traceparent = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(parsed.trace().as_str(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(parsed.parent().get(), 0x00f0_67aa_0ba9_02b7);
            assert_eq!(parsed.is_sampled(), flags == "01");
        }
        let parent = NonZeroU64::MIN;
        let created = Traceparent::new(TraceId::from_u128(7), parent).unwrap();
        assert_eq!(created.to_string().parse(), Ok(created));
        assert_eq!(Traceparent::new(TraceId::from_u128(0), parent), None);
        assert_eq!(Traceparent::new(TraceId::new("my-trace").unwrap(), parent), None);
    }

    #[test]
    fn each_attempt_of_a_call_is_one_span() {
        let trace = TraceId::from_u128(7);
        let span = |key: &str| Traceparent::for_call(&trace, &CallKey::new(key).unwrap()).unwrap();
        assert_eq!((span("a"), span("a").trace()), (span("a"), &trace));
        assert_ne!(span("a").parent(), span("b").parent());
        assert_eq!(Traceparent::for_call(&TraceId::new("my-trace").unwrap(), &CallKey::new("a").unwrap()), None);
    }

    #[test]
    fn a_later_version_may_have_more_parts_and_unknown_flags_are_ignored() {
        let later: Traceparent = format!("01{}-more", &TEXT[2..]).parse().unwrap();
        assert_eq!(later.to_string(), TEXT);
        let flags: Traceparent = format!("{}ff", &TEXT[..53]).parse().unwrap();
        assert_eq!(flags.to_string(), TEXT);
    }

    #[test]
    fn any_other_text_is_rejected() {
        let zero_trace = TEXT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_parent = TEXT.replace("00f067aa0ba902b7", &"0".repeat(16));
        let upper = TEXT.to_uppercase();
        let (more, other) = (format!("{TEXT}-more"), format!("ff{}", &TEXT[2..]));
        for text in ["", "00", "-", "00-1-2-03", &TEXT[..54], &zero_trace, &zero_parent, &upper, &more, &other] {
            assert!(text.parse::<Traceparent>().is_err(), "{text}");
        }
    }
}
