//! The NATS subjects by which a pod is used: how they are built, and how the subject of a message is read.
//!
//! Every subject begins with the prefix of the cluster. Requests arrive below `<prefix>.v1`, the cluster's own messages
//! below `<prefix>.internal`. What a body becomes is in [`request`]; headers are in [`crate::header`].

use std::str::FromStr;

use crate::error::{Cause, ErrorCode};
use crate::id::{AgentId, IdError, PodId, RunId, TeamId, WorkflowId};
use crate::limits::{SUBJECT_BYTES_MAX, SUBJECT_PREFIX_BYTES_MAX};

pub mod body;
pub mod request;

pub use request::SubjectRequest;

/// The prefix of a cluster without a setting for it.
pub const DEFAULT_PREFIX: &str = "greenroom";
/// The second token of the subjects of requests.
const VERSION_TOKEN: &str = "v1";
/// A dot of an id within a subject. No id has a `%`.
const ESCAPED_DOT: &str = "%2E";
/// Characters of a foreign subject that a message repeats.
const QUOTED_CHARS_MAX: usize = 96;

/// Builds and reads the subjects of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

/// What a message to a subject is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IngressSubject {
    /// Executes an agent.
    Agent(AgentId),
    /// Runs a workflow.
    Workflow(WorkflowId),
    /// Forms a team, which runs a workflow.
    Teams,
    /// Concerns a run.
    Run {
        /// The run.
        run: RunId,
        /// What is to be done with it.
        verb: RunVerb,
    },
    /// Lists a part of the catalogue.
    CatalogueList(CatalogueKind),
    /// Describes one definition of the catalogue.
    CatalogueEntry(CatalogueEntry),
    /// Any request, as a whole envelope.
    Requests,
    /// Opens the upload of an artifact.
    ArtifactUpload,
}

/// What is to be done with a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunVerb {
    /// Describes it.
    Get,
    /// Cancels it.
    Cancel,
    /// Resumes it.
    Resume,
    /// Sends it a signal.
    Signal,
    /// Watches its events.
    Events,
}

/// A part of the catalogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogueKind {
    /// The agents.
    Agents,
    /// The workflows.
    Workflows,
    /// The teams.
    Teams,
}

/// One definition of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogueEntry {
    /// An agent.
    Agent(AgentId),
    /// A workflow.
    Workflow(WorkflowId),
    /// A team.
    Team(TeamId),
}

impl RunVerb {
    /// Every verb.
    pub const ALL: [Self; 5] = [Self::Get, Self::Cancel, Self::Resume, Self::Signal, Self::Events];

    /// The verb as it is written in a subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Cancel => "cancel",
            Self::Resume => "resume",
            Self::Signal => "signal",
            Self::Events => "events",
        }
    }
}

impl CatalogueKind {
    /// Every part.
    pub const ALL: [Self; 3] = [Self::Agents, Self::Workflows, Self::Teams];

    /// The part as it is written in a subject.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Workflows => "workflows",
            Self::Teams => "teams",
        }
    }
}

impl Subjects {
    /// The subjects with this prefix.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] unless it consists of tokens of letters, digits, `_` and `-`, with dots
    /// between them, and has at most [`SUBJECT_PREFIX_BYTES_MAX`] bytes.
    pub fn new(prefix: &str) -> Result<Self, Cause> {
        let is_token = |token: &str| {
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        };
        if prefix.len() > SUBJECT_PREFIX_BYTES_MAX || !prefix.split('.').all(is_token) {
            let message = format!(
                "`{}` cannot begin a subject: a prefix has tokens of letters, digits, `_` and `-`, with single dots \
                 between them, and at most {SUBJECT_PREFIX_BYTES_MAX} bytes",
                quote(prefix)
            );
            return Err(Cause::new(ErrorCode::InvalidConfiguration, message));
        }
        Ok(Self { prefix: prefix.to_owned() })
    }

    /// The prefix.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The pattern of the subjects of all requests, for permissions.
    #[must_use]
    pub fn ingress_pattern(&self) -> String {
        self.ingress(">")
    }

    /// The pattern of the cluster's own messages, for permissions.
    #[must_use]
    pub fn internal_pattern(&self) -> String {
        self.internal(">")
    }

    /// A subject of the cluster's own messages; `rest` is what follows `<prefix>.internal.`
    #[must_use]
    pub fn internal(&self, rest: &str) -> String {
        format!("{}.internal.{rest}", self.prefix)
    }

