//! A reply that is larger than RunPod takes: its largest outputs become artifacts, one after the other, and the result refers to
//! them.

use greenroom_client::{Client, Error};
use greenroom_protocol::{ArtifactRef, Cause, ErrorCode, Json, Reply, Values};

/// Bytes of a result beside its reply: the cost and the braces.
const RESULT_OVERHEAD_BYTES: usize = 4_096;
/// Smaller outputs remain: a reference is as large.
const ARTIFACT_BYTES_MIN: usize = 1_024;

/// Replaces outputs of a reply by references until its document has at most this many bytes.
///
/// # Errors
/// [`ErrorCode::PayloadTooLarge`] if that is not enough, or no artifact can be stored.
pub(super) async fn fit_outputs(client: &Client, reply: &mut Reply, bytes_max: usize) -> Result<(), Cause> {
    let bytes_max = bytes_max.saturating_sub(RESULT_OVERHEAD_BYTES);
    loop {
        let bytes = serde_json::to_vec(reply).map_or(0, |document| document.len());
        if bytes <= bytes_max {
            return Ok(());
        }
        let Some((name, content)) = largest_output(&reply.outputs) else {
            return Err(too_large(bytes, bytes_max, "no output can be stored as an artifact"));
        };
        let (media_type, extension) = match reply.outputs.get(&name) {
            Some(Json::String(_)) => ("text/plain", "txt"),
            _ => ("application/json", "json"),
        };
        let artifact = client.upload(format!("output.{extension}"), media_type, content).await;
        let artifact = artifact.map_err(|error| match error {
            Error::Refused(cause) => too_large(bytes, bytes_max, &cause.message),
            error @ (Error::Transport(_) | Error::Decode(_)) => too_large(bytes, bytes_max, &error.to_string()),
        })?;
        reply.outputs.insert(name, artifact.to_json());
    }
}

/// The largest output that is no artifact and not small, with its content.
fn largest_output(outputs: &Values) -> Option<(String, Vec<u8>)> {
    let others = outputs.iter().filter(|(_, value)| ArtifactRef::from_json(value).is_none());
    let contents = others.filter_map(|(name, value)| {
        let content = match value {
            Json::String(text) => text.clone().into_bytes(),
            value => serde_json::to_vec(value).ok()?,
        };
        Some((name.clone(), content))
    });
    contents.max_by_key(|(_, content)| content.len()).filter(|(_, content)| content.len() >= ARTIFACT_BYTES_MIN)
}

fn too_large(bytes: usize, bytes_max: usize, reason: &str) -> Cause {
    let message = format!("the reply has {bytes} bytes, and RunPod takes at most {bytes_max}: {reason}");
    Cause::new(ErrorCode::PayloadTooLarge, message)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use futures::StreamExt;
    use greenroom_client::{Events, Transport, TransportError, Upload};
    use greenroom_protocol::event::{EventNumber, WatchedRun};
    use greenroom_protocol::{ContentHash, Envelope, Metadata, Status, WrittenVersion};
    use serde_json::json;

    use super::{ArtifactRef, Client, ErrorCode, Json, Reply, fit_outputs};

    /// Stores what is uploaded, if it may.
    struct Store {
        is_open: bool,
        uploads: Mutex<Vec<Upload>>,
    }

    #[async_trait]
    impl Transport for Store {
        async fn send(&self, _: Envelope) -> Result<Reply, TransportError> {
            Err(TransportError::ConnectionLost)
        }

        fn watch(&self, _: &WatchedRun, _: EventNumber) -> Events {
            futures::stream::empty().boxed()
        }

        async fn upload(&self, upload: Upload) -> Result<ArtifactRef, TransportError> {
            if !self.is_open {
                return Err(TransportError::ConnectionLost);
            }
            let reference = ArtifactRef {
                hash: ContentHash::from_content(&upload.content),
                bytes: upload.content.len() as u64,
                media_type: upload.media_type.clone(),
                name: upload.name.clone(),
            };
            self.uploads.lock().unwrap().push(upload);
            Ok(reference)
        }
    }

    fn reply(outputs: &Json) -> Reply {
        let outputs = serde_json::from_value(outputs.clone()).unwrap();
        let (metadata, protocol_version) = (Metadata::default(), WrittenVersion::OWN);
        Reply { id: "req_1".into(), status: Status::Success, outputs, error: None, metadata, protocol_version }
    }

    #[tokio::test]
    async fn the_largest_outputs_of_a_large_reply_become_artifacts() {
        let store = Arc::new(Store { is_open: true, uploads: Mutex::default() });
        let client = Client::new(store.clone());
        let outputs = json!({ "list": vec!["y".repeat(100); 200], "text": "x".repeat(30_000), "count": 3 });
        let mut small = reply(&json!({ "text": "x" }));
        fit_outputs(&client, &mut small, 100_000).await.unwrap();
        assert!(store.uploads.lock().unwrap().is_empty());
        let mut large = reply(&outputs);
        fit_outputs(&client, &mut large, 30_000).await.unwrap();
        let names: Vec<String> = store.uploads.lock().unwrap().iter().map(|upload| upload.name.clone()).collect();
        assert_eq!(names, ["output.txt"]);
        assert!(ArtifactRef::from_json(&large.outputs["text"]).is_some());
        assert_eq!((&large.outputs["list"], &large.outputs["count"]), (&outputs["list"], &outputs["count"]));
    }

    #[tokio::test]
    async fn a_reply_that_cannot_become_smaller_is_refused() {
        let closed = Client::new(Arc::new(Store { is_open: false, uploads: Mutex::default() }));
        let cause = fit_outputs(&closed, &mut reply(&json!({ "text": "x".repeat(30_000) })), 9_000).await.unwrap_err();
        assert_eq!(cause.code, ErrorCode::PayloadTooLarge);
        let open = Client::new(Arc::new(Store { is_open: true, uploads: Mutex::default() }));
        let many: serde_json::Map<String, Json> = (0..90).map(|n| (format!("o{n}"), "x".repeat(500).into())).collect();
        let cause = fit_outputs(&open, &mut reply(&Json::Object(many)), 9_000).await.unwrap_err();
        assert!(cause.message.contains("no output can be stored"), "{}", cause.message);
    }
}
