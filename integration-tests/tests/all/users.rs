//! The three default users: their permissions, the audit entries of their requests, the explanations of policy
//! decisions, and the detection of a manipulated audit.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::terminal::CliHarness;
use greenroom_protocol::Json;
use serde_json::json;

const SUMMARISE: [&str; 6] = ["run", "agent", "executive_summary_agent", "--input", "document=Sales rose.", "--user"];
const QUALIFY: [&str; 6] = ["run", "agent", "lead_qualification_agent", "--input", "lead={}", "--user"];

async fn run_as(
    terminal: &CliHarness,
    words: &[&str],
    user: &str,
) -> Result<greenroom_integration_tests::terminal::CommandOutput> {
    terminal.run(&[words, &[user, "-o", "json"]].concat()).await
}

/// The codes of the denying rules.
fn rules(error: &Json) -> Vec<&str> {
    let rules = error["details"]["reasons"].as_array().into_iter().flatten();
    rules.filter_map(|rule| rule["code"].as_str()).collect()
}

#[tokio::test]
async fn each_user_has_the_permissions_of_its_roles_and_the_audit_records_every_request() -> Result<()> {
    let terminal = CliHarness::open()?;
    let denied = run_as(&terminal, &SUMMARISE, "guest").await?.expect_error(3)?;
    assert_eq!((&denied["code"], rules(&denied)), (&Json::from("policy_denied"), vec!["role_missing"]));
    assert!(denied["message"].as_str().is_some_and(|text| text.contains("guest")), "{denied:#}");

    assert_eq!(run_as(&terminal, &SUMMARISE, "operator").await?.expect_success()?["status"], "success");
    let denied = run_as(&terminal, &QUALIFY, "operator").await?.expect_error(3)?;
    assert!(rules(&denied).contains(&"category_not_allowed"), "{denied:#}");

    let unknown_user = run_as(&terminal, &SUMMARISE, "unregistered").await?.expect_error(3)?;
    assert_eq!(unknown_user["code"], "unauthenticated");
    assert_eq!(terminal.run(&SUMMARISE[..5]).await?.expect_success()?["status"], "success");

    let denied_query = run_as(&terminal, &["audit", "list", "--user"], "operator").await?.expect_error(3)?;
    assert_eq!(denied_query["code"], "policy_denied");
    let audit = terminal.run(&["audit", "list", "-o", "json"]).await?.expect_success()?;
    let records = audit["records"].as_array().context("records")?;
    for (user, resource, status, rule) in [
        ("guest", "executive_summary_agent", "denied", Some("role_missing")),
        ("operator", "executive_summary_agent", "success", None),
        ("operator", "lead_qualification_agent", "denied", Some("category_not_allowed")),
        ("admin", "executive_summary_agent", "success", None),
    ] {
        let closing = closing_of(records, user, resource).with_context(|| format!("{user} and {resource}"))?;
        assert_eq!(closing["status"], status, "{user}: {closing:#}");
        let checks = closing["checks"].as_array().context("checks")?;
        assert!(rule.is_none_or(|rule| checks.iter().any(|check| check == rule)), "{user}: {closing:#}");
        assert!(closing["policy_revision"].is_string(), "{closing:#}");
    }
    assert!(!audit.to_string().contains("Sales rose"), "the audit contains no inputs");
    assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
    Ok(())
}

/// The closing of the entry for this user's call of this agent.
fn closing_of<'a>(records: &'a [Json], user: &str, resource: &str) -> Option<&'a Json> {
    let opened = records.iter().find(|record| {
        let event = &record["event"];
        event["user"] == user && event["action"] == "invoke" && event["resource"] == resource
    })?;
    records.iter().map(|record| &record["event"]).find(|event| event["opened"] == opened["number"])
}

#[tokio::test]
async fn a_run_has_no_more_rights_than_its_owner() -> Result<()> {
    let terminal = CliHarness::open()?;
    terminal.write_file("s.csv", "day,sold\n2025-01-02,3\n2025-02-02,4\n")?;
    let words = ["run", "workflow", "generate_quarterly_report", "--input", "data_source=@s.csv", "--user"];
    let denied = run_as(&terminal, &words, "operator").await?;
    let error = denied.expect_error(3)?;
    assert_eq!(
        (&error["details"]["step"], rules(&error)),
        (&"analyze_financials".into(), vec!["category_not_allowed"])
    );
    assert_eq!(denied.json()?["status"], "denied");
    Ok(())
}

