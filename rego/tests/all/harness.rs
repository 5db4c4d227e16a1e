//! Users, requests, facts and engines for the tests of this folder.

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use greenroom_protocol::request::{Invoke, StartRun};
use greenroom_protocol::{
    AgentId, CategoryId, Cause, ContentHash, Credential, Envelope, IdGenerator, PrincipalId, Received, Request,
    RequestId, TenantId, Timestamp, UserId, Values, WorkflowId,
};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{
    AgentFacts, Authenticated, Authenticator, Bundle, CacheDir, Engine, EvaluationError, Evaluator, Explanation, Facts,
    Guard, IdentityProvider, Input, Limits, NameSet, Permissions, PolicyDecision, PolicySnapshot, Principal, Relation,
    Resource, UsageFacts,
};
use tokio::sync::Mutex;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

pub(crate) fn names(all: &[&str]) -> NameSet {
    all.iter().copied().collect()
}

/// The three users of the embedded configuration, an approver and an auditor.
pub(crate) fn user(name: &str) -> Option<Principal> {
    let (roles, categories): (&[&str], &[&str]) = match name {
        "admin" => (&["admin"], &[]),
        "operator" => (&["agent_operator"], &["business_ops", "data_analytics"]),
        "guest" => (&[], &[]),
        "approver" => (&["approver"], &[]),
        "auditor" => (&["auditor"], &[]),
        _ => return None,
    };
    Some(Principal {
        id: PrincipalId::local(TenantId::default(), UserId::new(name).unwrap()),
        roles: names(roles),
        permissions: Permissions { allowed_categories: names(categories), pii_access: false },
        rate_limit: 1_000,
        query_limit: 1_000,
        limits: Limits::default(),
        tenant_limits: Limits::default(),
        entry_points: None,
    })
}

pub(crate) struct ConfiguredUsers;

#[async_trait]
impl IdentityProvider for ConfiguredUsers {
    async fn verify_credential(&self, credential: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(match credential {
            Credential::ApiKey(key) => key.strip_prefix("key-of-").and_then(user),
            Credential::Bearer(_) | Credential::Delegation(_) => None,
        })
    }

    async fn find_local_user(&self, name: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(user(name.as_str()))
    }

    /// Resolves the name alone, as no provider should.
    async fn find_user(&self, id: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(user(id.user.as_str()))
    }
}

pub(crate) struct FixedIds;

impl IdGenerator for FixedIds {
    fn next_id(&self) -> u128 {
        7
    }
}

pub(crate) fn authenticator() -> Authenticator {
    Authenticator::new(Arc::new(ConfiguredUsers))
}

pub(crate) async fn user_request(name: &str, request: Request) -> Authenticated {
    let received = Received::local(UserId::new(name).unwrap(), Envelope::new(request), &FixedIds, NOW).unwrap();
    authenticator().authenticate(received).await.unwrap()
}

pub(crate) fn invoke(agent: &str) -> Request {
    Request::Invoke(Invoke {
        agent: AgentId::new(agent).unwrap(),
        inputs: Values::new(),
        context: Values::new(),
        version: None,
        key: None,
        options: greenroom_protocol::request::CallOptions::default(),
        approvals: None,
    })
}

pub(crate) fn start_run(workflow: &str) -> Request {
    Request::StartRun(StartRun {
        workflow: WorkflowId::new(workflow).unwrap(),
        inputs: Values::new(),
        context: Values::new(),
        version: None,
        detach: false,
        key: None,
        options: greenroom_protocol::request::CallOptions::default(),
    })
}

pub(crate) fn version() -> ContentHash {
    ContentHash::from_content(b"version")
}

/// Facts that support an allow of most actions.
pub(crate) fn facts(resource: Resource) -> Facts {
    Facts {
        relation: Relation { own_tenant: true, ..Relation::default() },
        usage: UsageFacts { requests: 1, queries: 1, available: true, ..UsageFacts::default() },
        audited: true,
        ..Facts::for_resource(resource)
    }
}

pub(crate) fn agent_facts(agent: &str, category: &str, capabilities: &[&str], policies: &[&str]) -> Facts {
    let agent = AgentId::new(agent).unwrap();
    Facts {
        agent: Some(AgentFacts {
            agent: agent.clone(),
            category: CategoryId::new(category).unwrap(),
            capabilities: names(capabilities),
            internal_model: true,
        }),
        policies: names(policies),
        document_bytes: 4_512,
        ..facts(Resource::Agent { agent, version: version() })
    }
}

/// Facts about the agent of the client's document, as in its definition file.
pub(crate) fn summary_facts() -> Facts {
    agent_facts(
        "executive_summary_agent_001",
        "business_ops",
        &["text_summarization", "report_generation", "executive_communication"],
        &["require_authentication", "audit_all_actions", "max_document_size_10mb"],
    )
}

pub(crate) fn workflow_resource(workflow: &str) -> Resource {
    Resource::Workflow { workflow: WorkflowId::new(workflow).unwrap(), version: version() }
}

pub(crate) fn request_id(number: u128) -> RequestId {
    RequestId::from_u128(number)
}

/// The compiler that all tests share.
pub(crate) fn compiler() -> &'static Compiler {
    static COMPILER: OnceLock<Compiler> = OnceLock::new();
    COMPILER.get_or_init(|| Compiler::new(&CacheDir::Off).unwrap())
}

