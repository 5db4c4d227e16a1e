//! The values in a request, and the references to artifacts among them. A reference comes from a caller, or
//! from a model; its size is that of the store, whatever the reference claims.

use std::collections::{BTreeMap, BTreeSet};

use super::{ContextChange, Query, Request, Signal, TeamRef};
use crate::hash::ContentHash;
use crate::value::{ArtifactRef, Json, Values, for_each_artifact};

impl Request {
    /// The artifacts that the values of the request refer to, each once.
    #[must_use]
    pub fn artifacts(&mut self) -> Vec<ContentHash> {
        let mut hashes = BTreeSet::new();
        if let Self::Query(Query::Artifact { hash, .. }) = self {
            hashes.insert(*hash);
        }
        for value in self.values_mut() {
            for_each_artifact(value, &mut |artifact: &mut ArtifactRef| {
                hashes.insert(artifact.hash);
            });
        }
        hashes.into_iter().collect()
    }

    /// Replaces the claimed size of each artifact by its size in `sizes`.
    pub fn set_artifact_sizes(&mut self, sizes: &BTreeMap<ContentHash, u64>) {
        for value in self.values_mut() {
            for_each_artifact(value, &mut |artifact: &mut ArtifactRef| {
                if let Some(bytes) = sizes.get(&artifact.hash) {
                    artifact.bytes = *bytes;
                }
            });
        }
    }

    /// The inputs of a call of an agent, a workflow or a team; `None` for any other request.
    #[must_use]
    pub const fn inputs(&self) -> Option<&Values> {
        match self {
            Self::Invoke(invoke) => Some(&invoke.inputs),
            Self::StartRun(start) => Some(&start.inputs),
            Self::StartTeam(start) => Some(&start.inputs),
            Self::SignalRun(_)
            | Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::ContextWrite(_)
            | Self::MemoryRead(_)
            | Self::MemoryWrite(_)
            | Self::CallTool(_)
            | Self::Query(_)
            | Self::Maintain(_) => None,
        }
    }

    /// Replaces an input that the call has.
    pub fn set_input(&mut self, name: &str, value: Json) {
        let inputs = match self {
            Self::Invoke(invoke) => &mut invoke.inputs,
            Self::StartRun(start) => &mut start.inputs,
            Self::StartTeam(start) => &mut start.inputs,
            Self::SignalRun(_)
            | Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::ContextWrite(_)
            | Self::MemoryRead(_)
            | Self::MemoryWrite(_)
            | Self::CallTool(_)
            | Self::Query(_)
            | Self::Maintain(_) => return,
        };
        if let Some(input) = inputs.get_mut(name) {
            *input = value;
        }
    }

    fn values_mut(&mut self) -> Vec<&mut Json> {
        match self {
            Self::Invoke(invoke) => invoke.inputs.values_mut().chain(invoke.context.values_mut()).collect(),
            Self::StartRun(start) => start.inputs.values_mut().chain(start.context.values_mut()).collect(),
            Self::StartTeam(start) => {
                let shared = match &mut start.team {
                    TeamRef::Inline(team) => Some(team.shared_context.values_mut()),
                    TeamRef::Id(_) => None,
                };
                let own = start.inputs.values_mut().chain(start.context.values_mut());
                own.chain(shared.into_iter().flatten()).collect()
            }
            Self::SignalRun(signal) => match &mut signal.signal {
                Signal::Event(event) => vec![&mut event.data],
                Signal::Cancel | Signal::Approve { .. } | Signal::Reject { .. } => Vec::new(),
            },
            Self::ContextWrite(write) => match &mut write.change {
                ContextChange::Put(value) | ContextChange::Append(value) => vec![value],
            },
            Self::CallTool(call) => call.arguments.values_mut().collect(),
            Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::MemoryRead(_)
            | Self::MemoryWrite(_)
            | Self::Query(_)
            | Self::Maintain(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::value::size_bytes;

    #[test]
    fn the_claimed_size_of_every_artifact_is_replaced_however_deep_it_is() {
        let (one, other) = (ContentHash::from_content(b"one"), ContentHash::from_content(b"other"));
        let artifact = |hash| json!({ "$artifact": { "hash": hash, "bytes": u64::MAX, "media_type": "text/csv", "name": "a.csv" } });
        let claimed = json!({ "list": [artifact(one), { "deep": [artifact(other)] }], "direct": artifact(one) });
        assert_eq!(size_bytes(&claimed), u64::MAX, "two large claims are one large claim");
        let mut request = Request::from_json(json!({
            "verb": "start_run", "workflow": "w", "inputs": { "all": claimed }, "context": { "one": artifact(one) },
        }))
        .unwrap_or_else(|cause| panic!("{cause}"));
        assert_eq!(request.artifacts().len(), 2);
        request.set_artifact_sizes(&BTreeMap::from([(one, 3), (other, 4_000)]));
        let Request::StartRun(start) = &request else { panic!("{request:?}") };
        let size = start.inputs.get("all").map(size_bytes);
        assert!(size.is_some_and(|bytes| (4_000..4_100).contains(&bytes)), "{size:?}");
        assert_eq!(start.context.get("one").map(size_bytes), Some(3));
    }
}
