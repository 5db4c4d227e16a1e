//! Makes a reply fit into a message: the largest outputs become references to artifacts until it does. A reply that cannot
//! be made to fit is an error with a code, and never silence.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use greenroom_protocol::request::Query;
use greenroom_protocol::value::truncate_utf8;
use greenroom_protocol::{
    AgentId, ArtifactRef, Cause, ContentHash, ErrorCode, Json, Metadata, Reply, Request, RunId, Status, TenantId,
    Values,
};
use greenroom_registry::artifacts::{ArtifactOwner, single_chunk};

use super::NatsIngress;
use super::reply::to_body;

/// Bytes of the smallest output that becomes an artifact; its reference has about half as many.
const OUTPUT_BYTES_MIN: usize = 512;
/// Characters of an output's name that its artifact has too.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of a message of an error whose reply does not fit.
const MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Characters of Base64 for three bytes.
const BASE64_GROUP: usize = 4;
const BASE64_GROUP_BYTES: usize = 3;

/// What the outputs of a request may hold, as far as it decides who may read an artifact of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OutputKind {
    /// A part of an artifact after this many bytes, which is cut instead.
    ArtifactPart(u64),
    /// Definitions, lists and sums.
    Public,
    /// What this agent has returned for these artifacts.
    Agent(AgentId, Vec<ContentHash>),
    /// What the run in the reply has returned, or this one.
    Run(Option<RunId>),
    /// Anything: it counts as personal data.
    Other,
}

impl OutputKind {
    /// The kind of the outputs of a request.
    pub(super) fn of(request: &Request) -> Self {
        match request {
            Request::Invoke(invoke) => {
                let mut artifacts = Vec::new();
                for value in invoke.inputs.values().chain(invoke.context.values()) {
                    collect_artifacts(value, &mut artifacts);
                }
                Self::Agent(invoke.agent.clone(), artifacts)
            }
            Request::StartRun(_) | Request::StartTeam(_) => Self::Run(None),
            Request::SignalRun(signal) => Self::Run(Some(signal.run.clone())),
            Request::ResumeRun(resume) => Self::Run(Some(resume.run.clone())),
            Request::Query(Query::Run { run } | Query::Events { run, .. }) => Self::Run(Some(run.clone())),
            Request::Query(Query::Artifact { after, .. }) => Self::ArtifactPart(*after),
            Request::Query(
                Query::Agents
                | Query::Agent { .. }
                | Query::Workflows
                | Query::Workflow { .. }
                | Query::Teams
                | Query::Team { .. }
                | Query::Runs { .. }
                | Query::Audit { .. }
                | Query::AuditEntry { .. }
                | Query::Costs { .. },
            ) => Self::Public,
            Request::ContextRead(_)
            | Request::ContextWrite(_)
            | Request::MemoryRead(_)
            | Request::MemoryWrite(_)
            | Request::CallTool(_)
            | Request::Maintain(_) => Self::Other,
        }
    }
}

