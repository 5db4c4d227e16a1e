//! `capabilities.yaml`.

use super::{Decoder, MapFields, list, name, one_of};
use crate::capability::{Capabilities, Capability, CapabilityPolicy};
use crate::yaml::Node;

pub(crate) fn capabilities(decoder: &mut Decoder, node: &Node) -> Option<Capabilities> {
    let mut fields = MapFields::new(decoder, node, "the capabilities")?;
    let capabilities = fields.required(decoder, "capabilities", capability_list);
    fields.finish(decoder);
    Some(Capabilities { capabilities: capabilities? })
}

fn capability_list(decoder: &mut Decoder, node: &Node) -> Option<Vec<Capability>> {
    list(decoder, node, capability)
}

fn capability(decoder: &mut Decoder, node: &Node) -> Option<Capability> {
    let mut fields = MapFields::new(decoder, node, "a capability")?;
    let id = fields.required(decoder, "id", name);
    let description = fields.required(decoder, "description", name);
    let policy = fields.optional(decoder, "policy", policy);
    fields.finish(decoder);
    Some(Capability { id: id?, description: description?, policy: policy? })
}

fn policy(decoder: &mut Decoder, node: &Node) -> Option<CapabilityPolicy> {
    one_of(decoder, node, &CapabilityPolicy::ALL.map(|policy| (policy.as_str(), policy)))
}
