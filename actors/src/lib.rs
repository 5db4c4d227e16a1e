//! What agents, teams, contexts and runs do, and who supervises them.
