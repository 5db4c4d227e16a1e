//! The unit that the name of a column states, and the thousands or millions in which its figures are written. Such
//! figures are not multiplied: their unit says so, as in `k€`.

use std::borrow::Cow;

use crate::tables::unit::{Affix, Unit, affix, currency, money_scale, scaled_currency};

/// What a name states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NameUnit {
    /// The unit.
    pub(super) unit: Option<Unit>,
    /// The power of ten in which the figures are written; zero if they are written in full.
    pub(super) scale: i32,
}

impl NameUnit {
    /// True if the name states nothing.
    pub(super) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The unit as readers see it, with the scale of the name: `€`, `k€`, `million`.
    pub(super) fn label<'a>(self, unit: &'a str) -> Cow<'a, str> {
        let (letter, word) = match self.scale {
            0 => return Cow::Borrowed(unit),
            3 => ("k", "thousand"),
            6 => ("M", "million"),
            _ => ("bn ", "billion"),
        };
        if unit.is_empty() { Cow::Borrowed(word) } else { Cow::Owned(format!("{letter}{unit}")) }
    }
}

/// The unit that a name states: `Amount (EUR)`, `weight [kg]`, `revenue_usd`, `Umsatz in Mio. €`, `Margin %`.
pub(super) fn unit_of_name(name: &str) -> NameUnit {
    let bracketed = name.rsplit_once(['(', '[']).and_then(|(_, rest)| rest.trim_end().strip_suffix([')', ']']));
    if let Some(unit) = bracketed.and_then(unit_in_brackets) {
        return unit;
    }
    let words: Vec<&str> =
        name.split([' ', '_', '-', '/', '(', ')', '[', ']']).filter(|word| !word.is_empty()).collect();
    let is_share = |word: &&str| word.contains('%') || matches!(*word, "pct" | "percent" | "Prozent");
    if words.iter().any(is_share) {
        return NameUnit { unit: Some(Unit::Share("%")), scale: 0 };
    }
    unit_at_end(&words).or_else(|| unit_at_start(&words)).unwrap_or_default()
}

/// The unit that is the complete text between brackets.
fn unit_in_brackets(text: &str) -> Option<NameUnit> {
    let words: Vec<&str> = text.split_whitespace().filter(|word| !is_filler(word)).collect();
    if let [word] = words.as_slice() {
        return match affix(word) {
            Some(Affix::Unit(unit)) => Some(NameUnit { unit: Some(unit), scale: 0 }),
            // A single letter is more often a size or a temperature.
            Some(Affix::Scale(scale)) => (word.len() > 1).then_some(NameUnit { unit: None, scale }),
            None => read(&words),
        };
    }
    read(&words).filter(|unit| !unit.is_none())
}

/// The unit that the last words of a name are. Only currencies are recognised without brackets, since `g`, `h` and
/// `t` are words of their own, and thousands only beside a currency or after `in`.
fn unit_at_end(words: &[&str]) -> Option<NameUnit> {
    // The first word is the name.
    (1..words.len()).find_map(|from| {
        let last = words.get(from..)?;
        let has_filler = last.first().is_some_and(|word| is_filler(word));
        let stated: Vec<&str> = last.iter().copied().filter(|word| !is_filler(word)).collect();
        let unit = read(&stated)?;
        let is_currency = matches!(unit.unit, Some(Unit::Currency(_)));
        (is_currency || (has_filler && unit.scale > 0)).then_some(unit)
    })
}

/// The currency that the first words of a name are: `USD amount`, `€ total`, `TEUR Umsatz`.
fn unit_at_start(words: &[&str]) -> Option<NameUnit> {
    /// Codes that are English words, too, in a name of capital letters.
    const ENGLISH: [&str; 6] = ["TRY", "PEN", "MAD", "BAM", "LAK", "RON"];
    /// Codes that are no words of any language, so that they are codes in small letters as well.
    const IN_SMALL_LETTERS: [&str; 6] = ["usd", "eur", "gbp", "chf", "jpy", "sek"];
    let (first, rest) = words.split_first()?;
    let has_small_letters = rest.iter().any(|word| word.contains(char::is_lowercase));
    let is_sign = first.contains(|c: char| !c.is_alphanumeric());
    let is_code = first.len() >= 3
        && first.bytes().all(|byte| byte.is_ascii_uppercase())
        && (has_small_letters || !ENGLISH.contains(first));
    let has_other = rest.iter().any(|word| currency(word).is_some());
    if has_other || !(is_sign || is_code || IN_SMALL_LETTERS.contains(first)) {
        return None;
    }
    let units = (1..words.len()).rev().filter_map(|end| read(words.get(..end)?));
    units.into_iter().find(|unit| matches!(unit.unit, Some(Unit::Currency(_))))
}

