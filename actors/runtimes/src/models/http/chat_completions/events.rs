//! The bytes of a response → JSON documents. A stream is a sequence of server-sent events; a server that cannot stream
//! sends one document, and some send one in each line.

use std::collections::VecDeque;

use greenroom_actors::model::ModelError;
use greenroom_protocol::Json;

use super::surrogates;
use crate::models::http::error::is_blank;

/// Maximum bytes of an answer without tokens, and maximum bytes of one token in transit.
const ANSWER_BYTES_BASE: u64 = 1024 * 1024;
const TOKEN_BYTES_MAX: u64 = 1024;
/// The data of the event that ends a stream.
const DONE: &str = "[DONE]";
/// Bytes before the first document that have no meaning: white space, and the byte order mark.
const BLANKS: &[u8] = b" \t\r\n\xEF\xBB\xBF";
/// Maximum characters of a text that is no event.
const STRAY_CHARS_MAX: usize = 1_000;

/// One event of a stream.
#[derive(Debug)]
pub(super) enum Event {
    /// A document.
    Document(Document),
    /// The server's mark of the end.
    Done,
}

/// A document of a stream.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) json: Json,
    /// True if halves of surrogate pairs in its texts are marked.
    pub(super) has_markers: bool,
    /// True if the response is this document and nothing else.
    pub(super) is_body: bool,
}

/// What the response consists of, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Unknown,
    /// Lines: server-sent events.
    Lines,
    /// Documents without any framing.
    Documents,
}

/// Reads the events of one response.
#[derive(Debug)]
pub(super) struct EventReader {
    bytes_max: u64,
    bytes: u64,
    framing: Framing,
    /// The line, or the documents, that have not ended.
    unread: Vec<u8>,
    /// True if the last line ended with a carriage return, to which a line feed may belong.
    skips_line_feed: bool,
    /// The lines of data of the current event.
    data: Vec<String>,
    /// True if the current event is named `error`: whatever its data are, they are a failure.
    is_error: bool,
    /// The first line that belongs to no event: a server, or something before it, reports a failure in words.
    stray: Option<String>,
}

impl EventReader {
    /// Creates the reader of an answer with at most this many tokens.
    pub(super) fn new(tokens_max: u32) -> Self {
        Self {
            bytes_max: ANSWER_BYTES_BASE + u64::from(tokens_max) * TOKEN_BYTES_MAX,
            bytes: 0,
            framing: Framing::Unknown,
            unread: Vec::new(),
            skips_line_feed: false,
            data: Vec::new(),
            is_error: false,
            stray: None,
        }
    }

    /// The first line that belongs to no event, if it is a text.
    pub(super) fn stray_text(&self) -> Option<&str> {
        self.stray.as_deref()
    }

