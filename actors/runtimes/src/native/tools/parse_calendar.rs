//! `native:parse_calendar`: reads iCalendar (RFC 5545) into events and tasks, and finds events that overlap.

use greenroom_protocol::Cause;
use greenroom_protocol::value::truncate_utf8;
use icalendar::parser::{Component, read_components, unfold};
use jiff::Unit;
use jiff::civil::{Date, DateTime};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::computation::{Computation, invalid, require_at_most};

/// Maximum nesting of components.
const DEPTH_MAX: usize = 8;
/// Maximum lines of a calendar.
const LINES_MAX: usize = 20_000;
/// Maximum events and tasks.
const ITEMS_MAX: usize = 500;
/// Maximum attendees of an event, and overlaps of a result.
const LIST_MAX: usize = 200;
/// Maximum bytes of a text of a result.
const TEXT_BYTES_MAX: usize = 500;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Arguments {
    /// The calendar, from `BEGIN:VCALENDAR` on.
    calendar: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Output {
    /// Events, tasks and journals, in the order of the calendar.
    items: Vec<Item>,
    /// Pairs of events of one time zone that overlap, by their summaries.
    overlaps: Vec<[String; 2]>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Item {
    /// `VEVENT`, `VTODO` or `VJOURNAL`.
    kind: String,
    uid: Option<String>,
    summary: Option<String>,
    /// The beginning by the clock of its zone, as 2025-01-06T09:00:00 or 2025-01-06 for a whole day.
    start: Option<String>,
    /// The end, or the date when a task is due.
    end: Option<String>,
    /// The zone of `start`: `UTC`, a name, or none for the local time of the reader.
    time_zone: Option<String>,
    duration_minutes: Option<i64>,
    location: Option<String>,
    status: Option<String>,
    organizer: Option<String>,
    attendees: Vec<String>,
    /// The rule of its repetition as it is written; repetitions are not expanded.
    recurrence: Option<String>,
}

/// The tool.
pub(crate) struct ParseCalendar;

impl Computation for ParseCalendar {
    type Arguments = Arguments;
    type Output = Output;
    const NAME: &'static str = "parse_calendar";
    const DESCRIPTION: &'static str = "Reads an iCalendar text (.ics) into events and tasks with start, end, duration, \
                                       zone and attendees, and finds events that overlap.";

    fn compute(arguments: Arguments) -> Result<Output, Cause> {
        let text = arguments.calendar.trim().replace("\r\n", "\n");
        check_shape(&text)?;
        let text = unfold(&format!("{text}\n"));
        let roots = read_components(&text).map_err(|error| invalid(truncate_utf8(&error, TEXT_BYTES_MAX)))?;
        let mut components = Vec::new();
        roots.iter().for_each(|root| collect_items(root, &mut components));
        if components.is_empty() && roots.is_empty() {
            return Err(invalid("the text is no calendar: it has no component"));
        }
        require_at_most("events and tasks", components.len(), ITEMS_MAX)?;
        let items: Vec<Item> = components.into_iter().map(read_item).collect();
        let overlaps = find_overlaps(&items);
        Ok(Output { items, overlaps })
    }
}

/// Rejects what the parser would recurse into too deeply.
fn check_shape(text: &str) -> Result<(), Cause> {
    require_at_most("lines", text.lines().count(), LINES_MAX)?;
    let mut depth = 0_usize;
    for line in text.lines() {
        let line = line.trim_start();
        if line.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("BEGIN:")) {
            depth += 1;
            if depth > DEPTH_MAX {
                return Err(invalid(format!("components nest at most {DEPTH_MAX} deep")));
            }
        } else if line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("END:")) {
            depth = depth.saturating_sub(1);
        }
    }
    if depth > 0 {
        return Err(invalid("a component has no `END`"));
    }
    Ok(())
}