    /// The name of a JetStream stream or bucket of this cluster: such a name has no dots.
    #[must_use]
    pub fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.replace('.', "_"))
    }

    /// The patterns that a pod subscribes to, each with the name of its endpoint. Together they match every subject that
    /// [`Subjects::parse`] accepts, and no other.
    #[must_use]
    pub fn endpoints(&self) -> Vec<(&'static str, String)> {
        let runs = |verb: RunVerb| self.ingress(&format!("runs.*.{}", verb.as_str()));
        let list = |kind: CatalogueKind| self.ingress(&format!("catalogue.{}.list", kind.as_str()));
        let entry = |kind: CatalogueKind| self.ingress(&format!("catalogue.{}.*.get", kind.as_str()));
        vec![
            ("agents_execute", self.ingress("agents.*.execute")),
            ("workflows_run", self.ingress("workflows.*.run")),
            ("teams_execute", self.ingress("teams.execute")),
            ("runs_get", runs(RunVerb::Get)),
            ("runs_cancel", runs(RunVerb::Cancel)),
            ("runs_resume", runs(RunVerb::Resume)),
            ("runs_signal", runs(RunVerb::Signal)),
            ("runs_events", runs(RunVerb::Events)),
            ("catalogue_agents_list", list(CatalogueKind::Agents)),
            ("catalogue_workflows_list", list(CatalogueKind::Workflows)),
            ("catalogue_teams_list", list(CatalogueKind::Teams)),
            ("catalogue_agents_get", entry(CatalogueKind::Agents)),
            ("catalogue_workflows_get", entry(CatalogueKind::Workflows)),
            ("catalogue_teams_get", entry(CatalogueKind::Teams)),
            ("requests", self.requests()),
            ("artifacts_upload", self.artifact_upload()),
        ]
    }

    /// The subject that executes an agent.
    #[must_use]
    pub fn agent(&self, agent: &AgentId) -> String {
        self.ingress(&format!("agents.{}.execute", token_of(agent.as_str())))
    }

    /// The subject that runs a workflow.
    #[must_use]
    pub fn workflow(&self, workflow: &WorkflowId) -> String {
        self.ingress(&format!("workflows.{}.run", token_of(workflow.as_str())))
    }

    /// The subject that forms a team.
    #[must_use]
    pub fn teams(&self) -> String {
        self.ingress("teams.execute")
    }

    /// The subject of a run.
    #[must_use]
    pub fn run(&self, run: &RunId, verb: RunVerb) -> String {
        self.ingress(&format!("runs.{}.{}", token_of(run.as_str()), verb.as_str()))
    }

    /// The subject that lists a part of the catalogue.
    #[must_use]
    pub fn catalogue_list(&self, kind: CatalogueKind) -> String {
        self.ingress(&format!("catalogue.{}.list", kind.as_str()))
    }

    /// The subject that describes one definition.
    #[must_use]
    pub fn catalogue_entry(&self, entry: &CatalogueEntry) -> String {
        let (kind, id) = match entry {
            CatalogueEntry::Agent(id) => (CatalogueKind::Agents, id.as_str()),
            CatalogueEntry::Workflow(id) => (CatalogueKind::Workflows, id.as_str()),
            CatalogueEntry::Team(id) => (CatalogueKind::Teams, id.as_str()),
        };
        self.ingress(&format!("catalogue.{}.{}.get", kind.as_str(), token_of(id)))
    }

    /// The subject of any request, as a whole envelope.
    #[must_use]
    pub fn requests(&self) -> String {
        self.ingress("requests")
    }

    /// The subject that opens the upload of an artifact.
    #[must_use]
    pub fn artifact_upload(&self) -> String {
        self.ingress("artifacts.upload")
    }

    /// The subject of the chunks of one upload, which only the pod that opened it subscribes to; `number` is generated.
    #[must_use]
    pub fn upload(&self, pod: &PodId, number: u128) -> String {
        self.ingress(&format!("uploads.{}.{number:032x}", token_of(pod.as_str())))
    }

    /// The subject as which this purpose is written.
    #[must_use]
    pub fn build(&self, subject: &IngressSubject) -> String {
        match subject {
            IngressSubject::Agent(agent) => self.agent(agent),
            IngressSubject::Workflow(workflow) => self.workflow(workflow),
            IngressSubject::Teams => self.teams(),
            IngressSubject::Run { run, verb } => self.run(run, *verb),
            IngressSubject::CatalogueList(kind) => self.catalogue_list(*kind),
            IngressSubject::CatalogueEntry(entry) => self.catalogue_entry(entry),
            IngressSubject::Requests => self.requests(),
            IngressSubject::ArtifactUpload => self.artifact_upload(),
        }
    }

    /// Reads the subject of a message.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if it is too long, has a wildcard, an empty token or an id that is none, or is no
    /// subject of a request.
    pub fn parse(&self, subject: &str) -> Result<IngressSubject, Cause> {
        if subject.len() > SUBJECT_BYTES_MAX {
            let found = format!("it has {} bytes, at most {SUBJECT_BYTES_MAX} are allowed", subject.len());
            return Err(invalid(subject, &found));
        }
        if let Some(wildcard) = subject.split('.').find(|token| token.contains(['*', '>'])) {
            return Err(invalid(subject, &format!("a message has no wildcard, and `{}` is one", quote(wildcard))));
        }
        if let Some(position) = subject.split('.').position(str::is_empty) {
            return Err(invalid(subject, &format!("its token {} is empty", position + 1)));
        }
        let rest = subject
            .strip_prefix(self.prefix.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or_else(|| invalid(subject, &format!("it does not begin with `{}.`", self.prefix)))?;
        let rest = rest
            .strip_prefix(VERSION_TOKEN)
            .and_then(|rest| rest.strip_prefix('.'))
            .ok_or_else(|| invalid(subject, &format!("requests have the prefix `{}`", self.ingress(""))))?;
        let tokens: Vec<&str> = rest.split('.').collect();
        parse_tokens(subject, &tokens)
    }

    fn ingress(&self, rest: &str) -> String {
        format!("{}.{VERSION_TOKEN}.{rest}", self.prefix)
    }
}

