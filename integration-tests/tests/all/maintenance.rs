//! Maintenance commands: policy decides them, the audit records them under the user who types them, and no
//! tenant maintains what belongs to another one.

use anyhow::{Context, Result};
use greenroom_integration_tests::definitions_dir::DefinitionsDir;
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;

use crate::reload::SHIPPED;

/// The users of these tests, and of others that need some of them.
pub(super) const USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]

[[users]]
name = "auditor"
roles = ["auditor"]

[[users]]
name = "guest"

[[users]]
name = "alice"
tenant = "acme"
roles = ["admin"]

[[users]]
name = "mallory"
tenant = "globex"
roles = ["admin"]
"#;

/// Every command, with its action in the audit and the users who may use it.
const COMMANDS: [(&[&str], &str, &[&str]); 10] = [
    (&["memory", "forget", "--tenant"], "forget_memories", &["admin", "alice", "mallory"]),
    (&["runs", "prune", "--older-than", "30d"], "prune_runs", &["admin", "alice", "mallory"]),
    (&["runs", "resume"], "resume_runs", &["admin", "alice", "mallory"]),
    (&["keys", "list"], "list_keys", &["admin", "alice", "mallory"]),
    (&["audit", "verify"], "verify_audit", &["admin", "auditor"]),
    (&["audit", "prune", "--older-than", "30d"], "prune_audit", &["admin"]),
    (&["db", "check"], "check_store", &["admin"]),
    (&["db", "backup", "copy.db"], "back_up_store", &["admin"]),
    (&["definitions", "apply", "definitions"], "apply_definitions", &["admin"]),
    (&["policy", "apply", SHIPPED], "apply_policy", &["admin"]),
];

fn terminal() -> Result<CliHarness> {
    let terminal = CliHarness::open()?;
    terminal.write_file("greenroom.toml", USERS)?;
    DefinitionsDir::new(&terminal.folder().join("definitions"))?.write_echo_agent("echo_agent")?;
    Ok(terminal)
}

/// The entries of an action in the audit that a user sees, as user and status, the oldest first.
async fn audited(terminal: &CliHarness, action: &str, reader: &str) -> Result<Vec<(String, String)>> {
    let list = terminal.run(&["audit", "list", "--limit", "1000", "--user", reader, "-o", "json"]).await?;
    let list = list.expect_success()?;
    let records = list["records"].as_array().context("records")?;
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let opened = records.iter().rev().filter(|record| record["event"]["action"] == action);
    let entries = opened.map(|record| {
        let closing = records.iter().find(|other| other["event"]["opened"] == record["number"]);
        (text(&record["event"]["user"]), closing.map(|closing| text(&closing["event"]["status"])).unwrap_or_default())
    });
    Ok(entries.collect())
}

#[tokio::test]
async fn each_command_is_decided_by_policy_and_audited_as_the_user_who_types_it() -> Result<()> {
    let terminal = terminal()?;
    for (command, action, permitted) in COMMANDS {
        for user in ["guest", "auditor", "alice", "mallory", "admin"] {
            let output = terminal.run(&[command, &["--user", user, "-o", "json"]].concat()).await?;
            if permitted.contains(&user) {
                output.expect_success().with_context(|| format!("{user}: {command:?}"))?;
            } else {
                let error = output.expect_error(3).with_context(|| format!("{user}: {command:?}"))?;
                assert_eq!(error["code"], "policy_denied", "{user}: {error:#}");
            }
        }
        // Each administrator reads the entries of the own tenant.
        for (reader, users) in
            [("admin", &["guest", "auditor", "admin"][..]), ("alice", &["alice"]), ("mallory", &["mallory"])]
        {
            let status = |user: &str| if permitted.contains(&user) { "success" } else { "denied" };
            let expected: Vec<_> = users.iter().map(|user| ((*user).to_owned(), status(user).to_owned())).collect();
            assert_eq!(audited(&terminal, action, reader).await?, expected, "{reader}: {action}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn pruning_removes_the_runs_of_the_own_tenant_only() -> Result<()> {
    let terminal = terminal()?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let count = async |user: &str| -> Result<usize> {
        let list = terminal.run(&["runs", "list", "--user", user, "-o", "json"]).await?.expect_success()?;
        Ok(list["runs"].as_array().context("runs")?.len())
    };
    for user in ["alice", "mallory"] {
        let run = ["run", "workflow", "generate_quarterly_report", "--input", "data_source=@s.csv", "--user", user];
        terminal.run(&run).await?;
        assert_eq!(count(user).await?, 1, "{user}");
    }
    let prune = ["runs", "prune", "--older-than", "0s", "-o", "json", "--user"];
    let pruned = terminal.run(&[&prune[..], &["mallory"]].concat()).await?.expect_success()?;
    assert_eq!(pruned["runs"], 1, "{pruned:#}");
    assert_eq!((count("mallory").await?, count("alice").await?), (0, 1));
    let repeated = terminal.run(&[&prune[..], &["mallory"]].concat()).await?.expect_success()?;
    assert_eq!((&repeated["runs"], &repeated["artifacts"]), (&0.into(), &0.into()), "{repeated:#}");
    Ok(())
}
