//! The documents agree with the code: the command line's own parser accepts every `greenroom …` command of
//! every document, and the table of settings is generated from the code.

use clap::CommandFactory as _;
use greenroom_supervisor::cli::args::Cli;
use greenroom_supervisor::config::settings::{self, Setting};

use crate::tidy::tree::{File, Tree};

/// All documents.
fn documents() -> impl Iterator<Item = &'static File> {
    Tree::get().ending(".md")
}

/// Splits a shell's line into words, up to a comment or a pipe. Quotes group; no document needs more.
fn words_of(line: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let (mut quote, mut in_word) = (None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => (quote, in_word) = (Some(c), start(&mut words, in_word)),
            (None, '#' | '|' | '>') if !in_word => break,
            (None, _) if c.is_whitespace() => in_word = false,
            (Some(_) | None, _) => {
                in_word = start(&mut words, in_word);
                words.last_mut().expect("a word has begun").push(c);
            }
        }
    }
    words
}

fn start(words: &mut Vec<String>, in_word: bool) -> bool {
    if !in_word {
        words.push(String::new());
    }
    true
}

/// Commands in blocks marked `console`, with their first lines; lines that end in `\` are joined.
fn commands_of(file: &'static File) -> Vec<(usize, String)> {
    let mut commands: Vec<(usize, String)> = Vec::new();
    let (mut in_block, mut is_continued) = (false, false);
    for (number, line) in file.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            continue;
        }
        let line = line.strip_prefix("$ ").unwrap_or(line);
        if !in_block || !(is_continued || line.starts_with("greenroom ")) {
            continue;
        }
        let text = line.trim_end_matches('\\');
        match commands.last_mut().filter(|_| is_continued) {
            Some((_, command)) => command.push_str(text),
            None => commands.push((number, text.to_owned())),
        }
        is_continued = line.ends_with('\\');
    }
    commands
}

#[test]
fn every_command_of_a_document_is_parsed() {
    let mut problems = Vec::new();
    let mut parsed = 0;
    for file in documents() {
        for (number, command) in commands_of(file) {
            match Cli::command().try_get_matches_from(words_of(&command)) {
                Ok(_) => parsed += 1,
                Err(error) => problems.push(format!("{}:{number}: {command}\n{error}", file.path)),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(parsed > 0, "no document has a command");
}

#[test]
fn every_command_that_a_document_names_exists() {
    let mut problems = Vec::new();
    for file in documents() {
        for (number, line) in file.lines() {
            for command in line.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("greenroom ")) {
                if let Err(missing) = check_command(command) {
                    problems.push(format!("{}:{number}: `greenroom {command}`: no {missing}", file.path));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Checks the words of a command as far as they are subcommands: `runs show ID`, `agents|teams list`.
fn check_command(command: &str) -> Result<(), String> {
    let mut commands = vec![Cli::command()];
    for word in command.split_whitespace() {
        let choices: Vec<&str> = word.split(['|', '\\']).filter(|choice| !choice.is_empty()).collect();
        if !choices.iter().all(|choice| choice.chars().all(|c| c.is_ascii_lowercase())) {
            break;
        }
        let mut next = Vec::new();
        for command in commands.iter().filter(|command| command.has_subcommands()) {
            for choice in &choices {
                next.push(command.find_subcommand(choice).ok_or_else(|| format!("command `{choice}`"))?.clone());
            }
        }
        commands = next;
    }
    Ok(())
}

/// One row of the table of settings.
fn row(setting: &Setting) -> String {
    let variables: Vec<String> = setting.env.iter().map(|name| format!("`{name}`")).collect();
    let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
    let secret = if setting.secret { " (never shown)" } else { "" };
    format!("| `{}` | {} | {default} | {}{secret} |\n", setting.key, variables.join(", "), setting.help)
}

#[test]
fn the_table_of_settings_matches_the_code() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    const BEGIN: &str = "<!-- settings: begin -->\n";
    const END: &str = "<!-- settings: end -->";
    let text = std::fs::read_to_string(PAGE).expect("the page can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the begin marker");
    let (_, after) = rest.split_once(END).expect("the page has the end marker");
    let rows: String = settings::all().map(row).collect();
    let head = "| setting | environment | default | what it is |\n|---|---|---|---|\n";
    let wanted = format!("{before}{BEGIN}{head}{rows}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &wanted).expect("the page can be written");
    } else {
        assert!(
            text == wanted,
            "docs/configuration.md is outdated: UPDATE=1 cargo test --workspace --test all settings"
        );
    }
}

#[test]
fn a_line_is_split_as_a_shell_does() {
    assert_eq!(
        words_of(r#"greenroom run --context quarter="Q4 2024" # comment"#),
        ["greenroom", "run", "--context", "quarter=Q4 2024"]
    );
    assert!(check_command("nothing of the kind").is_err());
    assert!(check_command("runs show ID").is_ok());
}
