//! An event that is published to a run. Its delivery and its order are decided by the run's machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Cause, ErrorCode};
use crate::id::EventName;
use crate::limits::EVENT_DATA_BYTES_MAX;
use crate::value::Json;

/// An event that is published to a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublishedEvent {
    /// Its name, for which steps wait.
    pub name: EventName,
    /// Its data, which become the output `value` of the step that waits for it.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub data: Json,
}

impl PublishedEvent {
    /// Checks the size of the data.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`] above [`EVENT_DATA_BYTES_MAX`].
    pub fn check_size(&self) -> Result<(), Cause> {
        let bytes = self.data.to_string().len();
        if bytes <= EVENT_DATA_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the data of the event `{}` have {bytes} bytes, at most {EVENT_DATA_BYTES_MAX} are allowed; upload them \
             as an artifact, and publish the reference",
            self.name
        );
        Err(Cause::new(ErrorCode::PayloadTooLarge, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Request, Signal};

    fn published(data: Json) -> Request {
        let event = serde_json::json!({
            "verb": "signal_run", "run": "run_1", "signal": "event", "name": "paid", "data": data,
        });
        Request::from_json(event).unwrap_or_else(|cause| panic!("{cause}"))
    }

    #[test]
    fn an_event_is_a_signal_with_a_name_and_data() {
        let Request::SignalRun(signal) = published(serde_json::json!({ "amount": 3 })) else { panic!("a signal") };
        let Signal::Event(event) = signal.signal else { panic!("an event") };
        assert_eq!((event.name.as_str(), &event.data["amount"]), ("paid", &serde_json::json!(3)));
    }

    #[test]
    fn the_data_of_an_event_are_bounded() {
        let fits = published(Json::String("x".repeat(EVENT_DATA_BYTES_MAX - 2)));
        assert_eq!(fits.check_outside(), Ok(()));
        let exceeds = published(Json::String("x".repeat(EVENT_DATA_BYTES_MAX - 1)));
        assert_eq!(exceeds.check_outside().map_err(|cause| cause.code), Err(ErrorCode::PayloadTooLarge));
    }
}
