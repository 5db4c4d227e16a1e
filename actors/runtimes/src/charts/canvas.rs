//! Draws bars: sizes, colours, axes. Independent of facts.

use plotters::backend::SVGBackend;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{PathElement, Rectangle, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, IntoFont, RGBColor, ShapeStyle, TextStyle};

use crate::tables::number_format;

/// Sizes in units of the `viewBox`; narrow enough that text is readable on a telephone.
const WIDTH: u32 = 560;
const COLUMNS_HEIGHT: u32 = 300;
const ROW_HEIGHT: u32 = 36;
const TITLE_HEIGHT: u32 = 40;
const TEXT_PX: u32 = 17;
const TITLE_PX: u32 = 21;
const FONT: &str = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif";
/// Mean width of a letter relative to the font size; the plotting crate underestimates it.
const LETTER: f64 = 0.5;
/// Approximate number of grid lines.
const TICKS: f64 = 4.0;
/// Maximum characters of a row label.
const LABEL_CHARS_MAX: usize = 22;

const INK: RGBColor = RGBColor(30, 41, 59);
const MUTED: RGBColor = RGBColor(100, 116, 139);
const GRID: RGBColor = RGBColor(226, 232, 240);
const STRONG: RGBColor = RGBColor(15, 118, 110);
const WEAK: RGBColor = RGBColor(176, 210, 206);
const BAD: RGBColor = RGBColor(190, 92, 38);

/// One vertical bar.
pub(super) struct Bar {
    /// `2024-11`
    pub(super) label: String,
    pub(super) value: f64,
    /// True if the bar belongs to the period of the chart.
    pub(super) strong: bool,
}

/// One horizontal bar.
pub(super) struct BarRow {
    pub(super) label: String,
    pub(super) value: f64,
    /// The text at its end.
    pub(super) note: String,
    pub(super) good: bool,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Option<()>;

fn style(px: u32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    TextStyle { color: color.to_backend_color(), ..TextStyle::from((FONT, f64::from(px)).into_font()) }
        .pos(Pos::new(h, v))
}

fn write(canvas: &Canvas<'_>, text: &str, at: (i32, i32), style: &TextStyle<'_>) -> Drawn {
    canvas.draw(&Text::new(text.to_owned(), at, style)).ok()
}

fn fill(canvas: &Canvas<'_>, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Drawn {
    canvas.draw(&Rectangle::new([from, to], color.filled())).ok()
}

fn line(canvas: &Canvas<'_>, from: (i32, i32), to: (i32, i32), color: RGBColor) -> Drawn {
    canvas.draw(&PathElement::new(vec![from, to], ShapeStyle::from(&color).stroke_width(1))).ok()
}

#[expect(clippy::cast_possible_truncation, reason = "coordinates on a canvas of a few hundred units")]
fn px(position: f64) -> i32 {
    position.round().clamp(-10_000.0, 10_000.0) as i32
}

fn signed(size: u32) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

fn text_width(text: &str) -> f64 {
    f64::from(u32::try_from(text.chars().count()).unwrap_or(u32::MAX)) * f64::from(TEXT_PX) * LETTER
}

fn short(label: &str) -> String {
    let shortened: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LABEL_CHARS_MAX).collect();
    if label.chars().count() > LABEL_CHARS_MAX { format!("{}…", shortened.trim_end()) } else { shortened }
}

/// The step of an axis that shows `span` in about [`TICKS`] steps of 1, 2 or 5.
fn step(span: f64) -> f64 {
    let rough = span / TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let first = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough);
    first.unwrap_or(10.0) * power
}

/// Draws, then makes the image scalable and adds its title and description.
fn render(
    height: u32,
    heading: Option<&String>,
    title: &str,
    alt: &str,
    draw: impl FnOnce(&Canvas<'_>, i32) -> Drawn,
) -> Option<String> {
    let top = if heading.is_some() { TITLE_HEIGHT } else { 0 };
    let mut svg = String::new();
    {
        let canvas = SVGBackend::with_string(&mut svg, (WIDTH, height + top)).into_drawing_area();
        if let Some(heading) = heading {
            write(&canvas, heading, (8, 8), &style(TITLE_PX, INK, HPos::Left, VPos::Top))?;
        }
        draw(&canvas, signed(top))?;
        canvas.present().ok()?;
    }
    let body = svg.split_once('>').map(|(_, body)| body)?;
    Some(format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\"><title>{}</title><desc>{}</desc>{body}",
        height + top,
        escape_xml(title),
        escape_xml(alt)
    ))
}

