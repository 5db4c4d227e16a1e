//! Labels of total rows in several languages.

use super::sums::Statistic;

/// How certainly a text is the label of a total.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::tables::classify) enum Label {
    /// It is a word for an extreme or a count, which may also be a name; only its figures decide.
    Extreme,
    /// It is a word for a mean; only its figures decide.
    Statistic,
    /// It contains a word for a total; only its figures decide.
    Possible,
    /// It is nothing but the label of a total.
    Certain,
}

/// Complete labels, in lower case and without marks, separated by bars.
const LABELS: &str = "total|totals|subtotal|sub total|grand total|overall total|total sum|sum|sum total|\
    net total|gross total|running total|summe|gesamt|gesamtsumme|zwischensumme|teilsumme|\
    endsumme|insgesamt|summe gesamt|totaux|sous total|total général|total general|somme|\
    ensemble|totales|suma|suma total|totale|subtotale|totale generale|somma|total geral|soma|\
    totaal|subtotaal|eindtotaal|som|totalt|summa|delsumma|sluttsum|i alt|ialt|sum i alt|\
    yhteensä|razem|suma częściowa|ogółem|celkem|součet|mezisoučet|spolu|összesen|kokku|kopā|\
    iš viso|ukupno|skupaj|toplam|ara toplam|genel toplam|итого|всего|сумма|разом|общо|σύνολο|\
    סך הכל|الإجمالي|المجموع|合計|小計|総計|合计|小计|总计|總計|합계|소계|총계|총합계|tổng|tổng cộng|jumlah|σ|∑|\
    gesamtergebnis|totale complessivo|totalsumma|totalsum|hovedtotal|suma końcowa|общий итог|kaikki yhteensä|\
    celkový součet|végösszeg|всього|загалом|grand totals|sum totalt|summa totalt|कुल";

/// Beginnings that no other text has.
const BEGINNINGS: &str = "subtotal|sub total|grand total|zwischensumme|gesamtsumme|sous total|subtotale|subtotaal|\
    mezisoučet|delsumma";

/// Words for a total, anywhere in a text.
const WORDS: &str = "total|totals|subtotal|sum|summe|gesamt|ergebnis|zwischensumme|totaux|totale|totaal|totalt|summa|\
    suma|somme|somma|soma|razem|celkem|toplam|insgesamt|итого|всего";

/// Words that are a label only if they are the complete text.
const WHOLE: &str = "all|alle|overall|tous|toutes|todos|todas|tutti|alles|alla";

/// Names of all that a table divides, as the complete text.
const WHOLE_NAMES: &str = "world|worldwide|global|company|group|everything|everyone|welt|weltweit|firma|gruppe|konzern|\
    unternehmen|monde|groupe|société|mundo|empresa|grupo|mondo|azienda|gruppo|wereld|bedrijf|groep|koncern|svet|świat";

/// Words for a mean, as the complete text or as its last word.
const MEANS: &str = "average|averages|avg|mean|durchschnitt|mittelwert|mittel|schnitt|ø|moyenne|media|promedio|\
    gemiddelde|gemiddeld|medel|medelvärde|snitt|gjennomsnitt|gennemsnit|keskiarvo|średnia|průměr|\
    ortalama|среднее|平均|평균";

/// Words for a median, as the complete text or as its last word.
const MEDIANS: &str = "median|médiane|mediane|mediana|mediaan|mediaani|medián|medyan|медиана|中央値|中位数";

/// Words for extremes, as the complete text.
const MAXIMA: &str = "max|maximum|maximal|最大";
const MINIMA: &str = "min|minimum|minimal|最小";

/// Words for a count, as the complete text. `N` is none of them: it is more often a region or an answer.
const COUNTS: &str = "count|counts|number|anzahl|nombre|número|aantal|antal|件数";

/// Words of a text from which it is a sentence, where a word for a total labels nothing unless it is at an end.
const SENTENCE_WORDS_MIN: usize = 7;

/// Maximum characters of a label.
const LABEL_CHARS_MAX: usize = 60;

/// True if a list, separated by bars, has this text.
fn has(list: &str, text: &str) -> bool {
    list.split('|').any(|entry| entry == text)
}

