//! The audit is verified with a public key alone: beside a pod that writes it, and where there is no private key.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::{Context, Result};
use futures::future::try_join_all;
use greenroom_integration_tests::terminal::CliHarness;

const EXPORT: [&str; 4] = ["audit", "export-key", "--out", "audit.pem"];
const VERIFY: [&str; 4] = ["audit", "verify", "--public-key", "audit.pem"];

#[tokio::test]
async fn a_database_is_verified_with_the_public_key_alone() -> Result<()> {
    let terminal = CliHarness::open()?;
    let error = terminal.run(&EXPORT).await?.expect_error(2)?;
    assert!(error["message"].as_str().is_some_and(|text| text.contains("audit.key does not exist")), "{error:#}");
    terminal.run(&["agents", "list"]).await?.expect_success()?;
    terminal.run(&EXPORT).await?.expect_success()?;
    assert_eq!(terminal.run(&EXPORT).await?.expect_error(2)?["code"], "path_not_allowed", "no file is replaced");
    let pem = fs::read_to_string(terminal.folder().join("audit.pem"))?;
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    let printed = terminal.run(&["audit", "export-key", "-o", "table"]).await?;
    assert_eq!(printed.out.trim_end(), pem.trim_end());
    let verified = terminal.run(&VERIFY).await?.expect_success()?;
    assert_eq!(verified["valid"], true, "{verified:#}");
    assert!(verified["records"].as_u64().is_some_and(|records| records >= 2), "{verified:#}");

    // An auditor has the database and the public key, and nothing else.
    terminal.run(&["db", "backup", "copy.db"]).await?.expect_success()?;
    let auditor = CliHarness::open()?;
    for file in ["copy.db", "audit.pem"] {
        fs::copy(terminal.folder().join(file), auditor.folder().join(file))?;
    }
    let of_copy = [&VERIFY[..], &["--database", "copy.db"]].concat();
    assert_eq!(auditor.run(&of_copy).await?.expect_success()?["valid"], true);
    terminal.run(&["audit", "export", "audit.export"]).await?.expect_success()?;
    assert_eq!(terminal.run(&["audit", "export", "audit.export"]).await?.code, 1, "no file is replaced");
    fs::copy(terminal.folder().join("audit.export"), auditor.folder().join("audit.export"))?;
    let of_export = [&VERIFY[..], &["--export", "audit.export"]].concat();
    assert_eq!(auditor.run(&of_export).await?.expect_success()?["valid"], true);
    assert!(!auditor.data_dir().exists(), "no key and no directory was created");

    // A changed record is found, and so is a key that is not the one.
    let mut content = fs::read(auditor.folder().join("copy.db"))?;
    let needle = b"\"kind\":\"opened\"";
    let at = content.windows(needle.len()).position(|bytes| bytes == needle).context("a record")?;
    content[at + needle.len() + 20] ^= 1;
    fs::write(auditor.folder().join("copy.db"), content)?;
    let changed = auditor.run(&of_copy).await?;
    assert_eq!((changed.code, &changed.json()?["valid"]), (1, &false.into()), "{changed:?}");
    let stranger = CliHarness::open()?;
    stranger.run(&["agents", "list"]).await?.expect_success()?;
    stranger.run(&EXPORT).await?.expect_success()?;
    let key = stranger.folder().join("audit.pem").display().to_string();
    let error = terminal.run(&["audit", "verify", "--public-key", &key]).await?.expect_error(1)?;
    assert!(error["message"].as_str().is_some_and(|text| text.contains("signed by the key")), "{error:#}");
    let error = terminal.run(&["audit", "verify", "--public-key", "copy.db"]).await?.expect_error(2)?;
    assert_eq!(error["code"], "invalid_input", "{error:#}");
    Ok(())
}

#[tokio::test]
async fn pods_without_a_file_in_common_sign_with_the_key_of_their_configuration() -> Result<()> {
    let digits = "07".repeat(32);
    let mut keys = Vec::new();
    for _ in 0..2 {
        let mut terminal = CliHarness::open()?;
        terminal.set_variable("GREENROOM_AUDIT_KEY", &digits);
        terminal.run(&["agents", "list"]).await?.expect_success()?;
        assert!(!terminal.data_dir().join("audit.key").exists(), "the key is in no file");
        assert_eq!(terminal.run(&["audit", "verify"]).await?.expect_success()?["valid"], true);
        let checked = terminal.run(&["config", "check"]).await?;
        assert!(checked.out.contains("audit.key") && !checked.out.contains(&digits), "{checked:?}");
        keys.push(terminal.run(&["audit", "export-key"]).await?.expect_success()?["public_key"].clone());
        // A file with another key is a mistake, and not silently one of the two.
        let file = terminal.data_dir().join("audit.key");
        fs::write(&file, "08".repeat(32))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let refused = terminal.run(&["agents", "list"]).await?.expect_error(1)?;
        assert!(refused["message"].as_str().is_some_and(|text| text.contains("another audit key")), "{refused:#}");
    }
    assert_eq!(keys[0], keys[1], "each pod has the same key");
    Ok(())
}

#[tokio::test]
async fn the_audit_is_verified_beside_a_busy_pod() -> Result<()> {
    let terminal = CliHarness::open()?;
    let up = terminal.start(&["up"])?;
    up.wait_for_output("greenroom is up").await?;
    terminal.run(&EXPORT).await?.expect_success()?;
    for _ in 0..3 {
        let load = (0..6).map(|_| terminal.start(&["agents", "list"])).collect::<Result<Vec<_>>>()?;
        for words in [&VERIFY[..], &["audit", "verify"], &["db", "check"]] {
            let report = terminal.run(words).await?.expect_success().with_context(|| format!("{words:?}"))?;
            let audit = report.get("audit").unwrap_or(&report);
            assert_eq!(audit["valid"], true, "{words:?}: {report:#}");
        }
        for output in try_join_all(load.into_iter().map(|process| process.wait())).await? {
            output.expect_success()?;
        }
    }
    up.terminate()?;
    assert_eq!(up.wait().await?.code, 0);
    assert_eq!(terminal.run(&VERIFY).await?.expect_success()?["valid"], true);
    Ok(())
}
