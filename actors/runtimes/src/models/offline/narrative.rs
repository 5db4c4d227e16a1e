//! Facts and sentences → texts. Every figure stands in the facts; nothing is concluded that they do
//! not say.

use super::parsed_prompt::{ParsedPrompt, Sentence};
use crate::tables::{Breakdown, Group, Measure, Month, TableFacts, headline_weight, number_format};

/// Measures that a text goes through.
const MEASURES_MAX: usize = 4;
/// Breakdowns that a text goes through.
const BREAKDOWNS_MAX: usize = 3;

fn lower(name: &str) -> String {
    number_format::title(name).to_lowercase()
}

fn before(facts: &TableFacts) -> String {
    facts.growth.as_ref().map(|growth| number_format::month(&growth.before)).unwrap_or_default()
}

/// `up 12.3% on Q3 2024`, if there is something to compare with.
fn movement(facts: &TableFacts, growth: Option<&serde_json::Number>) -> Option<String> {
    let growth = growth?;
    let change = number_format::change(Some(growth));
    let size = change.trim_start_matches(['+', '−']);
    let base = before(facts);
    Some(match number_format::to_f64(Some(growth)) {
        _ if size == "0.0%" => format!("unchanged on {base}"),
        value if value < 0.0 => format!("down {size} on {base}"),
        _ => format!("up {size} on {base}"),
    })
}

/// What the period and its rows are, in one sentence.
fn scope(facts: &TableFacts) -> String {
    match (&facts.period.from, &facts.period.to) {
        (Some(from), Some(to)) if facts.period.label.contains(from.as_str()) => {
            format!("All {} rows of {} are counted, {from} to {to}.", facts.rows, facts.file)
        }
        (Some(from), Some(to)) => format!(
            "{} of the {} rows of {} fall in {} ({from} to {to}).",
            facts.period.rows, facts.rows, facts.file, facts.period.label
        ),
        (Some(_) | None, _) => format!("{} has {} rows and no dates.", facts.file, facts.rows),
    }
}

fn measure_sentence(facts: &TableFacts, measure: &Measure) -> String {
    let unit = measure.unit.as_deref();
    let mut text =
        format!("{} came to {}", number_format::title(&measure.name), number_format::exact(Some(&measure.total), unit));
    if facts.previous.is_some() {
        if let Some(movement) = movement(facts, measure.growth_pct.as_ref()) {
            text.push_str(&format!(", {movement} ({})", number_format::exact(measure.previous_total.as_ref(), unit)));
        }
    } else if let (Some(growth), Some(movement)) = (&facts.growth, movement(facts, measure.growth_pct.as_ref())) {
        text.push_str(&format!(
            "; {} stood at {}, {movement} ({})",
            number_format::month(&growth.now),
            number_format::exact(measure.compared_total.as_ref(), unit),
            number_format::exact(measure.previous_total.as_ref(), unit)
        ));
    }
    text.push('.');
    text
}

fn spread_sentence(measure: &Measure) -> String {
    let unit = measure.unit.as_deref();
    format!(
        "A row has {} of {} on average, {} at least and {} at most.",
        number_format::exact(measure.mean.as_ref(), unit),
        lower(&measure.name),
        number_format::exact(measure.min.as_ref(), unit),
        number_format::exact(measure.max.as_ref(), unit)
    )
}

/// What is left of income after cost, if the file has one column of each.
fn margin_sentence(facts: &TableFacts) -> Option<String> {
    let income = facts.headline().find(|measure| !measure.lower_is_better && headline_weight(&measure.name) == 100)?;
    let cost = facts.headline().find(|measure| measure.lower_is_better && headline_weight(&measure.name) == 60)?;
    let (all, part) = (number_format::to_f64(Some(&income.total)), number_format::to_f64(Some(&cost.total)));
    let left = serde_json::Number::from_f64(((all - part) * 100.0).round() / 100.0)?;
    let share = serde_json::Number::from_f64((all - part) / all * 100.0)?;
    Some(format!(
        "{} less {} leaves {}, {} of {}.",
        number_format::title(&income.name),
        lower(&cost.name),
        number_format::exact(Some(&left), income.unit.as_deref()),
        number_format::share(Some(&share)),
        lower(&income.name)
    ))
}

fn leader_sentence(first: &Measure, breakdown: &Breakdown) -> Option<String> {
    let leader = breakdown.groups.first()?;
    let mut text = format!(
        "By {}, {} leads with {} of {} ({})",
        lower(&breakdown.column),
        leader.value,
        number_format::share(leader.share_pct.as_ref()),
        lower(&first.name),
        number_format::exact(leader.totals.get(&first.name), first.unit.as_deref())
    );
    if let Some(last) = breakdown.groups.last().filter(|last| last.value != leader.value) {
        text.push_str(&format!("; {} has the least, {}", last.value, number_format::share(last.share_pct.as_ref())));
    }
    text.push('.');
    Some(text)
}

/// The paragraphs of a financial narrative.
pub(super) fn financial(facts: &TableFacts) -> Vec<String> {
    let mut money: Vec<String> =
        facts.headline().take(MEASURES_MAX).map(|measure| measure_sentence(facts, measure)).collect();
    money.insert(money.len().min(2), margin_sentence(facts).unwrap_or_default());
    money.retain(|sentence| !sentence.is_empty());
    let mut paragraphs = vec![money.join(" ")];
    if let Some(first) = facts.headline().next() {
        let divided = facts.breakdowns.iter().take(BREAKDOWNS_MAX);
        let mut split: Vec<String> = divided.filter_map(|breakdown| leader_sentence(first, breakdown)).collect();
        split.extend([spread_sentence(first), scope(facts)]);
        paragraphs.push(split.join(" "));
    }
    paragraphs
}

