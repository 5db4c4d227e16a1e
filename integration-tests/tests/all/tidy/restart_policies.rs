//! A rule about the table of restart policies: a row that no supervisor reads decides nothing.

use super::tree::{File, Problem, Tree};

const TABLE: &str = "actors/src/supervision/restart_policy.rs";

/// Each kind of child is named by the code of the supervisor that reads its row.
pub(super) fn readers(tree: &Tree) -> Vec<Problem> {
    let Some(table) = tree.file(TABLE) else { return vec![Problem::missing(TABLE, "move this rule with the table")] };
    let kinds = kinds(table);
    if kinds.is_empty() {
        return vec![table.problem(0, "no kind of child is found", "correct this rule")];
    }
    let is_read = |kind: &str| {
        let name = format!("ChildKind::{kind}");
        tree.ending(".rs").filter(|file| is_product(file)).flat_map(File::lines).any(|(_, line)| {
            let mut ends = line.match_indices(&name).map(|(at, _)| line.get(at + name.len()..).unwrap_or_default());
            ends.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        })
    };
    let unread = kinds.into_iter().filter(|(_, kind)| !is_read(kind));
    unread
        .map(|(line, kind)| table.problem(line, format!("no supervisor reads the row of `{kind}`"), "remove the row"))
        .collect()
}

/// The variants of the enum of kinds, with their lines.
fn kinds(table: &File) -> Vec<(usize, &str)> {
    let lines = table.lines().skip_while(|(_, line)| !line.starts_with("pub enum ChildKind"));
    let variants = lines.skip(1).take_while(|(_, line)| !line.starts_with('}'));
    variants.filter_map(|(number, line)| Some((number, line.trim().strip_suffix(',')?))).collect()
}

/// True for code of the product: neither the table nor a test.
fn is_product(file: &File) -> bool {
    let is_test = file.path.contains("/tests/") || file.name() == "tests.rs";
    file.path != TABLE && !is_test && !file.path.starts_with("integration-tests/")
}
