//! The code of a number format → what it shows beside the digits: a unit, a percentage, a word that scales, or
//! leading zeros. Formats of dates and times are those of the library.

use crate::tables::unit::{Affix, Unit, affix};

/// What a number format shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// The unit.
    pub(super) unit: Option<Unit>,
    /// The power of ten by which the shown figure exceeds the stored one: 2 for a percentage.
    pub(super) power: i32,
    /// The digits to which the format pads an integer with zeros, if it shows nothing else.
    pub(super) padding: usize,
    /// True if the format divides the figure by thousands and says so with no word.
    pub(super) is_divided: bool,
}

/// The parts of the first section of a format, which is that of positive figures.
#[derive(Debug, Default)]
struct Section {
    /// The texts beside the digits, with a space between them.
    texts: String,
    is_percentage: bool,
    /// Commas since the last digit. After all digits, each divides by a thousand.
    commas: i32,
    /// The divisions by a thousand that are certain.
    divisions: i32,
}

impl Section {
    fn parse(code: &str) -> Self {
        let mut section = Self::default();
        let mut chars = code.chars();
        while let Some(c) = chars.next() {
            match c {
                ';' => break,
                '"' => section.texts.extend(chars.by_ref().take_while(|c| *c != '"')),
                '\\' => section.texts.extend(chars.next()),
                // A space as wide as the next character, or the next character as often as it fits.
                '_' | '*' => {
                    chars.next();
                    section.texts.push(' ');
                }
                '[' => {
                    let inner: String = chars.by_ref().take_while(|c| *c != ']').collect();
                    // `[$€-407]` is a currency with its language, `[Red]` a colour.
                    let symbol = inner.strip_prefix('$').and_then(|symbol| symbol.split('-').next());
                    section.texts.push_str(symbol.unwrap_or_default());
                }
                '0' | '#' | '?' => {
                    section.commas = 0;
                    section.texts.push(' ');
                }
                ',' => section.commas += 1,
                '.' => section.divisions += std::mem::take(&mut section.commas),
                '%' => section.is_percentage = true,
                ' ' | '-' | '+' | '(' | ')' | 'E' | 'e' | '@' => section.texts.push(' '),
                other => section.texts.push(other),
            }
        }
        section.divisions += section.commas;
        section
    }
}

/// Parses the code of a number format.
pub(super) fn parse(code: &str) -> Shown {
    let first = code.split(';').next().unwrap_or_default();
    if first.len() > 1 && first.bytes().all(|byte| byte == b'0') {
        return Shown { padding: first.len(), ..Shown::default() };
    }
    let section = Section::parse(&code.replace("General", "0"));
    if section.is_percentage {
        return Shown { unit: Some(Unit::Share("%")), power: 2, ..Shown::default() };
    }
    let (mut unit, mut scale) = (None, 0);
    for word in section.texts.split_whitespace() {
        match affix(word) {
            Some(Affix::Unit(found)) if unit.is_none() => unit = Some(found),
            Some(Affix::Scale(power)) if scale == 0 => scale = power,
            // Other words make the text a description and not a unit.
            Some(Affix::Unit(_) | Affix::Scale(_)) | None => return Shown::default(),
        }
    }
    let power = if scale == 0 { 0 } else { scale - 3 * section.divisions };
    Shown { unit, power, padding: 0, is_divided: scale == 0 && section.divisions > 0 }
}

#[cfg(test)]
mod tests {
    use super::{Shown, parse};
    use crate::tables::unit::Unit;

    fn display(unit: Option<Unit>, power: i32) -> Shown {
        Shown { unit, power, ..Shown::default() }
    }

    #[test]
    fn a_format_shows_the_unit_of_its_figures() {
        for (code, label) in [
            ("#,##0.00 \"€\"", "€"),
            ("[$€-407] #,##0.00", "€"),
            ("#,##0.00\\ [$€-1]", "€"),
            ("[$$-409]#,##0.00", "$"),
            ("\"SEK\" #,##0", "SEK"),
            ("[$SEK] #,##0", "SEK"),
            ("[$CHF-807]\\ #,##0.00", "CHF"),
            ("$#,##0_);[Red]($#,##0)", "$"),
            ("_($* #,##0.00_);_($* (#,##0.00);_($* \"-\"??_);_(@_)", "$"),
            ("_-* #,##0.00\\ \"€\"_-;\\-* #,##0.00\\ \"€\"_-", "€"),
            ("[$£-809]#,##0", "£"),
            ("#,##0\" kr\"", "kr"),
            ("[>=1000]#,##0 \"EUR\";0 \"EUR\"", "€"),
        ] {
            assert_eq!(parse(code), display(Some(Unit::Currency(label)), 0), "{code}");
        }
        assert_eq!(parse("0.0\" kg\""), display(Some(Unit::Other("kg")), 0));
        assert_eq!(parse("General\" h\""), display(Some(Unit::Other("h")), 0));
    }

    #[test]
    fn a_percentage_is_a_hundred_times_its_figure_unless_its_sign_is_a_text() {
        for code in ["0%", "0.00%", "0.0\\ %", "#,##0%;[Red]-0%"] {
            assert_eq!(parse(code), display(Some(Unit::Share("%")), 2), "{code}");
        }
        assert_eq!(parse("0.0\"%\""), display(Some(Unit::Share("%")), 0));
    }

    #[test]
    fn a_word_scales_unless_the_format_divides() {
        assert_eq!(parse("#,##0.0,,\" Mio. €\""), display(Some(Unit::Currency("€")), 0));
        assert_eq!(parse("#,##0\" Mio. €\""), display(Some(Unit::Currency("€")), 6));
        assert_eq!(parse("0.0,\"k\""), display(None, 0));
        assert_eq!(parse("0\"k\""), display(None, 3));
        assert_eq!(parse("#,##0,"), Shown { is_divided: true, ..Shown::default() });
    }

    #[test]
    fn a_format_of_zeros_pads_a_code() {
        assert_eq!(parse("00000"), Shown { padding: 5, ..Shown::default() });
        assert_eq!(parse("0"), Shown::default());
    }

    #[test]
    fn other_formats_show_nothing_else() {
        for code in [
            "General",
            "0",
            "#,##0",
            "0.00",
            "#,##0.00;[Red]-#,##0.00",
            "0.00E+00",
            "@",
            "# ?/?",
            "",
            "[Red]",
            "\"x",
            "0 \"per EUR\"",
            "0\\€/kg",
        ] {
            assert_eq!(parse(code), Shown::default(), "{code}");
        }
    }
}
