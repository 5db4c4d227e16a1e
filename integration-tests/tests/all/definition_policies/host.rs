//! The policies on facts of the host itself, on every definition that may name them: who authenticated the user,
//! whether the call is recorded, whose run it is. A pod with its own users and stores denies these requests by other
//! means, so the tests put other ones into it: users of an ingress that needs no credential, an audit that fails, a user
//! who is moved to another tenant while a run waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use greenroom_client::CallParams;
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::shifted_clock::ShiftedClock;
use greenroom_integration_tests::terminal::COMMAND_WAIT_MAX;
use greenroom_integration_tests::test_pod::{StoreKind, test_config, text};
use greenroom_integration_tests::wait::wait_until;
use greenroom_protocol::request::{CallOptions, Invoke, StartRun, StartTeam};
use greenroom_protocol::{
    AgentId, Cause, Clock, Credential, Envelope, ErrorCode, IngressKind, PrincipalId, Received, Reply, Request, Status,
    StepId, TeamId, TenantId, Timestamp, UserId, Values, WorkflowId,
};
use greenroom_rego::{
    EvaluationError, Evaluator, Explanation, IdentityProvider, Input, Limits, NameSet, Permissions, PolicyDecision,
    Principal,
};
use greenroom_supervisor::clock::TimeOrdered;
use greenroom_supervisor::compose::{Overrides, compose_with};
use greenroom_supervisor::pod::Pod;
use tempfile::TempDir;

use super::cases::{Level, Route, Setup, Worker};
use super::faulty_audit::{FaultyAudit, open_databases};
use super::inheritance::{status_of, wait_status};
use super::world::{case_name, write_case, write_worker};

/// More than the age after which a principal is read again.
const PRINCIPAL_AGES: Duration = Duration::from_secs(120);

/// Administrators of any name, and one without a name. One of them can be moved to another tenant.
#[derive(Default)]
struct Users {
    is_moved: AtomicBool,
}

impl Users {
    fn principal(&self, name: &str) -> Option<Principal> {
        let is_moved = name == "owner" && self.is_moved.load(Ordering::SeqCst);
        let tenant = TenantId::new(if is_moved { "acme" } else { "default" }).ok()?;
        Some(Principal {
            id: PrincipalId::local(tenant, UserId::new(name).ok()?),
            roles: NameSet::from_iter(["admin"]),
            permissions: Permissions { allowed_categories: NameSet::default(), pii_access: true },
            rate_limit: u64::MAX >> 1,
            query_limit: u64::MAX >> 1,
            limits: Limits::default(),
            tenant_limits: Limits::default(),
            entry_points: None,
        })
    }
}

#[async_trait]
impl IdentityProvider for Users {
    async fn verify_credential(&self, _: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }

    async fn find_local_user(&self, user: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.principal(user.as_str()))
    }

    async fn find_user(&self, id: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.principal(id.user.as_str()).filter(|principal| principal.id == *id))
    }

    async fn find_anonymous_user(&self, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(self.principal("anyone"))
    }
}

/// Records the reasons of the guard's denials.
struct RecordingEvaluator {
    engines: Arc<dyn Evaluator>,
    reasons: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl Evaluator for RecordingEvaluator {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.engines.decide(input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        let explanation = self.engines.explain(input).await?;
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.extend(explanation.deny.iter().map(|reason| reason.code.clone()));
        Ok(explanation)
    }
}

/// A pod of another host, and the switches of the test.
struct Host {
    pod: Pod,
    users: Arc<Users>,
    clock: Arc<ShiftedClock>,
    is_audit_faulty: Arc<AtomicBool>,
    reasons: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
}

impl Host {
    /// Starts a pod with definitions that name the policy at each level, and others that name none.
    async fn start(policy: &'static str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("definitions");
        let definitions = DefinitionsDir::new(&dir)?;
        definitions.write_echo_agent("helper_agent")?;
        for level in Level::ALL {
            write_case(&definitions, policy, level, &quiet(level))?;
        }
        for level in Level::ALL.map(Some).into_iter().chain([None]) {
            write_waiting(&definitions, policy, level)?;
        }
        let config = test_config(folder.path(), StoreKind::Memory, Some(&dir))?;
        let (users, clock) = (Arc::new(Users::default()), Arc::new(ShiftedClock::default()));
        let (is_audit_faulty, reasons) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (is_faulty, recorded) = (Arc::clone(&is_audit_faulty), Arc::clone(&reasons));
        let databases = open_databases(folder.path()).await?;
        let overrides = Overrides {
            identities: Some(users.clone()),
            evaluator: Some(Box::new(move |engines| Arc::new(RecordingEvaluator { engines, reasons: recorded }))),
            stores: Some(Box::new(move |stores| FaultyAudit::wrap(stores, is_faulty, databases))),
            ..Overrides::default()
        };
        let pod = compose_with(&config, clock.clone(), Arc::new(TimeOrdered), overrides).await;
        let pod = pod.context("the pod cannot be assembled")?;
        Ok(Self { pod, users, clock, is_audit_faulty, reasons, _folder: folder })
    }

