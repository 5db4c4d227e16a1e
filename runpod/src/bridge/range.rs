//! The header `Range` of a download (RFC 9110): one range of bytes. Several ranges, and units other than bytes, are
//! ignored, and the response is the whole content.

/// The requested part of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteRange {
    /// Everything.
    Whole,
    /// From this byte, and to that one (included) or to the end.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl ByteRange {
    /// Reads the header.
    pub(super) fn read(text: Option<&str>) -> Self {
        text.and_then(parse).unwrap_or(Self::Whole)
    }

    /// The first byte, as far as it is known without the size.
    pub(super) const fn first(self) -> u64 {
        match self {
            Self::Whole | Self::Last(_) => 0,
            Self::From(first, _) => first,
        }
    }

    /// The bytes of a content of this size, from the first to before the last; `None` if there are none.
    pub(super) fn resolve(self, size: u64) -> Option<(u64, u64)> {
        match self {
            Self::Whole => Some((0, size)),
            Self::From(first, last) => {
                let end = last.map_or(size, |last| last.saturating_add(1)).min(size);
                (first < end).then_some((first, end))
            }
            Self::Last(count) => {
                let first = size.saturating_sub(count);
                (first < size).then_some((first, size))
            }
        }
    }
}

fn parse(text: &str) -> Option<ByteRange> {
    let (unit, range) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    match (first.is_empty(), last.is_empty()) {
        (true, true) => None,
        (true, false) => Some(ByteRange::Last(number(last)?)),
        (false, true) => Some(ByteRange::From(number(first)?, None)),
        (false, false) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::From(first, Some(last)))
        }
    }
}

/// A number of digits only: `parse` alone accepts a sign.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_anything_else_is_the_whole() {
        for (text, expected) in [
            ("bytes=0-0", ByteRange::From(0, Some(0))),
            ("Bytes=5-", ByteRange::From(5, None)),
            ("bytes=-7", ByteRange::Last(7)),
            ("bytes=2-1", ByteRange::Whole),
            ("bytes=-", ByteRange::Whole),
            ("bytes=0-1,3-4", ByteRange::Whole),
            ("bytes=+1-2", ByteRange::Whole),
            ("lines=0-1", ByteRange::Whole),
            ("bytes=99999999999999999999-", ByteRange::Whole),
        ] {
            assert_eq!(ByteRange::read(Some(text)), expected, "{text}");
        }
        assert_eq!(ByteRange::read(None), ByteRange::Whole);
    }

    #[test]
    fn a_range_ends_with_the_content_and_one_after_it_is_none() {
        assert_eq!(ByteRange::From(2, Some(100)).resolve(10), Some((2, 10)));
        assert_eq!(ByteRange::From(2, Some(3)).resolve(10), Some((2, 4)));
        assert_eq!(ByteRange::From(10, None).resolve(10), None);
        assert_eq!(ByteRange::From(0, Some(u64::MAX)).resolve(10), Some((0, 10)));
        assert_eq!(ByteRange::Last(3).resolve(10), Some((7, 10)));
        assert_eq!(ByteRange::Last(30).resolve(10), Some((0, 10)));
        assert_eq!((ByteRange::Last(0).resolve(10), ByteRange::Last(1).resolve(0)), (None, None));
        assert_eq!(ByteRange::Whole.resolve(0), Some((0, 0)));
    }
}
