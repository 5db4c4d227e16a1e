//! The three users that are shipped: what each may do, what the audit keeps of it, how policy explains
//! it, and that an audit which somebody has touched is found out.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;
use serde_json::json;

const SUMMARISE: [&str; 6] = ["run", "agent", "executive_summary_agent", "--input", "document=Sales rose.", "--user"];
const QUALIFY: [&str; 6] = ["run", "agent", "lead_qualification_agent", "--input", "lead={}", "--user"];

async fn by(
    terminal: &CliHarness,
    words: &[&str],
    user: &str,
) -> Result<greenroom_integration_tests::terminal::CommandOutput> {
    terminal.run(&[words, &[user, "-o", "json"]].concat()).await
}

/// The codes of the rules that denied.
fn rules(error: &Json) -> Vec<&str> {
    let rules = error["details"]["reasons"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule["code"].as_str()).collect()
}

#[tokio::test]
async fn each_user_may_do_what_is_theirs_and_the_audit_has_all_of_it() -> Result<()> {
    let terminal = CliHarness::open()?;
    let denied = by(&terminal, &SUMMARISE, "guest").await?.refused(3)?;
    assert_eq!((&denied["code"], rules(&denied)), (&Json::from("policy_denied"), vec!["role_missing"]));
    assert!(denied["message"].as_str().is_some_and(|text| text.contains("guest")), "{denied:#}");

    assert_eq!(by(&terminal, &SUMMARISE, "operator").await?.done()?["status"], "success");
    let denied = by(&terminal, &QUALIFY, "operator").await?.refused(3)?;
    assert!(rules(&denied).contains(&"category_not_allowed"), "{denied:#}");

    let nobody = by(&terminal, &SUMMARISE, "nobody").await?.refused(3)?;
    assert_eq!(nobody["code"], "unauthenticated");
    assert_eq!(terminal.run(&SUMMARISE[..5]).await?.done()?["status"], "success");

    let looked = by(&terminal, &["audit", "list", "--user"], "operator").await?.refused(3)?;
    assert_eq!(looked["code"], "policy_denied");
    let audit = terminal.run(&["audit", "list", "-o", "json"]).await?.done()?;
    let records = audit["records"].as_array().context("records")?;
    for (user, target, status, rule) in [
        ("guest", "executive_summary_agent", "denied", Some("role_missing")),
        ("operator", "executive_summary_agent", "success", None),
        ("operator", "lead_qualification_agent", "denied", Some("category_not_allowed")),
        ("admin", "executive_summary_agent", "success", None),
    ] {
        let closed = closed(records, user, target).with_context(|| format!("{user} and {target}"))?;
        assert_eq!(closed["status"], status, "{user}: {closed:#}");
        let checks = closed["checks"].as_array().context("checks")?;
        assert!(rule.is_none_or(|rule| checks.iter().any(|check| check == rule)), "{user}: {closed:#}");
        assert!(closed["policy"].is_string(), "{closed:#}");
    }
    assert!(!audit.to_string().contains("Sales rose"), "the audit never holds what was handed in");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.done()?["holds"], true);
    Ok(())
}

/// How the attempt of this user to call this agent was closed.
fn closed<'a>(records: &'a [Json], user: &str, target: &str) -> Option<&'a Json> {
    let opened = records.iter().find(|record| {
        let event = &record["event"];
        event["user"] == user && event["action"] == "invoke" && event["resource"] == target
    })?;
    records.iter().map(|record| &record["event"]).find(|event| event["opened"] == opened["number"])
}

#[tokio::test]
async fn a_run_has_no_more_rights_than_its_owner() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let words = ["run", "workflow", "generate_quarterly_report", "--input", "data_source=@s.csv", "--user"];
    let denied = by(&terminal, &words, "operator").await?;
    let error = denied.refused(3)?;
    assert_eq!(
        (&error["details"]["step"], rules(&error)),
        (&"analyze_financials".into(), vec!["category_not_allowed"])
    );
    assert_eq!(denied.json()?["status"], "denied");
    Ok(())
}

/// A request of this user to let this agent work, as policy sees it.
fn question(user: &str, roles: Json, category: &str) -> Json {
    json!({
        "action": "invoke",
        "agent": { "id": "an_agent", "category": category, "capabilities": {} },
        "caller_policies": {},
        "document_bytes": 100,
        "hops": 1,
        "policies": { "require_authentication": 1, "max_document_size_10mb": 1 },
        "facts": { "audited": 1, "authenticated": 1, "own_tenant": 1 },
        "caller": "user",
        "usage": { "requests": 1, "tokens_left": -1, "usd_left": -1 },
        "user": {
            "id": user, "tenant": "default", "roles": roles, "rate_limit": 100,
            "permissions": { "allowed_categories": { "business_ops": 1 }, "pii_access": false },
        },
    })
}

