//! Server-sent events as frames: the parser of a stream, and the meaning of each event of a bridge.

use greenroom_protocol::event::RunEvent;
use greenroom_protocol::journal::StepKey;
use greenroom_protocol::limits::{ENVELOPE_BYTES_MAX, PROTOCOL_VERSION};
use greenroom_protocol::{Frame, FrameId, PodId, Reply, RunId};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem;
use crate::framed::random::now;
use crate::transport::TransportError;

/// Bytes of one event.
const EVENT_BYTES_MAX: usize = 2 * ENVELOPE_BYTES_MAX;

/// Reads a stream of events, and numbers its frames.
#[derive(Default)]
pub(super) struct EventReader {
    /// The bytes of a line that is not complete.
    line: Vec<u8>,
    /// The type of the event that is not complete, and its data.
    name: String,
    data: String,
    /// The number of the journal entry of the newest event of a run.
    seq: u64,
    /// The number of the newest frame.
    number: u64,
}

#[derive(Deserialize)]
struct Accepted {
    pod: PodId,
    run: Option<RunId>,
}

#[derive(Deserialize)]
struct Delta {
    text: String,
    /// The position and the step of a text of a run.
    #[serde(default)]
    id: Option<FrameId>,
    #[serde(default)]
    step: Option<StepKey>,
}

#[derive(Deserialize)]
struct Restarted {
    #[serde(default)]
    id: Option<FrameId>,
    #[serde(default)]
    step: Option<StepKey>,
}

impl EventReader {
    /// The frames that these bytes complete.
    ///
    /// # Errors
    /// [`TransportError::InvalidResponse`] if an event is too large, or is not what a bridge sends.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, TransportError> {
        let mut frames = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.line);
                    frames.extend(self.on_line(&String::from_utf8_lossy(&line))?);
                }
                // A line may end with both.
                b'\r' => {}
                _ if self.line.len().saturating_add(self.data.len()) >= EVENT_BYTES_MAX => {
                    return Err(invalid(format!("an event has more than {EVENT_BYTES_MAX} bytes")));
                }
                _ => self.line.push(*byte),
            }
        }
        Ok(frames)
    }

    fn on_line(&mut self, line: &str) -> Result<Option<Frame>, TransportError> {
        if line.is_empty() {
            let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
            return if name.is_empty() { Ok(None) } else { self.on_event(&name, &data).map(Some) };
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // A comment: the bridge works.
            "" => return Ok(Some(Frame::Working { at: now() })),
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push_str(value),
            // The number of an event is in its data, too.
            _ => {}
        }
        Ok(None)
    }

    fn on_event(&mut self, name: &str, data: &str) -> Result<Frame, TransportError> {
        self.number = self.number.saturating_add(1);
        let id = FrameId { fence: 0, seq: self.seq, n: self.number };
        Ok(match name {
            "accepted" => {
                let Accepted { pod, run } = decode(data)?;
                Frame::Accepted { pod, run, version: PROTOCOL_VERSION }
            }
            "delta" => {
                let Delta { text, id: position, step } = decode(data)?;
                Frame::Delta { id: position.unwrap_or(id), step, text }
            }
            "restarted" => {
                let Restarted { id: position, step } = decode(data)?;
                Frame::Restarted { id: position.unwrap_or(id), step }
            }
            "reply" => Frame::Reply { reply: Box::new(decode::<Reply>(data)?) },
            "error" => problem::frame_of(data.as_bytes())?,
            _ => {
                let event: RunEvent = decode(data)?;
                self.seq = event.seq;
                Frame::Event { id: FrameId { seq: event.seq, n: event.n.into(), ..id }, event }
            }
        })
    }
}

fn decode<T: DeserializeOwned>(data: &str) -> Result<T, TransportError> {
    serde_json::from_str(data).map_err(|error| invalid(error.to_string()))
}

fn invalid(reason: String) -> TransportError {
    TransportError::InvalidResponse { reason }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::ErrorCode;

    use super::*;

    const EVENT: &str = r#"{"run":"run_1","seq":7,"at":"2026-01-01T00:00:00Z","event":"run_started","steps":1}"#;

    fn read(reader: &mut EventReader, text: &str) -> Vec<Frame> {
        reader.read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_stream_is_read_whatever_the_parts_in_which_it_arrives() {
        let text = format!(
            "retry: 1000\n\nid: 7\nevent: run_started\ndata: {EVENT}\n\n: working\n\nevent: delta\r\ndata: {{\"text\":\"a\"}}\r\n\r\n"
        );
        let whole = read(&mut EventReader::default(), &text);
        let mut reader = EventReader::default();
        let parts: Vec<Frame> = text.as_bytes().chunks(3).flat_map(|part| reader.read(part).unwrap()).collect();
        for frames in [whole, parts] {
            assert!(matches!(&frames[0], Frame::Event { event, .. } if event.seq == 7), "{frames:?}");
            assert!(matches!(&frames[1], Frame::Working { .. }), "{frames:?}");
            assert!(matches!(&frames[2], Frame::Delta { text, id, .. } if text == "a" && id.seq == 7), "{frames:?}");
            assert_eq!(frames.len(), 3);
        }
    }

    #[test]
    fn later_texts_have_later_positions_and_an_error_is_a_refusal() {
        let mut reader = EventReader::default();
        let delta = "event: delta\ndata: {\"text\":\"a\"}\n\n";
        let frames = read(&mut reader, &delta.repeat(2));
        assert!(frames[0].id() < frames[1].id());
        let error = "event: error\ndata: {\"detail\":\"no\",\"code\":\"unknown_run\"}\n\n";
        let frames = read(&mut reader, error);
        assert!(matches!(&frames[0], Frame::Refused { cause } if cause.code == ErrorCode::UnknownRun), "{frames:?}");
        assert!(reader.read(b"event: delta\ndata: no json\n\n").is_err());
    }
}
