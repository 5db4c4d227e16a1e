//! `greenroom explain`: prints the page of an error code.

use greenroom_definitions::problem::did_you_mean;
use greenroom_protocol::{Cause, ErrorCode};
use serde_json::json;

use self::pages::PAGES;
use super::output::{Output, table};

mod pages;

/// Executes the command.
pub fn explain(code: Option<&str>, output: Output) -> u8 {
    match code {
        None => list(output),
        Some(code) => match PAGES.iter().find(|(name, _)| *name == code) {
            Some((name, page)) => {
                output.document(&json!({ "code": name, "page": page }), || (*page).to_owned());
                0
            }
            None => {
                let cause = unknown(code);
                output.print_error(&cause);
                cause.code.exit_code()
            }
        },
    }
}

fn list(output: Output) -> u8 {
    let rows: Vec<_> = ErrorCode::ALL
        .iter()
        .map(|code| json!({ "code": code, "exit_code": code.exit_code(), "meaning": code.meaning() }))
        .collect();
    let columns = [("code", "CODE"), ("exit_code", "EXIT"), ("meaning", "MEANING")];
    output.document(&json!({ "codes": rows }), || table(&rows, &columns));
    0
}

fn unknown(code: &str) -> Cause {
    let hint = did_you_mean(code, PAGES.iter().map(|(name, _)| *name)).unwrap_or_else(|| ";".to_owned());
    let message = format!("there is no error code {code:?}{hint} `greenroom explain` lists all codes");
    Cause::new(ErrorCode::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let pages: Vec<&str> = PAGES.iter().map(|(name, _)| *name).collect();
        let mut codes: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        assert_eq!(pages, codes, "the pages of explain/pages.rs are those of docs/errors, in the order of their names");
    }

    #[test]
    fn an_unknown_code_is_an_error_that_suggests_a_similar_one() {
        assert!(unknown("policy_deny").message.contains(", did you mean `policy_denied`? `greenroom explain`"));
        assert!(unknown("x").message.ends_with("; `greenroom explain` lists all codes"));
    }
}
