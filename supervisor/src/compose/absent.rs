//! What stands where teams will.
use async_trait::async_trait;
use greenroom_actors::agent::{Done, Failure};
use greenroom_actors::execution::work::Assignment;
use greenroom_protocol::request::*;
use greenroom_protocol::*;
use greenroom_rego::Permitted;
pub(super) struct Absent;
fn no() -> Cause {
    Cause::new(Code::Internal, "absent")
}
#[async_trait]
impl greenroom_actors::stage::RunsHere for Absent {
    async fn start(&self, p: Permitted<StartRun>) -> Reply {
        Failure::from(no()).into_reply(p.grant().request_id().to_string())
    }
    async fn resume(&self, p: Permitted<ResumeRun>) -> Reply {
        Failure::from(no()).into_reply(p.grant().request_id().to_string())
    }
    async fn signal(&self, p: Permitted<SignalRun>) -> Reply {
        Failure::from(no()).into_reply(p.grant().request_id().to_string())
    }
}
#[async_trait]
impl greenroom_actors::stage::TeamsHere for Absent {
    async fn start(&self, p: Permitted<StartTeam>) -> Reply {
        Failure::from(no()).into_reply(p.grant().request_id().to_string())
    }
    async fn invoke(&self, _: &RunId, a: Box<Assignment>) -> Result<Done, Box<Assignment>> {
        Err(a)
    }
    async fn read(&self, _: Permitted<ContextRead>) -> Result<Outcome, Cause> {
        Err(no())
    }
    async fn write(&self, _: Permitted<ContextWrite>) -> Result<Outcome, Cause> {
        Err(no())
    }
}
