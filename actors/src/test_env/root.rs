//! The root actor of tests: the supervisor of what a test starts.

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::supervision::ChildEvent;

/// Stays alive whatever happens to its children.
pub(crate) struct TestRoot;

/// The root receives no message.
pub(crate) enum NoMsg {}

impl ractor::Message for NoMsg {}

impl TestRoot {
    /// Starts a root.
    pub(crate) async fn start() -> ActorRef<NoMsg> {
        Actor::spawn(None, Self, ()).await.unwrap().0
    }
}

impl Actor for TestRoot {
    type Msg = NoMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<NoMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NoMsg>,
        event: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        let _ = ChildEvent::from_event(event);
        Ok(())
    }
}