/// Determines whether a text is the label of a total.
pub(super) fn label_of(text: &str) -> Option<Label> {
    // A figure or a date is no label, but `2024 total` is one.
    let has_word = text.contains(char::is_alphabetic) || text.contains('∑');
    if !has_word || text.len() > LABEL_CHARS_MAX * 4 {
        return None;
    }
    let plain = plain(text);
    let words: Vec<&str> = plain.split(' ').collect();
    if has(LABELS, &plain) {
        return Some(Label::Certain);
    }
    let begins =
        BEGINNINGS.split('|').any(|beginning| plain.strip_prefix(beginning).is_some_and(|rest| rest.starts_with(' ')));
    if begins {
        return Some(Label::Certain);
    }
    let is_total = |word: &&str| has(WORDS, word);
    let is_possible = has(WHOLE, &plain)
        || words.first().is_some_and(is_total)
        || words.last().is_some_and(is_total)
        || (words.len() < SENTENCE_WORDS_MIN && words.iter().any(is_total));
    if is_possible {
        return Some(Label::Possible);
    }
    statistic_of_plain(&plain).map(|statistic| match statistic {
        Statistic::Mean | Statistic::Median => Label::Statistic,
        Statistic::Minimum | Statistic::Maximum | Statistic::Count => Label::Extreme,
    })
}

/// The words of a text in lower case, separated by single spaces.
fn plain(text: &str) -> String {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric() && c != '∑').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

/// The statistic that a text is the label of.
pub(super) fn statistic_of(text: &str) -> Option<Statistic> {
    if text.len() > LABEL_CHARS_MAX * 4 { None } else { statistic_of_plain(&plain(text)) }
}

fn statistic_of_plain(plain: &str) -> Option<Statistic> {
    let last = plain.rsplit(' ').next().unwrap_or_default();
    let by_last = [(Statistic::Mean, MEANS), (Statistic::Median, MEDIANS)];
    let by_text = [(Statistic::Maximum, MAXIMA), (Statistic::Minimum, MINIMA), (Statistic::Count, COUNTS)];
    let found = by_last.iter().find(|(_, words)| has(words, last));
    found.or_else(|| by_text.iter().find(|(_, words)| has(words, plain))).map(|(statistic, _)| *statistic)
}

/// True if a text names all that the table divides: `World`, `All regions`. It is a total only if its figures say so.
pub(super) fn names_whole(text: &str) -> bool {
    let plain = plain(text);
    let first = plain.split(' ').next().unwrap_or_default();
    has(WHOLE, first) || has(WHOLE_NAMES, &plain)
}

#[cfg(test)]
mod tests {
    use super::{Label, label_of, names_whole, statistic_of};
    use crate::tables::classify::totals::sums::Statistic;

    #[test]
    fn a_label_is_recognised_in_several_languages() {
        for text in [
            "Total",
            "TOTAL:",
            "** Total **",
            "Sub-Total",
            "Grand Total",
            "Subtotal October",
            "Summe",
            "Gesamtsumme",
            "Zwischensumme Nord",
            "Sous-total",
            "Total général",
            "Totale",
            "Razem",
            "Итого",
            "合計",
            "Toplam",
            "Yhteensä",
            "I alt",
        ] {
            assert_eq!(label_of(text), Some(Label::Certain), "{text}");
        }
        for text in [
            "Total Energies",
            "North total",
            "All",
            "Total 2024",
            "2024 total",
            "1. Quartal gesamt",
            "Nord Ergebnis",
            "Net total after discount",
            "Total incl. VAT",
            "Die Summe aller Posten",
        ] {
            assert_eq!(label_of(text), Some(Label::Possible), "{text}");
        }
        for (text, label) in [
            ("Average", Label::Statistic),
            ("Ø", Label::Statistic),
            ("North average", Label::Statistic),
            ("Max", Label::Extreme),
            ("Gesamtergebnis", Label::Certain),
        ] {
            assert_eq!(label_of(text), Some(label), "{text}");
        }
        for text in [
            "North",
            "N",
            "n",
            "Totally",
            "Summer",
            "",
            "100",
            "Consumer",
            "Portugal",
            "All-purpose",
            "paid by the customer in total before the end",
            "Max Miller",
            "2024-01-01",
            "1,200",
        ] {
            assert_eq!(label_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_label_names_its_statistic() {
        for (text, statistic) in [
            ("Average", Some(Statistic::Mean)),
            ("North Ø", Some(Statistic::Mean)),
            ("Mediana:", Some(Statistic::Median)),
            ("Min.", Some(Statistic::Minimum)),
            ("MAXIMUM", Some(Statistic::Maximum)),
            ("Anzahl", Some(Statistic::Count)),
            ("Max Miller", None),
            ("", None),
        ] {
            assert_eq!(statistic_of(text), statistic, "{text}");
        }
    }

    #[test]
    fn a_name_of_all_that_a_table_divides_is_known() {
        for text in ["World", "All regions", "Alle Filialen", "Company"] {
            assert!(names_whole(text), "{text}");
        }
        for text in ["North", "World Wide Widgets", "Allied", ""] {
            assert!(!names_whole(text), "{text}");
        }
    }
}
