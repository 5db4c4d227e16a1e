//! Units of figures: currencies, per cent, measures of weight, length and the like, and the words that scale
//! a figure. Only what is listed is a unit; any other word makes a cell a text.

/// The unit of a figure. Figures of two units are never added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Unit {
    /// `%`, `‰`
    Share(&'static str),
    /// A currency: its sign, or its code if the sign is not its own.
    Currency(&'static str),
    /// Any other unit.
    Other(&'static str),
}

impl Unit {
    /// The unit as readers see it: `$`, `SEK`, `kg`.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Share(label) | Self::Currency(label) | Self::Other(label) => label,
        }
    }
}

/// What stands before or after the digits of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Affix {
    /// A unit.
    Unit(Unit),
    /// A power of ten: `k`, `Mio`.
    Scale(i32),
}

/// Currencies with a sign of their own; the first of a row is the label.
const SIGNS: &[&[&str]] = &[
    &["$", "usd", "us$", "u$s", "us-$"],
    &["€", "eur", "euro", "euros"],
    &["£", "gbp", "gb£"],
    &["¥", "jpy", "jp¥", "円"],
    &["₹", "inr", "rs", "rs.", "rs.-"],
    &["₽", "rub", "руб", "руб."],
    &["₺", "try", "tl"],
    &["₩", "krw", "원"],
    &["₪", "ils", "nis"],
    &["₫", "vnd"],
    &["₱", "php"],
    &["₦", "ngn"],
    &["₴", "uah"],
    &["฿", "thb"],
    &["CHF", "chf", "fr.", "sfr.", "sfr"],
    &["PLN", "pln", "zł"],
    &["CZK", "czk", "kč"],
    &["HUF", "huf", "ft"],
    &["BRL", "brl", "r$"],
    &["CAD", "cad", "c$", "ca$", "can$"],
    &["AUD", "aud", "a$", "au$"],
    &["NZD", "nzd", "nz$"],
    &["HKD", "hkd", "hk$"],
    &["SGD", "sgd", "s$", "sg$"],
    &["TWD", "twd", "nt$"],
    &["MXN", "mxn", "mx$", "mex$"],
    &["CNY", "cny", "rmb", "cn¥", "元"],
    &["kr", "kr."],
];

/// Codes whose amounts are also written with the sign of another currency.
const SHARED_SIGNS: &[(&str, &[&str])] = &[
    ("$", &["CAD", "AUD", "NZD", "HKD", "SGD", "TWD", "MXN", "ARS", "CLP", "COP"]),
    ("¥", &["CNY"]),
    ("£", &["EGP", "LBP"]),
    ("kr", &["SEK", "NOK", "DKK", "ISK"]),
];

/// Currencies by their words in a column of currencies, where `pounds` are no weight; in lower case.
const NAMES: &[(&str, &[&str])] = &[
    ("$", &["us dollar", "us dollars", "u.s. dollar", "u.s. dollars", "us-dollar", "dollar", "dollars"]),
    ("£", &["pound", "pounds", "pound sterling", "pounds sterling", "british pound", "british pounds"]),
    ("¥", &["yen", "japanese yen"]),
    ("₹", &["rupee", "rupees", "indian rupee", "indian rupees"]),
    ("CHF", &["swiss franc", "swiss francs", "schweizer franken", "franken"]),
    ("CAD", &["canadian dollar", "canadian dollars"]),
    ("AUD", &["australian dollar", "australian dollars"]),
    ("CNY", &["yuan", "renminbi", "chinese yuan"]),
    ("PLN", &["zloty", "złoty", "polish zloty"]),
    ("SEK", &["swedish krona", "swedish kronor", "svenska kronor"]),
    ("NOK", &["norwegian krone", "norwegian kroner", "norske kroner"]),
    ("DKK", &["danish krone", "danish kroner", "danske kroner"]),
];

/// Other codes of ISO 4217. Codes that are common English words (`ALL`, `TOP`, `CUP`) are left out.
const CODES: &str = "AED AFN AMD ANG AOA ARS AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BSD BTN BWP BYN BZD CDF CLP \
    COP CRC CVE DJF DKK DOP DZD EGP ERN ETB FJD FKP GEL GHS GIP GMD GNF GTQ GYD HNL HRK HTG IDR IQD IRR ISK JMD JOD \
    KES KGS KHR KMF KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MRU MUR MVR MWK MYR MZN NAD NIO NOK \
    NPR OMR PEN PGK PKR PYG QAR RON RSD RWF SAR SBD SCR SDG SEK SOS SRD SSP SYP SZL TJS TMT TND TTD TZS UGX UYU UZS \
    VES XAF XCD XOF XPF YER ZAR ZMW";

