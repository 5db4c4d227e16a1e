//! One cell of text → the figure that it is, in either notation: sign, unit and brackets are read here, and
//! whether a comma or a point is decimal is left to the column (`notation.rs`).

use std::borrow::Cow;

use crate::tables::decimal::Decimal;
use crate::tables::unit::{Affix, Unit, affix, reconcile, scaled_currency};

/// A figure with its value in each notation; `None` in the one that it cannot be written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    /// Its value if the point is decimal.
    pub(crate) point: Option<Decimal>,
    /// Its value if the comma is decimal.
    pub(crate) comma: Option<Decimal>,
    /// Its unit.
    pub(crate) unit: Option<Unit>,
    /// True if a word such as `Mio` scaled it.
    pub(crate) is_scaled: bool,
}

impl Figure {
    /// A figure that is the same in both notations.
    pub(crate) const fn plain(value: Decimal) -> Self {
        Self { point: Some(value), comma: Some(value), unit: None, is_scaled: false }
    }
}

/// What a text is, before its column is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Form {
    /// One of the marks for "no value", such as `n/a`.
    NoValue,
    /// An error of a spreadsheet, such as `#DIV/0!`.
    SheetError,
    /// A figure.
    Figure(Figure),
    /// Digits that begin with a zero: a code.
    Code,
    /// Any other text.
    Words,
}

/// Determines what a text is.
pub(crate) fn form_of(text: &str) -> Form {
    if let Some(value) = small_integer(text) {
        return Form::Figure(Figure::plain(value));
    }
    let text = text.trim();
    if is_no_value(text) {
        return Form::NoValue;
    }
    if is_sheet_error(text) {
        return Form::SheetError;
    }
    let text = normalize(text);
    if is_code(&text) {
        return Form::Code;
    }
    parse(&text).map_or(Form::Words, Form::Figure)
}

/// Parses the most common figures without a copy.
fn small_integer(text: &str) -> Option<Decimal> {
    const DIGITS_MAX: usize = 9;
    let is_plain = (1..=DIGITS_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    is_plain.then(|| Decimal::parse(text)).flatten()
}

fn is_no_value(text: &str) -> bool {
    const MARKS: [&str; 20] = [
        "", "-", "--", "---", "–", "—", "n/a", "na", "n.a.", "n. a.", "k.a.", "k. a.", "null", "(null)", "none", "nil",
        "nan", "\\n", ".", "…",
    ];
    MARKS.iter().any(|mark| text.eq_ignore_ascii_case(mark))
}

fn is_sheet_error(text: &str) -> bool {
    const ERRORS: [&str; 9] = ["#div/0!", "#n/a", "#ref!", "#value!", "#name?", "#num!", "#null!", "#wert!", "#bezug!"];
    text.starts_with('#') && ERRORS.iter().any(|error| text.eq_ignore_ascii_case(error))
}

/// `007`, `+49301234567`: digits that are not a quantity.
fn is_code(text: &str) -> bool {
    const PHONE_DIGITS_MIN: usize = 8;
    let is_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_prefix('+') {
        Some(digits) => digits.len() >= PHONE_DIGITS_MIN && is_digits(digits),
        None => text.len() > 1 && text.starts_with('0') && is_digits(text),
    }
}

/// Maps the spaces, signs and apostrophes of Unicode to those of ASCII, and drops characters without a width.
fn normalize(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mapped = text.chars().filter_map(|c| match c {
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '−' | '‐' | '‑' | '‒' | '–' | '﹣' | '－' => Some('-'),
        '’' | '‘' | '´' | 'ʼ' | '′' => Some('\''),
        '٫' => Some('.'),
        '٬' => Some(','),
        '٪' => Some('%'),
        c => Some(digit_of(c).unwrap_or(c)),
    });
    Cow::Owned(mapped.collect::<String>().trim().to_owned())
}

/// The ASCII digit of a full-width, Arabic, Persian or Devanagari one.
fn digit_of(c: char) -> Option<char> {
    const ZEROS: [char; 4] = ['０', '٠', '۰', '०'];
    let distance = |zero: &char| u32::from(c).checked_sub(u32::from(*zero)).filter(|distance| *distance < 10);
    ZEROS.iter().find_map(distance).and_then(|distance| char::from_digit(distance, 10))
}

/// The marks around the digits of a figure.
#[derive(Debug, Default)]
struct Marks {
    signs: usize,
    is_negative: bool,
    unit: Option<Unit>,
    scale: Option<i32>,
}

impl Marks {
    /// Reads the text before or after the digits; `None` if it is not only marks. Before the digits, there are
    /// only signs, currencies and `%`: `B6` is a code.
    fn read(&mut self, text: &str, is_before: bool) -> Option<()> {
        let mut rest = text.trim();
        while let Some(first) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix(['-', '+']) {
                self.signs += 1;
                self.is_negative |= first == '-';
                rest = after.trim_start();
                continue;
            }
            let end = rest.find([' ', '-', '+']).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            match affix(word) {
                Some(affix) => self.add(affix, is_before)?,
                // `5k€`, `1,2Mio€`
                None => {
                    let (scale, unit) = scaled_currency(word)?;
                    self.add(scale, is_before)?;
                    self.add(unit, is_before)?;
                }
            }
            rest = after.trim_start();
        }
        Some(())
    }

    fn add(&mut self, affix: Affix, is_before: bool) -> Option<()> {
        match (affix, self.unit) {
            (Affix::Unit(Unit::Other(_)) | Affix::Scale(_), _) if is_before => return None,
            (Affix::Unit(unit), None) => self.unit = Some(unit),
            // `$5m` and `5m €` are millions: metres have no currency.
            (Affix::Unit(Unit::Other("m")), Some(Unit::Currency(_))) => self.set_scale(6)?,
            (Affix::Unit(unit @ Unit::Currency(_)), Some(Unit::Other("m"))) => {
                self.unit = Some(unit);
                self.set_scale(6)?;
            }
            (Affix::Scale(scale), _) => self.set_scale(scale)?,
            // `$5 USD`
            (Affix::Unit(Unit::Currency(code)), Some(Unit::Currency(sign))) => {
                self.unit = Some(Unit::Currency(reconcile(sign, code).or_else(|| reconcile(code, sign))?));
            }
            (Affix::Unit(_), Some(_)) => return None,
        }
        Some(())
    }

    fn set_scale(&mut self, scale: i32) -> Option<()> {
        self.scale.replace(scale).is_none().then_some(())
    }
}

