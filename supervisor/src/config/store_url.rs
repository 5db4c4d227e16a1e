//! The URL of a store, in the forms that other tools write too: `sqlite:PATH`, `sqlite://PATH`, with escapes
//! such as `%20` and with the parameter `mode`.
//!
//! No part of a URL is ignored: a parameter that this version does not know is a problem, since the
//! file would be opened in another way than the URL demands.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

/// The name by which SQLite knows a database in memory.
const IN_MEMORY: &str = ":memory:";

/// The place that a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreUrl {
    /// In this process.
    Memory,
    /// In one SQLite file.
    Sqlite(PathBuf),
}

/// Parses a URL. The error is a fragment that contains no more of the URL than its scheme and the names of its
/// parameters, because the rest may hold a password.
pub(super) fn parse(url: &str) -> Result<StoreUrl, String> {
    if url == "memory:" {
        return Ok(StoreUrl::Memory);
    }
    let Some(rest) = url.strip_prefix("sqlite:") else {
        let found = url.split_once(':').map_or("a text without a scheme", |(scheme, _)| scheme);
        return Err(format!("this version supports `sqlite:PATH` and `memory:`, not {found}"));
    };
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let is_in_memory = read_parameters(parameters)?;
    // The authority of the URL is empty, so what follows the two slashes is the path.
    let path = decode(path.strip_prefix("//").unwrap_or(path))?;
    match path.as_str() {
        IN_MEMORY | "/:memory:" => Ok(StoreUrl::Memory),
        _ if is_in_memory => Ok(StoreUrl::Memory),
        "" | "/" => Err("the URL names no file; write `sqlite:PATH`".to_owned()),
        // Some tools write an absolute path after a third slash.
        path if path.starts_with("//") => Ok(StoreUrl::Sqlite(format!("/{}", path.trim_start_matches('/')).into())),
        path => Ok(StoreUrl::Sqlite(path.into())),
    }
}

/// Reads the parameters; true if they demand a database in memory.
fn read_parameters(parameters: &str) -> Result<bool, String> {
    let mut is_in_memory = false;
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("mode", "rwc") => {}
            ("mode", "memory") => is_in_memory = true,
            ("mode", _) => {
                return Err(
                    "its parameter `mode` must be `rwc`: the file is created if it is missing, and written".into()
                );
            }
            (name, _) => {
                return Err(format!("this version does not know the parameter `{name}` of the URL; remove it"));
            }
        }
    }
    Ok(is_in_memory)
}

/// Decodes the escapes of a path.
fn decode(path: &str) -> Result<String, String> {
    let is_escape = |rest: &str| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
    if !path.split('%').skip(1).all(is_escape) {
        return Err(
            "a `%` in its path must be followed by two hexadecimal digits; write `%25` for the character".into()
        );
    }
    match percent_decode_str(path).decode_utf8() {
        Ok(text) if text.contains('\0') => Err("its path contains the character U+0000".to_owned()),
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err("the escapes of its path are not UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_of_a_path_names_the_file_that_was_meant() {
        for (url, path) in [
            ("sqlite:x.db", "x.db"),
            ("sqlite:./x.db", "./x.db"),
            ("sqlite:/var/x.db", "/var/x.db"),
            ("sqlite://x.db", "x.db"),
            ("sqlite://./x.db?mode=rwc", "./x.db"),
            ("sqlite:///var/x.db", "/var/x.db"),
            ("sqlite:////var/x.db", "/var/x.db"),
            ("sqlite:/my%20dir/x.db", "/my dir/x.db"),
            ("sqlite:/my dir/x.db", "/my dir/x.db"),
            ("sqlite:/a%3Fb%25/gr%C3%BCn#1.db", "/a?b%/grün#1.db"),
        ] {
            assert_eq!(parse(url), Ok(StoreUrl::Sqlite(path.into())), "{url}");
        }
        for url in ["memory:", "sqlite::memory:", "sqlite://:memory:", "sqlite:///:memory:", "sqlite:x?mode=memory"] {
            assert_eq!(parse(url), Ok(StoreUrl::Memory), "{url}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_followed_is_a_problem_without_its_secrets() {
        for (url, problem) in [
            ("postgres://u:pw@h/app", "not postgres"),
            ("x.db", "not a text without a scheme"),
            ("sqlite:", "names no file"),
            ("sqlite://", "names no file"),
            ("sqlite:x.db?mode=ro", "must be `rwc`"),
            ("sqlite:x.db?mode=rw", "must be `rwc`"),
            ("sqlite:x.db?mode=rwc&cache=pw", "the parameter `cache`"),
            ("sqlite:/100%/x.db", "%25"),
            ("sqlite:/%ff/x.db", "not UTF-8"),
            ("sqlite:/%00/x.db", "U+0000"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(problem) && !error.contains("pw"), "{url}: {error}");
        }
    }
}