fn is_filler(word: &str) -> bool {
    ["in", "en", "i", "of", "w"].iter().any(|filler| word.eq_ignore_ascii_case(filler))
}

/// Reads words of which each is a currency, a scale, or both in one.
fn read(words: &[&str]) -> Option<NameUnit> {
    let mut all = NameUnit::default();
    for word in words {
        let thousand = thousands(word);
        let (scale, unit) = match (thousand, currency(word), scaled_currency(word), money_scale(word)) {
            (Some(unit), _, _, _) => (3, unit),
            (None, Some(unit), _, _) => (0, Some(unit)),
            (None, None, Some((Affix::Scale(scale), Affix::Unit(unit))), _) => (scale, Some(unit)),
            (None, None, _, Some(scale)) => (scale, None),
            (None, None, _, None) => return None,
        };
        if (unit.is_some() && all.unit.is_some()) || (scale > 0 && all.scale > 0) {
            return None;
        }
        all = NameUnit { unit: unit.or(all.unit), scale: scale.max(all.scale) };
    }
    // A single letter is a scale only beside a currency: `Length in m`.
    let has_letter = words.iter().any(|word| word.chars().count() == 1);
    (all.unit.is_some() || !has_letter).then_some(all)
}

/// `000`, `'000`, `000s`, `$000`: thousands, with their currency.
fn thousands(word: &str) -> Option<Option<Unit>> {
    let before = word.trim_end_matches(['s', '\'', '’']).strip_suffix("000")?;
    let before = before.trim_end_matches(['\'', '’']);
    if before.is_empty() { Some(None) } else { currency(before).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::{NameUnit, unit_of_name};
    use crate::tables::unit::Unit;

    fn label(name: &str) -> Option<String> {
        let stated = unit_of_name(name);
        (!stated.is_none()).then(|| stated.label(stated.unit.map_or("", Unit::label)).into_owned())
    }

    #[test]
    fn a_name_states_its_unit() {
        for (name, unit) in [
            ("Amount (EUR)", "€"),
            ("weight [kg]", "kg"),
            ("revenue_usd", "$"),
            ("Umsatz in €", "€"),
            ("Margin %", "%"),
            ("% of total", "%"),
            ("growth_pct", "%"),
            ("Betrag CHF", "CHF"),
            ("USD amount", "$"),
            ("EUR AMOUNT", "€"),
            ("gbp_total", "£"),
            ("€ revenue", "€"),
            ("TEUR Umsatz", "k€"),
            ("USD m revenue", "M$"),
            ("PEN sales", "PEN"),
        ] {
            assert_eq!(label(name).as_deref(), Some(unit), "{name}");
        }
        for name in [
            "units",
            "try",
            "try count",
            "TRY COUNT",
            "PEN SALES",
            "EUR/USD rate",
            "Total amount",
            "rs total",
            "Amount (net)",
            "Price (€/kg)",
            "Size (M)",
            "Temperature (K)",
            "Price per million",
            "Top m",
            "Length in m",
            "Weight in t",
        ] {
            assert_eq!(label(name), None, "{name}");
        }
    }

    #[test]
    fn a_name_states_the_thousands_in_which_its_figures_are_written() {
        for (name, unit) in [
            ("Revenue (k€)", "k€"),
            ("Umsatz (Mio. EUR)", "M€"),
            ("Umsatz in TEUR", "k€"),
            ("Revenue USD m", "M$"),
            ("Revenue ($m)", "M$"),
            ("Revenue ($000)", "k$"),
            ("Revenue (in thousands)", "thousand"),
            ("Revenue in thousands USD", "k$"),
            ("revenue_keur", "k€"),
            ("Sales (USD millions)", "M$"),
            ("Omsättning (MSEK)", "MSEK"),
            ("Units '000", "thousand"),
            ("Ventes (milliards €)", "bn €"),
        ] {
            let expected = if name.starts_with("Units") { None } else { Some(unit) };
            assert_eq!(label(name).as_deref(), expected, "{name}");
        }
        assert_eq!(unit_of_name("Units (000s)"), NameUnit { unit: None, scale: 3 });
    }
}
