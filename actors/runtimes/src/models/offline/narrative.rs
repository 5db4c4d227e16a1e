//! Facts and sentences → texts. Every figure is one of the facts, none is computed here, and no text claims
//! more than the figures do: the highest is not called the best.

use super::parsed_prompt::{ParsedPrompt, Sentence};
use crate::tables::{Breakdown, Group, Measure, Month, TableFacts, number_format};

/// Maximum measures of a text.
const MEASURES_MAX: usize = 4;
/// Maximum breakdowns of a text.
const BREAKDOWNS_MAX: usize = 3;

fn lower_title(name: &str) -> String {
    number_format::title(name).to_lowercase()
}

fn compared_period(facts: &TableFacts) -> String {
    facts.growth.as_ref().map(|growth| number_format::month(&growth.before)).unwrap_or_default()
}

/// Formats a change, such as `up 12.3% on Q3 2024`, if there is a comparison.
fn movement(facts: &TableFacts, growth: Option<&serde_json::Number>) -> Option<String> {
    let growth = growth?;
    let change = number_format::change(Some(growth));
    let size = change.trim_start_matches(['+', '−']);
    let base = compared_period(facts);
    Some(match number_format::to_f64(Some(growth)) {
        _ if size == "0.0%" => format!("unchanged on {base}"),
        value if value < 0.0 => format!("down {size} on {base}"),
        _ => format!("up {size} on {base}"),
    })
}

/// Describes the period and its rows in one sentence.
fn scope_sentence(facts: &TableFacts) -> String {
    match (&facts.period.from, &facts.period.to) {
        (Some(from), Some(to)) => format!(
            "{} of the {} rows of {} are dated {from} to {to} and are counted.",
            facts.period.rows, facts.rows, facts.file
        ),
        (Some(_) | None, _) => format!("{} has {} rows and no dates.", facts.file, facts.rows),
    }
}

fn measure_sentence(facts: &TableFacts, measure: &Measure) -> String {
    let unit = measure.unit.as_deref();
    let mut text = format!("{} came to {}", measure.heading(), measure.format_figure());
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
        number_format::rounded(measure.mean.as_ref(), unit),
        lower_title(&measure.name),
        number_format::exact(measure.min.as_ref(), unit),
        number_format::exact(measure.max.as_ref(), unit)
    )
}

fn leader_sentence(first: &Measure, breakdown: &Breakdown) -> Option<String> {
    let leader = breakdown.groups.first()?;
    let total = |group: &Group| number_format::exact(group.totals.get(&first.name), first.unit.as_deref());
    let share = |group: &Group| group.share_pct.as_ref().map(|share| number_format::share(Some(share)));
    let (column, measure) = (lower_title(&breakdown.column), lower_title(&first.name));
    let largest = match share(leader) {
        Some(share) => format!("{share} of {measure} ({})", total(leader)),
        None => format!("{} of {measure}", total(leader)),
    };
    let mut text = format!("By {column}, {} has the most, {largest}", leader.value);
    // The last entry may sum up the groups that are not listed.
    let last = breakdown.groups.iter().rfind(|group| group.others.is_none());
    if let Some(last) = last.filter(|last| last.value != leader.value) {
        text.push_str(&format!("; {} has the least, {}", last.value, share(last).unwrap_or_else(|| total(last))));
    }
    text.push('.');
    Some(text)
}

/// Writes a title: the period and the file of the facts, otherwise the first sentence.
pub(super) fn title(prompt: &ParsedPrompt) -> Option<String> {
    match &prompt.facts {
        Some(facts) => Some(format!("{}: {}", facts.period.label, facts.file)),
        None => prompt.sentences.first().map(|sentence| sentence.text.clone()),
    }
}

