//! The stage over one category, with runs and teams that only take note.

use std::sync::Mutex;

use greenroom_protocol::audit::Opening;
use greenroom_protocol::request::{ContextChange, Invoke};
use greenroom_protocol::{CategoryId, ContentHash, RequestId};
use greenroom_protocol::{ContextKey, PodId, Request, Status, TeamId, TenantId, TraceId, UserId, WorkflowId};
use greenroom_rego::{Grant, Narrowed, testing};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use serde_json::json;

use super::*;
use crate::category::{Categories, Category, CategoryHandle, Manners};
use crate::handler::{Manner, Work};
use crate::test_env::{Does, Rig, Wanted, invoke, native};

/// Takes note of what comes, and seats only the agent `member`.
#[derive(Default)]
struct Noted(Mutex<Vec<String>>);

impl Noted {
    fn note(&self, what: impl Into<String>) -> Reply {
        self.0.lock().unwrap().push(what.into());
        Failure::from(Cause::new(Code::UnknownRun, "only noted")).into_reply("x".into())
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

#[async_trait]
impl RunsHere for Noted {
    async fn start(&self, _: Permitted<StartRun>, _: &mut Opened, _: Option<Held>) -> Reply {
        self.note("start run")
    }
    async fn resume(&self, _: Permitted<ResumeRun>) -> Reply {
        self.note("resume run")
    }
    async fn signal(&self, _: Permitted<SignalRun>) -> Reply {
        self.note("signal run")
    }
}

#[async_trait]
impl TeamsHere for Noted {
    async fn start(&self, _: Permitted<StartTeam>) -> Reply {
        self.note("start team")
    }
    async fn invoke(&self, run: &RunId, assignment: Box<Assignment>) -> Result<Done, Box<Assignment>> {
        if assignment.agent.id().as_str() != "member" {
            return Err(assignment);
        }
        self.note(format!("member of {run}"));
        Ok(Ok(Outcome::default()))
    }
    async fn read(&self, _: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        self.note("read");
        Ok(Outcome::default())
    }
    async fn write(&self, _: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        self.note("write");
        Ok(Outcome::default())
    }
}

struct Root;

enum Nothing {}
impl ractor::Message for Nothing {}

impl Actor for Root {
    type Msg = Nothing;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Nothing>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct House {
    rig: Rig,
    stage: Stage,
    noted: Arc<Noted>,
    bracket: Bracket,
    _root: ActorRef<Nothing>,
}

async fn house() -> House {
    let says = |work: Work| async move {
        let values = Values::from([("summary".to_owned(), json!(work.agent.id().as_str()))]);
        Ok::<_, Cause>(values)
    };
    let rig = Rig::new(Wanted {
        agents: vec![native("member", "native.says"), native("other", "native.says")],
        handlers: vec![Arc::new(Does("native.says", Manner::Yields, says))],
        ..Wanted::default()
    });
    let category = CategoryHandle::new(CategoryId::new("ops").unwrap(), rig.backstage.clone(), Manners::default());
    let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
    Category::spawn_under(category.clone(), root.get_cell()).await.unwrap();
    let categories = Categories::default();
    categories.add(category);
    let noted = Arc::new(Noted::default());
    let stage =
        Stage::new(Parts { categories, runs: noted.clone(), teams: noted.clone(), backstage: rig.backstage.clone() });
    let opening = Opening {
        request: RequestId::fresh(1),
        trace: TraceId::fresh(1),
        pod: PodId::new("pod").unwrap(),
        tenant: TenantId::new("acme").unwrap(),
        user: UserId::new("admin").unwrap(),
        speaker: "user:admin".into(),
        action: "invoke".into(),
        target: "x".into(),
        run: None,
    };
    let bracket = rig.stores.audit.open(opening, rig.clock.now()).await.unwrap();
    House { rig, stage, noted, bracket, _root: root }
}

impl House {
    async fn narrowed(&self, request: Request, target: Target) -> Narrowed {
        testing::permit(9, request, target, self.rig.clock.now()).await.unwrap().narrow()
    }

    /// The grant of a team's run, from which its members are asked.
    async fn team_grant(&self) -> Grant {
        let request = Request::StartTeam(StartTeam {
            team: TeamId::new("team").unwrap(),
            workflow: WorkflowId::new("flow").unwrap(),
            inputs: Values::new(),
            context: Values::new(),
            detach: false,
            key: None,
            options: greenroom_protocol::request::Options::default(),
        });
        let target = Target::Team { team: TeamId::new("team").unwrap(), version: ContentHash::of(b"team") };
        let Narrowed::StartTeam(permit) = self.narrowed(request, target).await else { panic!("another verb") };
        permit.redeem().0
    }

    fn target(&self, id: &str) -> Target {
        let agent = self.rig.agent(id);
        Target::Agent { agent: agent.id().clone(), version: agent.hash() }
    }

    /// An invocation that a team's grant speaks.
    async fn of_team(&self, id: &str) -> Permitted<Invoke> {
        let asked = self.team_grant().await.speak(RequestId::fresh(10), Request::Invoke(invoke(id, "x")));
        match testing::permit_asked(asked, self.target(id)).await.unwrap().narrow() {
            Narrowed::Invoke(permit) => permit,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_agent_is_found_in_its_category_and_a_member_in_its_team() {
    let house = house().await;
    let outcome = house.stage.invoke(&house.bracket, house.rig.permit(testing::admin(), invoke("member", "x")).await);
    assert_eq!(outcome.await.unwrap().outputs["summary"], "member");
    assert!(house.noted.all().is_empty(), "without a team, nobody asks the teams");
    let outcome = house.stage.invoke(&house.bracket, house.of_team("other").await).await.unwrap();
    assert_eq!(outcome.outputs["summary"], "other", "who is no member works in its category");
    house.stage.invoke(&house.bracket, house.of_team("member").await).await.unwrap();
    let [noted] = house.noted.all().try_into().unwrap();
    assert!(noted.starts_with("member of run_"), "{noted}");
}

#[tokio::test]
async fn each_other_verb_goes_where_it_belongs() {
    let house = house().await;
    let run = RunId::new("run_1").unwrap();
    let context =
        |key: Option<&str>| Target::Context { run: run.clone(), key: key.map(|key| ContextKey::new(key).unwrap()) };
    let read = Request::ContextRead(ContextRead { run: run.clone(), keys: vec![] });
    let Narrowed::ContextRead(permit) = house.narrowed(read, context(None)).await else { panic!("another verb") };
    house.stage.context_read(&house.bracket, permit).await.unwrap();
    let write = Request::ContextWrite(ContextWrite {
        run: run.clone(),
        key: ContextKey::new("k").unwrap(),
        expect: None,
        change: ContextChange::Put(json!(1)),
        ttl_ms: None,
    });
    let Narrowed::ContextWrite(permit) = house.narrowed(write, context(Some("k"))).await else { panic!("another") };
    house.stage.context_write(&house.bracket, permit).await.unwrap();
    let of_run = Target::Run {
        run: run.clone(),
        workflow: WorkflowId::new("flow").unwrap(),
        version: ContentHash::of(b"flow"),
        team: None,
    };
    let resume = Request::ResumeRun(ResumeRun { run: run.clone() });
    let Narrowed::ResumeRun(permit) = house.narrowed(resume, of_run).await else { panic!("another verb") };
    assert_eq!(house.stage.resume_run(&house.bracket, permit).await.status, Status::Failed);
    assert_eq!(house.noted.all(), ["read", "write", "resume run"]);
}

#[tokio::test]
async fn a_native_tool_answers_under_one_name() {
    let house = house().await;
    let ask = async |tool: &str| {
        let arguments = Values::from([("a".to_owned(), json!(2)), ("b".to_owned(), json!(3))]);
        let call = Request::CallTool(CallTool { tool: tool.into(), arguments, key: None });
        let target = Target::Tool { tool: tool.into() };
        let Narrowed::CallTool(permit) = house.narrowed(call, target).await else { panic!("another verb") };
        house.stage.call_tool(&house.bracket, permit).await.map_err(|failure| failure.cause.code)
    };
    assert_eq!(ask("native:adder").await.map(|outcome| outcome.outputs[RESULT].clone()), Ok(json!(5)));
    assert_eq!(ask("native:divider").await.map(drop), Err(Code::UnknownTool));
    assert_eq!(ask("agent:adder").await.map(drop), Err(Code::UnknownTool));
}

#[tokio::test]
async fn a_permit_seats_no_other_version_than_the_one_that_was_judged() {
    let house = house().await;
    let permit = house.rig.permit(testing::admin(), invoke("member", "x")).await;
    let other = house.rig.agent("other");
    let refused = Assignment::redeem(permit, other, None).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::Internal);
}
