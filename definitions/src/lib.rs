//! What an agent, team and workflow is: types, loader, checks, and the catalogue itself.
