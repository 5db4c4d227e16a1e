package guard

# METADATA
# title: The checks of each action
# description: >-
#   Read once when a bundle is loaded. An allow means that all checks of its action hold. The names
#   of capabilities are those that rules read; the host sends no others.
# scope: document
# entrypoint: true
checks := {"actions": data.cfg.checks, "capabilities": data.cfg.capabilities}
