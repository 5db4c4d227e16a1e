//! The graph as SVG: one column for each group, its nodes below each other, and curves between them.

use std::collections::BTreeMap;

use super::{EdgeKind, Graph, NodeKey, NodeKind};

/// Width of a column, in pixels.
const COLUMN_WIDTH: usize = 300;
/// Width of a node.
const NODE_WIDTH: usize = 220;
/// Height of a node with the space below it.
const ROW_HEIGHT: usize = 26;
/// Height of a node.
const NODE_HEIGHT: usize = 20;
/// Space above the first row, for the name of the column.
const TOP: usize = 40;
/// Characters of an id in a node.
const LABEL_CHARS_MAX: usize = 34;

/// Draws the graph.
#[must_use]
pub fn to_svg(graph: &Graph) -> String {
    let mut columns: BTreeMap<&str, Vec<&NodeKey>> = BTreeMap::new();
    for (key, group) in &graph.nodes {
        columns.entry(group).or_default().push(key);
    }
    let rows = columns.values().map(Vec::len).max().unwrap_or_default();
    let (width, height) = (columns.len().max(1) * COLUMN_WIDTH, TOP + rows * ROW_HEIGHT + ROW_HEIGHT);
    let mut positions: BTreeMap<&NodeKey, (usize, usize)> = BTreeMap::new();
    let mut nodes = String::new();
    for (column, (group, keys)) in columns.iter().enumerate() {
        let x = column * COLUMN_WIDTH + (COLUMN_WIDTH - NODE_WIDTH) / 2;
        nodes.push_str(&format!("<text class=\"group\" x=\"{x}\" y=\"24\">{}</text>\n", escaped(group)));
        for (row, key) in keys.iter().enumerate() {
            let y = TOP + row * ROW_HEIGHT;
            positions.insert(key, (x, y));
            nodes.push_str(&node(key, x, y));
        }
    }
    let curves: String = graph
        .edges
        .iter()
        .filter_map(|(from, to, kind)| Some(curve(*positions.get(from)?, *positions.get(to)?, *kind)))
        .collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n{curves}{nodes}</svg>\n"
    )
}

const STYLE: &str = "text{font:11px sans-serif}.group{font-weight:bold;font-size:13px}rect.agent{fill:#eef4ff}\
                     rect.team{fill:#fff3dc}rect.workflow{fill:#e7f7e9}rect.node{stroke:#667}\
                     path{fill:none;stroke:#99a;stroke-opacity:.6}.one_way{stroke-dasharray:4 3}.step{stroke:#37c}\
                     .member{stroke:#c83}.tool{stroke:#a3a}";

fn node((kind, id): &NodeKey, x: usize, y: usize) -> String {
    let class = match kind {
        NodeKind::Agent => "agent",
        NodeKind::Team => "team",
        NodeKind::Workflow => "workflow",
    };
    let label: String = id.chars().take(LABEL_CHARS_MAX).collect();
    format!(
        "<g><title>{}</title><rect class=\"node {class}\" x=\"{x}\" y=\"{y}\" width=\"{NODE_WIDTH}\" \
         height=\"{NODE_HEIGHT}\" rx=\"4\"/><text x=\"{}\" y=\"{}\">{}</text></g>\n",
        escaped(id),
        x + 6,
        y + 14,
        escaped(&label)
    )
}

/// A curve from the right side of one node to the left side of the other; in one column, around the right side.
fn curve((from_x, from_y): (usize, usize), (to_x, to_y): (usize, usize), kind: EdgeKind) -> String {
    let class = match kind {
        EdgeKind::Collaboration { is_mutual: true } => "mutual",
        EdgeKind::Collaboration { is_mutual: false } => "one_way",
        EdgeKind::Tool => "tool",
        EdgeKind::Member => "member",
        EdgeKind::Step => "step",
    };
    let middle = NODE_HEIGHT / 2;
    let (start, end) = match from_x.cmp(&to_x) {
        std::cmp::Ordering::Less => (from_x + NODE_WIDTH, to_x),
        std::cmp::Ordering::Equal => (from_x + NODE_WIDTH, to_x + NODE_WIDTH),
        std::cmp::Ordering::Greater => (from_x, to_x + NODE_WIDTH),
    };
    let (from_y, to_y) = (from_y + middle, to_y + middle);
    let bend = if from_x == to_x { start + COLUMN_WIDTH / 6 } else { start.midpoint(end) };
    format!("<path class=\"{class}\" d=\"M{start} {from_y}C{bend} {from_y} {bend} {to_y} {end} {to_y}\"/>\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