/// Units that are not currencies, as they are written.
const OTHERS: &[&str] = &[
    "kg", "g", "mg", "t", "lb", "lbs", "oz", "l", "L", "ml", "cl", "hl", "gal", "m", "cm", "mm", "km", "mi", "ft",
    "m²", "m³", "m2", "m3", "sqm", "sqft", "h", "hr", "hrs", "min", "s", "sec", "ms", "days", "kW", "kWh", "MW", "MWh",
    "GWh", "W", "Wh", "kB", "KB", "MB", "GB", "TB", "pcs", "pcs.", "pc", "Stk", "Stk.", "Stück", "St.", "pts", "bps",
    "bp", "°C", "°F", "km/h", "mph",
];

/// Words that scale a figure, in lower case except where the case distinguishes them.
const SCALES: &[(i32, &[&str])] = &[
    (3, &["k", "K", "tsd", "tsd.", "thousand", "thousands", "tausend", "milliers", "tusen", "duizend"]),
    (
        6,
        &[
            "M",
            "mn",
            "mln",
            "mio",
            "mio.",
            "million",
            "millions",
            "millionen",
            "miljoner",
            "miljoen",
            "millones",
            "milioni",
            "milhões",
        ],
    ),
    (
        9,
        &[
            "B",
            "bn",
            "mrd",
            "mrd.",
            "billion",
            "billions",
            "milliarden",
            "milliard",
            "milliards",
            "miliardi",
            "miljard",
        ],
    ),
];

/// Finds the currency of a sign or a code.
pub(crate) fn currency(text: &str) -> Option<Unit> {
    let lower = text.trim().to_lowercase();
    let sign = SIGNS.iter().find(|row| row.iter().any(|name| name.to_lowercase() == lower));
    let label = sign.and_then(|row| row.first().copied());
    label.or_else(|| CODES.split(' ').find(|code| code.eq_ignore_ascii_case(&lower))).map(Unit::Currency)
}

/// Finds the currency of a sign, a code or its name in words.
pub(crate) fn named_currency(text: &str) -> Option<Unit> {
    let lower = text.trim().to_lowercase();
    let named = || NAMES.iter().find(|(_, names)| names.contains(&lower.as_str()));
    currency(text).or_else(|| named().map(|(label, _)| Unit::Currency(label)))
}

/// Finds the unit that a text in a column of units is, which is no currency. Its case distinguishes it only from another
/// unit: `KG` is `kg`.
pub(crate) fn measure(text: &str) -> Option<Unit> {
    let text = text.trim();
    let exact = OTHERS.iter().find(|unit| **unit == text);
    let folded = || OTHERS.iter().find(|unit| unit.len() > 1 && unit.to_lowercase() == text.to_lowercase());
    exact.or_else(folded).map(|unit| Unit::Other(unit))
}

/// Finds the unit or the scale that one word is.
pub(crate) fn affix(word: &str) -> Option<Affix> {
    match word {
        "%" | "pct" | "percent" => return Some(Affix::Unit(Unit::Share("%"))),
        "‰" => return Some(Affix::Unit(Unit::Share("‰"))),
        _ => {}
    }
    // `ft` is a length, `Ft` a currency.
    if let Some(unit) = OTHERS.iter().find(|unit| **unit == word) {
        return Some(Affix::Unit(Unit::Other(unit)));
    }
    if let Some(unit) = currency(word) {
        return Some(Affix::Unit(unit));
    }
    let lower = word.to_lowercase();
    let is_word = |known: &&str| **known == *word || (known.len() > 1 && **known == lower);
    SCALES.iter().find(|(_, words)| words.iter().any(&is_word)).map(|(power, _)| Affix::Scale(*power))
}

/// Splits a scale and a currency in one word: `k€`, `MioEUR`, `TEUR`, `mkr`, `$m`.
pub(crate) fn scaled_currency(word: &str) -> Option<(Affix, Affix)> {
    word.char_indices().skip(1).find_map(|(at, _)| {
        let (first, second) = word.split_at_checked(at)?;
        let of = |scale: &str, unit: &str| Some((Affix::Scale(money_scale(scale)?), Affix::Unit(currency(unit)?)));
        of(first, second).or_else(|| of(second, first))
    })
}