#[tokio::test]
async fn policy_explains_each_decision_and_runs_nothing() -> Result<()> {
    let terminal = CliHarness::open()?;
    let operator = || json!({ "agent_operator": 1 });
    let mut large = question("admin", json!({ "admin": 1 }), "business_ops");
    large["document_bytes"] = json!(11_000_000);
    for (name, input, rule) in [
        ("admin", question("admin", json!({ "admin": 1 }), "sales_marketing"), None),
        ("operator", question("operator", operator(), "business_ops"), None),
        ("elsewhere", question("operator", operator(), "sales_marketing"), Some("category_not_allowed")),
        ("guest", question("guest", json!({}), "business_ops"), Some("role_missing")),
        ("large", large, Some("max_document_size_10mb")),
    ] {
        let path = terminal.file(&format!("{name}.json"), input.to_string())?;
        let path = path.to_str().context("a path of words")?;
        let said = terminal.run(&["policy", "eval", "--input", path, "-o", "json"]).await?;
        let explained = said.json()?;
        assert_eq!((said.code, &explained["allow"]), (if rule.is_some() { 3 } else { 0 }, &rule.is_none().into()));
        let denied: Vec<_> = explained["deny"].as_array().into_iter().flatten().map(|rule| &rule["code"]).collect();
        assert_eq!(denied, Vec::from_iter(rule), "{name}: {explained:#}");
        let checks = explained["checks"].as_array().context("checks")?;
        assert_eq!(checks.iter().all(|check| check["pass"] == true), rule.is_none(), "{name}: {explained:#}");
        let said = terminal.run(&["policy", "eval", "--input", path, "-o", "table"]).await?;
        assert!(said.out.contains(if rule.is_some() { "✘" } else { "✔" }), "{said:?}");
    }
    ensure!(!terminal.data_dir().join("greenroom.db").exists(), "explaining keeps nothing");
    let garbage = terminal.file("garbage.json", r#"{"action": "invoke"}"#)?;
    let said = terminal.run(&["policy", "eval", "--input", garbage.to_str().context("a path of words")?]).await?;
    assert_eq!(said.refused(2)?["code"], "invalid_input");
    Ok(())
}

#[tokio::test]
async fn the_table_says_who_may_do_what() -> Result<()> {
    let said = CliHarness::open()?.run(&["policy", "table", "-o", "table"]).await?;
    assert_eq!(said.code, 0, "{said:?}");
    insta::assert_snapshot!(said.out);
    Ok(())
}

/// A copy of the data directory whose database is this file; what guards the chain comes along.
fn copied(from: &CliHarness, database: &[u8]) -> Result<CliHarness> {
    let to = CliHarness::open()?;
    to.file("data/greenroom.db", database)?;
    for name in ["audit.head", "audit.key"] {
        fs::copy(from.data_dir().join(name), to.data_dir().join(name)).with_context(|| name.to_owned())?;
    }
    Ok(to)
}

/// The first place of the words in the bytes, with other words of the same length there.
fn changed(bytes: &[u8], old: &str, new: &str) -> Result<Vec<u8>> {
    ensure!(old.len() == new.len(), "a file keeps its length");
    let at = bytes.windows(old.len()).position(|found| found == old.as_bytes()).context("the words are there")?;
    let mut bytes = bytes.to_vec();
    bytes.splice(at..at + old.len(), new.bytes());
    Ok(bytes)
}

async fn verified(terminal: &CliHarness) -> Result<(i32, Json)> {
    let said = terminal.run(&["audit", "verify", "-o", "json"]).await?;
    Ok((said.code, said.json()?))
}

#[tokio::test]
async fn an_audit_that_was_touched_is_found_out() -> Result<()> {
    let terminal = CliHarness::open()?;
    by(&terminal, &SUMMARISE, "guest").await?.refused(3)?;
    let backup = async |name: &str| -> Result<Vec<u8>> {
        terminal.run(&["db", "backup", name]).await?.done()?;
        Ok(fs::read(terminal.folder().join(name))?)
    };
    let early = backup("early.db").await?;
    by(&terminal, &SUMMARISE, "admin").await?.done()?;
    let late = backup("late.db").await?;
    assert_eq!(terminal.run(&["db", "check"]).await?.code, 0);

    let (code, report) = verified(&copied(&terminal, &late)?).await?;
    assert_eq!((code, &report["holds"], &report["fault"]), (0, &true.into(), &Json::Null), "{report:#}");

    // The guest's attempt is made to look like the administrator's.
    let forged = changed(&late, r#""user":"guest","caller":"user:guest","action":"invoke""#, FORGED)?;
    let (code, report) = verified(&copied(&terminal, &forged)?).await?;
    assert_eq!((code, &report["holds"]), (1, &false.into()), "{report:#}");
    assert!(!report["fault"].is_null(), "the place is named: {report:#}");

    // The last entries are gone, as if an older copy had been put back: nothing is done on top of that.
    let gone = terminal.run(&["audit", "verify", "-o", "json"]).await?.done()?["signed"].clone();
    let copy = copied(&terminal, &early)?;
    let (code, report) = verified(&copy).await?;
    assert_eq!((code, &report["holds"]), (1, &false.into()), "{report:#}");
    let fault = report["fault"].as_str().unwrap_or_default();
    assert!(fault.contains(&format!("record {gone} was signed")), "the place is named: {report:#}");
    let error = copy.run(&SUMMARISE[..5]).await?.refused(1)?;
    assert_eq!(error["code"], "store_unavailable", "{error:#}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("record {gone}")), "the place is named: {message}");

    // The head is one that nobody signed.
    let copy = copied(&terminal, &late)?;
    forge_head(&copy.data_dir())?;
    let (code, report) = verified(&copy).await?;
    assert_eq!((code, &report["holds"]), (1, &false.into()), "{report:#}");
    assert!(report["fault"].as_str().is_some_and(|fault| fault.contains("signature")), "{report:#}");
    let error = copy.run(&SUMMARISE[..5]).await?.refused(1)?;
    assert_eq!(error["code"], "store_unavailable", "{error:#}");
    Ok(())
}

const FORGED: &str = r#""user":"admin","caller":"user:admin","action":"invoke""#;

/// Makes the head say that one entry less was signed.
fn forge_head(data_dir: &Path) -> Result<()> {
    let path = data_dir.join("audit.head");
    let mut head: Json = serde_json::from_slice(&fs::read(&path)?)?;
    head["number"] = json!(head["number"].as_u64().context("a number")? - 1);
    Ok(fs::write(path, head.to_string())?)
}
