//! The peer with a service that a test controls.

use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

/// Replies with the call reversed, except for `wait`, which never ends, and `panic`.
struct Reversing(mpsc::Sender<&'static str>);

/// Reports that a call was dropped.
struct OnDrop(mpsc::Sender<&'static str>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.try_send("dropped");
    }
}

#[async_trait]
impl PeerService for Reversing {
    async fn serve(&self, caller: &PodId, envelope: &[u8]) -> Vec<u8> {
        assert_eq!(caller.as_str(), "one");
        match envelope {
            b"panic" => panic!("the service fails"),
            b"wait" => {
                let _on_drop = OnDrop(self.0.clone());
                let _ = self.0.try_send("started");
                std::future::pending().await
            }
            _ => envelope.iter().rev().copied().collect(),
        }
    }
}

async fn start() -> (ActorRef<PeerMsg>, mpsc::Receiver<&'static str>) {
    let (events_tx, events) = mpsc::channel(8);
    let (peer, _) = Actor::spawn(None, Peer { service: Arc::new(Reversing(events_tx)) }, ()).await.unwrap();
    (peer, events)
}

fn caller() -> PodId {
    PodId::new("one").unwrap()
}

async fn call(peer: &ActorRef<PeerMsg>, id: u128, body: &[u8]) -> Vec<u8> {
    let timeout = Some(Duration::from_secs(10));
    peer.call(|reply| PeerMsg::Call(CallId(id).frame(&caller(), body), reply), timeout).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_peer_is_offered_to_other_pods_and_replies() {
    let (peer, _) = start().await;
    assert!(peer.supports_remoting());
    assert_eq!(call(&peer, 1, b"abc").await, b"cba");
    peer.stop(None);
}

#[tokio::test]
async fn a_call_whose_service_panics_has_a_coded_reply_and_the_peer_lives() {
    let (peer, _) = start().await;
    let reply = call(&peer, 1, b"panic").await;
    assert!(String::from_utf8_lossy(&reply).contains("agent_crashed"), "{reply:?}");
    assert_eq!(call(&peer, 2, b"abc").await, b"cba");
    peer.stop(None);
}

#[tokio::test]
async fn an_abandoned_call_is_dropped() {
    let (peer, mut events) = start().await;
    let waiting = {
        let peer = peer.clone();
        async move { peer.call(|reply| PeerMsg::Call(CallId(7).frame(&caller(), b"wait"), reply), None).await }
    };
    let mut waiting = Box::pin(waiting);
    assert!(futures::poll!(&mut waiting).is_pending());
    assert_eq!(events.recv().await, Some("started"));
    peer.send_message(PeerMsg::Abandon(CallId(7).to_bytes())).unwrap();
    assert_eq!(events.recv().await, Some("dropped"));
    assert_eq!(call(&peer, 8, b"abc").await, b"cba");
    peer.stop(None);
}

#[tokio::test]
async fn what_a_later_release_sends_does_not_end_the_peer() {
    let (peer, _) = start().await;
    let later = SerializedMessage::Cast { variant: "later".to_owned(), args: vec![1], metadata: None };
    let message = <PeerMsg as ractor::Message>::deserialize(later).unwrap();
    assert!(matches!(&message, PeerMsg::Unknown(variant) if variant == "later"), "{message:?}");
    peer.send_message(message).unwrap();
    peer.send_message(PeerMsg::Abandon(vec![1, 2])).unwrap();
    assert_eq!(call(&peer, 1, b"abc").await, b"cba");
    peer.stop(None);
}

#[tokio::test]
async fn a_call_that_cannot_be_read_has_a_coded_reply_or_none() {
    let (peer, _) = start().await;
    let timeout = Some(Duration::from_secs(10));
    let no_id = peer.call(|reply| PeerMsg::Call(vec![1, 2, 3], reply), timeout).await.unwrap();
    assert!(no_id.is_send_error(), "its port is dropped");
    let truncated = [CallId(1).to_bytes(), vec![200, 1]].concat();
    let reply = peer.call(|reply| PeerMsg::Call(truncated, reply), timeout).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&reply).contains("invalid_request"), "{reply:?}");
    peer.stop(None);
}

#[test]
fn a_message_for_this_process_only_is_not_serialized() {
    use ractor::Message as _;
    assert!(PeerMsg::Ended(CallId(1)).serialize().is_err());
    assert!(PeerMsg::Unknown(String::new()).serialize().is_err());
    assert!(PeerMsg::Abandon(vec![]).serialize().is_ok() && PeerMsg::serializable());
}