/// Writes the paragraphs of a financial narrative.
pub(super) fn financial(facts: &TableFacts) -> Vec<String> {
    let measures: Vec<String> =
        facts.headline().take(MEASURES_MAX).map(|measure| measure_sentence(facts, measure)).collect();
    let mut details = Vec::new();
    if let Some(first) = facts.headline().next() {
        let breakdowns = facts.breakdowns.iter().take(BREAKDOWNS_MAX);
        details.extend(breakdowns.filter_map(|breakdown| leader_sentence(first, breakdown)));
        details.push(spread_sentence(first));
    }
    details.push(scope_sentence(facts));
    let mut paragraphs = vec![measures.join(" "), details.join(" ")];
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

fn rank_by_growth(breakdown: &Breakdown) -> Vec<&Group> {
    let mut ranked: Vec<&Group> = breakdown.groups.iter().filter(|group| group.growth_pct.is_some()).collect();
    ranked.sort_by(|a, b| {
        number_format::to_f64(b.growth_pct.as_ref()).total_cmp(&number_format::to_f64(a.growth_pct.as_ref()))
    });
    ranked
}

/// Writes one line per measure, and lines for the highest and lowest months and groups.
pub(super) fn kpis(facts: &TableFacts) -> Vec<String> {
    let mut lines: Vec<String> = facts
        .headline()
        .map(|measure| {
            let value = measure.format_figure();
            let change = match movement(facts, measure.growth_pct.as_ref()) {
                Some(movement) => movement,
                None => "growth n/a".to_owned(),
            };
            format!("{}: {value}, {change}.", measure.heading())
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
            "Highest month of {}: {} with {}; lowest: {} with {}.",
            lower_title(&first.name),
            number_format::month(&best.month),
            number_format::exact(best.totals.get(&first.name), unit),
            number_format::month(&least.month),
            number_format::exact(least.totals.get(&first.name), unit)
        ));
    }
    for breakdown in facts.breakdowns.iter().take(BREAKDOWNS_MAX) {
        let ranked = rank_by_growth(breakdown);
        if let (Some(best), Some(least)) = (ranked.first(), ranked.last())
            && best.value != least.value
        {
            lines.push(format!(
                "Growth of {} by {}: highest {} ({}), lowest {} ({}).",
                lower_title(&first.name),
                lower_title(&breakdown.column),
                best.value,
                number_format::change(best.growth_pct.as_ref()),
                least.value,
                number_format::change(least.growth_pct.as_ref())
            ));
        }
    }
    lines
}

/// Selects the most important sentences, those with figures first, and returns them in their order.
pub(super) fn extract(sentences: &[Sentence], characters_max: usize, count_max: usize) -> Vec<String> {
    let score = |index: usize, sentence: &Sentence| {
        let early = if index < 3 { 2 } else { 0 };
        u8::from(sentence.has_figure) * 3 + u8::from(sentence.opens) * 2 + early + u8::from(sentence.text.contains('%'))
    };
    let mut ranked: Vec<(usize, &Sentence)> = sentences.iter().enumerate().collect();
    ranked.sort_by_key(|(index, sentence)| (std::cmp::Reverse(score(*index, sentence)), *index));
    let mut chosen: Vec<(usize, &str)> = Vec::new();
    let mut used_figures: Vec<&str> = Vec::new();
    let mut used = 0;
    for (index, sentence) in ranked {
        let length = sentence.text.chars().count() + 1;
        let figures = figures_in(&sentence.text);
        // A sentence that adds no new figure repeats earlier ones.
        let is_repeated = !figures.is_empty() && figures.iter().all(|figure| used_figures.contains(figure));
        if chosen.len() < count_max && used + length <= characters_max && !is_repeated {
            chosen.push((index, &sentence.text));
            used_figures.extend(figures);
            used += length;
        }
    }
    chosen.sort_by_key(|(index, _)| *index);
    chosen.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// The words of a sentence that contain a digit.
fn figures_in(text: &str) -> Vec<&str> {
    let words = text
        .split(|c: char| c.is_whitespace() || "()[];:".contains(c))
        .map(|word| word.trim_end_matches(['.', ',', '!', '?']));
    words.filter(|word| word.chars().any(|c| c.is_ascii_digit())).collect()
}

/// Writes the sentences of a summary: from the facts if there are any, otherwise from the text.
pub(super) fn summary(prompt: &ParsedPrompt, characters_max: usize) -> Vec<String> {
    match &prompt.facts {
        Some(facts) => {
            let mut all: Vec<String> =
                facts.headline().take(MEASURES_MAX).map(|measure| measure_sentence(facts, measure)).collect();
            if let Some(first) = facts.headline().next() {
                all.extend(facts.breakdowns.iter().filter_map(|breakdown| leader_sentence(first, breakdown)));
            }
            all.push(scope_sentence(facts));
            take_within(all, characters_max)
        }
        None => extract(&prompt.sentences, characters_max, 12),
    }
}

/// Takes texts from the first one as long as they fit.
pub(super) fn take_within(texts: Vec<String>, characters_max: usize) -> Vec<String> {
    let mut used = 0;
    texts
        .into_iter()
        .take_while(|text| {
            used += text.chars().count() + 1;
            used <= characters_max
        })
        .collect()
}