    /// Adds the events that end within these bytes.
    ///
    /// # Errors
    /// [`ModelError::MalformedResponse`] if an event is no JSON, or the answer is too long; events before it were
    /// added.
    pub(super) fn push(&mut self, mut bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), ModelError> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        if self.bytes > self.bytes_max {
            return Err(malformed(format!("the answer has more than {} bytes", self.bytes_max)));
        }
        if self.framing == Framing::Unknown {
            let start = bytes.iter().position(|byte| !BLANKS.contains(byte)).unwrap_or(bytes.len());
            bytes = bytes.get(start..).unwrap_or_default();
            self.framing = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Framing::Documents,
                Some(_) => Framing::Lines,
            };
        }
        if self.framing == Framing::Documents {
            self.unread.extend_from_slice(bytes);
            return Ok(());
        }
        while let Some((&first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.skips_line_feed) && first == b'\n' {
                bytes = rest;
                continue;
            }
            let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.unread.extend_from_slice(bytes);
                return Ok(());
            };
            self.skips_line_feed = bytes.get(end) == Some(&b'\r');
            self.unread.extend_from_slice(bytes.get(..end).unwrap_or_default());
            bytes = bytes.get(end + 1..).unwrap_or_default();
            let line = std::mem::take(&mut self.unread);
            self.read_line(&line, events)?;
        }
        Ok(())
    }

    /// Adds the events that the end of the response ends.
    ///
    /// # Errors
    /// [`ModelError::MalformedResponse`] if the last one is incomplete.
    pub(super) fn finish(&mut self, events: &mut VecDeque<Event>) -> Result<(), ModelError> {
        let unread = std::mem::take(&mut self.unread);
        match self.framing {
            Framing::Unknown => Ok(()),
            Framing::Documents => read_documents(&unread, events),
            Framing::Lines => {
                self.read_line(&unread, events)?;
                self.end_event(events)
            }
        }
    }

    fn read_line(&mut self, line: &[u8], events: &mut VecDeque<Event>) -> Result<(), ModelError> {
        let line = std::str::from_utf8(line).map_err(|_| malformed("the answer is not UTF-8"))?;
        if line.is_empty() {
            let ended = self.end_event(events);
            self.is_error = false;
            return ended;
        }
        if line.starts_with('{') {
            return self.read_data(line, events);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        match field {
            "data" => self.read_data(value.trim(), events),
            // llama.cpp reports a failure in a field of its own.
            "error" => {
                let error: Json = serde_json::from_str(value).unwrap_or_else(|_| Json::String(value.trim().to_owned()));
                let json = serde_json::json!({ "error": error });
                events.push_back(Event::Document(Document { json, has_markers: false, is_body: false }));
                Ok(())
            }
            "event" => {
                self.is_error = value.trim() == "error";
                Ok(())
            }
            "" | "id" | "retry" => Ok(()),
            _ => {
                let is_text = self.stray.is_none() && !line.starts_with('<') && !line.contains(char::is_control);
                if is_text {
                    self.stray = Some(line.trim().chars().take(STRAY_CHARS_MAX).collect());
                }
                Ok(())
            }
        }
    }

    /// Reads a line of data. Each is a document in practice; only if it is not, the document continues in the next line.
    fn read_data(&mut self, data: &str, events: &mut VecDeque<Event>) -> Result<(), ModelError> {
        if data == DONE {
            self.end_event(events)?;
            events.push_back(Event::Done);
            return Ok(());
        }
        match parse(data).filter(|_| self.data.is_empty()) {
            Some(document) => events.push_back(Event::Document(self.as_named(document))),
            None if data.is_empty() => {}
            None => self.data.push(data.to_owned()),
        }
        Ok(())
    }

    fn end_event(&mut self, events: &mut VecDeque<Event>) -> Result<(), ModelError> {
        if self.data.is_empty() {
            return Ok(());
        }
        let data = std::mem::take(&mut self.data).join("\n");
        let document = match parse(&data) {
            Some(document) => document,
            // Proxies report a failure in words.
            None if self.is_error => Document { json: Json::String(data), has_markers: false, is_body: false },
            None => return Err(malformed("an event of the answer is not valid JSON")),
        };
        events.push_back(Event::Document(self.as_named(document)));
        Ok(())
    }

    /// A document as the name of its event makes it: that of an `error` has the member, if it lacks it.
    fn as_named(&self, document: Document) -> Document {
        let Document { json, has_markers, is_body } = document;
        let lacks_error = json.get("error").is_none_or(is_blank);
        let json = if self.is_error && lacks_error { serde_json::json!({ "error": json }) } else { json };
        Document { json, has_markers, is_body }
    }
}

fn parse(text: &str) -> Option<Document> {
    let marked = surrogates::mark(text);
    let json = serde_json::from_str(&marked.text).ok()?;
    Some(Document { json, has_markers: marked.has_markers, is_body: false })
}

fn read_documents(bytes: &[u8], events: &mut VecDeque<Event>) -> Result<(), ModelError> {
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("the answer is not UTF-8"))?;
    let marked = surrogates::mark(text);
    let values = serde_json::Deserializer::from_str(&marked.text).into_iter::<Json>();
    let mut documents = Vec::new();
    let mut read = Ok(());
    for value in values {
        match value {
            Ok(json) => documents.push(json),
            Err(_) => {
                read = Err(malformed("the answer is not valid JSON"));
                break;
            }
        }
    }
    let is_body = read.is_ok() && documents.len() == 1;
    let has_markers = marked.has_markers;
    events.extend(documents.into_iter().map(|json| Event::Document(Document { json, has_markers, is_body })));
    read
}

