//! The report as Markdown.

use std::fmt::Write as _;

use super::{Content, NOTES_TITLE, Section, Table};

/// Renders the document.
pub(super) fn render(content: &Content) -> String {
    let mut out = format!("# {}\n\n{}\n", inline(&content.title), inline(&content.subtitle));
    if let Some(disclaimer) = &content.disclaimer {
        let _ = write!(out, "\n{}\n", inline(disclaimer));
    }
    if !content.tiles.is_empty() {
        out.push('\n');
        for tile in &content.tiles {
            let change = tile
                .change
                .as_ref()
                .map_or_else(String::new, |change| format!(" ({} {})", change.text, change.against));
            let _ = writeln!(out, "- **{}**: {}{}", inline(&tile.label), inline(&tile.value), inline(&change));
        }
    }
    for section in content.summary.iter().chain(&content.sections) {
        write_section(&mut out, section);
    }
    for table in std::iter::once(&content.measures).chain(&content.breakdowns) {
        write_table(&mut out, table);
    }
    if !content.charts.is_empty() {
        out.push_str("\n## Charts\n\nThe page beside this file shows them; in words:\n\n");
        for chart in &content.charts {
            let _ = writeln!(out, "- {}", inline(&chart.alt));
        }
    }
    let _ = write!(out, "\n## About the data\n\n{}\n", inline(&content.data));
    write_notes(&mut out, content);
    out.push_str("\n---\n\n## Where this comes from\n\n");
    for (name, value) in &content.provenance {
        let _ = writeln!(out, "- {name}: {}", inline(value));
    }
    out
}

fn write_notes(out: &mut String, content: &Content) {
    if content.warnings.is_empty() && content.notes.is_empty() {
        return;
    }
    let _ = write!(out, "\n## {NOTES_TITLE}\n\n");
    for warning in &content.warnings {
        let _ = writeln!(out, "- **Check:** {}", inline(warning));
    }
    for note in &content.notes {
        let _ = writeln!(out, "- {}", inline(note));
    }
}

fn write_section(out: &mut String, section: &Section) {
    let _ = write!(out, "\n## {}\n\n{}\n", inline(&section.title), block(&section.text));
}

fn write_table(out: &mut String, table: &Table) {
    let _ = write!(out, "\n## {}\n\n", inline(&table.title));
    let row =
        |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| inline(cell)).collect::<Vec<_>>().join(" | "));
    out.push_str(&row(&table.head));
    let rule: Vec<String> =
        (0..table.head.len()).map(|index| if index == 0 { "---" } else { "---:" }.to_owned()).collect();
    let _ = writeln!(out, "| {} |", rule.join(" | "));
    for cells in &table.rows {
        out.push_str(&row(cells));
    }
}

/// Escapes a text to one line without markup.
fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '`' | '*' | '[' | ']' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Escapes a text that may have headings, lists and emphasis, but no elements and no links.
fn block(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace("](", "]\\(").replace("]:", "]\\:");
    let lines = text.lines().map(|line| match line.chars().take_while(|c| *c == '#').count() {
        // Headings inside a section are lowered below the heading of the section.
        level @ 1..=2 => format!("{}{line}", "#".repeat(3 - level)),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
