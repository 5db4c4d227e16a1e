//! An amount of money on the command line.

use greenroom_protocol::MicroUsd;

/// Parses US dollars. A limit is never rounded: what it allows is what was typed.
pub(super) fn parse_usd(text: &str) -> Result<MicroUsd, String> {
    let usd: f64 = text.trim().parse().map_err(|_| {
        "an amount has digits and a point, such as 1.50, without a currency and without separators".to_owned()
    })?;
    if usd < 0.0 {
        return Err("an amount is zero or more".to_owned());
    }
    let amount = MicroUsd::from_usd(usd).ok_or_else(|| format!("{usd} is not an amount of money"))?;
    if (amount.as_usd() - usd).abs() > 0.0 {
        return Err("an amount has at most six digits after the point: the unit is a millionth of a dollar".to_owned());
    }
    Ok(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly_or_not_at_all() {
        for (text, micros) in [
            ("0", 0),
            ("0.0", 0),
            ("1e-6", 1),
            ("0.03", 30_000),
            (" 1.50 ", 1_500_000),
            ("1e3", 1_000_000_000),
            ("0.000001", 1),
            ("123456.789012", 123_456_789_012),
        ] {
            assert_eq!(parse_usd(text), Ok(MicroUsd(micros)), "{text}");
        }
        for (text, reason) in [
            ("-1", "zero or more"),
            ("-0.000001", "zero or more"),
            ("1e-9", "six digits"),
            ("0.0000015", "six digits"),
            ("NaN", "not an amount"),
            ("inf", "not an amount"),
            ("1e400", "not an amount"),
            ("1,50", "such as 1.50"),
            ("$1", "without a currency"),
            ("1_000", "without separators"),
            ("", "such as 1.50"),
        ] {
            let found = parse_usd(text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
    }
}