/// The policy input of this user's call of an agent of this category.
fn policy_input(user: &str, roles: Json, category: &str) -> Json {
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
async fn policy_eval_explains_each_decision_and_executes_nothing() -> Result<()> {
    let terminal = CliHarness::open()?;
    let operator_roles = || json!({ "agent_operator": 1 });
    let mut large = policy_input("admin", json!({ "admin": 1 }), "business_ops");
    large["document_bytes"] = json!(11_000_000);
    for (name, input, rule) in [
        ("admin", policy_input("admin", json!({ "admin": 1 }), "sales_marketing"), None),
        ("operator", policy_input("operator", operator_roles(), "business_ops"), None),
        ("elsewhere", policy_input("operator", operator_roles(), "sales_marketing"), Some("category_not_allowed")),
        ("guest", policy_input("guest", json!({}), "business_ops"), Some("role_missing")),
        ("large", large, Some("max_document_size_10mb")),
    ] {
        let path = terminal.write_file(&format!("{name}.json"), input.to_string())?;
        let path = path.to_str().context("a path of words")?;
        let output = terminal.run(&["policy", "eval", "--input", path, "-o", "json"]).await?;
        let explanation = output.json()?;
        assert_eq!((output.code, &explanation["allow"]), (if rule.is_some() { 3 } else { 0 }, &rule.is_none().into()));
        let denied: Vec<_> = explanation["deny"].as_array().into_iter().flatten().map(|rule| &rule["code"]).collect();
        assert_eq!(denied, Vec::from_iter(rule), "{name}: {explanation:#}");
        let checks = explanation["checks"].as_array().context("checks")?;
        assert_eq!(checks.iter().all(|check| check["pass"] == true), rule.is_none(), "{name}: {explanation:#}");
        let output = terminal.run(&["policy", "eval", "--input", path, "-o", "table"]).await?;
        assert!(output.out.contains(if rule.is_some() { "✘" } else { "✔" }), "{output:?}");
    }
    ensure!(!terminal.data_dir().join("greenroom.db").exists(), "an explanation writes nothing");
    let garbage = terminal.write_file("garbage.json", r#"{"action": "invoke"}"#)?;
    let output = terminal.run(&["policy", "eval", "--input", garbage.to_str().context("a path of words")?]).await?;
    assert_eq!(output.expect_error(2)?["code"], "invalid_input");
    Ok(())
}

#[tokio::test]
async fn policy_eval_compares_numbers_exactly_and_rejects_what_is_no_input() -> Result<()> {
    let terminal = CliHarness::open()?;
    let base = policy_input("admin", json!({ "admin": 1 }), "business_ops").to_string();
    let with = |member: &str, value: &str| {
        let (before, after) = base.split_once(&format!("\"{member}\":")).expect("the member");
        let rest = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        format!("{before}\"{member}\":{value}{rest}")
    };
    let rate = |requests: &str, limit: &str| {
        with("requests", requests).replace("\"rate_limit\":100", &format!("\"rate_limit\":{limit}"))
    };
    for (text, exit, code) in [
        (rate("9007199254740993", "9007199254740993"), 0, ""),
        (rate("9007199254740993", "9007199254740992"), 3, "rate_limit_exceeded"),
        (rate("18446744073709551615", "18446744073709551614"), 3, "rate_limit_exceeded"),
        (with("document_bytes", "10485760"), 0, ""),
        (with("document_bytes", "10485761"), 3, "max_document_size_10mb"),
        (with("document_bytes", "18446744073709551615"), 3, "document_too_large"),
        (with("tokens_left", "-9223372036854775808"), 3, "tokens_ok"),
        (with("usd_left", "-2"), 3, "budget_ok"),
        (format!("\u{feff}{base}"), 0, ""),
        (with("document_bytes", "1e400"), 2, "invalid_input"),
        (with("document_bytes", "1e2"), 2, "invalid_input"),
        (with("document_bytes", "100,\"document_bytes\":99999999"), 2, "invalid_input"),
        (base.replace("\"admin\":1", "\"admin\":1,\"admin\":1"), 2, "invalid_input"),
        (format!("{base}{}", " ".repeat(64 * 1024)), 2, "invalid_input"),
    ] {
        let path = terminal.write_file("input.json", &text)?;
        let path = path.to_str().context("a path of words")?;
        let output = terminal.run(&["policy", "eval", "--input", path, "-o", "json"]).await?;
        assert_eq!(output.code, exit, "{text}: {output:?}");
        ensure!(output.out.contains(code) && !output.out.contains("policy_error"), "{text}: {output:?}");
    }
    let utf16: Vec<u8> = std::iter::once(0xfeff).chain(base.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    let path = terminal.write_file("utf16.json", utf16)?;
    let output = terminal.run(&["policy", "eval", "--input", path.to_str().context("a path of words")?]).await?;
    let error = output.expect_error(2)?;
    ensure!(error["message"].as_str().is_some_and(|message| message.contains("it is not UTF-8")), "{error}");
    Ok(())
}

#[tokio::test]
async fn the_policy_table_matches_its_snapshot() -> Result<()> {
    let output = CliHarness::open()?.run(&["policy", "table", "-o", "table"]).await?;
    assert_eq!(output.code, 0, "{output:?}");
    insta::assert_snapshot!(output.out);
    Ok(())
}

/// A copy of the data directory with this database, and with the signed head and the key of the audit.
fn copy_with_database(from: &CliHarness, database: &[u8]) -> Result<CliHarness> {
    let to = CliHarness::open()?;
    to.write_file("data/greenroom.db", database)?;
    for name in ["audit.head", "audit.key"] {
        fs::copy(from.data_dir().join(name), to.data_dir().join(name)).with_context(|| name.to_owned())?;
    }
    Ok(to)
}

/// Replaces the first occurrence of a text in the bytes with another text of the same length.
fn replace_bytes(bytes: &[u8], old: &str, new: &str) -> Result<Vec<u8>> {
    ensure!(old.len() == new.len(), "the file must keep its length");
    let at =
        bytes.windows(old.len()).position(|window| window == old.as_bytes()).context("the file contains the text")?;
    let mut bytes = bytes.to_vec();
    bytes.splice(at..at + old.len(), new.bytes());
    Ok(bytes)
}

async fn verify_audit(terminal: &CliHarness) -> Result<(i32, Json)> {
    let output = terminal.run(&["audit", "verify", "-o", "json"]).await?;
    Ok((output.code, output.json()?))
}

#[tokio::test]
async fn a_manipulated_audit_is_detected() -> Result<()> {
    let terminal = CliHarness::open()?;
    run_as(&terminal, &SUMMARISE, "guest").await?.expect_error(3)?;
    let backup = async |name: &str| -> Result<Vec<u8>> {
        terminal.run(&["db", "backup", name]).await?.expect_success()?;
        Ok(fs::read(terminal.folder().join(name))?)
    };
    let earlier_copy = backup("earlier.db").await?;
    run_as(&terminal, &SUMMARISE, "admin").await?.expect_success()?;
    let later_copy = backup("later.db").await?;
    assert_eq!(terminal.run(&["db", "check"]).await?.code, 0);

    // The backup is older than the head, which was signed after its own entry was closed.
    let copy = copy_with_database(&terminal, &later_copy)?;
    fs::remove_file(copy.data_dir().join("audit.head"))?;
    let (code, report) = verify_audit(&copy).await?;
    assert_eq!((code, &report["valid"], &report["violation"]), (0, &true.into(), &Json::Null), "{report:#}");

    // The guest's request is forged to look like the administrator's.
    let forged = replace_bytes(&later_copy, r#""user":"guest","caller":"user:guest","action":"invoke""#, FORGED)?;
    let (code, report) = verify_audit(&copy_with_database(&terminal, &forged)?).await?;
    assert_eq!((code, &report["valid"]), (1, &false.into()), "{report:#}");
    assert!(!report["violation"].is_null(), "the record is named: {report:#}");

    // The last entries are missing, as after restoring an older copy: the pod does not start on it.
    let last_signed = terminal.run(&["audit", "verify", "-o", "json"]).await?.expect_success()?["signed"].clone();
    let copy = copy_with_database(&terminal, &earlier_copy)?;
    let (code, report) = verify_audit(&copy).await?;
    assert_eq!((code, &report["valid"]), (1, &false.into()), "{report:#}");
    let violation = report["violation"].as_str().unwrap_or_default();
    // The verification has an entry of its own, which was signed after it was reported.
    let last = violation.split("but record ").nth(1).and_then(|rest| rest.split(' ').next()).context("a record")?;
    assert!(last.parse::<u64>()? >= last_signed.as_u64().context("a number")?, "the record is named: {report:#}");
    let error = copy.run(&SUMMARISE[..5]).await?.expect_error(1)?;
    assert_eq!(error["code"], "store_unavailable", "{error:#}");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("record {last}")), "the record is named: {message}");

    // The head has no valid signature.
    let copy = copy_with_database(&terminal, &later_copy)?;
    forge_head(&copy.data_dir())?;
    let (code, report) = verify_audit(&copy).await?;
    assert_eq!((code, &report["valid"]), (1, &false.into()), "{report:#}");
    assert!(report["violation"].as_str().is_some_and(|violation| violation.contains("signature")), "{report:#}");
    let error = copy.run(&SUMMARISE[..5]).await?.expect_error(1)?;
    assert_eq!(error["code"], "store_unavailable", "{error:#}");
    Ok(())
}

const FORGED: &str = r#""user":"admin","caller":"user:admin","action":"invoke""#;

/// Changes the head to one entry less than was signed.
fn forge_head(data_dir: &Path) -> Result<()> {
    let path = data_dir.join("audit.head");
    let mut head: Json = serde_json::from_slice(&fs::read(&path)?)?;
    head["number"] = json!(head["number"].as_u64().context("a number")? - 1);
    Ok(fs::write(path, head.to_string())?)
}