/// The power of ten of a scale beside a currency, where `m` is no metre and `T` no tonne.
pub(crate) fn money_scale(word: &str) -> Option<i32> {
    match (word, affix(word)) {
        ("T" | "t", _) => Some(3),
        ("m", _) => Some(6),
        (_, Some(Affix::Scale(power))) => Some(power),
        (_, Some(Affix::Unit(_)) | None) => None,
    }
}

/// The more exact of two statements about one currency: `$` beside the code `CAD` means `CAD`. `None` if they
/// contradict each other.
pub(crate) fn reconcile(sign: &str, code: &'static str) -> Option<&'static str> {
    let shares = |sign: &str| SHARED_SIGNS.iter().any(|(shared, codes)| *shared == sign && codes.contains(&code));
    (sign == code || shares(sign)).then_some(code)
}

/// True if the unit is written before the figure.
pub(crate) fn is_prefix(label: &str) -> bool {
    matches!(label, "$" | "€" | "£" | "¥" | "₹" | "₽" | "₺" | "₩" | "₪" | "₫" | "₱" | "₦" | "₴" | "฿")
}

/// True if the unit is the code of a currency, which is written before the figure with a space.
pub(crate) fn is_code(label: &str) -> bool {
    label.len() == 3 && label.bytes().all(|byte| byte.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::{Affix, Unit, affix, currency, measure, named_currency, reconcile, scaled_currency};

    #[test]
    fn a_sign_and_its_code_are_one_currency() {
        for (text, expected) in [
            ("$", "$"),
            ("USD", "$"),
            ("US$", "$"),
            ("eur", "€"),
            ("SEK", "SEK"),
            ("R$", "BRL"),
            ("Rs.", "₹"),
            ("zł", "PLN"),
        ] {
            assert_eq!(currency(text), Some(Unit::Currency(expected)), "{text}");
        }
        for text in ["", "North", "ALL", "TOP", "Total"] {
            assert_eq!(currency(text), None, "{text}");
        }
    }

    #[test]
    fn a_currency_in_words_is_that_of_its_code() {
        for (text, expected) in
            [("US Dollar", "$"), ("us dollars", "$"), ("Euros", "€"), ("Swiss francs", "CHF"), ("EUR", "€")]
        {
            assert_eq!(named_currency(text), Some(Unit::Currency(expected)), "{text}");
        }
        assert_eq!((named_currency("North"), currency("pounds")), (None, None));
    }

    #[test]
    fn the_case_of_a_measure_is_free_unless_it_decides() {
        for (text, expected) in [("KG", "kg"), ("Pcs", "pcs"), ("MB", "MB"), ("FT", "ft")] {
            assert_eq!(measure(text), Some(Unit::Other(expected)), "{text}");
        }
        assert_eq!((measure("M"), measure("EUR"), measure("box")), (None, None, None));
    }

    #[test]
    fn a_unit_and_a_scale_are_known_words() {
        assert_eq!(affix("kg"), Some(Affix::Unit(Unit::Other("kg"))));
        assert_eq!(affix("ft"), Some(Affix::Unit(Unit::Other("ft"))));
        assert_eq!(affix("%"), Some(Affix::Unit(Unit::Share("%"))));
        assert_eq!(
            (affix("k"), affix("Mio."), affix("bn")),
            (Some(Affix::Scale(3)), Some(Affix::Scale(6)), Some(Affix::Scale(9)))
        );
        assert_eq!((affix("x"), affix("North")), (None, None));
    }

    #[test]
    fn a_scale_and_a_currency_may_be_one_word() {
        for (word, power, label) in [
            ("k€", 3, "€"),
            ("TEUR", 3, "€"),
            ("T€", 3, "€"),
            ("MioEUR", 6, "€"),
            ("MUSD", 6, "$"),
            ("mkr", 6, "kr"),
            ("tkr", 3, "kr"),
            ("$m", 6, "$"),
            ("£bn", 9, "£"),
        ] {
            let expected = (Affix::Scale(power), Affix::Unit(Unit::Currency(label)));
            assert_eq!(scaled_currency(word), Some(expected), "{word}");
        }
        for word in ["", "k", "€", "EUR", "xEUR", "kkEUR"] {
            assert_eq!(scaled_currency(word), None, "{word}");
        }
    }

    #[test]
    fn a_code_beside_a_sign_decides() {
        assert_eq!(reconcile("$", "CAD"), Some("CAD"));
        assert_eq!(reconcile("€", "€"), Some("€"));
        assert_eq!(reconcile("€", "CAD"), None);
    }
}
