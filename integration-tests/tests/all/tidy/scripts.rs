//! Rules about the shell scripts of the tree.

use super::tree::{File, Problem, Tree};

/// Commands that end before they have read all of their input. With `pipefail`, a command that writes on is ended by the
/// closed pipe, and the pipe as a whole fails: sometimes, as the two happen to be scheduled.
const EARLY_READERS: &[&str] = &["grep -q", "grep -m", "head", "sed -n 1p", "awk 'NR==1"];

/// A script reads the output of a command to its end before it looks for something in it.
pub(super) fn closed_pipes(tree: &'static Tree) -> Vec<Problem> {
    tree.files.iter().filter(|file| is_script(file)).flat_map(closed_pipes_of).collect()
}

/// True for what a shell executes, and for what a script includes.
fn is_script(file: &File) -> bool {
    let first = file.lines().next().map_or("", |(_, line)| line);
    file.path.starts_with("scripts/") || (first.starts_with("#!/") && first.ends_with("sh"))
}

fn closed_pipes_of(file: &File) -> Vec<Problem> {
    let lines = file.lines().filter(|(_, line)| !line.trim_start().starts_with('#'));
    let readers = lines.flat_map(|(number, line)| {
        let commands = line.split("||").flat_map(|pipe| pipe.split('|').skip(1)).map(str::trim_start);
        commands.filter_map(move |command| early_reader(command).map(|reader| (number, reader)))
    });
    let remedy = "read the output into a variable, as `prints` of scripts/machine.sh does";
    readers.map(|(number, reader)| file.problem(number, format!("a pipe into `{reader}`"), remedy)).collect()
}

/// What of [`EARLY_READERS`] a command begins with.
fn early_reader(command: &str) -> Option<&'static str> {
    EARLY_READERS.iter().copied().find(|reader| command.starts_with(reader))
}

#[test]
fn a_pipe_into_a_reader_that_ends_early_is_found() {
    let script = |text: &str| File { path: "scripts/x".into(), text: Some(text.into()) };
    let found = |text: &str| closed_pipes_of(&script(text)).len();
    assert_eq!(found("opa version 2>/dev/null | grep -qx 'Version: 1'\n"), 1);
    assert_eq!(found("sort files | head -n 1 | grep -q a\n"), 2);
    assert_eq!(
        found("# opa version | grep -q 1\nsort files | tail -n 1\ngrep -q a <<<\"$text\"\nhas a || head b\n"),
        0
    );
}