/// Adds the artifacts to which a value, or a value inside of it, is a reference.
fn collect_artifacts(value: &Json, artifacts: &mut Vec<ContentHash>) {
    match value {
        Json::Array(items) => items.iter().for_each(|item| collect_artifacts(item, artifacts)),
        Json::Object(members) => match ArtifactRef::from_json(value) {
            Some(artifact) => artifacts.push(artifact.hash),
            None => members.values().for_each(|member| collect_artifacts(member, artifacts)),
        },
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// The reply with at most `bytes_max` bytes as JSON. `tenant` is that of the caller, if the request was authenticated.
pub(super) async fn shorten(
    ingress: &NatsIngress,
    kind: &OutputKind,
    tenant: Option<&TenantId>,
    mut reply: Reply,
    bytes_max: usize,
) -> Reply {
    if let OutputKind::ArtifactPart(after) = kind
        && cut_part(&mut reply.outputs, *after, bytes_max / 2)
    {
        return reply;
    }
    if let Some(tenant) = tenant
        && let Err(cause) = store_outputs(ingress, kind, tenant, &mut reply, bytes_max).await
    {
        return failed(reply, cause);
    }
    let bytes = to_body(&reply).len();
    if bytes <= bytes_max {
        return reply;
    }
    let message = format!("the reply has {bytes} bytes, and the NATS server accepts {bytes_max} in a message");
    let cause = reply.error.clone().map_or_else(|| Cause::new(ErrorCode::PayloadTooLarge, message), without_details);
    failed(reply, cause)
}

/// Stores the largest outputs as artifacts until the reply fits.
async fn store_outputs(
    ingress: &NatsIngress,
    kind: &OutputKind,
    tenant: &TenantId,
    reply: &mut Reply,
    bytes_max: usize,
) -> Result<(), Cause> {
    let mut sizes: Vec<(usize, String)> =
        reply.outputs.iter().map(|(name, value)| (to_body(value).len(), name.clone())).collect();
    sizes.sort_unstable();
    let personal_data = has_personal_data(ingress, kind, tenant, reply).await?;
    let owner = ArtifactOwner { tenant: tenant.clone(), personal_data };
    while to_body(reply).len() > bytes_max {
        let Some((bytes, name)) = sizes.pop() else { return Ok(()) };
        if bytes < OUTPUT_BYTES_MIN {
            return Ok(());
        }
        if let Some(value) = reply.outputs.get_mut(&name)
            && ArtifactRef::from_json(value).is_none()
        {
            *value = store(ingress, &owner, &name, std::mem::take(value)).await?.to_json();
        }
    }
    Ok(())
}

async fn store(ingress: &NatsIngress, owner: &ArtifactOwner, name: &str, value: Json) -> Result<ArtifactRef, Cause> {
    let (bytes, media_type, extension) = match value {
        Json::String(text) => (text.into_bytes(), "text/plain; charset=utf-8", "txt"),
        other => (to_body(&other), "application/json", "json"),
    };
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let name: String = name.chars().map(plain).take(NAME_CHARS_MAX).collect();
    let artifacts = &ingress.local.stores.artifacts;
    let stored = artifacts.put_stream(owner, single_chunk(bytes), media_type, &format!("{name}.{extension}")).await;
    stored.map_err(|error| error.cause())
}

/// True unless it is known that the outputs hold no personal data. Personal data of an artifact that an agent was given may
/// be in what it returns.
async fn has_personal_data(
    ingress: &NatsIngress,
    kind: &OutputKind,
    tenant: &TenantId,
    reply: &Reply,
) -> Result<bool, Cause> {
    let run = match kind {
        OutputKind::Public => return Ok(false),
        OutputKind::Other | OutputKind::ArtifactPart(_) => return Ok(true),
        OutputKind::Agent(agent, artifacts) => {
            let catalogue = ingress.pipeline().fact_collector.definitions.catalogue();
            let is_personal = catalogue.agent(agent).is_none_or(|agent| agent.has_personal_data());
            return Ok(is_personal || have_personal_data(ingress, tenant, artifacts).await?);
        }
        OutputKind::Run(Some(run)) => run.clone(),
        OutputKind::Run(None) => match reply.id.parse() {
            Ok(run) => run,
            Err(_) => return Ok(true),
        },
    };
    let record = ingress.local.stores.runs.get(&run).await.map_err(|error| error.cause())?;
    Ok(record.is_none_or(|record| record.personal_data))
}

/// True if one of these artifacts of the tenant has personal data, or does not exist any more.
async fn have_personal_data(ingress: &NatsIngress, tenant: &TenantId, hashes: &[ContentHash]) -> Result<bool, Cause> {
    for hash in hashes {
        let info = ingress.local.stores.artifacts.info(tenant, hash).await.map_err(|error| error.cause())?;
        if info.is_none_or(|info| info.personal_data) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Cuts a part of an artifact, in Base64, to this many characters; its reader requests the rest. False if it is none.
fn cut_part(outputs: &mut Values, after: u64, chars_max: usize) -> bool {
    let groups = chars_max / BASE64_GROUP;
    let Some(Json::String(content)) = outputs.get_mut("content") else { return false };
    if groups == 0 || content.len() <= groups * BASE64_GROUP || !content.is_ascii() {
        return false;
    }
    content.truncate(groups * BASE64_GROUP);
    debug_assert!(STANDARD.decode(content.as_bytes()).is_ok());
    let end = after.saturating_add((groups * BASE64_GROUP_BYTES) as u64);
    outputs.insert("next".to_owned(), end.into());
    true
}

fn without_details(cause: Cause) -> Cause {
    Cause { message: truncate_utf8(&cause.message, MESSAGE_BYTES_MAX).to_owned(), details: Json::Null, ..cause }
}

/// The reply without what does not fit, with this error.
fn failed(reply: Reply, cause: Cause) -> Reply {
    let Reply { id, metadata, protocol_version, .. } = reply;
    let Metadata { duration_ms, tokens_used, cost, estimated, trace_id, pod, .. } = metadata;
    let metadata = Metadata { duration_ms, tokens_used, cost, estimated, trace_id, pod, ..Metadata::default() };
    let status = Status::from_cause(&cause);
    Reply { id, status, outputs: Values::new(), error: Some(cause), metadata, protocol_version }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::request::Invoke;

    use super::*;

    fn invoke(input: Json) -> Request {
        Request::Invoke(Invoke {
            agent: AgentId::new("a").unwrap(),
            inputs: Values::from([("x".to_owned(), input)]),
            context: Values::new(),
            version: None,
            key: None,
            options: greenroom_protocol::request::CallOptions::default(),
            approvals: None,
        })
    }

    #[test]
    fn the_outputs_of_an_agent_depend_on_the_artifacts_that_it_received() {
        let artifact = ArtifactRef {
            hash: greenroom_protocol::ContentHash::from_content(b"x"),
            bytes: 1,
            media_type: "text/csv".into(),
            name: "x.csv".into(),
        };
        let agent = || AgentId::new("a").unwrap();
        assert_eq!(OutputKind::of(&invoke(Json::from("text"))), OutputKind::Agent(agent(), Vec::new()));
        let received = OutputKind::Agent(agent(), vec![artifact.hash]);
        assert_eq!(OutputKind::of(&invoke(serde_json::json!([{ "a": artifact.to_json() }]))), received);
        assert_eq!(OutputKind::of(&Request::Query(Query::Agents)), OutputKind::Public);
    }

    #[test]
    fn a_part_of_an_artifact_is_cut_at_a_whole_byte_and_continues_there() {
        let content: Vec<u8> = (0..=255).collect();
        let part = |bytes: &[u8]| Values::from([("content".to_owned(), Json::from(STANDARD.encode(bytes)))]);
        let mut outputs = part(&content);
        assert!(cut_part(&mut outputs, 100, 41));
        assert_eq!(STANDARD.decode(outputs["content"].as_str().unwrap()).unwrap(), content[..30]);
        assert_eq!(outputs["next"], 130);
        let mut small = part(&content[..30]);
        assert!(!cut_part(&mut small, 100, 41), "it fits");
        assert!(!cut_part(&mut Values::new(), 0, 41));
    }

    #[test]
    fn an_error_that_does_not_fit_keeps_its_code_and_loses_its_details() {
        let cause = Cause::new(ErrorCode::StepFailed, "x".repeat(10_000)).with_details(serde_json::json!({ "a": 1 }));
        let short = without_details(cause);
        assert_eq!(
            (short.code, short.message.len(), short.details),
            (ErrorCode::StepFailed, MESSAGE_BYTES_MAX, Json::Null)
        );
    }
}