pub(crate) async fn snapshot() -> Arc<PolicySnapshot> {
    static SNAPSHOT: tokio::sync::OnceCell<Arc<PolicySnapshot>> = tokio::sync::OnceCell::const_new();
    let load = || async { PolicySnapshot::load(compiler(), &Bundle::embedded().unwrap()).await.unwrap() };
    Arc::clone(SNAPSHOT.get_or_init(load).await)
}

/// An evaluator over one engine behind a lock; the real guard has one engine per worker.
pub(crate) struct SingleEngine(Mutex<Engine>);

#[async_trait]
impl Evaluator for SingleEngine {
    async fn decide(&self, input: Arc<Input>) -> Result<PolicyDecision, EvaluationError> {
        self.0.lock().await.decide(&input).await
    }

    async fn explain(&self, input: Arc<Input>) -> Result<Explanation, EvaluationError> {
        self.0.lock().await.explain(&input).await
    }
}

impl SingleEngine {
    pub(crate) const fn new(engine: Mutex<Engine>) -> Self {
        Self(engine)
    }
}

pub(crate) async fn engine() -> Engine {
    Engine::new(snapshot().await).await.unwrap()
}

pub(crate) async fn guard() -> Guard {
    Guard::new(Arc::new(SingleEngine(Mutex::new(engine().await))))
}

/// The embedded bundle.
pub(crate) const SHIPPED: &[u8] = include_bytes!("../../bundle/guard.tar.gz");

/// One of the bundles that `build.sh` compiles for the tests.
pub(crate) fn bundle_bytes(name: &str) -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles");
    std::fs::read(folder.join(format!("{name}.tar.gz"))).unwrap()
}

/// Reads one of the bundles that `build.sh` compiles for the tests.
pub(crate) fn test_bundle(name: &str) -> Bundle {
    Bundle::read(&bundle_bytes(name)).unwrap()
}

/// Packs the files of a bundle again, edited; a file for which `edit` returns false is omitted.
pub(crate) fn repacked(bundle: &[u8], edit: impl Fn(&str, &mut Vec<u8>) -> bool) -> Vec<u8> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bundle));
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().trim_start_matches('/').to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        if edit(&name, &mut content) {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            builder.append_data(&mut header, name, content.as_slice()).unwrap();
        }
    }
    builder.into_inner().unwrap().finish().unwrap()
}

/// The grant of a run of the demo's workflow that this user starts.
pub(crate) async fn run_grant(name: &str) -> greenroom_rego::Grant {
    run_grant_of_principal(user(name).unwrap()).await
}

/// The same for any principal.
pub(crate) async fn run_grant_of_principal(principal: Principal) -> greenroom_rego::Grant {
    let resource = workflow_resource("generate_quarterly_report");
    let request = request_as(principal, start_run("generate_quarterly_report")).await;
    let permit = guard().await.permit(greenroom_rego::AccessRequest::new(request, facts(resource))).await.unwrap();
    permit.redeem().0
}

/// The same facts for a call by a step of a workflow.
pub(crate) fn step_facts(facts: Facts) -> Facts {
    Facts { relation: Relation { workflow_step: true, ..facts.relation }, ..facts }
}

struct SingleUser(Principal);

#[async_trait]
impl IdentityProvider for SingleUser {
    async fn verify_credential(&self, _: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }

    async fn find_local_user(&self, _: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(Some(self.0.clone()))
    }

    async fn find_user(&self, _: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(Some(self.0.clone()))
    }
}

/// An authenticated request of any principal.
pub(crate) async fn request_as(principal: Principal, request: Request) -> Authenticated {
    let received = Received::local(principal.id.user.clone(), Envelope::new(request), &FixedIds, NOW).unwrap();
    Authenticator::new(Arc::new(SingleUser(principal))).authenticate(received).await.unwrap()
}

struct AnonymousAllowed;

#[async_trait]
impl IdentityProvider for AnonymousAllowed {
    async fn verify_credential(&self, _: &Credential, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }

    async fn find_local_user(&self, _: &UserId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }

    async fn find_user(&self, _: &PrincipalId, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(None)
    }

    async fn find_anonymous_user(&self, _: Timestamp) -> Result<Option<Principal>, Cause> {
        Ok(user("admin"))
    }
}

/// A request without a credential, authenticated as the configuration's anonymous user.
pub(crate) async fn anonymous_request(request: Request) -> Authenticated {
    let bytes = serde_json::to_vec(&Envelope::new(request)).unwrap();
    let received = Received::decode(&bytes, greenroom_protocol::IngressKind::Http, &FixedIds, NOW).unwrap();
    Authenticator::new(Arc::new(AnonymousAllowed)).authenticate(received).await.unwrap()
}

/// The bundle with a changed module, packed and read again.
pub(crate) fn with_wasm(bundle: &Bundle, change: impl FnOnce(&mut Vec<u8>)) -> Bundle {
    let mut wasm = bundle.wasm().to_vec();
    change(&mut wasm);
    let data = serde_json::to_vec(bundle.data()).unwrap();
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(encoder);
    for (name, content) in [("policy.wasm", wasm.as_slice()), ("data.json", &data), (".manifest", b"{}")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append_data(&mut header, name, content).unwrap();
    }
    Bundle::read(&builder.into_inner().unwrap().finish().unwrap()).unwrap()
}
