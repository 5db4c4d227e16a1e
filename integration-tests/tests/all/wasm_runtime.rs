//! Agents that are WebAssembly components, in whole pods: what they call is decided by the guard, and what they do wrong
//! ends their own execution only.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use greenroom_client::Client;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::{Cause, Json, Reply, UserId};
use greenroom_runtimes::wasm::test_components::Behavior;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::config::WasmConfig;
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

mod failures;
mod host_calls;

/// A text output, and a text input.
const TEXT: &str = "  - name: text\n    type: text\n    required: true\n";

/// A folder with definitions and components.
struct Folder {
    folder: TempDir,
    definitions: DefinitionsDir,
}

impl Folder {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let definitions = DefinitionsDir::new(&folder.path().join("definitions"))?;
        fs::create_dir(folder.path().join("components"))?;
        Ok(Self { folder, definitions })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn components(&self) -> PathBuf {
        self.path().join("components")
    }

    /// Writes a component, called by the name of its agent.
    fn write_component(&self, agent: &str, behavior: Behavior<'_>) -> Result<()> {
        Ok(fs::write(self.components().join(format!("{agent}.wasm")), behavior.component()?)?)
    }

    /// Writes an agent that takes and returns a text, with these further members, and its component.
    fn write_agent(&self, id: &str, behavior: Behavior<'_>, more: &str) -> Result<()> {
        self.write_agent_with(id, behavior, (TEXT, TEXT), more)
    }

    /// Writes an agent with these inputs and outputs and these further members, and its component.
    fn write_agent_with(
        &self,
        id: &str,
        behavior: Behavior<'_>,
        (inputs, outputs): (&str, &str),
        more: &str,
    ) -> Result<()> {
        let text = format!(
            "agent_id: {id}\nname: {id}\ncategory: business_ops\ndescription: A component\nversion: \"1.0.0\"\n\
             capabilities: [text_generation]\ninputs:\n{inputs}outputs:\n{outputs}\
             policies: [require_authentication, audit_all_actions]\n{more}\
             implementation:\n  runtime: wasm\n  handler: {id}.wasm\n  timeout: 1\n  memory: 8\n"
        );
        let folder = self.definitions.dir().join("agents/business_ops");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(format!("{id}.yaml")), text)?;
        self.write_component(id, behavior)
    }

    /// Starts a pod with these definitions and components.
    async fn start_pod(&self) -> Result<Pod> {
        let mut config = test_config(self.path(), StoreKind::Memory, Some(self.definitions.dir()))?;
        config.wasm = Some(WasmConfig { components: self.components(), memory_mib: 256 });
        let pod = compose_with(&config, Arc::new(WallClock), Arc::new(TimeOrdered), Overrides::default()).await;
        pod.context("the pod cannot be assembled")
    }
}

/// The members of an agent that may call another one.
fn may_call(agent: &str) -> String {
    format!("collaboration:\n  can_work_with: [{agent}]\ntools: [\"agent:{agent}\"]\n")
}

fn admin(pod: &Pod) -> Result<Client> {
    Ok(pod.client(&UserId::new("admin")?))
}

async fn call(client: &Client, agent: &str, text: &str) -> Result<Reply> {
    Ok(client.agent(agent).input("text", text).send().await?)
}

fn cause(reply: &Reply) -> Result<&Cause> {
    reply.error.as_ref().with_context(|| format!("an error was expected: {reply:?}"))
}

/// The output `text` of a reply.
fn output(reply: &Reply) -> Result<&Json> {
    reply.outputs.get("text").with_context(|| format!("an output was expected: {reply:?}"))
}

#[tokio::test]
async fn an_agent_is_a_component() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("component_agent", Behavior::Echo, "")?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let reply = call(&client, "component_agent", "hello").await?;
    assert_eq!(output(&reply)?, "hello");
    assert_eq!(reply.usage().agents.len(), 1);
    // The outputs are those that the definition declares.
    folder.write_agent_with("wrong_agent", Behavior::Echo, (TEXT, "  - name: total\n    type: number\n"), "")?;
    pod.shutdown().await;
    let pod = folder.start_pod().await?;
    let reply = call(&admin(&pod)?, "wrong_agent", "hello").await?;
    assert_eq!(cause(&reply)?.code.as_str(), "invalid_output");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn many_users_execute_one_component_at_the_same_time() -> Result<()> {
    let folder = Folder::new()?;
    folder.write_agent("component_agent", Behavior::Echo, "")?;
    let pod = folder.start_pod().await?;
    let client = admin(&pod)?;
    let texts: Vec<String> = (0..200).map(|number| format!("text {number}")).collect();
    let calls = texts.iter().map(|text| call(&client, "component_agent", text));
    let replies = futures::future::join_all(calls).await;
    for (reply, text) in replies.into_iter().zip(&texts) {
        assert_eq!(output(&reply?)?, text);
    }
    pod.shutdown().await;
    Ok(())
}
