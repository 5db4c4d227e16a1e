//! Tenants and agents as walls: whatever several users of several tenants do, in whatever order, nothing that is read,
//! counted or deleted is of another owner. Their memories have the same ids and the same vectors, as those of an attacker
//! would.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// Operations of one history.
const OPERATIONS_MAX: usize = 25;
/// Histories of one run of the test.
const HISTORIES: u32 = 24;
/// What memories are about; the texts of one topic have one vector.
const TOPICS: usize = 3;

/// Who does something: a tenant, an agent, a user.
type Actor = (usize, usize, usize);

#[derive(Debug, Clone)]
enum Operation {
    Remember(Actor, usize),
    Ingest(Actor, usize, Vec<bool>),
    Recall(Actor, usize),
    ForgetOne(Actor, usize),
    ForgetSource(Actor, usize),
    ForgetAll(Actor),
    ForgetUser(Actor),
    ForgetTenant(Actor),
}

fn operation() -> impl Strategy<Value = Operation> {
    let actor = || (0..2_usize, 0..2_usize, 0..2_usize);
    prop_oneof![
        6 => (actor(), 0..TOPICS).prop_map(|(actor, topic)| Operation::Remember(actor, topic)),
        3 => (actor(), 0..2_usize, vec(any::<bool>(), TOPICS))
            .prop_map(|(actor, source, topics)| Operation::Ingest(actor, source, topics)),
        4 => (actor(), 0..TOPICS).prop_map(|(actor, topic)| Operation::Recall(actor, topic)),
        2 => (actor(), 0..TOPICS).prop_map(|(actor, topic)| Operation::ForgetOne(actor, topic)),
        1 => (actor(), 0..2_usize).prop_map(|(actor, source)| Operation::ForgetSource(actor, source)),
        1 => actor().prop_map(Operation::ForgetAll),
        1 => actor().prop_map(Operation::ForgetUser),
        1 => actor().prop_map(Operation::ForgetTenant),
    ]
}

/// A memory as the model has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Expected {
    text: String,
    topic: usize,
    user: usize,
    source: Option<usize>,
}

/// One history: its names, its model, and its clock.
struct History<'t> {
    test: &'t TestMemory,
    number: usize,
    model: BTreeMap<(usize, usize), BTreeMap<ContentHash, Expected>>,
    clock: u32,
}

