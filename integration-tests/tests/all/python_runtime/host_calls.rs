//! The calls of a handler into its host: each is a request of the agent itself, which the policy decides.

use anyhow::Result;
use greenroom_client::CallParams;
use greenroom_protocol::{ErrorCode, TeamId, WorkflowId};
use serde_json::json;

use super::fixture::Handlers;

/// Calls the agents of a list in turn: each gets the list without its first name.
const CHAIN: &str = "import greenroom\ndef execute(inputs, context, ctx):\n    names = inputs['value']['names']\n    \
                     if not names:\n        return {'result': {'depth': 1}}\n    \
                     inner = ctx.call_agent(names[0], {'value': {'names': names[1:]}})\n    \
                     return {'result': {'depth': inner['result']['depth'] + 1}}\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_called_if_the_definition_names_it_and_a_denial_is_an_exception() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.definitions.write_echo_agent("helper_agent")?;
    let calls = "def execute(inputs, context, ctx):\n    ctx.log('calling')\n    return {'result': ctx.call_agent('helper_agent', text='hello')}\n";
    let catches = "import greenroom\ndef execute(inputs, context, ctx):\n    try:\n        ctx.call_agent('helper_agent', text='hello')\n    \
                   except greenroom.HostError as error:\n        return {'result': {'code': error.code}}\n";
    handlers.write("calls.py", calls)?;
    handlers.write("catches.py", catches)?;
    let may_call = "tools: [\"agent:helper_agent\"]\ncollaboration:\n  can_work_with: [helper_agent]\n";
    handlers.write_agent("allowed", "calls.execute", 20, may_call)?;
    handlers.write_agent("denied", "calls.execute", 20, "")?;
    handlers.write_agent("catching", "catches.execute", 20, "")?;
    handlers.write_agent("own_caller", "own_caller.execute", 20, "")?;
    handlers.write("own_caller.py", "def execute(inputs, context, ctx):\n    return ctx.call_agent('own_caller')\n")?;
    let pod = handlers.start(|_| {}).await?;
    let reply = pod.call("allowed", json!({})).await?;
    assert_eq!(reply.outputs["result"], json!({ "text": "hello" }));
    assert_eq!(reply.metadata.agents_involved, 2, "the usage of the nested call is that of the call");
    for agent in ["denied", "own_caller"] {
        let cause = pod.cause(agent, json!({})).await?;
        assert_eq!(cause.code, ErrorCode::PolicyDenied, "an exception of the host keeps its code: {cause}");
    }
    assert_eq!(pod.result("catching", json!({})).await?, json!({ "code": "policy_denied" }));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_call_each_other_never_wait_in_a_ring_and_end_at_the_longest_chain() -> Result<()> {
    let handlers = Handlers::new()?;
    handlers.write("chain.py", CHAIN)?;
    let names: Vec<String> = (1..=9).map(|number| format!("link_{number}_agent")).collect();
    for (number, name) in names.iter().enumerate() {
        let members = names
            .get(number + 1)
            .map(|next| format!("tools: [\"agent:{next}\"]\ncollaboration:\n  can_work_with: [{next}]\n"));
        handlers.write_agent(name, "chain.execute", 60, &members.unwrap_or_default())?;
    }
    let pod = handlers.start(|settings| settings.workers_max = 1).await?;
    let chain = |length: usize| json!({ "names": names[1..length] });
    let calls = (0..4).map(|_| pod.result("link_1_agent", chain(8)));
    for result in futures::future::try_join_all(calls).await? {
        assert_eq!(result, json!({ "depth": 8 }));
    }
    let cause = pod.cause("link_1_agent", chain(9)).await?;
    assert!(matches!(cause.code, ErrorCode::PolicyDenied | ErrorCode::TooManyHops), "{cause}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_context_of_a_team_is_read_and_the_keys_that_the_agent_provides_are_written() -> Result<()> {
    let handlers = Handlers::new()?;
    let body = "import greenroom\ndef execute(inputs, context, ctx):\n    ctx.context.set('notes', ['first'])\n    \
                try:\n        ctx.context.set('company', 'Other')\n    except greenroom.HostError as error:\n        code = error.code\n    \
                return {'result': {'notes': ctx.context.get('notes'), 'company': ctx.context.get('company'), 'absent': ctx.context.get('absent', 7),\n        \
                'code': code, 'passed': context['company'], 'keys': sorted(ctx.context.all())}}\n";
    handlers.write("member.py", body)?;
    let members = "collaboration:\n  provides_to_team: [notes]\n";
    handlers.write_agent("member_agent", "member.execute", 20, members)?;
    let flow = "workflow_id: member_flow\nname: Flow\ndescription: One step\nversion: \"1.0.0\"\n\
                steps:\n  - id: work\n    agent: member_agent\n    outputs: [result]\n\
                final_output: \"${steps.work.outputs.result}\"\n";
    handlers.definitions.write_workflow("member_flow", flow)?;
    let team = "team_id: member_team\nname: Team\ndescription: One member\nagents: [member_agent]\n\
                workflows: [member_flow]\nshared_context:\n  company: Acme\n";
    handlers.definitions.write_team("member_team", team)?;
    let pod = handlers.start(|_| {}).await?;
    let (team, workflow) = (TeamId::new("member_team")?, WorkflowId::new("member_flow")?);
    let reply = pod.client()?.run_team(team, workflow, CallParams::default()).await?;
    assert_eq!(reply.error, None);
    let result = &reply.outputs["final_output"];
    assert_eq!(
        *result,
        json!({
            "notes": ["first"], "company": "Acme", "absent": 7, "code": "policy_denied", "passed": "Acme",
            "keys": ["company", "notes"],
        })
    );
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_is_stored_and_opened_and_a_path_of_the_machine_is_not() -> Result<()> {
    let handlers = Handlers::new()?;
    let body = "import greenroom\ndef execute(inputs, context, ctx):\n    stored = ctx.artifact.store('a.csv', 'a,b\\n1,2\\n', 'text/csv')\n    \
                opened = ctx.artifact.open(stored)\n    codes = []\n    for other in ['/etc/passwd', 7, {'$artifact': 1}]:\n        \
                try:\n            ctx.artifact.open(other)\n        except greenroom.HostError as error:\n            codes.append(error.code)\n    \
                return {'result': {'name': opened.name, 'media_type': opened.media_type, 'text': opened.text(), 'codes': codes}}\n";
    handlers.write_function("files", 20, body)?;
    let pod = handlers.start(|_| {}).await?;
    let result = pod.result("files", json!({})).await?;
    assert_eq!(
        result,
        json!({
            "name": "a.csv", "media_type": "text/csv", "text": "a,b\n1,2\n",
            "codes": ["path_not_allowed", "invalid_input", "invalid_input"],
        })
    );
    pod.shutdown().await;
    Ok(())
}