fn collect_items<'a, 'text>(component: &'a Component<'text>, items: &mut Vec<&'a Component<'text>>) {
    let name = component.name.to_string();
    if matches!(name.as_str(), "VEVENT" | "VTODO" | "VJOURNAL") {
        items.push(component);
    }
    component.components.iter().for_each(|child| collect_items(child, items));
}

fn read_item(component: &Component<'_>) -> Item {
    let values = |name: &str| -> Vec<String> {
        let named = component.properties.iter().filter(|property| property.name.to_string().eq_ignore_ascii_case(name));
        named.map(|property| unescape(property.val.as_ref())).collect()
    };
    let first = |name: &str| values(name).into_iter().next();
    let start = first("DTSTART").and_then(|value| Moment::parse(&value));
    let end = ["DTEND", "DUE"].into_iter().find_map(first).and_then(|value| Moment::parse(&value));
    let zone = zone_of(component, "DTSTART");
    let same_zone = zone == zone_of(component, "DTEND");
    let minutes = match (&start, &end) {
        (Some(start), Some(end)) if same_zone => start.minutes_until(end),
        (Some(_) | None, Some(_) | None) => None,
    };
    Item {
        kind: component.name.to_string(),
        uid: first("UID"),
        summary: first("SUMMARY"),
        start: start.as_ref().map(Moment::text),
        end: end.as_ref().map(Moment::text),
        time_zone: zone,
        duration_minutes: minutes,
        location: first("LOCATION"),
        status: first("STATUS"),
        organizer: first("ORGANIZER"),
        attendees: values("ATTENDEE").into_iter().take(LIST_MAX).collect(),
        recurrence: first("RRULE"),
    }
}

/// The zone of a property: the one that it names, or UTC if its value ends in `Z`.
fn zone_of(component: &Component<'_>, name: &str) -> Option<String> {
    let property = component.properties.iter().find(|property| property.name.to_string().eq_ignore_ascii_case(name))?;
    if property.val.to_string().trim_end().ends_with('Z') {
        return Some("UTC".to_owned());
    }
    let zone = property.params.iter().find(|param| param.key.to_string().eq_ignore_ascii_case("TZID"))?;
    zone.val.as_ref().map(|zone| truncate_utf8(zone.as_ref(), TEXT_BYTES_MAX).to_owned())
}

/// A text without the escapes of iCalendar, and an address without its scheme.
fn unescape(value: &str) -> String {
    let plain =
        value.replace("\\n", "\n").replace("\\N", "\n").replace("\\,", ",").replace("\\;", ";").replace("\\\\", "\\");
    let plain = plain.strip_prefix("mailto:").or_else(|| plain.strip_prefix("MAILTO:")).unwrap_or(&plain);
    truncate_utf8(plain, TEXT_BYTES_MAX).to_owned()
}

/// A date, or a date with a time.
struct Moment {
    time: DateTime,
    is_day: bool,
}

impl Moment {
    /// `20250106`, `20250106T090000` or `20250106T090000Z`
    fn parse(value: &str) -> Option<Self> {
        let value = value.trim().trim_end_matches('Z');
        let (date, time) = value.split_once('T').map_or((value, None), |(date, time)| (date, Some(time)));
        let part = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
        let small = |number: Option<i16>| number.and_then(|number| i8::try_from(number).ok());
        let day = Date::new(part(date, 0, 4)?, small(part(date, 4, 6))?, small(part(date, 6, 8))?).ok()?;
        let Some(time) = time else { return Some(Self { time: day.at(0, 0, 0, 0), is_day: true }) };
        let clock =
            jiff::civil::Time::new(small(part(time, 0, 2))?, small(part(time, 2, 4))?, small(part(time, 4, 6))?, 0);
        Some(Self { time: day.to_datetime(clock.ok()?), is_day: false })
    }

    fn text(&self) -> String {
        if self.is_day { self.time.date().to_string() } else { self.time.to_string() }
    }

    fn minutes_until(&self, end: &Self) -> Option<i64> {
        self.time.until((Unit::Minute, end.time)).ok().map(|span| span.get_minutes())
    }
}

