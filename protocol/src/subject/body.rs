//! The bodies of messages to the subjects that name an agent, a workflow, a team, a run or an upload. They have no member
//! that only the platform sets: a version, or a key of a call.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::envelope::Envelope;
use crate::event_number::EventNumber;
use crate::id::WorkflowId;
use crate::peek::{Document as _, document};
use crate::request::{CallOptions, Signal, TeamRef};
use crate::value::{Json, Values};

/// The body of `agents.<agent>.execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvokeBody<'a> {
    /// The inputs of the agent, by name.
    pub inputs: Cow<'a, Values>,
    /// The context, by name; a prompt may use it.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub context: Cow<'a, Values>,
    /// Overrides of the definition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Cow<'a, CallOptions>,
}

/// The body of `workflows.<workflow>.run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartRunBody<'a> {
    /// The inputs of the run, by name.
    #[serde(default)]
    pub inputs: Cow<'a, Values>,
    /// The context of the run, by name.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub context: Cow<'a, Values>,
    /// Overrides of the definition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Cow<'a, CallOptions>,
    /// Reply when the run is accepted instead of when it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
}

/// The body of `teams.execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTeamBody<'a> {
    /// The team.
    pub team: Cow<'a, TeamRef>,
    /// The workflow; one of the team's, if the team lists any.
    pub workflow: Cow<'a, WorkflowId>,
    /// The inputs of the run, by name.
    #[serde(default)]
    pub inputs: Cow<'a, Values>,
    /// Added to the team's `shared_context`, by name.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub context: Cow<'a, Values>,
    /// Overrides of the definition.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: Cow<'a, CallOptions>,
    /// Reply when the run is accepted instead of when it has ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub detach: bool,
}

/// The body of `runs.<run>.events`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WatchBody {
    /// The number of the last event that the caller received; 0 means none.
    #[serde(default)]
    pub after: EventNumber,
}

/// The body of `artifacts.upload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UploadBody {
    /// The file name; never a path.
    pub name: String,
    /// The media type, such as `text/csv`.
    pub media_type: String,
}

/// The body of a message whose subject says everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyBody {}

document!(InvokeBody<'_>, StartRunBody<'_>, StartTeamBody<'_>, WatchBody, UploadBody, EmptyBody, Signal);

/// The JSON Schema of the bodies of an endpoint (see [`super::Subjects::endpoints`]); `None` for another name.
#[must_use]
pub fn request_schema(endpoint: &str) -> Option<&'static Json> {
    Some(match endpoint {
        "agents_execute" => InvokeBody::schema(),
        "workflows_run" => StartRunBody::schema(),
        "teams_execute" => StartTeamBody::schema(),
        "runs_signal" => Signal::schema(),
        "runs_events" => WatchBody::schema(),
        "requests" => Envelope::schema(),
        "artifacts_upload" => UploadBody::schema(),
        "runs_get"
        | "runs_cancel"
        | "runs_resume"
        | "catalogue_agents_list"
        | "catalogue_workflows_list"
        | "catalogue_teams_list"
        | "catalogue_agents_get"
        | "catalogue_workflows_get"
        | "catalogue_teams_get" => EmptyBody::schema(),
        _ => return None,
    })
}

fn is_empty(values: &Values) -> bool {
    values.is_empty()
}

fn is_default(options: &CallOptions) -> bool {
    *options == CallOptions::default()
}