fn parse_tokens(subject: &str, tokens: &[&str]) -> Result<IngressSubject, Cause> {
    Ok(match *tokens {
        ["agents", id, "execute"] => IngressSubject::Agent(id_of(subject, id)?),
        ["workflows", id, "run"] => IngressSubject::Workflow(id_of(subject, id)?),
        ["teams", "execute"] => IngressSubject::Teams,
        ["runs", id, verb] => {
            let verb = RunVerb::ALL.into_iter().find(|known| known.as_str() == verb).ok_or_else(|| {
                let known = RunVerb::ALL.map(RunVerb::as_str).join("`, `");
                invalid(subject, &format!("`{}` is none of `{known}`", quote(verb)))
            })?;
            IngressSubject::Run { run: id_of(subject, id)?, verb }
        }
        ["catalogue", kind, "list"] => IngressSubject::CatalogueList(kind_of(subject, kind)?),
        ["catalogue", kind, id, "get"] => IngressSubject::CatalogueEntry(match kind_of(subject, kind)? {
            CatalogueKind::Agents => CatalogueEntry::Agent(id_of(subject, id)?),
            CatalogueKind::Workflows => CatalogueEntry::Workflow(id_of(subject, id)?),
            CatalogueKind::Teams => CatalogueEntry::Team(id_of(subject, id)?),
        }),
        ["requests"] => IngressSubject::Requests,
        ["artifacts", "upload"] => IngressSubject::ArtifactUpload,
        _ => return Err(invalid(subject, "no request has such a subject")),
    })
}

fn kind_of(subject: &str, token: &str) -> Result<CatalogueKind, Cause> {
    CatalogueKind::ALL.into_iter().find(|kind| kind.as_str() == token).ok_or_else(|| {
        let known = CatalogueKind::ALL.map(CatalogueKind::as_str).join("`, `");
        invalid(subject, &format!("`{}` is none of `{known}`", quote(token)))
    })
}

/// The token of an id.
fn token_of(id: &str) -> String {
    id.replace('.', ESCAPED_DOT)
}

/// The id of a token. Each id has one token: an escape of anything but a dot leaves a `%`, which no id has.
fn id_of<T: FromStr<Err = IdError>>(subject: &str, token: &str) -> Result<T, Cause> {
    let id = token.replace(ESCAPED_DOT, ".");
    id.parse().map_err(|error: IdError| invalid(subject, &format!("`{}` is no id: {error}", quote(token))))
}

fn invalid(subject: &str, found: &str) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, format!("the subject `{}` cannot be read: {found}", quote(subject)))
}

/// The beginning of a foreign text, without characters that are not printable.
fn quote(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(QUOTED_CHARS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests;
