//! The guard's actors over the shipped policy.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use greenroom_protocol::request::{Look, Page};
use greenroom_protocol::{Code, Request, Timestamp};
use greenroom_rego::snapshot::Compiler;
use greenroom_rego::{Bundle, CacheDir, Denied, Facts, Guard, PolicySnapshot, Principal, Question, Target, testing};
use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent};

use super::{GuardHandle, GuardKeeper};
use crate::observer::Unobserved;
use crate::test_env::until;

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
    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Nothing>,
        _: SupervisionEvent,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

struct House {
    guard: Guard,
    handle: GuardHandle,
    keeper: ActorCell,
    root: ActorRef<Nothing>,
}

impl Drop for House {
    fn drop(&mut self) {
        self.root.kill();
    }
}

async fn house() -> House {
    let compiler = Compiler::new(&CacheDir::Off).unwrap();
    let snapshot = PolicySnapshot::load(&compiler, &Bundle::embedded().unwrap()).await.unwrap();
    let handle = GuardHandle::new(snapshot, compiler, 2);
    let (root, _) = Actor::spawn(None, Root, ()).await.unwrap();
    let keeper = GuardKeeper::new(handle.clone(), Arc::new(Unobserved)).spawn_under(root.get_cell()).await.unwrap();
    until("the shards sit", || handle.observe().shards == 2).await;
    House { guard: Guard::new(Arc::new(handle.clone())), handle, keeper, root }
}

/// A question of this user: may they look at the audit?
fn question(who: Principal) -> Question {
    let asked = testing::asked(who, 1, Request::Look(Look::Audit { page: Page::default() }), Timestamp::from_micros(1));
    let mut facts = Facts::about(Target::Records { what: "audit".into() });
    facts.usage.fresh = true;
    facts.usage.requests = 1;
    facts.audited = true;
    facts.relation.own_tenant = true;
    Question::new(asked, facts)
}

impl House {
    async fn allows(&self, who: Principal) -> Result<bool, Denied> {
        match self.guard.permit(question(who)).await {
            Ok(_) => Ok(true),
            Err(Denied::ByPolicy { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }
}

#[tokio::test]
async fn the_shipped_policy_answers_through_the_shards() {
    let house = house().await;
    for _ in 0..20 {
        assert_eq!(house.allows(testing::admin()).await, Ok(true));
        assert_eq!(house.allows(testing::user("guest", &[], &[])).await, Ok(false));
    }
    assert_eq!(house.handle.observe().waiting, 0);
}

#[tokio::test]
async fn a_new_bundle_is_in_force_once_it_is_loaded_and_drops_no_question() {
    let house = house().await;
    let before = house.handle.in_force();
    let asking: Vec<_> = (0..50).map(|_| house.allows(testing::admin())).collect();
    let (answers, loaded) =
        tokio::join!(futures::future::join_all(asking), house.handle.load(Bundle::embedded().unwrap()));
    assert!(answers.into_iter().all(|answer| answer == Ok(true)));
    assert_eq!(loaded.unwrap(), before.revision().clone());
    assert!(!Arc::ptr_eq(&before, &house.handle.in_force()));
    assert_eq!(house.allows(testing::admin()).await, Ok(true));
}

/// The shipped bundle with a module in it that is no policy: it imports a memory, and that is all.
fn hollow() -> Bundle {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0\x02\x0f\x01\x03env\x06memory\x02\0\x02";
    let shipped = include_bytes!("../../../rego/bundle/guard.tar.gz");
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&shipped[..]));
    let packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut builder = tar::Builder::new(packed);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        if path.ends_with("policy.wasm") {
            content = MODULE.to_vec();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        let path = path.strip_prefix("/").unwrap_or(&path);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    Bundle::read(&builder.into_inner().unwrap().finish().unwrap()).unwrap()
}

#[tokio::test]
async fn a_bundle_that_fails_its_trial_leaves_the_old_policy_in_force() {
    let house = house().await;
    let before = house.handle.in_force();
    let refused = house.handle.load(hollow()).await.unwrap_err();
    assert_eq!(refused.code, Code::InvalidPolicy);
    assert!(Arc::ptr_eq(&before, &house.handle.in_force()));
    assert_eq!(house.allows(testing::admin()).await, Ok(true));
    assert!(house.handle.load(Bundle::embedded().unwrap()).await.is_ok(), "a good one is taken after it");
}

#[tokio::test]
async fn shards_that_die_are_followed_by_others() {
    let house = house().await;
    for shard in house.keeper.get_children() {
        shard.kill();
        shard.wait(Some(Duration::from_secs(5))).await.unwrap();
    }
    assert_eq!(house.allows(testing::admin()).await, Ok(true));
}

#[tokio::test]
async fn a_keeper_that_dies_comes_back_over_the_same_inboxes() {
    let house = house().await;
    house.keeper.kill();
    house.keeper.wait(Some(Duration::from_secs(5))).await.unwrap();
    let refused = house.handle.load(Bundle::embedded().unwrap()).await;
    assert_eq!(refused.map_err(|cause| cause.code), Err(Code::Internal));
    let waiting = house.allows(testing::admin());
    let returning = async {
        tokio::task::yield_now().await;
        let keeper = GuardKeeper::new(house.handle.clone(), Arc::new(Unobserved));
        keeper.spawn_under(house.root.get_cell()).await.unwrap()
    };
    let (answer, _keeper) = tokio::join!(waiting, returning);
    assert_eq!(answer, Ok(true));
}

#[tokio::test]
async fn guards_are_not_offered_to_other_pods() {
    let house = house().await;
    assert!(!house.keeper.supports_remoting());
    assert!(house.keeper.get_children().iter().all(|shard| !shard.supports_remoting()));
}
