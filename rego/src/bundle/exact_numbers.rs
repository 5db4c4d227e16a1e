//! Rejects numbers of `data.json` that the parser rounds: the module would compare the rounded number, and
//! decide differently from the text that its author reads.

use std::collections::BTreeMap;

use serde_json::Number;
use serde_json::value::RawValue;

/// A number that has no exact representation, and the path of the value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InexactNumber {
    pub(super) path: String,
    pub(super) text: String,
}

/// Finds the first inexact number in a JSON text that was parsed before, so that its depth is bounded.
pub(super) fn find_inexact(text: &[u8]) -> Result<Option<InexactNumber>, serde_json::Error> {
    find(serde_json::from_slice(text)?, &mut Vec::new())
}

fn find(value: &RawValue, path: &mut Vec<String>) -> Result<Option<InexactNumber>, serde_json::Error> {
    let text = value.get();
    let children: Vec<(String, &RawValue)> = match text.as_bytes().first() {
        Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(text)?.into_iter().collect(),
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            items.into_iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect()
        }
        Some(b'-' | b'0'..=b'9') => {
            let number: Number = serde_json::from_str(text)?;
            let is_exact = Decimal::parse(text) == Decimal::parse(&number.to_string());
            return Ok((!is_exact).then(|| InexactNumber { path: path.join("."), text: text.to_owned() }));
        }
        Some(_) | None => Vec::new(),
    };
    for (name, child) in children {
        path.push(name);
        if let Some(found) = find(child, path)? {
            return Ok(Some(found));
        }
        path.pop();
    }
    Ok(None)
}

/// A number as its significant digits and the power of ten of the last one, so that `10`, `1e1` and `10.0`
/// are equal.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Parses a JSON number; `None` if its exponent exceeds every range.
    fn parse(text: &str) -> Option<Self> {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let digits = all.trim_start_matches('0').trim_end_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let trailing_zeros = all.len() - all.trim_end_matches('0').len();
        let shift = i64::try_from(trailing_zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Self { is_negative, digits: digits.to_owned(), exponent })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(text: &str) -> Option<(String, String)> {
        find_inexact(text.as_bytes()).unwrap().map(|found| (found.path, found.text))
    }

    #[test]
    fn numbers_that_are_represented_exactly_are_accepted() {
        for text in ["0", "-0.0", "10", "1e1", "10.0", "0.1", "-2.5e-3", "18446744073709551615", "-9223372036854775808"]
        {
            assert_eq!(found(text), None, "{text}");
            assert_eq!(found(&format!(r#"{{"cfg": [{{"a": {text}}}]}}"#)), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_would_be_rounded_is_found_with_its_path() {
        for text in [
            "18446744073709551616000001",
            "-9223372036854775809",
            "0.1000000000000000001",
            "1e-400",
            "9007199254740993.0",
        ] {
            let document = format!(r#"{{"cfg": {{"list": [1, {{"max": {text}}}]}}}}"#);
            assert_eq!(found(&document), Some(("cfg.list.1.max".into(), text.into())));
        }
    }

    proptest! {
        #[test]
        fn a_whole_number_is_accepted_only_within_64_bits(number in any::<i128>(), wide in any::<i64>(), high in any::<u64>()) {
            for exact in [wide.to_string(), high.to_string()] {
                prop_assert_eq!(found(&exact), None);
            }
            // A multiple of ten may have few digits, and is then exact.
            let is_wide = i64::try_from(number).is_err() && u64::try_from(number).is_err() && number % 10 != 0;
            prop_assert!(!is_wide || found(&number.to_string()).is_some());
        }
    }
}
