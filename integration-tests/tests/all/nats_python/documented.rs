//! The subjects that docs/nats.md shows: those of its table, and those of its commands of `nats`.

use anyhow::{Context, Result, ensure};

const DOCUMENT: &str = include_str!("../../../../docs/nats.md");
/// What the document writes for the prefix, and the prefix of a pod without a setting.
const PREFIX: &str = "P.";
const DEFAULT_PREFIX: &str = "greenroom.";
/// What the document writes for everything but the last token of the subject before.
const SAME_BEGINNING: &str = "….";
/// How many subjects there are at least: fewer mean that the document has another form.
const SUBJECTS_MIN: usize = 15;

/// The patterns of all subjects; a token that stands for an id is `*`.
pub(super) fn subjects() -> Result<Vec<String>> {
    let mut patterns = Vec::new();
    for line in DOCUMENT.lines() {
        if line.starts_with("| `P.v1.") {
            patterns.extend(of_row(line)?);
        } else if let Some(command) = line.strip_prefix("nats req ") {
            let subject = command.split(' ').next().context("a command has a subject")?;
            patterns.extend(expand(subject));
        } else if let Some(service) = line.strip_prefix("nats micro info ") {
            patterns.push(format!("$SRV.INFO.{service}"));
        } else {
            ensure!(!line.starts_with("nats "), "this command is not called by nats-py: {line}");
        }
    }
    ensure!(patterns.len() >= SUBJECTS_MIN, "docs/nats.md shows too few subjects: {patterns:?}");
    Ok(patterns)
}

/// The subjects in the first column of a row.
fn of_row(line: &str) -> Result<Vec<String>> {
    let column = line.split('|').nth(1).context("a row has columns")?;
    let mut subjects: Vec<String> = Vec::new();
    for span in column.split('`').skip(1).step_by(2) {
        let subject = match span.strip_prefix(SAME_BEGINNING) {
            Some(last) => {
                let (beginning, _) =
                    subjects.last().and_then(|before| before.rsplit_once('.')).context("a subject before")?;
                format!("{beginning}.{last}")
            }
            None => span.replacen(PREFIX, DEFAULT_PREFIX, 1),
        };
        subjects.push(subject);
    }
    Ok(subjects.iter().flat_map(|subject| expand(subject)).collect())
}

/// The patterns of a subject: one for each kind, and `*` for what is written in capital letters.
fn expand(subject: &str) -> Vec<String> {
    let kinds: &[&str] = if subject.contains(".KIND.") { &["agents", "workflows", "teams"] } else { &[""] };
    let pattern = |kind: &&str| {
        let is_id = |token: &str| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_uppercase());
        let token = |token: &str| match token {
            "KIND" => (*kind).to_owned(),
            id if is_id(id) => "*".to_owned(),
            other => other.to_owned(),
        };
        subject.split('.').map(token).collect::<Vec<_>>().join(".")
    };
    kinds.iter().map(pattern).collect()
}

/// True if the subject is one of the pattern.
pub(super) fn is_matching(pattern: &str, subject: &str) -> bool {
    let (expected, found): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), subject.split('.').collect());
    expected.len() == found.len()
        && expected.iter().zip(&found).all(|(expected, found)| *expected == "*" || expected == found)
}

#[test]
fn the_subjects_of_the_document_are_read_with_their_ids_and_kinds() -> Result<()> {
    let row = of_row("| `P.v1.runs.RUN.get`, `….cancel` | empty | describes or cancels |")?;
    assert_eq!(row, ["greenroom.v1.runs.*.get", "greenroom.v1.runs.*.cancel"]);
    assert_eq!(expand("greenroom.v1.catalogue.KIND.ID.get")[2], "greenroom.v1.catalogue.teams.*.get");
    assert!(is_matching("greenroom.v1.runs.*.get", "greenroom.v1.runs.run_1.get"));
    assert!(!is_matching("greenroom.v1.runs.*.get", "greenroom.v1.runs.run_1.cancel"));
    assert!(subjects()?.contains(&"$SRV.INFO.greenroom".to_owned()));
    Ok(())
}