fn title(item: &Item) -> String {
    item.summary.clone().or_else(|| item.uid.clone()).unwrap_or_default()
}

fn overlap(one: &Item, other: &Item) -> bool {
    // Texts of one form sort as their times do.
    one.time_zone == other.time_zone && one.start < other.end && other.start < one.end
}

fn find_overlaps(items: &[Item]) -> Vec<[String; 2]> {
    let is_timed = |item: &&Item| item.kind == "VEVENT" && item.duration_minutes.is_some_and(|minutes| minutes > 0);
    let events: Vec<&Item> = items.iter().filter(is_timed).collect();
    let pairs = events.iter().copied().enumerate().flat_map(|(index, one)| {
        let later = events.iter().copied().skip(index + 1).filter(move |other| overlap(one, other));
        later.map(move |other| [title(one), title(other)])
    });
    pairs.take(LIST_MAX).collect()
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;
    use serde_json::json;

    use super::super::computation::compute_json;
    use super::ParseCalendar;

    const CALENDAR: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Budget\\, first\r\n \
        round\r\nDTSTART;TZID=Europe/Berlin:20250106T090000\r\nDTEND;TZID=Europe/Berlin:20250106T103000\r\n\
        ATTENDEE;CN=Ann:mailto:ann@example.com\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:2\r\nSUMMARY:Standup\r\n\
        DTSTART;TZID=Europe/Berlin:20250106T100000\r\nDTEND;TZID=Europe/Berlin:20250106T101500\r\n\
        RRULE:FREQ=DAILY;COUNT=5\r\nEND:VEVENT\r\nBEGIN:VEVENT\r\nUID:3\r\nSUMMARY:Holiday\r\n\
        DTSTART;VALUE=DATE:20250107\r\nDTEND;VALUE=DATE:20250108\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

    #[test]
    fn events_have_their_times_and_overlaps() {
        let output = compute_json::<ParseCalendar>(json!({ "calendar": CALENDAR })).unwrap();
        let first = &output["items"][0];
        assert_eq!(
            (&first["start"], &first["duration_minutes"]),
            (&json!("2025-01-06T09:00:00"), &json!(90)),
            "{output}"
        );
        assert_eq!((&first["time_zone"], &first["attendees"]), (&json!("Europe/Berlin"), &json!(["ann@example.com"])));
        assert!(first["summary"].as_str().unwrap().starts_with("Budget, first"));
        assert_eq!(output["items"][1]["recurrence"], json!("FREQ=DAILY;COUNT=5"));
        assert_eq!(
            (&output["items"][2]["start"], &output["items"][2]["end"]),
            (&json!("2025-01-07"), &json!("2025-01-08"))
        );
        let overlaps = output["overlaps"].as_array().unwrap();
        assert_eq!((overlaps.len(), &overlaps[0][1]), (1, &json!("Standup")));
    }

    #[test]
    fn hostile_calendars_are_rejected() {
        let deep = format!("{}{}", "BEGIN:VEVENT\n".repeat(9), "END:VEVENT\n".repeat(9));
        for calendar in [deep.as_str(), "", "hello", "BEGIN:VEVENT\nSUMMARY:x\n"] {
            let cause = compute_json::<ParseCalendar>(json!({ "calendar": calendar })).unwrap_err();
            assert_eq!(cause.code, ErrorCode::InvalidInput, "{calendar:?}");
        }
        let cause = compute_json::<ParseCalendar>(json!({ "calendar": "X:y\n".repeat(20_001) })).unwrap_err();
        assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
        let odd = "BEGIN:VEVENT\nDTSTART:2025ä\nDTEND:99999999T999999\nEND:VEVENT\n";
        let output = compute_json::<ParseCalendar>(json!({ "calendar": odd })).unwrap();
        assert_eq!((&output["items"][0]["start"], &output["overlaps"]), (&json!(null), &json!([])));
    }
}
