//! Models and handlers behind the seams of the actors.
