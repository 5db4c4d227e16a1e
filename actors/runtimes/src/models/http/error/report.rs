//! What a server reports about its failure, in the format of whichever server it is: JSON of any shape, a page, a text.

use std::time::Duration;

use greenroom_protocol::Json;

use super::{context_limit, is_blank};
use crate::models::http::usage::whole_number;
use crate::outbound::retry_after;

/// The members with the words of a report, the best one first.
const WORDS: [&str; 5] = ["message", "msg", "detail", "error", "errors"];
/// Levels of a report that are read.
const DEPTH_MAX: u32 = 4;
/// Entries of a list of problems that are read.
const PROBLEMS_MAX: usize = 16;
/// Maximum characters of the title of a page.
const TITLE_CHARS_MAX: usize = 100;
/// Tags that only a page has.
const PAGE_TAGS: [&str; 5] = ["<!doctype html", "<html", "<body", "<title", "<h1"];
/// Words of the kind of failure if there is no money left.
const QUOTA_KINDS: [&str; 3] = ["insufficient_quota", "billing", "insufficient_balance"];
/// Words of the message likewise. `quota` and `billing` are no such words: Google has both in its message about calls
/// of a minute.
const QUOTA_WORDS: [&str; 4] = ["credit balance", "insufficient balance", "insufficient credit", "insufficient funds"];

/// A report.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reported {
    /// Its words for the kind of failure, in lower case.
    pub(super) kind: String,
    pub(super) message: String,
    /// The HTTP status in the text, if there is one.
    pub(super) status: Option<u16>,
    /// The tokens of the request, if they have a member of their own.
    requested: Option<u64>,
    /// The limit of the model, likewise.
    limit: Option<u64>,
    /// The delay of a retry, which Google's endpoints state here and in no header.
    pub(super) retry_after: Option<Duration>,
}

impl Reported {
    /// Reads the body of a response.
    pub(super) fn from_body(body: &str) -> Self {
        match serde_json::from_str::<Json>(body) {
            Ok(document) => Self::parse(&document),
            Err(_) => Self::parse(&Json::String(page(body).unwrap_or_else(|| body.trim().to_owned()))),
        }
    }

    /// Reads an error: an object, its member `error`, the first of a list, or a text. FastAPI's servers report
    /// `detail`, Google's endpoints a list.
    pub(super) fn parse(document: &Json) -> Self {
        let document = document.as_array().and_then(|all| all.first()).unwrap_or(document);
        let inner = document.get("error").filter(|error| error.is_object() && !is_blank(error)).unwrap_or(document);
        let text = |name: &str| match inner.get(name) {
            Some(Json::String(text)) => text.clone(),
            Some(number @ Json::Number(_)) => number.to_string(),
            Some(Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_)) | None => String::new(),
        };
        let number = |name: &str| inner.get(name).and_then(whole_number);
        let status = number("code").or_else(|| number("status"));
        let mut message = words(inner, 0);
        if message.is_empty() {
            message = words(document, 0);
        }
        if message.is_empty() {
            message = [text("code"), text("type")].into_iter().find(|text| !text.is_empty()).unwrap_or_default();
        }
        // Some servers name the rejected member of the request here only.
        let param = text("param");
        if !param.is_empty() && !message.contains(&param) {
            message = format!("{message} ({param})");
        }
        Self {
            kind: format!("{} {} {}", text("type"), text("code"), text("status")).to_lowercase(),
            message,
            status: status.and_then(|status| u16::try_from(status).ok()),
            requested: number("n_prompt_tokens"),
            limit: number("n_ctx"),
            retry_after: retry_delay(inner),
        }
    }

    /// True if there is no money left for the call, which no retry changes.
    pub(super) fn is_quota(&self) -> bool {
        let message = self.message.to_lowercase();
        QUOTA_KINDS.iter().any(|word| self.kind.contains(word)) || QUOTA_WORDS.iter().any(|word| message.contains(word))
    }

    pub(super) fn is_overflow(&self) -> bool {
        context_limit::is_overflow(&self.kind, &self.message)
    }

    pub(super) fn context_limits(&self) -> (Option<u64>, Option<u64>) {
        let (requested, limit) = context_limit::read(&self.message);
        (self.requested.or(requested), self.limit.or(limit))
    }
}

/// The words of a report: those of its members, or of the entries of a list. A short name in `error` precedes the
/// words beside it.
fn words(report: &Json, depth: u32) -> String {
    if depth > DEPTH_MAX || is_blank(report) {
        return String::new();
    }
    match report {
        Json::String(text) => text.clone(),
        Json::Null | Json::Bool(_) | Json::Number(_) => String::new(),
        Json::Array(problems) => {
            let all = problems.iter().take(PROBLEMS_MAX).map(|problem| words(problem, depth + 1));
            all.filter(|words| !words.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Json::Object(members) => {
            let mut all = WORDS.iter().filter_map(|name| members.get(*name)).map(|inner| words(inner, depth + 1));
            let message = all.find(|words| !words.is_empty()).unwrap_or_default();
            let before = match members.get("error") {
                Some(Json::String(name)) if !name.is_empty() && *name != message => name.clone(),
                Some(_) | None => location(members.get("loc")),
            };
            if before.is_empty() || message.is_empty() { message } else { format!("{before}: {message}") }
        }
    }
}

/// The location of a problem as FastAPI reports it, such as `body.response_format.type`.
fn location(steps: Option<&Json>) -> String {
    let step = |step: &Json| step.as_str().map_or_else(|| step.to_string(), str::to_owned);
    let steps = steps.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    steps.iter().map(step).collect::<Vec<_>>().join(".")
}

/// The delay of `google.rpc.RetryInfo`, such as `"34.07s"`.
fn retry_delay(error: &Json) -> Option<Duration> {
    let details = error.get("details")?.as_array()?;
    let text = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    retry_after::from_seconds(text.strip_suffix('s')?.parse().ok()?)
}

/// What a page says, if the text is one: its title, or its first heading.
fn page(body: &str) -> Option<String> {
    let lower = body.to_ascii_lowercase();
    if !(lower.trim_start().starts_with('<') && PAGE_TAGS.iter().any(|tag| lower.contains(tag))) {
        return None;
    }
    let title = ["title", "h1"].iter().find_map(|tag| {
        let start = lower.find(&format!("<{tag}"))?;
        let start = start + lower.get(start..)?.find('>')? + 1;
        let length = lower.get(start..)?.find('<')?;
        let title: String = body.get(start..start + length)?.trim().chars().take(TITLE_CHARS_MAX).collect();
        (!title.is_empty()).then_some(title)
    });
    Some(match title {
        Some(title) => format!("the server sent a page (HTML): {title}"),
        None => "the server sent a page (HTML) and no message".to_owned(),
    })
}
