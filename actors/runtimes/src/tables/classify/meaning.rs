//! The meaning of a number column, by the words of its name in several languages: whether its figures add
//! up, how important they are in a headline, and whether less is better. The meaning never decides whether a
//! cell can be read.

mod lexicon;

use lexicon::{Word, word_of};

/// What the figures of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Ids, codes, telephone numbers: digits that are not a quantity.
    Identifier,
    /// A part of a date: year, month, week.
    Calendar,
    /// A percentage, rate, ratio, index, average or measurement that does not add up.
    Ratio,
    /// A name such as `margin` or `discount`, which is an amount or a ratio.
    RatioOrAmount,
    /// A price, which is an amount only if each row is one item.
    Price,
    /// A price or a cost for one unit.
    UnitPrice,
    /// A balance at a time, or a total up to a row.
    Level,
    /// What was earned.
    Revenue,
    /// What is left after costs.
    Profit,
    /// What was spent.
    Cost,
    /// A number of things.
    Quantity,
    /// An amount without a direction.
    Amount,
    /// A plan, budget or forecast, or the figure of an earlier period.
    Plan,
    /// A name without a known word.
    Unknown,
}

impl Meaning {
    /// The importance in a headline; the headline takes the highest first, and never zero.
    pub(crate) const fn headline_weight(self) -> u8 {
        match self {
            Self::Identifier | Self::Calendar => 0,
            Self::Ratio | Self::Price | Self::UnitPrice | Self::Level => 10,
            Self::Unknown => 30,
            Self::Plan => 40,
            Self::Quantity => 50,
            Self::Cost => 60,
            Self::Profit | Self::RatioOrAmount => 70,
            Self::Amount => 80,
            Self::Revenue => 100,
        }
    }

    /// True if an amount of this meaning is money.
    pub(super) const fn may_be_money(self) -> bool {
        match self {
            Self::Identifier | Self::Calendar | Self::Ratio | Self::Quantity => false,
            Self::RatioOrAmount
            | Self::Price
            | Self::UnitPrice
            | Self::Level
            | Self::Revenue
            | Self::Profit
            | Self::Cost
            | Self::Amount
            | Self::Plan
            | Self::Unknown => true,
        }
    }
}

impl Meaning {
    /// True if figures of this meaning may have a unit that is no currency, if the file says so.
    pub(super) const fn may_be_quantity(self) -> bool {
        match self {
            Self::Quantity | Self::Level | Self::Amount | Self::Plan | Self::Unknown => true,
            Self::Identifier
            | Self::Calendar
            | Self::Ratio
            | Self::RatioOrAmount
            | Self::Price
            | Self::UnitPrice
            | Self::Revenue
            | Self::Profit
            | Self::Cost => false,
        }
    }
}

