//! Figures about a catalogue: how many definitions there are of what, what a call of each agent costs at most, and what
//! an author has left to do.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_protocol::AgentId;
use serde::Serialize;

use crate::agent::{Agent, RuntimeKind};
use crate::catalogue::Catalogue;
use crate::similarity::{ComparedText, SimilarPair, most_similar};

/// Pairs of similar agents in the statistics.
const PAIRS_MAX: usize = 10;
/// Characters of one token, for the estimate.
const TOKEN_CHARS: usize = 4;
/// The cost in US dollars above which an agent is listed.
pub const LISTED_COST_USD: f64 = 0.01;

/// Figures about a catalogue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Statistics {
    /// Numbers of definitions.
    pub totals: Totals,
    /// The number of agents of each category.
    pub categories: BTreeMap<String, usize>,
    /// The number of agents of each runtime.
    pub runtimes: BTreeMap<String, usize>,
    /// The number of agents of each model or tier; native agents have none.
    pub models: BTreeMap<String, usize>,
    /// The number of agents with each capability, unused ones included.
    pub capabilities: BTreeMap<String, usize>,
    /// Agents whose call is estimated to cost more than [`LISTED_COST_USD`], the most expensive first.
    pub expensive: Vec<AgentCost>,
    /// Collaborations that only one of two agents lists.
    pub one_way_edges: Vec<Edge>,
    /// Agents that no team and no workflow reaches.
    pub unreached: Vec<AgentId>,
    /// Agents with an example that expects nothing.
    pub without_assertions: Vec<AgentId>,
    /// The most similar pairs of system prompts, snippets left out.
    pub similar_prompts: Vec<SimilarPair>,
    /// The most similar pairs of descriptions.
    pub similar_descriptions: Vec<SimilarPair>,
}

/// Numbers of definitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Agents.
    pub agents: usize,
    /// Workflows.
    pub workflows: usize,
    /// Teams.
    pub teams: usize,
    /// Definitions that are out of service, or in an earlier version.
    pub quarantined: usize,
    /// Examples of agents.
    pub examples: usize,
    /// Deprecated agents.
    pub deprecated: usize,
}

/// The estimated cost of one call of an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentCost {
    /// The agent.
    pub agent: AgentId,
    /// The cost in US dollars.
    pub usd: f64,
}

/// A collaboration from the agent that lists the other one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Edge {
    /// The agent that lists the other.
    pub from: AgentId,
    /// The agent that is listed.
    pub to: AgentId,
}

impl Statistics {
    /// Computes the figures of a catalogue.
    #[must_use]
    pub fn new(catalogue: &Catalogue) -> Self {
        let mut categories: BTreeMap<String, usize> =
            catalogue.categories().map(|category| (category.id.to_string(), 0)).collect();
        let mut capabilities: BTreeMap<String, usize> =
            catalogue.capabilities().map(|capability| (capability.id.clone(), 0)).collect();
        let (mut runtimes, mut models) = (BTreeMap::new(), BTreeMap::new());
        for agent in catalogue.agents() {
            let spec = agent.spec();
            *categories.entry(spec.category.to_string()).or_default() += 1;
            *runtimes.entry(spec.implementation.runtime.as_str().to_owned()).or_default() += 1;
            if spec.implementation.runtime == RuntimeKind::Llm {
                *models.entry(agent.model().to_string()).or_default() += 1;
            }
            for capability in &spec.capabilities {
                *capabilities.entry(capability.clone()).or_default() += 1;
            }
        }
        Self {
            totals: totals(catalogue),
            categories,
            runtimes,
            models,
            capabilities,
            expensive: expensive(catalogue),
            one_way_edges: edges(catalogue).into_iter().filter(|edge| !edge.is_mutual).map(|edge| edge.edge).collect(),
            unreached: unreached(catalogue),
            without_assertions: without_assertions(catalogue),
            similar_prompts: most_similar(catalogue, ComparedText::SystemPrompt, PAIRS_MAX),
            similar_descriptions: most_similar(catalogue, ComparedText::Description, PAIRS_MAX),
        }
    }
}

