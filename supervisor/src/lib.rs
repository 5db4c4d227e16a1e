//! The process: configuration, ingress, pipeline, root of the tree, lifecycle; the binary greenroom.
