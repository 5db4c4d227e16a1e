//! What the body of a message becomes, and what a client sends for a request.

use std::borrow::Cow;

use serde::Serialize;

use super::body::{EmptyBody, InvokeBody, StartRunBody, StartTeamBody, UploadBody, WatchBody};
use super::{CatalogueEntry, CatalogueKind, IngressSubject, RunVerb, Subjects};
use crate::envelope::Envelope;
use crate::error::{Cause, ErrorCode};
use crate::event_number::EventNumber;
use crate::id::RunId;
use crate::limits::{NAME_BYTES_MAX, PROTOCOL_VERSION};
use crate::peek::{self, Document, Reading, check_members};
use crate::request::{Invoke, Query, Request, ResumeRun, Signal, SignalRun, StartRun, StartTeam};

/// What a message requests.
///
/// A `Send` has the version of its sender, and its envelope is joined with the headers by
/// [`crate::Received::from_message`].
#[derive(Debug, Clone, PartialEq)]
pub enum SubjectRequest {
    /// One reply to a request. Except on the subject of whole envelopes, the envelope has nothing but the request.
    Send(Box<Envelope>),
    /// The events of a run, as frames.
    Watch {
        /// The run.
        run: RunId,
        /// The number of the last event that the caller received; 0 means none.
        after: EventNumber,
    },
    /// An artifact, which arrives in chunks.
    Upload {
        /// The file name; not a path.
        name: String,
        /// The media type.
        media_type: String,
    },
}

impl IngressSubject {
    /// Reads the body of a message with this subject. `version` is that of the sender, from its header; an envelope has
    /// its own.
    ///
    /// # Errors
    /// [`ErrorCode::PayloadTooLarge`], before parsing; [`ErrorCode::InvalidRequest`] if the body is not what the subject
    /// has, or has a version that cannot be read.
    pub fn into_request(self, body: &[u8], version: u16) -> Result<SubjectRequest, Cause> {
        let reading = Reading::for_version(version)?;
        let request = match self {
            Self::Requests => return whole_envelope(body, version),
            Self::ArtifactUpload => {
                let UploadBody { name, media_type } = peek::read(body, reading)?;
                check_upload(&name, &media_type)?;
                return Ok(SubjectRequest::Upload { name, media_type });
            }
            Self::Run { run, verb: RunVerb::Events } => {
                let WatchBody { after } = read_optional(body, reading)?;
                return Ok(SubjectRequest::Watch { run, after });
            }
            Self::Agent(agent) => {
                let InvokeBody { inputs, context, options } = peek::read(body, reading)?;
                let (inputs, context, options) = (inputs.into_owned(), context.into_owned(), options.into_owned());
                Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options, approvals: None })
            }
            Self::Workflow(workflow) => {
                let StartRunBody { inputs, context, options, detach } = read_optional(body, reading)?;
                let (inputs, context, options) = (inputs.into_owned(), context.into_owned(), options.into_owned());
                Request::StartRun(StartRun { workflow, inputs, context, version: None, detach, key: None, options })
            }
            Self::Teams => Request::StartTeam(start_team(peek::read(body, reading)?)),
            Self::Run { run, verb: RunVerb::Signal } => {
                let signal: Signal = peek::read(body, reading)?;
                if reading == Reading::Strict {
                    // serde ignores the members of a signal that has none.
                    check_members::<Signal>(body)?;
                }
                Request::SignalRun(SignalRun { run, signal })
            }
            Self::Run { run, verb: RunVerb::Get } => without_body(body, reading, Request::Query(Query::Run { run }))?,
            Self::Run { run, verb: RunVerb::Cancel } => {
                without_body(body, reading, Request::SignalRun(SignalRun { run, signal: Signal::Cancel }))?
            }
            Self::Run { run, verb: RunVerb::Resume } => {
                without_body(body, reading, Request::ResumeRun(ResumeRun { run, dead: false }))?
            }
            Self::CatalogueList(kind) => without_body(body, reading, Request::Query(list(kind)))?,
            Self::CatalogueEntry(entry) => without_body(body, reading, Request::Query(describe(entry)))?,
        };
        Ok(SubjectRequest::Send(Box::new(Envelope { version, ..Envelope::new(request) })))
    }
}

