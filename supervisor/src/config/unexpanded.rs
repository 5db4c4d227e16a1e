//! Paths that a shell would have changed: without one, they name another file than their author meant.

/// What a path begins with that only a shell replaces; a fragment after the name of the path.
pub(super) fn unexpanded(path: &str) -> Option<&'static str> {
    match path {
        path if path == "~" || path.starts_with("~/") => Some("begins with `~`, which only a shell replaces"),
        path if path.starts_with('$') => Some("begins with `$`, which only a shell replaces"),
        _ => None,
    }
}