fn totals(catalogue: &Catalogue) -> Totals {
    Totals {
        agents: catalogue.agent_count(),
        workflows: catalogue.workflow_count(),
        teams: catalogue.team_count(),
        quarantined: catalogue.quarantined().len(),
        examples: catalogue.agents().map(|agent| agent.spec().examples.len()).sum(),
        deprecated: catalogue.agents().filter(|agent| agent.spec().deprecated.is_some()).count(),
    }
}

/// The estimate of one call in US dollars: its system prompt and its longest example at the price of its model, and
/// the longest answer. `None` for an agent without a model, or without a price.
#[must_use]
pub fn estimated_cost_usd(catalogue: &Catalogue, agent: &Agent) -> Option<f64> {
    let implementation = &agent.spec().implementation;
    if implementation.runtime != RuntimeKind::Llm {
        return None;
    }
    let chain = catalogue.models().chain(&agent.model(), &implementation.fallback_models);
    let price = catalogue.models().call_price(chain.first()?, agent.model().tier())?.price;
    let longest = agent.spec().examples.iter().filter_map(|example| {
        let inputs = agent.validate_inputs(example.inputs.clone()).ok()?;
        Some(agent.prompt().render_user(&inputs, &greenroom_protocol::Values::new()).ok()?.chars().count())
    });
    let chars = agent.prompt().system().chars().count() + longest.max().unwrap_or_default();
    let tokens = f64::from(u32::try_from(chars / TOKEN_CHARS).unwrap_or(u32::MAX));
    let million = 1_000_000.0;
    Some((tokens * price.input + f64::from(agent.tokens_max()) * price.output) / million)
}

/// The agents whose call is estimated to cost more than [`LISTED_COST_USD`], the most expensive first.
#[must_use]
pub fn expensive(catalogue: &Catalogue) -> Vec<AgentCost> {
    let costs = catalogue.agents().filter_map(|agent| {
        let usd = estimated_cost_usd(catalogue, agent).filter(|usd| *usd > LISTED_COST_USD)?;
        Some(AgentCost { agent: agent.id().clone(), usd })
    });
    let mut costs: Vec<AgentCost> = costs.collect();
    costs.sort_by(|left, right| right.usd.total_cmp(&left.usd).then_with(|| left.agent.cmp(&right.agent)));
    costs
}

/// A collaboration, and whether both agents list each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollaborationEdge {
    /// The agents.
    pub edge: Edge,
    /// True if the other agent lists this one too.
    pub is_mutual: bool,
}

/// Every collaboration that an agent lists, by the full ids of both agents.
#[must_use]
pub fn edges(catalogue: &Catalogue) -> Vec<CollaborationEdge> {
    let listed: BTreeSet<Edge> = catalogue
        .agents()
        .flat_map(|agent| {
            let others = agent.spec().collaboration.can_work_with.iter().filter_map(|id| catalogue.agent(id));
            others.map(|other| Edge { from: agent.id().clone(), to: other.id().clone() })
        })
        .collect();
    let is_mutual = |edge: &Edge| listed.contains(&Edge { from: edge.to.clone(), to: edge.from.clone() });
    listed.iter().map(|edge| CollaborationEdge { edge: edge.clone(), is_mutual: is_mutual(edge) }).collect()
}

fn unreached(catalogue: &Catalogue) -> Vec<AgentId> {
    let of_teams = catalogue.teams().flat_map(|team| team.spec().agents.iter().cloned());
    let of_workflows = catalogue.workflows().flat_map(|workflow| workflow.plan().agents());
    let named: BTreeSet<AgentId> = of_teams.chain(of_workflows.cloned()).collect();
    let reached: BTreeSet<&AgentId> =
        named.iter().filter_map(|id| catalogue.agent(id)).map(|agent| agent.id()).collect();
    catalogue.agents().map(|agent| agent.id()).filter(|id| !reached.contains(id)).cloned().collect()
}

fn without_assertions(catalogue: &Catalogue) -> Vec<AgentId> {
    let lacks = |agent: &Agent| agent.spec().examples.iter().any(|example| example.expect.is_empty());
    catalogue.agents().filter(|agent| lacks(agent)).map(|agent| agent.id().clone()).collect()
}
