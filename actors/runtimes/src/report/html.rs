//! The report as one HTML page: inline style and images, no script, nothing fetched.

use std::fmt::Write as _;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{Content, KpiTile, NOTES_TITLE, Section, Table};
use crate::charts::escape_xml;

const STYLE: &str = include_str!("style.css");

/// Defence in depth: even unescaped text could not execute, since only inline style is allowed.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'none'; base-uri 'none'; form-action 'none'";

/// Renders the page.
pub(super) fn render(content: &Content) -> String {
    let mut out = String::with_capacity(96 * 1024);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header>\n<h1>{title}</h1>\n<p>{subtitle}</p>\n{disclaimer}</header>\n",
        title = escape_xml(&content.title),
        subtitle = escape_xml(&content.subtitle),
        disclaimer =
            content.disclaimer.as_ref().map_or_else(String::new, |text| format!("<p>{}</p>\n", escape_xml(text))),
    );
    write_tiles(&mut out, &content.tiles);
    if let Some(summary) = &content.summary {
        write_section(&mut out, summary, "summary");
    }
    write_charts(&mut out, content);
    write_table(&mut out, &content.measures);
    if !content.sections.is_empty() {
        out.push_str("<div class=\"texts\">\n");
        for section in &content.sections {
            write_section(&mut out, section, "text");
        }
        out.push_str("</div>\n");
    }
    for table in &content.breakdowns {
        write_table(&mut out, table);
    }
    let _ = write!(
        out,
        "<section class=\"data\">\n<h2>About the data</h2>\n<p>{}</p>\n</section>\n",
        escape_xml(&content.data)
    );
    write_notes(&mut out, content);
    out.push_str("</main>\n<footer>\n<h2>Where this comes from</h2>\n<dl>\n");
    for (name, value) in &content.provenance {
        let _ = writeln!(out, "<div><dt>{}</dt><dd>{}</dd></div>", escape_xml(name), escape_xml(value));
    }
    out.push_str("</dl>\n</footer>\n</body>\n</html>\n");
    out
}

fn write_notes(out: &mut String, content: &Content) {
    if content.warnings.is_empty() && content.notes.is_empty() {
        return;
    }
    let _ = write!(out, "<section class=\"notes\">\n<h2>{NOTES_TITLE}</h2>\n<ul>\n");
    for warning in &content.warnings {
        let _ = writeln!(out, "<li class=\"warning\"><b>Check:</b> {}</li>", escape_xml(warning));
    }
    for note in &content.notes {
        let _ = writeln!(out, "<li>{}</li>", escape_xml(note));
    }
    out.push_str("</ul>\n</section>\n");
}

fn write_tiles(out: &mut String, tiles: &[KpiTile]) {
    if tiles.is_empty() {
        return;
    }
    out.push_str("<section class=\"tiles\" aria-label=\"Key figures\">\n");
    for tile in tiles {
        let _ = write!(
            out,
            "<div class=\"tile\"><span class=\"label\">{}</span><strong>{}</strong>",
            escape_xml(&tile.label),
            escape_xml(&tile.value)
        );
        if let Some(change) = &tile.change {
            let class = match change.good {
                Some(true) => "good",
                Some(false) => "bad",
                None => "flat",
            };
            let _ = write!(
                out,
                "<span class=\"change {class}\"><b>{}</b> {}</span>",
                escape_xml(&change.text),
                escape_xml(&change.against)
            );
        }
        out.push_str("</div>\n");
    }
    out.push_str("</section>\n");
}

fn write_section(out: &mut String, section: &Section, class: &str) {
    let _ = write!(
        out,
        "<section class=\"{class}\">\n<h2>{}</h2>\n{}</section>\n",
        escape_xml(&section.title),
        render_markdown(&section.text)
    );
}

fn write_charts(out: &mut String, content: &Content) {
    if content.charts.is_empty() {
        return;
    }
    out.push_str("<section class=\"charts\" aria-label=\"Charts\">\n");
    for chart in &content.charts {
        // The image was drawn in this process from the facts, with its text escaped.
        let _ =
            write!(out, "<figure>\n<figcaption>{}</figcaption>\n{}</figure>\n", escape_xml(&chart.title), chart.svg);
    }
    out.push_str("</section>\n");
}

fn write_table(out: &mut String, table: &Table) {
    let _ = write!(out, "<section class=\"table\">\n<h2>{}</h2>\n<table>\n<thead><tr>", escape_xml(&table.title));
    for name in &table.head {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape_xml(name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for cells in &table.rows {
        out.push_str("<tr>");
        for (index, (cell, name)) in cells.iter().zip(&table.head).enumerate() {
            if index == 0 {
                let _ = write!(out, "<th scope=\"row\">{}</th>", escape_xml(cell));
            } else {
                let _ = write!(out, "<td data-label=\"{}\">{}</td>", escape_xml(name), escape_xml(cell));
            }
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n</section>\n");
}

/// Renders Markdown marks, and everything else as text: no raw elements, no links, no images.
fn render_markdown(text: &str) -> String {
    let parser = Parser::new_ext(text, Options::ENABLE_TABLES);
    let events = parser.filter_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock)
        | Event::End(TagEnd::Link | TagEnd::Image | TagEnd::HtmlBlock) => None,
        Event::Start(Tag::Heading { level, .. }) => Some(Event::Start(Tag::Heading {
            level: lower_heading(level),
            id: None,
            classes: Vec::new(),
            attrs: Vec::new(),
        })),
        Event::End(TagEnd::Heading(level)) => Some(Event::End(TagEnd::Heading(lower_heading(level)))),
        other => Some(other),
    });
    let mut out = String::with_capacity(text.len() * 2);
    pulldown_cmark::html::push_html(&mut out, events);
    out
}

/// Lowers a heading inside a section below the heading of the section.
const fn lower_heading(level: HeadingLevel) -> HeadingLevel {
    match level {
        HeadingLevel::H1 | HeadingLevel::H2 | HeadingLevel::H3 => HeadingLevel::H3,
        HeadingLevel::H4 => HeadingLevel::H4,
        HeadingLevel::H5 => HeadingLevel::H5,
        HeadingLevel::H6 => HeadingLevel::H6,
    }
}
