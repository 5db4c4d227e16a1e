//! The graph of a catalogue: who works with whom, who is in which team, and which workflow calls what. As DOT for other
//! programs, and as a picture that needs none.

use std::collections::BTreeMap;

use crate::agent::ToolRef;
use crate::catalogue::Catalogue;
use crate::plan::StepTarget;
use crate::statistics::edges;

mod svg;

pub use svg::to_svg;

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeKind {
    /// An agent.
    Agent,
    /// A team.
    Team,
    /// A workflow.
    Workflow,
}

/// The meaning of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum EdgeKind {
    /// Two agents work with each other; an edge that only one of them lists is drawn with a broken line.
    Collaboration {
        /// True if both list each other.
        is_mutual: bool,
    },
    /// An agent has the other as a tool.
    Tool,
    /// A team has the agent as a member.
    Member,
    /// A workflow calls the agent, the workflow or the team.
    Step,
}

impl NodeKind {
    /// The kind in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Team => "team",
            Self::Workflow => "workflow",
        }
    }
}

impl EdgeKind {
    /// The meaning in one word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Collaboration { .. } => "collaboration",
            Self::Tool => "tool",
            Self::Member => "member",
            Self::Step => "step",
        }
    }
}

/// A node, by its kind and id.
pub type NodeKey = (NodeKind, String);

/// The graph of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    /// The group of each node: the category of an agent, else the kind.
    pub nodes: BTreeMap<NodeKey, String>,
    /// The edges, each once.
    pub edges: Vec<(NodeKey, NodeKey, EdgeKind)>,
}

impl Graph {
    /// The graph of a catalogue; of one category, if it is named, with everything that touches its agents.
    #[must_use]
    pub fn new(catalogue: &Catalogue, category: Option<&str>) -> Self {
        let mut graph = Self::default();
        for agent in catalogue.agents() {
            let spec = agent.spec();
            graph.nodes.insert((NodeKind::Agent, agent.id().to_string()), spec.category.to_string());
            for tool in &spec.tools {
                if let ToolRef::Agent(id) = &tool.tool
                    && let Some(other) = catalogue.agent(id)
                {
                    graph.add(
                        (NodeKind::Agent, agent.id().to_string()),
                        (NodeKind::Agent, other.id().to_string()),
                        EdgeKind::Tool,
                    );
                }
            }
        }
        for found in edges(catalogue) {
            // A mutual edge is found from both sides.
            if found.is_mutual && found.edge.to < found.edge.from {
                continue;
            }
            let (from, to) = (found.edge.from.to_string(), found.edge.to.to_string());
            let kind = EdgeKind::Collaboration { is_mutual: found.is_mutual };
            graph.add((NodeKind::Agent, from), (NodeKind::Agent, to), kind);
        }
        graph.add_teams(catalogue);
        graph.add_workflows(catalogue);
        graph.edges.sort();
        graph.edges.dedup();
        if let Some(category) = category {
            graph.keep_category(category);
        }
        graph
    }

    fn add(&mut self, from: NodeKey, to: NodeKey, kind: EdgeKind) {
        self.edges.push((from, to, kind));
    }

    fn add_teams(&mut self, catalogue: &Catalogue) {
        for team in catalogue.teams() {
            let key = (NodeKind::Team, team.id().to_string());
            self.nodes.insert(key.clone(), "teams".to_owned());
            for member in team.spec().agents.iter().filter_map(|id| catalogue.agent(id)) {
                self.add(key.clone(), (NodeKind::Agent, member.id().to_string()), EdgeKind::Member);
            }
        }
    }

    fn add_workflows(&mut self, catalogue: &Catalogue) {
        for workflow in catalogue.workflows() {
            let key = (NodeKind::Workflow, workflow.id().to_string());
            self.nodes.insert(key.clone(), "workflows".to_owned());
            for step in &workflow.plan().steps {
                let target = match &step.target {
                    StepTarget::Agent(id) => catalogue.agent(id).map(|agent| (NodeKind::Agent, agent.id().to_string())),
                    StepTarget::Workflow(id) => Some((NodeKind::Workflow, id.to_string())),
                    StepTarget::Team { team, .. } => Some((NodeKind::Team, team.to_string())),
                    StepTarget::Approval | StepTarget::Wait { .. } => None,
                };
                if let Some(target) = target {
                    self.add(key.clone(), target, EdgeKind::Step);
                }
            }
        }
    }

    /// Keeps the agents of a category, and what an edge connects with them.
    fn keep_category(&mut self, category: &str) {
        let is_own = |key: &NodeKey| self.nodes.get(key).is_some_and(|group| group == category);
        let edges: Vec<_> = self.edges.iter().filter(|(from, to, _)| is_own(from) || is_own(to)).cloned().collect();
        let touched = |key: &NodeKey| edges.iter().any(|(from, to, _)| from == key || to == key);
        let nodes = self.nodes.iter().filter(|(key, _)| is_own(key) || touched(key));
        let nodes: BTreeMap<NodeKey, String> = nodes.map(|(key, group)| (key.clone(), group.clone())).collect();
        (self.nodes, self.edges) = (nodes, edges);
    }

    /// The graph in the language DOT. Ids have no character that it would need to escape.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut text = "digraph catalogue {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n".to_owned();
        let mut groups: BTreeMap<&str, Vec<&NodeKey>> = BTreeMap::new();
        for (key, group) in &self.nodes {
            groups.entry(group).or_default().push(key);
        }
        for (number, (group, keys)) in groups.iter().enumerate() {
            text.push_str(&format!("  subgraph cluster_{number} {{\n    label=\"{group}\";\n"));
            for (kind, id) in keys {
                text.push_str(&format!("    \"{}\" [label=\"{id}\", shape={}];\n", name(*kind, id), shape(*kind)));
            }
            text.push_str("  }\n");
        }
        for ((from_kind, from), (to_kind, to), kind) in &self.edges {
            let style = style(*kind);
            text.push_str(&format!("  \"{}\" -> \"{}\" [{style}];\n", name(*from_kind, from), name(*to_kind, to)));
        }
        text.push_str("}\n");
        text
    }
}

/// The name of a node: a team and a workflow may have one id.
fn name(kind: NodeKind, id: &str) -> String {
    match kind {
        NodeKind::Agent => id.to_owned(),
        NodeKind::Team => format!("team:{id}"),
        NodeKind::Workflow => format!("workflow:{id}"),
    }
}

const fn shape(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Agent => "box",
        NodeKind::Team => "ellipse",
        NodeKind::Workflow => "hexagon",
    }
}

const fn style(kind: EdgeKind) -> &'static str {
    match kind {
        EdgeKind::Collaboration { is_mutual: true } => "dir=both",
        EdgeKind::Collaboration { is_mutual: false } => "style=dashed",
        EdgeKind::Tool => "arrowhead=diamond",
        EdgeKind::Member => "dir=none",
        EdgeKind::Step => "color=blue",
    }
}