/// Escapes text for XML.
pub(crate) fn escape_xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Draws vertical bars over time.
pub(super) fn columns(
    heading: Option<&String>,
    title: &str,
    alt: &str,
    unit: Option<&str>,
    bars: &[Bar],
) -> Option<String> {
    if bars.is_empty() || bars.iter().any(|bar| !bar.value.is_finite()) {
        return None;
    }
    let (low, high) =
        bars.iter().fold((0.0_f64, 0.0_f64), |(low, high), bar| (low.min(bar.value), high.max(bar.value)));
    let step = step(if high > low { high - low } else { 1.0 });
    let (low, high) = ((low / step).floor() * step, ((high / step).ceil() * step).max(step));
    render(COLUMNS_HEIGHT, heading, title, alt, |canvas, top| {
        let labels: Vec<(f64, String)> = (0..=px((high - low) / step))
            .map(|tick| low + f64::from(tick) * step)
            .map(|value| (value, number_format::compact(value, unit)))
            .collect();
        let left = px(labels.iter().map(|(_, label)| text_width(label)).fold(24.0, f64::max)) + 14;
        let (right, ceiling, floor) = (signed(WIDTH) - 8, top + 14, top + signed(COLUMNS_HEIGHT) - 46);
        let y = |value: f64| floor - px((value - low) / (high - low) * f64::from(floor - ceiling));
        for (value, label) in &labels {
            line(canvas, (left, y(*value)), (right, y(*value)), if *value == 0.0 { MUTED } else { GRID })?;
            write(canvas, label, (left - 8, y(*value)), &style(TEXT_PX, MUTED, HPos::Right, VPos::Center))?;
        }
        let count = u32::try_from(bars.len()).ok()?;
        let pitch = f64::from(right - left) / f64::from(count);
        let every = usize::try_from(px((text_width("Mmm") + 6.0) / pitch).max(0)).unwrap_or(0) + 1;
        let mut year = "";
        for (index, bar) in (0_u32..).zip(bars) {
            let from = f64::from(left) + pitch * f64::from(index);
            let (a, b) = (px(from + pitch * 0.16), px(from + pitch * 0.84));
            fill(
                canvas,
                (a, y(bar.value.max(0.0))),
                (b, y(bar.value.min(0.0))),
                if bar.strong { STRONG } else { WEAK },
            )?;
            let Some((bar_year, month)) = bar.label.split_once('-') else { continue };
            let middle = px(from + pitch / 2.0);
            if usize::try_from(index).ok()?.is_multiple_of(every) {
                let color = if bar.strong { INK } else { MUTED };
                let name = number_format::short_month(month).unwrap_or(month);
                write(canvas, name, (middle, floor + 8), &style(TEXT_PX, color, HPos::Center, VPos::Top))?;
            }
            if bar_year != year && (index == 0 || index + 1 < count || count <= 3) {
                year = bar_year;
                write(
                    canvas,
                    year,
                    (px(from + pitch * 0.16), floor + 27),
                    &style(TEXT_PX, MUTED, HPos::Left, VPos::Top),
                )?;
            }
        }
        Some(())
    })
}

/// Draws horizontal bars, each with a label before it and a note after it; negative bars extend to the left.
pub(super) fn rows(heading: Option<&String>, title: &str, alt: &str, rows: &[BarRow]) -> Option<String> {
    if rows.is_empty() || rows.iter().any(|row| !row.value.is_finite()) {
        return None;
    }
    let height = u32::try_from(rows.len()).ok()? * ROW_HEIGHT + 16;
    let (low, high) =
        rows.iter().fold((0.0_f64, 0.0_f64), |(low, high), row| (low.min(row.value), high.max(row.value)));
    let span = if high > low { high - low } else { 1.0 };
    render(height, heading, title, alt, |canvas, top| {
        let label_width = rows.iter().map(|row| text_width(&short(&row.label))).fold(40.0, f64::max);
        let note_width = rows.iter().map(|row| text_width(&row.note)).fold(30.0, f64::max) + 8.0;
        let after = if high > 0.0 || low == 0.0 { note_width } else { 0.0 };
        let before = if low < 0.0 { note_width } else { 0.0 };
        let left = label_width + 18.0 + before;
        let width = (f64::from(WIDTH) - left - after - 8.0).max(40.0);
        let zero = left + (0.0 - low) / span * width;
        for (index, row) in (0_i32..).zip(rows) {
            let y = top + 8 + index * signed(ROW_HEIGHT);
            let middle = y + signed(ROW_HEIGHT) / 2;
            write(canvas, &short(&row.label), (8, middle), &style(TEXT_PX, INK, HPos::Left, VPos::Center))?;
            let end = zero + row.value / span * width;
            let color = if row.good { STRONG } else { BAD };
            let (a, b) = (px(zero.min(end)), px(zero.max(end)).max(px(zero.min(end)) + 1));
            fill(canvas, (a, y + 7), (b, y + signed(ROW_HEIGHT) - 7), color)?;
            let (at, side) = if row.value < 0.0 { (px(end) - 8, HPos::Right) } else { (px(end) + 8, HPos::Left) };
            write(canvas, &row.note, (at, middle), &style(TEXT_PX, INK, side, VPos::Center))?;
        }
        line(canvas, (px(zero), top + 6), (px(zero), top + signed(height) - 6), MUTED)
    })
}
