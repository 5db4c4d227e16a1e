//! Arguments that cannot be parsed: the parser's text for a person, an error document for a program.

use std::ffi::OsString;
use std::io;

use clap::ValueEnum;
use clap::error::ErrorKind;
use greenroom_protocol::{Cause, ErrorCode};

use super::args::OutputFormat;
use super::output::{Output, print_note};
use super::report_up_failure;

/// Writes the text of the parser: an error, or the help or version that was requested. Returns the exit code.
pub fn report(error: &clap::Error, arguments: impl Iterator<Item = OsString>) -> u8 {
    let cause = Cause::new(ErrorCode::InvalidRequest, error.to_string().trim_end());
    let (format, is_up) = known_options(arguments);
    let output = Output::new(format.unwrap_or(OutputFormat::Table), false);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return report_printed(error.print()),
        _ if output.format() != OutputFormat::Json || !error.use_stderr() => drop(error.print()),
        // No command is named, so the text is the help.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => drop(error.print()),
        _ if is_up => report_up_failure(&cause, output),
        _ => {
            output.document(&serde_json::json!({ "error": cause }), String::new);
            print_note(&cause.message);
        }
    }
    cause.code.exit_code()
}

/// The exit code of a help text or a version. A closed pipe is not an error: its reader has what it wanted.
fn report_printed(printed: io::Result<()>) -> u8 {
    match printed {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            print_note(&format!("error: standard output cannot be written: {error}"));
            1
        }
        Ok(()) | Err(_) => 0,
    }
}

/// The output format that the arguments name, wherever it is, and whether their command is a
/// process, such as `up`.
fn known_options(arguments: impl Iterator<Item = OsString>) -> (Option<OutputFormat>, bool) {
    let words: Vec<String> = arguments.filter_map(|word| word.into_string().ok()).collect();
    let format = words.iter().enumerate().find_map(|(index, word)| {
        let value = match word.as_str() {
            "-o" | "--output" => words.get(index.saturating_add(1))?.as_str(),
            word => word.strip_prefix("--output=").or_else(|| word.strip_prefix("-o"))?,
        };
        OutputFormat::from_str(value.trim_start_matches('='), true).ok()
    });
    (format, words.iter().any(|word| matches!(word.as_str(), "up" | "pod" | "bridge")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_found_wherever_it_is_among_wrong_arguments() {
        for line in ["up --bogus -o json", "-ojson up --bogus", "up --output=json x", "--output json nonsense up"] {
            let (format, is_up) = known_options(line.split(' ').map(OsString::from));
            assert_eq!((format, is_up), (Some(OutputFormat::Json), true), "{line}");
        }
        assert_eq!(known_options(["agents", "list", "-o", "jsn"].map(OsString::from).into_iter()), (None, false));
    }
}
