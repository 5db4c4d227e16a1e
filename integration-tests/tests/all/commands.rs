//! What the documents say to type can be typed, and what they say of settings is so: every
//! `greenroom …` of every document is read by the command line's own parser, and the table of
//! settings is that of the code.

use clap::CommandFactory as _;
use greenroom_supervisor::cli::args::Cli;
use greenroom_supervisor::config::settings::{SETTINGS, Setting};

use crate::tidy::tree::{File, Tree};

/// Every document that a user reads.
fn documents() -> impl Iterator<Item = &'static File> {
    Tree::get().ending(".md")
}

/// The words of a shell's line, up to a comment or a pipe. Quotes group; nothing here needs more.
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

/// Commands in blocks marked `console`, with lines that end in `\` joined, and where they begin.
fn typed(file: &'static File) -> Vec<(usize, String)> {
    let mut commands: Vec<(usize, String)> = Vec::new();
    let (mut in_block, mut goes_on) = (false, false);
    for (number, line) in file.lines() {
        if line.starts_with("```") {
            in_block = line == "```console";
            continue;
        }
        let line = line.strip_prefix("$ ").unwrap_or(line);
        if !in_block || !(goes_on || line.starts_with("greenroom ")) {
            continue;
        }
        let text = line.trim_end_matches('\\');
        match commands.last_mut().filter(|_| goes_on) {
            Some((_, command)) => command.push_str(text),
            None => commands.push((number, text.to_owned())),
        }
        goes_on = line.ends_with('\\');
    }
    commands
}

#[test]
fn what_the_documents_type_is_understood() {
    let mut problems = Vec::new();
    let mut understood = 0;
    for file in documents() {
        for (number, command) in typed(file) {
            match Cli::command().try_get_matches_from(words_of(&command)) {
                Ok(_) => understood += 1,
                Err(error) => problems.push(format!("{}:{number}: {command}\n{error}", file.path)),
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(understood > 0, "no document types a command");
}

#[test]
fn commands_that_are_named_exist() {
    let mut problems = Vec::new();
    for file in documents() {
        for (number, line) in file.lines() {
            for named in line.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("greenroom ")) {
                if let Err(missing) = exists(named) {
                    problems.push(format!("{}:{number}: `greenroom {named}`: no {missing}", file.path));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// Follows the words of a command as far as subcommands go: `runs show ID`, `agents|teams list`.
fn exists(named: &str) -> Result<(), String> {
    let mut commands = vec![Cli::command()];
    for word in named.split_whitespace() {
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
fn the_table_of_settings_is_that_of_the_code() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    const BEGIN: &str = "<!-- settings: begin -->\n";
    const END: &str = "<!-- settings: end -->";
    let text = std::fs::read_to_string(PAGE).expect("the page can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the page has the mark of the beginning");
    let (_, after) = rest.split_once(END).expect("the page has the mark of the end");
    let rows: String = SETTINGS.iter().map(row).collect();
    let head = "| setting | environment | default | what it is |\n|---|---|---|---|\n";
    let wanted = format!("{before}{BEGIN}{head}{rows}{END}{after}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PAGE, &wanted).expect("the page can be written");
    } else {
        assert!(text == wanted, "docs/configuration.md is old: UPDATE=1 cargo test --workspace --test all settings");
    }
}

#[test]
fn a_line_is_split_as_a_shell_does() {
    assert_eq!(
        words_of(r#"greenroom run --context quarter="Q4 2024" # why"#),
        ["greenroom", "run", "--context", "quarter=Q4 2024"]
    );
    assert!(exists("nothing of the kind").is_err());
    assert!(exists("runs show ID").is_ok());
}