impl History<'_> {
    fn tenant(&self, number: usize) -> TenantId {
        tenant(&format!("tenant{number}-{}", self.number))
    }

    fn owner(&self, (tenant, agent, _): Actor) -> MemoryOwner {
        MemoryOwner { tenant: self.tenant(tenant), agent: AgentId::new(format!("agent{agent}")).unwrap() }
    }

    fn user(&self, (tenant, _, user): Actor) -> PrincipalId {
        PrincipalId::local(self.tenant(tenant), UserId::new(format!("user{user}")).unwrap())
    }

    fn of(&mut self, (tenant, agent, _): Actor) -> &mut BTreeMap<ContentHash, Expected> {
        self.model.entry((tenant, agent)).or_default()
    }

    async fn store(&mut self, actor: Actor, source: Option<usize>, topics: Vec<usize>) {
        self.clock += 1;
        let (owner, at) = (self.owner(actor), later(self.clock));
        let mut memories = Vec::new();
        for topic in topics {
            let text = format!("{owner:?} user{} {source:?} topic{topic}", actor.2);
            let id = id(topic, source, actor.2);
            let document =
                |source: usize| MemorySource { name: format!("source{source}"), first_line: 1, last_line: 2 };
            let memory = Memory {
                id,
                text: text.clone(),
                at,
                expires_at: None,
                user: Some(self.user(actor)),
                source: source.map(document),
            };
            memories.push(NewMemory { memory, vector: hashed_vector(topic_text(topic)) });
            self.of(actor).insert(id, Expected { text, topic, user: actor.2, source });
        }
        let batch = MemoryBatch { embedder: EmbedderId::hashed(), memories, owner_max: OWNER_MAX_DEFAULT };
        self.test.store.remember(&owner, &batch, NOW).await.unwrap();
    }

    async fn apply(&mut self, operation: Operation) -> Result<(), TestCaseError> {
        let store = Arc::clone(&self.test.store);
        match operation {
            Operation::Remember(actor, topic) => self.store(actor, None, vec![topic]).await,
            Operation::Ingest(actor, source, topics) => {
                self.of(actor).retain(|_, expected| expected.source != Some(source));
                let topics: Vec<usize> = (0..TOPICS).filter(|topic| topics[*topic]).collect();
                self.store(actor, Some(source), topics).await;
                let before = Some(later(self.clock));
                let replaced = ForgetSelection::Source { name: format!("source{source}"), before };
                store.forget(&self.owner(actor), &replaced).await.unwrap();
            }
            Operation::Recall(actor, topic) => self.check_recall(actor, topic).await?,
            Operation::ForgetOne(actor, topic) => {
                let id = id(topic, None, actor.2);
                let expected = u64::from(self.of(actor).remove(&id).is_some());
                let forgotten = store.forget(&self.owner(actor), &ForgetSelection::One(id)).await.unwrap();
                prop_assert_eq!(forgotten, expected);
            }
            Operation::ForgetSource(actor, source) => {
                let expected = self.remove(actor, |expected| expected.source == Some(source));
                let selection = ForgetSelection::Source { name: format!("source{source}"), before: None };
                prop_assert_eq!(store.forget(&self.owner(actor), &selection).await.unwrap(), expected);
            }
            Operation::ForgetAll(actor) => {
                let expected = self.remove(actor, |_| true);
                prop_assert_eq!(store.forget(&self.owner(actor), &ForgetSelection::All).await.unwrap(), expected);
            }
            Operation::ForgetUser(actor) => {
                let (tenant, user) = (self.tenant(actor.0), self.user(actor));
                let expected: u64 =
                    (0..2).map(|agent| self.remove((actor.0, agent, 0), |expected| expected.user == actor.2)).sum();
                prop_assert_eq!(store.forget_of_tenant(&tenant, Some(&user)).await.unwrap(), expected);
            }
            Operation::ForgetTenant(actor) => {
                let expected: u64 = (0..2).map(|agent| self.remove((actor.0, agent, 0), |_| true)).sum();
                prop_assert_eq!(store.forget_of_tenant(&self.tenant(actor.0), None).await.unwrap(), expected);
            }
        }
        Ok(())
    }

    fn remove(&mut self, actor: Actor, is_removed: impl Fn(&Expected) -> bool) -> u64 {
        let memories = self.of(actor);
        let before = memories.len();
        memories.retain(|_, expected| !is_removed(expected));
        (before - memories.len()) as u64
    }

    async fn check_recall(&mut self, actor: Actor, topic: usize) -> Result<(), TestCaseError> {
        let matches = self.test.recall(&self.owner(actor), topic_text(topic), 100, 0.9).await;
        let mut found: Vec<String> = matches.into_iter().map(|found| found.memory.text).collect();
        let of_topic = self.of(actor).values().filter(|expected| expected.topic == topic);
        let mut expected: Vec<String> = of_topic.map(|expected| expected.text.clone()).collect();
        found.sort();
        expected.sort();
        // An index may miss a match; what it finds is of this owner all the same.
        prop_assert!(found == expected || !self.test.is_exact, "{found:?} instead of {expected:?}");
        prop_assert!(found.iter().all(|text| expected.contains(text)), "{found:?} instead of {expected:?}");
        Ok(())
    }

    /// Compares everything that each owner has.
    async fn check(&mut self) -> Result<(), TestCaseError> {
        for actor in [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0)] {
            let mut found = self.test.texts(&self.owner(actor), NOW).await;
            let mut expected: Vec<String> = self.of(actor).values().map(|expected| expected.text.clone()).collect();
            found.sort();
            expected.sort();
            prop_assert_eq!(&found, &expected);
            let count = self.test.store.count(&self.owner(actor), NOW).await.unwrap();
            prop_assert_eq!(count.memories, expected.len() as u64);
            for topic in 0..TOPICS {
                self.check_recall(actor, topic).await?;
            }
        }
        Ok(())
    }
}

/// The id of a memory, which is the same in every tenant and for every agent.
fn id(topic: usize, source: Option<usize>, user: usize) -> ContentHash {
    let user = if source.is_none() { user } else { 0 };
    ContentHash::from_content(format!("{topic} {source:?} {user}").as_bytes())
}

fn topic_text(topic: usize) -> &'static str {
    ["revenue of the northern region", "a recipe for soup with leek", "the weather on the coast"][topic]
}

#[test]
fn memories_of_one_tenant_are_never_found_by_another() {
    let runtime = Runtime::new().unwrap();
    let _context = runtime.enter();
    for test in runtime.block_on(TestMemory::each()) {
        let numbers = AtomicU64::new(0);
        let mut runner = TestRunner::new(Config { cases: HISTORIES, failure_persistence: None, ..Config::default() });
        let histories = vec(operation(), 1..OPERATIONS_MAX);
        let outcome = runner.run(&histories, |operations| {
            let number = usize::try_from(numbers.fetch_add(1, Ordering::Relaxed)).unwrap();
            let mut history = History { test: &test, number, model: BTreeMap::new(), clock: 0 };
            runtime.block_on(async {
                for operation in operations {
                    history.apply(operation).await?;
                }
                history.check().await
            })
        });
        outcome.unwrap();
    }
}
