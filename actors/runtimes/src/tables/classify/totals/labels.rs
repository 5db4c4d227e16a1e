//! Labels of total rows in several languages.

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

/// Words for a mean, as the complete text or as its last word.
const STATISTICS: &str = "average|averages|avg|mean|median|durchschnitt|mittelwert|mittel|schnitt|ø|moyenne|médiane|\
    media|mediana|promedio|gemiddelde|gemiddeld|medel|medelvärde|snitt|gjennomsnitt|gennemsnit|keskiarvo|średnia|\
    průměr|ortalama|среднее|平均|평균";

/// Words for an extreme or a count, as the complete text. `N` is none of them: it is more often a region or an answer.
const EXTREMES: &str = "max|maximum|maximal|min|minimum|minimal|count|counts|number|anzahl|nombre|número|aantal|antal|\
    最大|最小|件数";

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
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|c: char| !c.is_alphanumeric() && c != '∑').filter(|word| !word.is_empty()).collect();
    let plain = words.join(" ");
    if has(LABELS, &plain) {
        return Some(Label::Certain);
    }
    let begins =
        BEGINNINGS.split('|').any(|beginning| plain.strip_prefix(beginning).is_some_and(|rest| rest.starts_with(' ')));
    if begins {
        return Some(Label::Certain);
    }
    let is_outer = |word: &&str| has(WORDS, word);
    let is_possible = has(WHOLE, &plain) || words.first().is_some_and(is_outer) || words.last().is_some_and(is_outer);
    if is_possible {
        return Some(Label::Possible);
    }
    if words.last().is_some_and(|word| has(STATISTICS, word)) {
        return Some(Label::Statistic);
    }
    has(EXTREMES, &plain).then_some(Label::Extreme)
}

#[cfg(test)]
mod tests {
    use super::{Label, label_of};

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
        for text in
            ["Total Energies", "North total", "All", "Total 2024", "2024 total", "1. Quartal gesamt", "Nord Ergebnis"]
        {
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
            "Max Miller",
            "2024-01-01",
            "1,200",
        ] {
            assert_eq!(label_of(text), None, "{text}");
        }
    }
}