fn parse(text: &str) -> Option<Figure> {
    let mut marks = Marks::default();
    let (core, is_bracketed) = peel(text, &mut marks)?;
    if marks.signs > 1 {
        return None;
    }
    let negative = marks.is_negative || is_bracketed;
    if core.is_empty() {
        // Accounting formats write zero as a dash beside the currency.
        let is_zero = marks.unit.is_some() && marks.signs == 1;
        return is_zero.then_some(Figure { unit: marks.unit, ..Figure::plain(Decimal::ZERO) });
    }
    let (mantissa, exponent) = match core.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (core, 0),
    };
    let scale = marks.scale.unwrap_or(0);
    let value = |decimal| {
        split(mantissa, decimal).and_then(|(integer, fraction)| {
            Decimal::from_digits(negative, &integer, fraction, exponent.checked_add(scale)?)
        })
    };
    let (point, comma) = (value('.'), value(','));
    (point.is_some() || comma.is_some()).then_some(Figure {
        point,
        comma,
        unit: marks.unit,
        is_scaled: marks.scale.is_some(),
    })
}

/// Separates the digits from the marks around them, and from brackets, which mean a negative amount.
fn peel<'t>(text: &'t str, marks: &mut Marks) -> Option<(&'t str, bool)> {
    let is_core = |c: char| c.is_ascii_digit() || c == '(' || c == ')';
    let Some(mut start) = text.find(is_core) else {
        marks.read(text, true)?;
        return Some(("", false));
    };
    let end = text.rfind(is_core)? + 1;
    // `.5` and `,5` begin with their decimal mark.
    let before = text.get(..start)?;
    if before.ends_with(['.', ','])
        && affix(before.trim()).is_none()
        && !before.ends_with("r.")
        && !before.ends_with("s.")
    {
        start -= 1;
    }
    marks.read(text.get(..start)?, true)?;
    let after = text.get(end..)?;
    // `5.-`, `5,--` and `5.` end with the decimal mark of an amount without cents.
    let cents = after.strip_prefix(['.', ',']).filter(|rest| rest.is_empty() || rest.starts_with('-'));
    marks.read(cents.map_or(after, |rest| rest.trim_start_matches('-')), false)?;
    let core = text.get(start..end)?;
    match core.strip_prefix('(') {
        Some(inner) => {
            let inner = inner.strip_suffix(')')?.trim();
            if inner.contains(['(', ')']) {
                return None;
            }
            peel(inner, marks).map(|(digits, _)| (digits, true)).filter(|(digits, _)| !digits.is_empty())
        }
        None => (!core.contains([')'])).then_some((core, false)),
    }
}

/// Splits a figure at its decimal mark and removes the marks between its groups; `None` if the groups are not
/// those of this notation.
fn split(mantissa: &str, decimal: char) -> Option<(Cow<'_, str>, &str)> {
    let (integer, fraction) = mantissa.split_once(decimal).unwrap_or((mantissa, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || (integer.is_empty() && fraction.is_empty()) {
        return None;
    }
    let Some(mark) = integer.chars().find(|c| !c.is_ascii_digit()) else {
        let is_padded = integer.len() > 1 && integer.starts_with('0');
        return (!is_padded).then_some((Cow::Borrowed(integer), fraction));
    };
    let is_group_mark = matches!(mark, ' ' | '\'' | '_') || (matches!(mark, '.' | ',') && mark != decimal);
    if !is_group_mark || !has_valid_groups(integer, mark) {
        return None;
    }
    Some((Cow::Owned(integer.replace(mark, "")), fraction))
}

/// `1,234,567`, or `12,34,567` as in India: the last group has three digits, and the first is not zero.
fn has_valid_groups(integer: &str, mark: char) -> bool {
    let groups: Vec<&str> = integer.split(mark).collect();
    let (Some((first, rest)), Some(last)) = (groups.split_first(), groups.last()) else { return false };
    let middle = rest.get(..rest.len().saturating_sub(1)).unwrap_or_default();
    let is_digits = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_digit()));
    let by_three = (1..=3).contains(&first.len()) && middle.iter().all(|group| group.len() == 3);
    let by_two = mark == ',' && (1..=2).contains(&first.len()) && middle.iter().all(|group| group.len() == 2);
    is_digits && !first.starts_with('0') && last.len() == 3 && (by_three || by_two)
}

#[cfg(test)]
mod tests;
