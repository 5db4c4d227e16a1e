//! Settings without a section: the data directory, the name of the pod and the user of the command line; and the labels of
//! the pod, by which agents are placed.

use std::path::PathBuf;

use greenroom_definitions::agent::{LABEL_BYTES_MAX, LABELS_MAX, is_label};
use greenroom_protocol::{PodId, UserId};

use super::reader::ConfigReader;
use super::setting::Setting;
use super::unexpanded::unexpanded;

/// The default of `runtime_dir`.
const RUNTIME_DIR_DEFAULT: &str = "/tmp";

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::text("data_dir", &["GREENROOM_DATA_DIR"], "the directory that one process owns").or("greenroom-data"),
    Setting::text(
        "runtime_dir",
        &["GREENROOM_RUNTIME_DIR", "XDG_RUNTIME_DIR"],
        "directory of the control socket if its path in the data directory is too long for one",
    )
    .or(RUNTIME_DIR_DEFAULT),
    Setting::text(
        "pod",
        &["GREENROOM_POD"],
        "the name of this pod in replies; in the audit, the number of its start follows",
    )
    .or("local"),
    Setting::text(
        "cluster.labels",
        &["GREENROOM_CLUSTER_LABELS"],
        "labels of this pod, separated by commas: agents whose definition has labels are executed by pods that have them",
    ),
    Setting::text("user", &["GREENROOM_USER"], "user that the command line authenticates as").or("admin"),
];

/// The data directory, absolute, so that every process means the same one in whatever directory it runs.
pub(super) fn read_data_dir(reader: &mut ConfigReader<'_>) -> PathBuf {
    let dir: PathBuf = reader.get("data_dir").unwrap_or_default();
    if let Some(problem) = dir.to_str().and_then(no_path) {
        let origin = reader.origin("data_dir");
        reader.report(format!("data_dir ({origin}): it {problem}; write the whole path"));
    }
    std::path::absolute(&dir).unwrap_or(dir)
}

/// Describes what only a shell or a URL has at the beginning of a path. As a path, it would name another directory than its
/// author meant.
fn no_path(text: &str) -> Option<&'static str> {
    match text {
        text if text.starts_with(['"', '\'']) => Some("is in quotes, which only a shell removes"),
        text if text.starts_with("file:") => Some("is a URL, not a path"),
        text => unexpanded(text),
    }
}

/// The directory of control sockets whose path in the data directory is too long, absolute.
pub(super) fn read_runtime_dir(reader: &mut ConfigReader<'_>) -> PathBuf {
    let dir: Option<PathBuf> = reader.get("runtime_dir");
    let dir = dir.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| PathBuf::from(RUNTIME_DIR_DEFAULT));
    std::path::absolute(&dir).unwrap_or(dir)
}

/// The name of the pod; `None` if it is no valid name.
pub(super) fn read_pod(reader: &mut ConfigReader<'_>) -> Option<PodId> {
    reader.parse("pod", "an id")
}

/// The labels of the pod, each once.
pub(super) fn read_labels(reader: &mut ConfigReader<'_>) -> Vec<String> {
    let text: String = reader.get("cluster.labels").unwrap_or_default();
    let mut labels: Vec<String> = text.split(',').map(|label| label.trim().to_owned()).collect();
    labels.retain(|label| !label.is_empty());
    labels.sort();
    labels.dedup();
    if labels.len() > LABELS_MAX {
        reader
            .report(format!("cluster.labels: {} labels are too many, at most {LABELS_MAX} are allowed", labels.len()));
    }
    for label in labels.iter().filter(|label| !is_label(label)) {
        reader.report(format!(
            "cluster.labels: {label:?} is not a label: at most {LABEL_BYTES_MAX} lower-case letters, digits and `-_.:=`, \
             the first one a letter or a digit"
        ));
    }
    labels
}

/// The user of the command line; `None` if it is no valid name.
pub(super) fn read_user(reader: &mut ConfigReader<'_>) -> Option<UserId> {
    reader.parse("user", "the name of a user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_or_a_url_has_is_no_beginning_of_a_path() {
        for path in ["~", "~/data", "$HOME/data", "\"/data\"", "'/data'", "file:/data", "file:///data"] {
            assert!(no_path(path).is_some(), "{path}");
        }
        for path in ["/data", "data", "./~/data", "a$b", "~data", "files/data", ""] {
            assert_eq!(no_path(path), None, "{path}");
        }
    }
}
