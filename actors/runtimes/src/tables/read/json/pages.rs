//! Whether a JSON document is one part of a longer list. Services reply with a page of records, and beside it with the
//! address of the next page or the number of all records. What such a document has is not the whole table.

use serde_json::value::RawValue;

use crate::tables::note::{Note, count, preview};

/// Members that name the next page, in lower case and without punctuation.
const NEXT: [&str; 14] = [
    "next",
    "nextpage",
    "nextlink",
    "nexturl",
    "nextpageurl",
    "nextpagelink",
    "nexttoken",
    "nextpagetoken",
    "nextcursor",
    "nextoffset",
    "nextrecordsurl",
    "odatanextlink",
    "continuationtoken",
    "nextmarker",
];
/// Members that are true if there is another page.
const MORE: [&str; 8] = [
    "hasmore",
    "hasnext",
    "hasnextpage",
    "morerecords",
    "truncated",
    "istruncated",
    "incompleteresults",
    "exceededtransferlimit",
];
/// Members that are false if there is another page.
const LAST: [&str; 4] = ["done", "last", "islast", "islastpage"];
/// Members that count all records.
const COUNTS: [&str; 14] = [
    "count",
    "totalcount",
    "totalresults",
    "totalrecords",
    "totalsize",
    "totalitems",
    "totalrows",
    "totalelements",
    "recordcount",
    "rowcount",
    "recordstotal",
    "odatacount",
    "numfound",
    "nbhits",
];
/// Members of a document that is a page. Beside one of them, `total` counts records and is no sum.
const PAGING: [&str; 10] =
    ["limit", "offset", "page", "pagesize", "perpage", "skip", "startat", "maxresults", "pagenumber", "currentpage"];

/// What a document has beside its lists.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// The first member by which there is another page.
    more: Option<String>,
    /// Members that count records.
    counts: Vec<(String, u64)>,
    /// Members called `total`.
    totals: Vec<(String, u64)>,
    is_paged: bool,
}

impl Pages {
    /// Adds a member that is neither an object nor a list. `parent` is the name of its object.
    pub(super) fn add(&mut self, parent: &str, name: &str, path: &str, member: &RawValue) {
        let text = member.get();
        // `"next": {"href": "…"}` is an address too.
        let name = if matches!(name, "href" | "url") { parent } else { name };
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        let name = name.as_str();
        let is_blank = matches!(text, "null" | "false" | "\"\"" | "0" | "-1");
        let is_more = (NEXT.contains(&name) && !is_blank)
            || (MORE.contains(&name) && text == "true")
            || (LAST.contains(&name) && text == "false");
        if is_more {
            self.more.get_or_insert_with(|| path.to_owned());
        }
        self.is_paged |= PAGING.contains(&name);
        let Ok(number) = text.parse::<u64>() else { return };
        if COUNTS.contains(&name) {
            self.counts.push((path.to_owned(), number));
        } else if name == "total" {
            self.totals.push((path.to_owned(), number));
        }
    }

    /// The warning about a table with this many records, if there may be more.
    pub(super) fn warning(&self, records: usize) -> Option<Note> {
        let totals = if self.is_paged || self.more.is_some() { self.totals.as_slice() } else { &[] };
        let larger = |(_, number): &&(String, u64)| usize::try_from(*number).is_ok_and(|number| number > records);
        let reason = match (self.counts.iter().chain(totals).find(larger), &self.more) {
            (Some((path, number)), _) => format!("its {} is {number}", preview(path)),
            (None, Some(path)) => format!("it has {}", preview(path)),
            (None, None) => return None,
        };
        let message = format!(
            "The JSON document may be one page of a longer list, because {reason}; the figures are those of {}. Export \
             the complete list.",
            count(records, "record")
        );
        Some(Note::new(message))
    }
}
