//! Snapshots of every type that crosses a process boundary: one value of each type, which must
//! survive a round trip, and the JSON Schema of each document with all its variants.
//!
//! A changed snapshot means a new protocol version, or a field that older readers may lack.

#![expect(clippy::expect_used, reason = "a test fails by panicking, and so may what it calls")]

mod conversations;
mod frozen;
mod records;
mod requests;
mod samples;

use std::fmt::Debug;

use greenroom_protocol::subject::body::{InvokeBody, StartRunBody, StartTeamBody, UploadBody, WatchBody};
use greenroom_protocol::{Envelope, Frame, Json, Reply, audit, conversation, event, journal};
use schemars::{JsonSchema, schema_for};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Compares the values' JSON with the snapshot, and reads each of them back.
fn assert_written<T: Serialize + DeserializeOwned + PartialEq + Debug>(name: &str, values: &[T]) {
    for value in values {
        let text = serde_json::to_string(value).expect("it can be written");
        let read: T = serde_json::from_str(&text).expect("it can be read back");
        assert_eq!(&read, value, "{name} does not survive its JSON");
    }
    sorted(|| insta::assert_json_snapshot!(name, values));
}

/// Members of a map in the order of their names, whatever map this build of serde_json has; the fields
/// of a struct keep their order, which the hash of an audit record covers.
fn sorted(compare: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    settings.bind(compare);
}

/// The shape of a document, without the sentences that describe it.
fn shape<T: JsonSchema>(name: &str) {
    let mut schema = schema_for!(T).to_value();
    without_descriptions(&mut schema);
    sorted(|| insta::assert_json_snapshot!(format!("shape_{name}"), schema));
}

fn without_descriptions(schema: &mut Json) {
    match schema {
        Json::Object(members) => {
            // A property may be called `description`; a schema description is a string.
            if members.get("description").is_some_and(Json::is_string) {
                members.remove("description");
            }
            members.values_mut().for_each(without_descriptions);
        }
        Json::Array(items) => items.iter_mut().for_each(without_descriptions),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

#[test]
fn the_documents_keep_their_shape() {
    shape::<Envelope>("envelope");
    shape::<Reply>("reply");
    shape::<event::RunEvent>("run_event");
    shape::<Frame>("frame");
    shape::<InvokeBody<'_>>("body_of_invoke");
    shape::<StartRunBody<'_>>("body_of_start_run");
    shape::<StartTeamBody<'_>>("body_of_start_team");
    shape::<WatchBody>("body_of_watch");
    shape::<UploadBody>("body_of_upload");
    shape::<journal::Entry>("journal_entry");
    shape::<audit::Record>("audit_record");
    shape::<conversation::SuspendedConversation>("suspended_conversation");
}
