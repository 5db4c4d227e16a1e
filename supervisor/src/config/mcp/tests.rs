//! The tables of MCP servers: what they result in, and what is refused.

use std::ffi::OsString;

use super::super::source::load;
use super::super::{Flags, LoadedConfig};
use super::*;

fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<LoadedConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("greenroom.toml");
    std::fs::write(&path, text).unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    let environment = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    load(&flags, environment).map_err(|error| error.to_string())
}

#[test]
fn a_process_inherits_three_variables_and_those_that_are_named() {
    let text = "[mcp.servers.files]\ncommand = \"npx\"\nargs = [\"-y\", \"server\"]\nenv = { Level = \"low\" }\n\
                pass_env = [\"TOKEN\", \"ABSENT\"]\ntools = [\"read_file\"]\ntimeout_s = 5\ninternal = true\n";
    let variables = [("PATH", "/bin"), ("TOKEN", "planted-token"), ("OTHER_KEY", "planted-other")];
    let config = loaded(text, &variables).unwrap();
    let server = &config.config.mcp.servers[0];
    let McpAddress::Process { command, args, env } = &server.address else { panic!("{server:?}") };
    assert_eq!((command.as_str(), args.len()), ("npx", 2));
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(env, [("Level", "low"), ("PATH", "/bin"), ("TOKEN", "planted-token")]);
    let missing = "mcp.servers.files.pass_env: the variable ABSENT is not set".to_owned();
    assert_eq!((server.missing.as_slice(), server.internal), (&[missing][..], true));
    assert_eq!((server.timeout.as_secs(), server.start_timeout.as_secs()), (5, 30));
    let rows: Vec<_> = config.resolved.iter().filter(|row| row.key.starts_with(TABLE)).collect();
    assert!(rows.iter().any(|row| row.key == "mcp.servers.files.env.Level" && row.value == "***"), "{rows:?}");
    assert!(!format!("{config:?}").contains("planted"), "no value of a variable is shown");
}

#[test]
fn headers_have_their_values_from_variables() {
    let text = "[mcp.servers.tickets]\nurl = \"https://tools.example/mcp\"\n\
                headers_env = { Authorization = \"TICKETS_AUTH\" }\n";
    let header = |variables: &[(&str, &str)]| {
        let config = loaded(text, variables).unwrap().config.mcp;
        let McpAddress::Http { headers, url } = config.servers[0].address.clone() else { panic!("{config:?}") };
        assert_eq!(url, "https://tools.example/mcp");
        (headers.get("Authorization").map(|value| value.reveal().to_owned()), config.servers[0].missing.clone())
    };
    assert_eq!(header(&[("TICKETS_AUTH", "Bearer x")]), (Some("Bearer x".to_owned()), Vec::new()));
    let missing = "mcp.servers.tickets.headers_env.Authorization: the variable TICKETS_AUTH is not set";
    assert_eq!(header(&[]), (None, vec![missing.to_owned()]));
}

#[test]
fn a_token_and_a_header_are_configured_as_for_apis_and_never_shown() {
    let text = "[mcp.servers.tickets]\nurl = \"https://tools.example/mcp\"\nbearer_env = \"TOKEN\"\n\
                headers = { X-Key = \"planted-key\" }\n";
    let loaded = loaded(text, &[("TOKEN", "planted-token")]).unwrap();
    let McpAddress::Http { headers, .. } = &loaded.config.mcp.servers[0].address else { panic!("{loaded:?}") };
    let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.reveal())).collect();
    assert_eq!(headers, [("X-Key", "planted-key"), ("authorization", "Bearer planted-token")]);
    assert!(!format!("{loaded:?}").contains("planted"), "no value is shown");
}

#[test]
fn a_table_that_cannot_be_used_is_a_problem_that_names_it() {
    for (table, problem) in [
        ("[mcp.servers.a]\n", "mcp.servers.a: set either `command` or `url`"),
        ("[mcp.servers.a]\ncommand = \"x\"\nurl = \"https://h\"\n", "set either"),
        ("[mcp.servers.A]\ncommand = \"x\"\n", "lower-case letters"),
        ("[mcp.servers.a]\ncommand = \"\"\n", "`command` is empty"),
        ("[mcp.servers.a]\nurl = \"ftp://h\"\n", "no address"),
        ("[mcp.servers.a]\nurl = \"https://user:planted@h\"\n", "without a user"),
        ("[mcp.servers.a]\nurl = \"https://h\"\nargs = [\"x\"]\n", "belong to `command`"),
        ("[mcp.servers.a]\ncommand = \"x\"\nheaders = { A = \"B\" }\n", "belong to `url`"),
        ("[mcp.servers.a]\ncommand = \"x\"\nbearer_env = \"B\"\n", "belong to `url`"),
        ("[mcp.servers.a]\nurl = \"https://h\"\nheaders_env = { A = \"Bearer planted\" }\n", "no name of a variable"),
        ("[mcp.servers.a]\nurl = \"https://h\"\nbearer_env = \"planted-token\"\n", "no name of a variable"),
        ("[mcp.servers.a]\ncommand = \"x\"\ntimeout_s = 0\n", "timeout_s"),
        ("[mcp.servers.a]\ncommand = \"x\"\nstart_timeout_s = 4000\n", "start_timeout_s"),
        ("[mcp.servers.a]\ncommand = \"x\"\ntools = [\"mcp:a/b\"]\n", "no name of a tool"),
        ("[mcp.servers.a]\ncomand = \"x\"\n", "comand"),
        ("[mcp.server.a]\ncommand = \"x\"\n", "unknown setting"),
    ] {
        let problems = loaded(table, &[]).unwrap_err();
        assert!(problems.contains(problem) && !problems.contains("planted"), "{table}: {problems}");
    }
}