fn by_growth(breakdown: &Breakdown) -> Vec<&Group> {
    let mut grown: Vec<&Group> = breakdown.groups.iter().filter(|group| group.growth_pct.is_some()).collect();
    grown.sort_by(|a, b| {
        number_format::to_f64(b.growth_pct.as_ref()).total_cmp(&number_format::to_f64(a.growth_pct.as_ref()))
    });
    grown
}

/// One line for each thing that moved.
pub(super) fn kpis(facts: &TableFacts) -> Vec<String> {
    let mut lines: Vec<String> = facts
        .headline()
        .map(|measure| {
            let value = number_format::exact(Some(&measure.total), measure.unit.as_deref());
            let change = match movement(facts, measure.growth_pct.as_ref()) {
                Some(movement) => movement,
                None => "growth n/a".to_owned(),
            };
            format!("{}: {value}, {change}.", number_format::title(&measure.name))
        })
        .collect();
    let Some(first) = facts.headline().next() else { return lines };
    let value = |month: &&Month| number_format::to_f64(month.totals.get(&first.name));
    let months = || facts.by_month.iter().filter(|month| month.in_period);
    if months().count() > 1
        && let Some(best) = months().max_by(|a, b| value(a).total_cmp(&value(b)))
        && let Some(least) = months().min_by(|a, b| value(a).total_cmp(&value(b)))
    {
        let unit = first.unit.as_deref();
        lines.push(format!(
            "Strongest month for {}: {} with {}; weakest: {} with {}.",
            lower(&first.name),
            number_format::month(&best.month),
            number_format::exact(best.totals.get(&first.name), unit),
            number_format::month(&least.month),
            number_format::exact(least.totals.get(&first.name), unit)
        ));
    }
    for breakdown in facts.breakdowns.iter().take(BREAKDOWNS_MAX) {
        let grown = by_growth(breakdown);
        if let (Some(best), Some(least)) = (grown.first(), grown.last())
            && best.value != least.value
        {
            lines.push(format!(
                "Growth of {} by {}: best {} ({}), weakest {} ({}).",
                lower(&first.name),
                lower(&breakdown.column),
                best.value,
                number_format::change(best.growth_pct.as_ref()),
                least.value,
                number_format::change(least.growth_pct.as_ref())
            ));
        }
    }
    lines
}

/// The sentences that a busy reader needs, the ones with figures first in worth, in their order.
pub(super) fn extract(sentences: &[Sentence], characters_max: usize, count_max: usize) -> Vec<String> {
    let worth = |place: usize, sentence: &Sentence| {
        let early = if place < 3 { 2 } else { 0 };
        u8::from(sentence.figure) * 3 + u8::from(sentence.opens) * 2 + early + u8::from(sentence.text.contains('%'))
    };
    let mut ranked: Vec<(usize, &Sentence)> = sentences.iter().enumerate().collect();
    ranked.sort_by_key(|(place, sentence)| (std::cmp::Reverse(worth(*place, sentence)), *place));
    let mut chosen: Vec<(usize, &str)> = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    let mut used = 0;
    for (place, sentence) in ranked {
        let length = sentence.text.chars().count() + 1;
        let figures = figures_in(&sentence.text);
        // A sentence whose every figure was said before says it twice.
        let is_repeated = !figures.is_empty() && figures.iter().all(|figure| told.contains(figure));
        if chosen.len() < count_max && used + length <= characters_max && !is_repeated {
            chosen.push((place, &sentence.text));
            told.extend(figures);
            used += length;
        }
    }
    chosen.sort_by_key(|(place, _)| *place);
    chosen.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// The words of a sentence that have a digit.
fn figures_in(text: &str) -> Vec<&str> {
    let words = text
        .split(|c: char| c.is_whitespace() || "()[];:".contains(c))
        .map(|word| word.trim_end_matches(['.', ',', '!', '?']));
    words.filter(|word| word.chars().any(|c| c.is_ascii_digit())).collect()
}

/// The sentences of a summary: from the facts if there are any, else from the text.
pub(super) fn summary(reading: &ParsedPrompt, characters_max: usize) -> Vec<String> {
    match &reading.facts {
        Some(facts) => {
            let mut all: Vec<String> =
                facts.headline().take(MEASURES_MAX).map(|measure| measure_sentence(facts, measure)).collect();
            all.extend(margin_sentence(facts));
            if let Some(first) = facts.headline().next() {
                all.extend(facts.breakdowns.iter().filter_map(|breakdown| leader_sentence(first, breakdown)));
            }
            within(all, characters_max)
        }
        None => extract(&reading.sentences, characters_max, 12),
    }
}

/// As many of the texts, from the first one, as fit.
pub(super) fn within(texts: Vec<String>, characters_max: usize) -> Vec<String> {
    let mut used = 0;
    texts
        .into_iter()
        .take_while(|text| {
            used += text.chars().count() + 1;
            used <= characters_max
        })
        .collect()
}
