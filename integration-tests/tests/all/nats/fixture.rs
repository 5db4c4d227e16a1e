//! A pod with NATS, and a caller that sends raw messages, as any program with a NATS library does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures::StreamExt as _;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::{ErrorCode, Frame, Json, Reply};
use greenroom_runtimes::models::scripted::{Script, Scripted, ScriptedCall, ScriptedReply};
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::{Config, NatsConfig, Secret};
use greenroom_supervisor::pod::Pod;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

/// Longest wait for what a pod does.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(60);
pub(super) const ADMIN_KEY: &str = "planted-admin-key";
pub(super) const GUEST_KEY: &str = "planted-guest-key";
/// The key of an administrator of another tenant.
pub(super) const OTHER_TENANT_KEY: &str = "planted-other-key";
pub(super) const CLUSTER_SECRET: &str = "planted cluster secret";
/// An agent that returns its input.
pub(super) const ECHO: &str = "echo_agent";
/// An agent that answers in pieces, and one that does not answer.
pub(super) const TALKER: &str = "talker_agent";
pub(super) const SILENT: &str = "silent_agent";
/// An agent that needs a second.
pub(super) const SLOW: &str = "slow_agent";
/// A workflow of two steps, and one that awaits an approval.
pub(super) const ROW: &str = "row";
pub(super) const SIGNED: &str = "signed";
pub(super) const TEAM: &str = "letters";

const USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]
permissions = { pii_access = true }
rate_limit = 1000000
query_limit = 1000000
api_key = "planted-admin-key"

[[users]]
name = "guest"
api_key = "planted-guest-key"

[[users]]
name = "other"
tenant = "globex"
roles = ["admin"]
api_key = "planted-other-key"
"#;

/// The URL of the server that the tests share.
pub(super) fn shared_url() -> Result<String> {
    let variable = "GREENROOM_TEST_NATS_URL";
    std::env::var(variable).with_context(|| format!("{variable} names no server; `scripts/test` starts one"))
}

fn script() -> Script {
    let call = |model: &str, reply| ScriptedCall { model: Some(model.to_owned()), reply, ..ScriptedCall::default() };
    let pieces = vec!["{\"text\": \"one ".to_owned(), "two ".to_owned(), "three\"}".to_owned()];
    let slow = ScriptedCall { delay_ms: 1_000, ..call("slow", ScriptedReply::Json(json!({ "text": "slow" }))) };
    let calls =
        vec![call("talk", ScriptedReply::Text { pieces, gap_ms: 60 }), call("silent", ScriptedReply::Silence), slow];
    Script { calls }
}

/// A pod that takes requests over NATS.
pub(super) struct NatsPod {
    pub(super) pod: Pod,
    pub(super) _folder: TempDir,
}

/// The configuration of a pod with stores in memory at this server, and its folder.
pub(super) fn config(url: &str, prefix: &str) -> Result<(Config, TempDir)> {
    let folder = tempfile::tempdir()?;
    let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
    definitions.write_echo_agent(ECHO)?;
    for (agent, model) in [(TALKER, "talk"), (SILENT, "silent"), (SLOW, "slow")] {
        definitions.write_model_agent(agent, &format!("scripted.{model}"))?;
    }
    definitions.write_row_workflow(ROW, ECHO, 2)?;
    definitions.write_signed_workflow()?;
    definitions.write_letters_team()?;
    let mut config = test_config(folder.path(), StoreKind::Memory, Some(definitions.dir()))?;
    config.users = toml::from_str(USERS)?;
    config.nats = Some(NatsConfig { prefix: prefix.to_owned(), ..NatsConfig::for_url(url) });
    config.cluster.secret = Some(Secret::new(CLUSTER_SECRET));
    Ok((config, folder))
}

/// Assembles a pod that does not take requests yet.
pub(super) async fn assemble(config: &Config) -> Result<Pod> {
    assemble_with(config, script()).await
}

/// As [`assemble`], with another script of its models.
pub(super) async fn assemble_with(config: &Config, script: Script) -> Result<Pod> {
    let overrides =
        Overrides { providers: vec![Arc::new(Scripted::new(script))], uses_nats: true, ..Overrides::default() };
    let pod = compose_with(config, Arc::new(WallClock), Arc::new(TimeOrdered), overrides).await;
    pod.context("the pod cannot be assembled")
}

/// Starts a pod at this server.
pub(super) async fn start(url: &str, prefix: &str) -> Result<NatsPod> {
    start_with(url, prefix, |_| {}).await
}