pub(super) fn malformed(message: impl Into<String>) -> ModelError {
    ModelError::MalformedResponse { message: message.into() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The documents of a response that arrives in pieces of this size; `"done"` is the mark of the end.
    fn read(text: &str, size: usize) -> Result<Vec<Json>, ModelError> {
        let mut reader = EventReader::new(1);
        let mut events = VecDeque::new();
        for piece in text.as_bytes().chunks(size) {
            reader.push(piece, &mut events)?;
        }
        reader.finish(&mut events)?;
        let json = |event| match event {
            Event::Document(document) => document.json,
            Event::Done => json!("done"),
        };
        Ok(events.into_iter().map(json).collect())
    }

    #[test]
    fn every_framing_is_read_however_it_is_cut() {
        let (one, two) = (json!({ "a": "ünï\u{1F4C8}" }), json!({ "b": 2 }));
        let texts = [
            format!("data: {one}\n\ndata: {two}\n\ndata: [DONE]\n\n"),
            format!("\u{feff}: comment\r\n\r\ndata:{one}\r\n\r\nevent: x\r\ndata: {two}\r\ndata: [DONE]"),
            format!("data: {one}\r\rdata: {two}\r\rdata: [DONE]\r\r"),
            format!("id: 1\ndata: {one}\ndata: {two}\ndata:   [DONE]\n"),
            format!(": processing\n\n{one}\n{two}\n\ndata: [DONE]\n\n"),
            format!("data: {{\ndata: \"a\": \"ünï\u{1F4C8}\"}}\n\ndata: {two}\n\ndata: [DONE]\n\n"),
        ];
        for text in texts {
            for size in [1, 2, 3, 7, 1_000] {
                assert_eq!(read(&text, size).unwrap(), [one.clone(), two.clone(), json!("done")], "{size} {text:?}");
            }
        }
        for text in [format!(" {one}\n"), format!("{one}{two}"), format!("{one}\n{two}\n"), format!("[{one}]")] {
            let documents = read(&text, 5).unwrap();
            assert!(documents[0] == one || documents[0] == json!([one]), "{text:?}");
        }
    }

    #[test]
    fn an_error_in_a_field_of_its_own_is_a_document() {
        let text = "error: {\"code\": 400, \"message\": \"too long\"}\n\n";
        assert_eq!(read(text, 9).unwrap(), [json!({ "error": { "code": 400, "message": "too long" } })]);
    }

    #[test]
    fn whatever_an_event_named_error_has_is_a_failure() {
        for (data, error) in [
            ("{\"message\": \"too long\"}", json!({ "message": "too long" })),
            ("{\"message\": \"too long\", \"error\": null}", json!({ "message": "too long", "error": null })),
            ("upstream timed out", json!("upstream timed out")),
        ] {
            let text = format!("data: {{\"a\": 1}}\n\nevent: error\ndata: {data}\n\ndata: {{\"b\": 2}}\n\n");
            let expected = [json!({ "a": 1 }), json!({ "error": error }), json!({ "b": 2 })];
            assert_eq!(read(&text, 9).unwrap(), expected, "{data}");
        }
        let own = "event: error\ndata: {\"error\": {\"message\": \"x\"}}\n\n";
        assert_eq!(read(own, 9).unwrap(), [json!({ "error": { "message": "x" } })]);
    }

    #[test]
    fn garbage_and_an_incomplete_event_are_errors() {
        for text in ["data: not json\n\n", "data: {\"a\":", "{\"a\":", "data: \u{0}\n\n"] {
            assert!(matches!(read(text, 4), Err(ModelError::MalformedResponse { .. })), "{text:?}");
        }
        assert!(read("data: \u{e4}\n\n", 100).is_err());
        assert_eq!(read("<html>proxy</html>\n\n", 4).unwrap(), Vec::<Json>::new());
        let mut reader = EventReader::new(1);
        let result = reader.push(&vec![b'x'; 1 << 21], &mut VecDeque::new());
        assert!(matches!(result, Err(ModelError::MalformedResponse { message }) if message.contains("bytes")));
    }
}
