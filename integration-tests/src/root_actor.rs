//! A root of actors that only supervises them, for tests and benchmarks of actors without the rest of a pod.

use anyhow::Result;
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

/// A running root. Dropping it stops it and its children.
pub struct RootActor(ActorRef<NoMsg>);

impl RootActor {
    /// Starts a root.
    ///
    /// # Errors
    /// If the actor cannot be spawned.
    pub async fn start() -> Result<Self> {
        let (root, _) = Actor::spawn(None, Root, ()).await?;
        Ok(Self(root))
    }

    /// The supervisor of its children.
    #[must_use]
    pub fn cell(&self) -> ActorCell {
        self.0.get_cell()
    }
}

impl Drop for RootActor {
    fn drop(&mut self) {
        self.0.stop(None);
    }
}

struct Root;

/// The root has no messages.
enum NoMsg {}

impl ractor::Message for NoMsg {}

impl Actor for Root {
    type Msg = NoMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<NoMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    /// A child that ends is not started again, and does not end the root.
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NoMsg>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}
