//! The guide works as it is printed: the commands of its pages are run in order in one folder, and each prints what the
//! page shows.
//!
//! A block of `sh` is run as a whole; each line of the block of `text` after it occurs in what the commands have printed, in
//! this order, where `…` stands for any text.

use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_runtimes::wasm::test_components::Behavior;

/// The pages in the order in which they are read.
const PAGES: [(&str, &str); 5] = [
    ("1-agent.md", include_str!("../../../docs/guide/1-agent.md")),
    ("2-team.md", include_str!("../../../docs/guide/2-team.md")),
    ("3-workflow.md", include_str!("../../../docs/guide/3-workflow.md")),
    ("4-policy.md", include_str!("../../../docs/guide/4-policy.md")),
    ("5-deployment.md", include_str!("../../../docs/guide/5-deployment.md")),
];

const README: &str = include_str!("../../../README.md");

/// The address of HTTP as the guide prints it.
const PRINTED_ADDRESS: &str = "127.0.0.1:8000";

/// The port of the service of the README.
const PRINTED_PORT: &str = "8100";

/// Ends a block at its first error, finds the program of this build by its name, and ends a process that a failed block has
/// left.
const PRELUDE: &str = "set -e\nPATH=\"$(dirname \"$0\"):$PATH\"\nexport PATH\n\
                       trap '[ -z \"$!\" ] || kill \"$!\" 2>/dev/null || true' EXIT\n";

/// A block of commands, and the lines that they print.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    commands: String,
    printed: Vec<String>,
}

/// The blocks of a page.
fn blocks(page: &str) -> Vec<Block> {
    let mut all: Vec<Block> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match language {
            "sh" => all.push(Block { commands: body.join("\n"), printed: Vec::new() }),
            "text" => {
                if let Some(block) = all.last_mut() {
                    block.printed = body.into_iter().map(str::to_owned).collect();
                }
            }
            _ => {}
        }
    }
    all
}

/// The first of the lines that the output lacks. Each is searched after the one before it.
fn missing_line<'l>(printed: &'l [String], output: &str) -> Option<&'l str> {
    let mut rest = output;
    for line in printed {
        for part in line.split('…').filter(|part| !part.is_empty()) {
            let Some((_, after)) = rest.split_once(part) else { return Some(line) };
            rest = after;
        }
    }
    None
}

#[tokio::test]
async fn the_commands_of_the_guide_work_as_they_are_printed() -> Result<()> {
    let mut terminal = CliHarness::open()?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    for (name, page) in PAGES {
        let blocks = blocks(page);
        ensure!(!blocks.is_empty(), "{name} has no commands");
        if page.contains(PRINTED_ADDRESS) {
            terminal.set_variable("GREENROOM_HTTP_ADDR", &address);
        }
        for block in blocks {
            run(&terminal, name, block, &address).await?;
        }
    }
    Ok(())
}

/// Runs the commands of a block, which print what the page shows.
async fn run(terminal: &CliHarness, name: &str, block: Block, address: &str) -> Result<()> {
    let commands = block.commands.replace(PRINTED_ADDRESS, address);
    // What is shown is one text, as on a terminal; the notes of a command come before its result.
    let output = terminal.run_shell(&format!("{PRELUDE}{commands}\n")).await?;
    ensure!(output.code == 0, "{name}: {commands}\nended with {}: {}{}", output.code, output.err, output.out);
    let all = format!("{}\n{}", output.err, output.out);
    if let Some(line) = missing_line(&block.printed, &all) {
        anyhow::bail!("{name}: {commands}\ndid not print {line:?}, but:\n{all}");
    }
    Ok(())
}

#[tokio::test]
async fn the_runtimes_and_the_tools_of_the_readme_work_as_they_are_printed() -> Result<()> {
    let (_, section) = README.split_once("\n## What an agent can reach\n").context("the section")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    ensure!(section.matches(PRINTED_PORT).count() == 3, "the service has another port");
    let blocks = blocks(&section.replace(PRINTED_PORT, &port));
    ensure!(blocks.len() == 1, "{blocks:?}");
    let terminal = CliHarness::open()?;
    // The reader makes it with a tool of Python, which takes longer than all other tests together.
    terminal.write_file("words.wasm", Behavior::Return(r#"{"words":5}"#).component()?)?;
    for block in blocks {
        run(&terminal, "README.md", block, PRINTED_ADDRESS).await?;
    }
    Ok(())
}

#[test]
fn a_page_shows_commands_with_what_they_print() {
    let page = "Text\n\n```sh\necho a\necho b\n```\n\n```text\na…\n```\n\n```yaml\na: 1\n```\n\n```sh\ntrue\n```\n";
    let expected = [
        Block { commands: "echo a\necho b".to_owned(), printed: vec!["a…".to_owned()] },
        Block { commands: "true".to_owned(), printed: Vec::new() },
    ];
    assert_eq!(blocks(page), expected);
    let printed = ["one…three".to_owned(), "four".to_owned()];
    assert_eq!(missing_line(&printed, "one two three\nfour"), None);
    assert_eq!(missing_line(&printed, "four\none two three"), Some("four"));
}

#[test]
fn every_page_of_the_guide_is_run_and_linked() {
    let index = include_str!("../../../docs/guide/README.md");
    for (name, page) in PAGES {
        assert!(index.contains(&format!("({name})")), "{name} is not in the index");
        assert!(page.contains("\n**Where to go next**: "), "{name} does not say where to go next");
    }
    assert!(README.contains("(docs/guide/README.md)"), "the README does not link the guide");
}