/// Splits a name into its words in lower case: at every mark, and between `unit` and `Price` of `unitPrice`.
fn words(name: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut word = String::new();
    let mut previous_is_lower = false;
    for c in name.chars() {
        let is_boundary = !c.is_alphanumeric() || (c.is_uppercase() && previous_is_lower);
        if is_boundary && !word.is_empty() {
            all.push(std::mem::take(&mut word));
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        previous_is_lower = c.is_lowercase() || c.is_numeric();
    }
    if !word.is_empty() {
        all.push(word);
    }
    all
}

/// `revenue per user`, `€/kg`: a quotient, whatever its parts are.
fn is_quotient(name: &str, words: &[String]) -> bool {
    const PER: [&str; 5] = ["per", "pro", "par", "por", "je"];
    let middle = words.get(1..words.len().saturating_sub(1)).unwrap_or_default();
    let has_slash = name.split('/').zip(name.split('/').skip(1)).any(|(before, after)| {
        let unit = before.trim_end().rsplit([' ', '(', '[']).next().unwrap_or_default();
        crate::tables::unit::affix(unit).is_some() && after.chars().any(char::is_alphabetic)
    });
    has_slash || middle.iter().any(|word| PER.contains(&word.as_str()))
}

/// True if a name is nothing but the name of one thing, such as `Customer`: whole numbers below it are ids. `Customers`
/// are a number of them.
pub(super) fn names_one_thing(name: &str) -> bool {
    matches!(words(name).as_slice(), [word] if lexicon::is_thing(word))
}

/// Determines what the figures of a column of this name are.
pub(crate) fn meaning_of(name: &str) -> Meaning {
    /// After one of these, a name says what its first part refers to: `cost of revenue`.
    const REFERENCES: [&str; 26] = [
        "of", "de", "des", "du", "di", "del", "della", "von", "der", "van", "before", "after", "vor", "nach", "excl",
        "incl", "ex", "inkl", "exkl", "ohne", "without", "with", "from", "by", "for", "in",
    ];
    let words = words(name);
    if name.contains('%') {
        return Meaning::Ratio;
    }
    if is_quotient(name, &words) {
        return if words.iter().any(|word| word_of(word) == Some(Word::Price)) {
            Meaning::UnitPrice
        } else {
            Meaning::Ratio
        };
    }
    let end =
        words.iter().skip(1).position(|word| REFERENCES.contains(&word.as_str())).map_or(words.len(), |at| at + 1);
    let is_count = |word: &String| matches!(word.as_str(), "number" | "no" | "num" | "nr");
    if words.first().is_some_and(is_count) && words.get(1).is_some_and(|word| word == "of") {
        return Meaning::Quantity;
    }
    let known: Vec<Word> = words.get(..end).unwrap_or(&words).iter().filter_map(|word| word_of(word)).collect();
    let has = |word: Word| known.contains(&word);
    if known.last() == Some(&Word::Identifier) {
        return Meaning::Identifier;
    }
    if known.as_slice() == [Word::Calendar] && words.len() <= 2 {
        return Meaning::Calendar;
    }
    if has(Word::Running) {
        return Meaning::Level;
    }
    if has(Word::Ratio) {
        return Meaning::Ratio;
    }
    if has(Word::UnitPrice) {
        return Meaning::UnitPrice;
    }
    if has(Word::Price) {
        return match (has(Word::Total), has(Word::Unit)) {
            (true, _) => Meaning::Amount,
            (false, true) => Meaning::UnitPrice,
            (false, false) => Meaning::Price,
        };
    }
    if has(Word::Unit) && has(Word::Cost) {
        return Meaning::UnitPrice;
    }
    if has(Word::RatioOrAmount) {
        return Meaning::RatioOrAmount;
    }
    if has(Word::Plan) {
        return Meaning::Plan;
    }
    last_meaning(&known)
}

/// The meaning of the last word that has one of its own.
fn last_meaning(known: &[Word]) -> Meaning {
    let head = known.iter().rev().find_map(|word| match word {
        Word::Revenue => Some(Meaning::Revenue),
        Word::Profit => Some(Meaning::Profit),
        Word::Cost | Word::Burden => Some(Meaning::Cost),
        Word::Quantity | Word::Unit => Some(Meaning::Quantity),
        Word::Identifier
        | Word::Calendar
        | Word::Ratio
        | Word::RatioOrAmount
        | Word::Price
        | Word::UnitPrice
        | Word::Running
        | Word::Plan
        | Word::Amount
        | Word::Total => None,
    });
    let is_amount = known.contains(&Word::Amount) || known.contains(&Word::Total);
    head.unwrap_or(if is_amount { Meaning::Amount } else { Meaning::Unknown })
}

/// True if a lower value is better.
pub(crate) fn is_lower_better(name: &str) -> bool {
    match meaning_of(name) {
        Meaning::Cost => true,
        Meaning::Ratio | Meaning::Price | Meaning::UnitPrice | Meaning::Quantity | Meaning::RatioOrAmount => {
            words(name).iter().any(|word| word == "churn" || word_of(word) == Some(Word::Burden))
        }
        Meaning::Identifier
        | Meaning::Calendar
        | Meaning::Level
        | Meaning::Revenue
        | Meaning::Profit
        | Meaning::Amount
        | Meaning::Plan
        | Meaning::Unknown => false,
    }
}

#[cfg(test)]
mod tests;