/// As [`start`], with a change of its configuration.
pub(super) async fn start_with(url: &str, prefix: &str, change: impl FnOnce(&mut Config)) -> Result<NatsPod> {
    let (mut config, folder) = config(url, prefix)?;
    change(&mut config);
    let mut pod = assemble(&config).await?;
    pod.serve_nats().await?;
    Ok(NatsPod { pod, _folder: folder })
}

impl NatsPod {
    /// True if the metrics have this line.
    pub(super) fn shows(&self, line: &str) -> bool {
        self.pod.metrics().render().lines().any(|other| other == line)
    }
}

/// A program that sends messages.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) client: Client,
    pub(super) prefix: String,
    pub(super) headers: HeaderMap,
}

impl Caller {
    /// A caller with the key of the administrator.
    pub(super) async fn connect(url: &str, prefix: &str) -> Result<Self> {
        let client = async_nats::connect(url).await?;
        Ok(Self { client, prefix: prefix.to_owned(), headers: HeaderMap::new() }.with_key(ADMIN_KEY))
    }

    pub(super) fn with_key(&self, key: &str) -> Self {
        self.with("Authorization", &format!("ApiKey {key}"))
    }

    pub(super) fn with(&self, name: &str, value: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.insert(name, value);
        Self { headers, ..self.clone() }
    }

    pub(super) fn without_headers(&self) -> Self {
        Self { headers: HeaderMap::new(), ..self.clone() }
    }

    pub(super) fn subject(&self, rest: &str) -> String {
        format!("{}.v1.{rest}", self.prefix)
    }

    /// Sends a message, and returns the message that is its reply.
    pub(super) async fn message(&self, rest: &str, body: impl Into<Vec<u8>>) -> Result<Message> {
        let body: Vec<u8> = body.into();
        let request =
            async_nats::Request::new().headers(self.headers.clone()).payload(body.into()).timeout(Some(WAIT_MAX));
        let response = self.client.send_request(self.subject(rest), request).await;
        response.with_context(|| format!("no reply to {rest}"))
    }

    /// Sends a request, and returns its reply.
    pub(super) async fn request(&self, rest: &str, body: &Json) -> Result<Reply> {
        let message = self.message(rest, body.to_string()).await?;
        let reply: Reply = serde_json::from_slice(&message.payload)?;
        let code = header(&message, "Greenroom-Code");
        ensure!(code == reply.error.as_ref().map(|cause| cause.code.as_str().to_owned()), "{message:?}");
        Ok(reply)
    }

    /// Executes the agent that returns its input.
    pub(super) async fn echo(&self, text: &str) -> Result<Reply> {
        self.request(&format!("agents.{ECHO}.execute"), &json!({ "inputs": { "text": text } })).await
    }

    /// The code of the error that a message has.
    pub(super) async fn code(&self, rest: &str, body: &str) -> Result<ErrorCode> {
        let message = self.message(rest, body.to_owned()).await?;
        let reply: Reply = serde_json::from_slice(&message.payload)?;
        reply.error.map(|cause| cause.code).with_context(|| format!("{rest} is not refused"))
    }

    /// Sends a message whose reply arrives as frames.
    pub(super) async fn open(&self, rest: &str, body: &Json) -> Result<Frames> {
        let inbox = self.client.new_inbox();
        let subscriber = self.client.subscribe(inbox.clone()).await?;
        let headers = self.with("Greenroom-Frames", "1").headers;
        let body = body.to_string().into();
        self.client.publish_with_reply_and_headers(self.subject(rest), inbox, headers, body).await?;
        Ok(Frames(subscriber))
    }

    /// All frames of a message.
    pub(super) async fn frames(&self, rest: &str, body: &Json) -> Result<Vec<Frame>> {
        let mut frames = self.open(rest, body).await?;
        let mut all = Vec::new();
        while let Some(frame) = frames.next().await? {
            all.push(frame);
        }
        Ok(all)
    }
}

/// The frames of one reply.
pub(super) struct Frames(Subscriber);

impl Frames {
    /// The next frame; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>> {
        let message = timeout(WAIT_MAX, self.0.next()).await?.context("the connection ended")?;
        ensure!(message.status.is_none(), "no pod receives the message: {message:?}");
        Ok(Frame::decode(&message.payload)?)
    }
}

/// The value of a header.
pub(super) fn header(message: &Message, name: &str) -> Option<String> {
    Some(message.headers.as_ref()?.get(name)?.as_str().to_owned())
}

/// The reply in the last frame.
pub(super) fn last_reply(frames: &[Frame]) -> Result<&Reply> {
    match frames.last() {
        Some(Frame::Reply { reply }) => Ok(reply),
        other => anyhow::bail!("{other:?} is no reply"),
    }
}
