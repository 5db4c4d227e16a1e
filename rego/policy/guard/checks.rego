package guard

# METADATA
# title: The checks of each action
# description: >-
#   Evaluated once when a bundle is loaded. An allow means that all checks of its action passed. Reads
#   declares which capabilities, roles, policies and optional fields the rules of the hot decision read,
#   by action, caller and policy; the host omits all others from its input.
# scope: document
# entrypoint: true
checks := {"actions": data.cfg.checks, "capabilities": data.cfg.capabilities, "reads": reads}

reads := object.union(data.cfg.reads, {"binds": {name: policy.binds | some name, policy in data.cfg.policies}})
