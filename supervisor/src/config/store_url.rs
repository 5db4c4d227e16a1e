//! The URL of a store, in the forms that other tools write too: `postgres://USER:PASSWORD@HOST/DATABASE`;
//! `sqlite:PATH`, `sqlite://PATH`, with escapes such as `%20` and with the parameter `mode`.
//!
//! No part of a URL is ignored: a parameter that this version does not know is a problem, since the
//! database would be opened in another way than the URL demands.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::secret::Secret;
use super::unexpanded::unexpanded;

/// The name by which SQLite knows a database in memory.
const IN_MEMORY: &str = ":memory:";

/// The parameters of a URL of PostgreSQL, except for `options[NAME]`.
const POSTGRES_PARAMETERS: [&str; 13] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];
/// The words of the parameter `sslmode`.
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// The place that a URL names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum StoreUrl {
    /// In this process.
    Memory,
    /// In one SQLite file.
    Sqlite(PathBuf),
    /// In a PostgreSQL database, with the whole URL.
    Postgres(Secret),
}

/// Parses a URL. The error is a fragment that contains no more of the URL than its scheme and the names of its
/// parameters, because the rest may hold a password.
pub(super) fn parse(url: &str) -> Result<StoreUrl, String> {
    // A secret that is read from a file often ends with a line end.
    let url = url.trim();
    if url == "memory:" {
        return Ok(StoreUrl::Memory);
    }
    if let Some(rest) = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
        check_postgres(rest)?;
        return Ok(StoreUrl::Postgres(Secret::new(url)));
    }
    let Some(rest) = url.strip_prefix("sqlite:") else {
        return Err(unsupported(url));
    };
    let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let is_in_memory = read_parameters(parameters)?;
    let has_three_slashes = path.starts_with("///") && !path.starts_with("////");
    // The authority of the URL is empty, so what follows the two slashes is the path.
    let path = decode(
        path.strip_prefix("//")
            .map_or(path, |path| path.strip_prefix("localhost").filter(|rest| rest.starts_with('/')).unwrap_or(path)),
    )?;
    if !is_in_memory && let Some(problem) = unexpanded(&path) {
        return Err(format!("its path {problem}; write the whole path"));
    }
    match path.as_str() {
        IN_MEMORY | "/:memory:" => Ok(StoreUrl::Memory),
        _ if is_in_memory => Ok(StoreUrl::Memory),
        "" | "/" => Err("the URL names no file; write `sqlite:PATH`".to_owned()),
        // With three slashes some tools mean a file in the working directory, and others one in the root of the disk.
        path if has_three_slashes && is_in_root(path) => Err(format!(
            "with three slashes, it may mean a file in the working directory or one in `/`; write `sqlite:{}` or `sqlite:///{path}`",
            path.trim_start_matches('/')
        )),
        // Some tools write an absolute path after a third slash.
        path if path.starts_with("//") => Ok(StoreUrl::Sqlite(format!("/{}", path.trim_start_matches('/')).into())),
        path => Ok(StoreUrl::Sqlite(path.into())),
    }
}

/// Describes a URL that names no store of this version.
fn unsupported(url: &str) -> String {
    let found = match url.split_once(':') {
        _ if url.starts_with(['"', '\'', '`']) => "a URL in quotes; remove them",
        Some(("", _)) | None => "a text without a scheme",
        Some((scheme, _)) => scheme,
    };
    format!("this version supports `postgres://USER:PASSWORD@HOST/DATABASE`, `sqlite:PATH` and `memory:`, not {found}")
}

/// True for a path of one name directly in `/`.
fn is_in_root(path: &str) -> bool {
    path.strip_prefix('/').is_some_and(|name| !name.contains('/'))
}

/// Checks the parameters of a URL of PostgreSQL, and that it names a database.
fn check_postgres(rest: &str) -> Result<(), String> {
    let (server, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let mut has_database = server.split_once('/').is_some_and(|(_, database)| !database.is_empty());
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        match parameter.split_once('=').unwrap_or((parameter, "")) {
            ("sslmode", mode) if !SSL_MODES.contains(&mode) => {
                return Err(format!("its parameter `sslmode` must be one of {}", SSL_MODES.join(", ")));
            }
            (name, value) if POSTGRES_PARAMETERS.contains(&name) => {
                has_database |= name == "dbname" && !value.is_empty()
            }
            (name, _) if name.starts_with("options[") && name.ends_with(']') => {}
            (name, _) => return Err(unknown_parameter(name)),
        }
    }
    if has_database {
        Ok(())
    } else {
        Err("the URL names no database; write `postgres://USER:PASSWORD@HOST/DATABASE`".to_owned())
    }
}

fn unknown_parameter(name: &str) -> String {
    format!("this version does not know the parameter `{name}` of the URL; remove it")
}

/// Reads the parameters of a file; true if they demand a database in memory.
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
            (name, _) => return Err(unknown_parameter(name)),
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
            ("sqlite:x.db\n", "x.db"),
            (" sqlite:x.db", "x.db"),
            ("sqlite://localhost/var/x.db", "/var/x.db"),
            ("sqlite://localhost.db", "localhost.db"),
            ("sqlite:////x.db", "/x.db"),
            ("sqlite:/x.db", "/x.db"),
            ("sqlite:a/~/x.db", "a/~/x.db"),
            ("sqlite:/a%3Fb%25/gr%C3%BCn#1.db", "/a?b%/grün#1.db"),
        ] {
            assert_eq!(parse(url), Ok(StoreUrl::Sqlite(path.into())), "{url}");
        }
        for url in ["memory:", "sqlite::memory:", "sqlite://:memory:", "sqlite:///:memory:", "sqlite:x?mode=memory"] {
            assert_eq!(parse(url), Ok(StoreUrl::Memory), "{url}");
        }
    }

    #[test]
    fn a_url_of_postgresql_is_passed_on_as_it_is() {
        for url in [
            "postgres://u:pw@h/app",
            "postgresql://h:5433/app?sslmode=verify-full&sslrootcert=/etc/ca.pem",
            "postgres:///app?host=/run/postgresql&options[statement_timeout]=5s",
            "postgres://h?dbname=app&application_name=greenroom",
        ] {
            let parsed = parse(url);
            assert!(matches!(&parsed, Ok(StoreUrl::Postgres(secret)) if secret.reveal() == url), "{parsed:?}");
            assert!(!format!("{parsed:?}").contains("pw"), "{parsed:?}");
        }
    }

    #[test]
    fn a_url_that_cannot_be_followed_is_a_problem_without_its_secrets() {
        for (url, problem) in [
            ("mysql://u:pw@h/app", "not mysql"),
            ("postgres://u:pw@h", "names no database"),
            ("postgres://u:pw@h/", "names no database"),
            ("postgres://u:pw@h/app?pool=pw", "the parameter `pool`"),
            ("postgresql://u:pw@h/app?sslmode=pw", "verify-full"),
            ("x.db", "not a text without a scheme"),
            (":memory:", "not a text without a scheme"),
            ("\"sqlite:x.db\"", "in quotes; remove them"),
            ("sqlite:$HOME/x.db", "only a shell replaces"),
            ("sqlite:", "names no file"),
            ("sqlite:///x.db", "write `sqlite:x.db` or `sqlite:////x.db`"),
            ("sqlite:~/x.db", "only a shell replaces"),
            ("sqlite://~/x.db", "only a shell replaces"),
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