    /// The reasons of all denials since the last call.
    fn take_reasons(&self) -> Vec<String> {
        std::mem::take(&mut *self.reasons.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn send(&self, request: Request) -> Result<Reply> {
        Ok(self.pod.ingress().send(UserId::new("owner")?, Envelope::new(request)).await)
    }

    /// Sends a request as a network ingress does, without a credential.
    async fn send_anonymously(&self, request: Request) -> Result<Reply> {
        let bytes = serde_json::to_vec(&Envelope::new(request))?;
        let received = Received::decode(&bytes, IngressKind::Http, &TimeOrdered, self.clock.now());
        let received = received.map_err(|cause| anyhow::anyhow!("{cause}"))?;
        Ok(self.pod.pipeline().serve(received, None).await.reply)
    }

    async fn expect_success(&self, request: Request, description: &str) -> Result<()> {
        let reply = self.send(request).await?;
        ensure!(reply.status == Status::Success, "{description}: {reply:?}");
        ensure!(self.take_reasons().is_empty(), "{description}");
        Ok(())
    }
}

fn quiet(level: Level) -> Setup {
    Setup::new(Worker::Quiet, Route::for_level(level))
}

/// The request that reaches the definition that names the policy.
fn request(policy: &str, level: Level) -> Result<Request> {
    let name = case_name(policy, level, &quiet(level));
    let (inputs, context, options) = (text("x"), Values::new(), CallOptions::default());
    let workflow = WorkflowId::new(format!("{name}_flow"))?;
    let (version, key, detach) = (None, None, false);
    Ok(match level {
        Level::Agent => invoke(&format!("{name}_agent"))?,
        Level::Workflow => Request::StartRun(StartRun { workflow, inputs, context, version, detach, key, options }),
        Level::Team => {
            let team = TeamId::new(format!("{name}_team"))?;
            let workflow_version = None;
            Request::StartTeam(StartTeam {
                team: team.into(),
                workflow,
                inputs,
                context,
                version,
                workflow_version,
                detach,
                key,
                options,
            })
        }
    })
}

/// A call of an agent that names no policy: its workflow does.
fn request_without_policy(policy: &str) -> Result<Request> {
    invoke(&format!("{}_agent", case_name(policy, Level::Workflow, &quiet(Level::Workflow))))
}

fn invoke(agent: &str) -> Result<Request> {
    let (inputs, context, options) = (text("x"), Values::new(), CallOptions::default());
    Ok(Request::Invoke(Invoke {
        agent: AgentId::new(agent)?,
        inputs,
        context,
        version: None,
        key: None,
        options,
        approvals: None,
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn require_authentication_denies_a_user_without_a_credential() -> Result<()> {
    let policy = "require_authentication";
    let host = Host::start(policy).await?;
    let open = host.send_anonymously(request_without_policy(policy)?).await?;
    assert_eq!(open.status, Status::Success, "an ingress may need no credential: {open:?}");
    for level in Level::ALL {
        host.expect_success(request(policy, level)?, "an authenticated user").await?;
        let reply = host.send_anonymously(request(policy, level)?).await?;
        assert_eq!(reply.error.map(|cause| cause.code), Some(ErrorCode::PolicyDenied), "{level:?}");
        assert_eq!(host.take_reasons(), [policy], "{level:?}");
    }
    host.pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_all_actions_denies_a_call_that_is_not_recorded() -> Result<()> {
    let policy = "audit_all_actions";
    let host = Host::start(policy).await?;
    for level in Level::ALL {
        host.expect_success(request(policy, level)?, "a recorded call").await?;
        host.is_audit_faulty.store(true, Ordering::SeqCst);
        // Without the policy, the guard permits the call, which is then not executed.
        let permitted = host.send(request_without_policy(policy)?).await?;
        assert_eq!(permitted.error.map(|cause| cause.code), Some(ErrorCode::AuditUnavailable));
        assert_eq!(host.take_reasons(), [""; 0], "{level:?}");
        let reply = host.send(request(policy, level)?).await?;
        assert_ne!(reply.status, Status::Success, "{level:?}: {reply:?}");
        // A workflow and a team name the policy, and it denies the call of their agent.
        assert_eq!(host.take_reasons(), [policy], "{level:?}: {reply:?}");
        host.is_audit_faulty.store(false, Ordering::SeqCst);
    }
    host.pod.shutdown().await;
    Ok(())
}

/// The name that the definitions of a run that waits share.
fn waiting_name(level: Option<Level>) -> String {
    level.map_or_else(|| "waits_for_none".to_owned(), |level| format!("waits_for_{level:?}").to_lowercase())
}

/// Writes a workflow that waits for an approval before it calls its agent, and a team that runs it.
fn write_waiting(definitions: &DefinitionsDir, policy: &str, level: Option<Level>) -> Result<()> {
    let name = waiting_name(level);
    let policies = |at| if level == Some(at) { format!("policies: [{policy}]\n") } else { String::new() };
    write_worker(definitions.dir(), &format!("{name}_agent"), Worker::Quiet, &policies(Level::Agent))?;
    let flow = format!(
        "workflow_id: {name}_flow\nname: Flow\ndescription: Waits\nversion: \"1.0.0\"\n{}\
         inputs:\n  - name: text\n    type: text\n    required: true\n\
         steps:\n  - id: ask\n    approval: {{ prompt: \"Go on?\" }}\n  - id: work\n    agent: {name}_agent\n    \
         depends_on: [ask]\n    inputs:\n      text: \"${{inputs.text}}\"\n    outputs: [text]\n",
        policies(Level::Workflow)
    );
    definitions.write_workflow(&format!("{name}_flow"), &flow)?;
    let team = format!(
        "team_id: {name}_team\nname: Team\ndescription: One member\nagents: [{name}_agent]\n\
         workflows: [{name}_flow]\n{}",
        policies(Level::Team)
    );
    definitions.write_team(&format!("{name}_team"), &team)
}

impl Host {
    /// Starts a run that waits, has its owner moved to another tenant or not, approves it, and returns its
    /// status in the end.
    async fn run_of_owner(&self, level: Option<Level>, is_moved: bool) -> Result<String> {
        let name = waiting_name(level);
        let flow = format!("{name}_flow");
        let owner = self.pod.client(&UserId::new("owner")?);
        let params = CallParams { inputs: text("x"), detach: true, ..CallParams::default() };
        let started = match level {
            Some(Level::Team) => {
                owner.run_team(TeamId::new(format!("{name}_team"))?, WorkflowId::new(&flow)?, params).await?
            }
            Some(Level::Agent | Level::Workflow) | None => owner.run_workflow(WorkflowId::new(&flow)?, params).await?,
        };
        ensure!(started.status == Status::Success, "{started:?}");
        let run = wait_status(&self.pod, &flow, "waiting_approval").await?;
        self.users.is_moved.store(is_moved, Ordering::SeqCst);
        self.clock.put_forward(PRINCIPAL_AGES);
        let approved = self.pod.client(&UserId::new("approver")?).approve(run.clone(), StepId::new("ask")?).await?;
        ensure!(approved.status == Status::Success, "{approved:?}");
        let has_ended = || async {
            let (_, status) = status_of(&self.pod, &flow).await?;
            ["success", "denied", "failed"].contains(&status.as_str()).then_some(status)
        };
        let status = wait_until("the run ends", COMMAND_WAIT_MAX, has_ended).await;
        self.users.is_moved.store(false, Ordering::SeqCst);
        status
    }

    /// The error code of the run that waited.
    async fn error_of(&self, level: Option<Level>) -> Result<Option<String>> {
        let (run, _) = status_of(&self.pod, &format!("{}_flow", waiting_name(level))).await.context("the run")?;
        let reply = self.pod.stores().runs.reply(&run).await?.context("a reply")?;
        Ok(reply.error.map(|cause| cause.code.to_string()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_owner_left_its_tenant_is_refused_at_its_next_hop_whatever_its_policies() -> Result<()> {
    for level in Level::ALL.map(Some).into_iter().chain([None]) {
        for (is_moved, end) in [(true, "denied"), (false, "success")] {
            let host = Host::start("tenant_isolation").await?;
            assert_eq!(host.run_of_owner(level, is_moved).await?, end, "{level:?}");
            // The recorded owner does not exist any more, so the hop ends before a policy is evaluated.
            assert_eq!(host.take_reasons(), [""; 0], "{level:?}");
            let error = host.error_of(level).await?;
            assert_eq!(error.is_some_and(|code| code == "unauthenticated"), is_moved, "{level:?}");
            host.pod.shutdown().await;
        }
    }
    Ok(())
}
