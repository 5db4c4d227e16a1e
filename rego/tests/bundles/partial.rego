# A policy that cannot explain itself.
package guard

# METADATA
# scope: document
# entrypoint: true
allowed := {"allow": true, "obligations": {}} if input.resource == "good"