impl Subjects {
    /// The subject and the body of a client's request: the subject of its kind if the body of that subject can express
    /// the request, else an envelope with nothing but the request. Headers have everything else.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if the request cannot be written as JSON.
    pub fn of_request(&self, request: &Request) -> Result<(String, Vec<u8>), Cause> {
        match request {
            Request::Invoke(Invoke { agent, inputs, context, version: None, key: None, options, approvals: None }) => {
                let (inputs, context) = (Cow::Borrowed(inputs), Cow::Borrowed(context));
                let body = InvokeBody { inputs, context, options: Cow::Borrowed(options) };
                Ok((self.agent(agent), to_json(&body)?))
            }
            Request::StartRun(StartRun { workflow, inputs, context, version: None, detach, key: None, options }) => {
                let (inputs, context) = (Cow::Borrowed(inputs), Cow::Borrowed(context));
                let body = StartRunBody { inputs, context, options: Cow::Borrowed(options), detach: *detach };
                Ok((self.workflow(workflow), to_json(&body)?))
            }
            Request::StartTeam(start) if start.has_only_outer_members() => {
                Ok((self.teams(), to_json(&start_team_body(start))?))
            }
            Request::SignalRun(SignalRun { run, signal: Signal::Cancel }) => {
                Ok((self.run(run, RunVerb::Cancel), Vec::new()))
            }
            Request::SignalRun(SignalRun { run, signal }) => Ok((self.run(run, RunVerb::Signal), to_json(signal)?)),
            Request::ResumeRun(ResumeRun { run, dead: false }) => Ok((self.run(run, RunVerb::Resume), Vec::new())),
            Request::Query(query) => match self.of_query(query) {
                Some(subject) => Ok((subject, Vec::new())),
                None => self.of_envelope(request),
            },
            Request::Invoke(_)
            | Request::StartRun(_)
            | Request::StartTeam(_)
            | Request::ResumeRun(_)
            | Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Maintain(_) => self.of_envelope(request),
        }
    }

    /// The subject and the body that watch a run after an event.
    ///
    /// # Errors
    /// As [`Subjects::of_request`].
    pub fn of_watch(&self, run: &RunId, after: EventNumber) -> Result<(String, Vec<u8>), Cause> {
        Ok((self.run(run, RunVerb::Events), to_json(&WatchBody { after })?))
    }

    /// The subject and the body that open the upload of an artifact.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if a pod would reject the name or the media type.
    pub fn of_upload(&self, name: &str, media_type: &str) -> Result<(String, Vec<u8>), Cause> {
        check_upload(name, media_type)?;
        let body = UploadBody { name: name.to_owned(), media_type: media_type.to_owned() };
        Ok((self.artifact_upload(), to_json(&body)?))
    }

    fn of_query(&self, query: &Query) -> Option<String> {
        Some(match query {
            Query::Agents => self.catalogue_list(CatalogueKind::Agents),
            Query::Workflows => self.catalogue_list(CatalogueKind::Workflows),
            Query::Teams => self.catalogue_list(CatalogueKind::Teams),
            Query::Agent { id } => self.catalogue_entry(&CatalogueEntry::Agent(id.clone())),
            Query::Workflow { id } => self.catalogue_entry(&CatalogueEntry::Workflow(id.clone())),
            Query::Team { id } => self.catalogue_entry(&CatalogueEntry::Team(id.clone())),
            Query::Run { run } => self.run(run, RunVerb::Get),
            Query::Runs { .. }
            | Query::Events { .. }
            | Query::Audit { .. }
            | Query::AuditEntry { .. }
            | Query::Artifact { .. }
            | Query::Costs { .. } => return None,
        })
    }

