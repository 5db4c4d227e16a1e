//! The endpoints of the service: the subjects that a pod subscribes to, with the JSON Schemas of what they take and return,
//! for those who discover the service.

use std::collections::BTreeMap;

use greenroom_protocol::peek::Document;
use greenroom_protocol::request::Signal;
use greenroom_protocol::subject::body::{EmptyBody, InvokeBody, StartRunBody, StartTeamBody, UploadBody, WatchBody};
use greenroom_protocol::{Envelope, Frame, Json, Reply, Subjects};

/// The name of the endpoint of watches.
pub(super) const WATCH: &str = "runs_events";
/// The name of the endpoint of uploads.
const UPLOAD: &str = "artifacts_upload";

/// What the messages of an endpoint are counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointKind {
    /// Requests.
    Request,
    /// Watches of runs.
    Watch,
    /// Uploads of artifacts.
    Upload,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    pub(super) name: &'static str,
    /// The pattern of its subjects.
    pub(super) subject: String,
    pub(super) kind: EndpointKind,
    pub(super) metadata: BTreeMap<&'static str, String>,
}

/// The endpoints with these subjects.
pub(super) fn endpoints(subjects: &Subjects) -> Vec<Endpoint> {
    let response = schemars::schema_for!(Reply).to_value();
    let frames = schemars::schema_for!(Frame).to_value();
    let opened = serde_json::json!({
        "type": "object", "properties": { "subject": { "type": "string" } }, "required": ["subject"],
    });
    let all = subjects.endpoints().into_iter();
    all.map(|(name, subject)| {
        let (kind, response) = match name {
            WATCH => (EndpointKind::Watch, &frames),
            UPLOAD => (EndpointKind::Upload, &opened),
            _ => (EndpointKind::Request, &response),
        };
        let metadata = BTreeMap::from([
            ("request_schema", request_schema(name).to_string()),
            ("response_schema", response.to_string()),
        ]);
        Endpoint { name, subject, kind, metadata }
    })
    .collect()
}

/// The schema of the body of a message.
fn request_schema(name: &str) -> &'static Json {
    match name {
        "agents_execute" => InvokeBody::schema(),
        "workflows_run" => StartRunBody::schema(),
        "teams_execute" => StartTeamBody::schema(),
        "runs_signal" => Signal::schema(),
        "requests" => Envelope::schema(),
        WATCH => WatchBody::schema(),
        UPLOAD => UploadBody::schema(),
        _ => EmptyBody::schema(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_has_schemas_and_there_is_one_of_watches_and_one_of_uploads() {
        let endpoints = endpoints(&Subjects::new("p").unwrap());
        let count = |kind| endpoints.iter().filter(|endpoint| endpoint.kind == kind).count();
        assert_eq!((count(EndpointKind::Watch), count(EndpointKind::Upload)), (1, 1));
        for endpoint in &endpoints {
            for schema in ["request_schema", "response_schema"] {
                let text = endpoint.metadata.get(schema).unwrap();
                assert!(serde_json::from_str::<Json>(text).unwrap().is_object(), "{}: {text}", endpoint.name);
            }
        }
        let open = endpoints.iter().filter(|endpoint| endpoint.metadata["request_schema"].contains("\"properties\""));
        assert!(open.count() >= 6, "bodies have members");
    }
}