    fn of_envelope(&self, request: &Request) -> Result<(String, Vec<u8>), Cause> {
        /// An envelope that borrows its request, because inputs may be large.
        #[derive(Serialize)]
        struct BorrowedEnvelope<'a> {
            version: u16,
            request: &'a Request,
        }
        Ok((self.requests(), to_json(&BorrowedEnvelope { version: PROTOCOL_VERSION, request })?))
    }
}

/// Reads an envelope. The header of its message has the same version, or none, which stands for that of this release.
fn whole_envelope(body: &[u8], version: u16) -> Result<SubjectRequest, Cause> {
    let envelope = Envelope::decode(body)?;
    if version != PROTOCOL_VERSION && version != envelope.version {
        let message = format!("the header has protocol version {version}, the envelope {}: send one", envelope.version);
        return Err(Cause::new(ErrorCode::InvalidRequest, message));
    }
    Ok(SubjectRequest::Send(Box::new(envelope)))
}

impl StartTeam {
    /// True if it has no member that only the platform sets.
    const fn has_only_outer_members(&self) -> bool {
        self.version.is_none() && self.workflow_version.is_none() && self.key.is_none()
    }
}

fn start_team(body: StartTeamBody<'_>) -> StartTeam {
    StartTeam {
        team: body.team.into_owned(),
        workflow: body.workflow.into_owned(),
        inputs: body.inputs.into_owned(),
        context: body.context.into_owned(),
        version: None,
        workflow_version: None,
        detach: body.detach,
        key: None,
        options: body.options.into_owned(),
    }
}

fn start_team_body(start: &StartTeam) -> StartTeamBody<'_> {
    StartTeamBody {
        team: Cow::Borrowed(&start.team),
        workflow: Cow::Borrowed(&start.workflow),
        inputs: Cow::Borrowed(&start.inputs),
        context: Cow::Borrowed(&start.context),
        options: Cow::Borrowed(&start.options),
        detach: start.detach,
    }
}

const fn list(kind: CatalogueKind) -> Query {
    match kind {
        CatalogueKind::Agents => Query::Agents,
        CatalogueKind::Workflows => Query::Workflows,
        CatalogueKind::Teams => Query::Teams,
    }
}

fn describe(entry: CatalogueEntry) -> Query {
    match entry {
        CatalogueEntry::Agent(id) => Query::Agent { id },
        CatalogueEntry::Workflow(id) => Query::Workflow { id },
        CatalogueEntry::Team(id) => Query::Team { id },
    }
}

/// Reads a body of which every member is optional: no bytes are an object without members.
fn read_optional<T: Document>(body: &[u8], reading: Reading) -> Result<T, Cause> {
    peek::read(if body.is_empty() { b"{}" } else { body }, reading)
}

fn without_body(body: &[u8], reading: Reading, request: Request) -> Result<Request, Cause> {
    read_optional::<EmptyBody>(body, reading).map(|EmptyBody {}| request)
}

fn check_upload(name: &str, media_type: &str) -> Result<(), Cause> {
    for (member, text) in [("name", name), ("media_type", media_type)] {
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.contains(char::is_control) {
            let message = format!("`{member}` has 1 to {NAME_BYTES_MAX} bytes, and no control characters");
            return Err(Cause::new(ErrorCode::InvalidRequest, message));
        }
    }
    if name.contains(['/', '\\']) || matches!(name, "." | "..") {
        return Err(Cause::new(ErrorCode::InvalidRequest, "`name` is the name of a file, not a path"));
    }
    Ok(())
}

fn to_json(body: &impl Serialize) -> Result<Vec<u8>, Cause> {
    serde_json::to_vec(body)
        .map_err(|error| Cause::new(ErrorCode::InvalidRequest, format!("the request cannot be written: {error}")))
}
