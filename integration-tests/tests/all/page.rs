//! The page at `/` of the bridge in a browser: it shows every route of the served document, reports no error, and fits the
//! window of a desk and that of a telephone.

mod browser;
mod event_source;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::up_process::UpProcess;
use greenroom_protocol::Json;

use browser::Browser;

/// Opens all routes, and returns what a reader sees.
const LOOK: &str = "(() => {
  document.querySelectorAll('details').forEach((one) => { one.open = true; });
  const texts = (selector) => [...document.querySelectorAll(selector)].map((one) => one.textContent);
  return {
    methods: texts('#routes summary .method'),
    paths: texts('#routes summary .path'),
    statuses: texts('#routes td:first-child'),
    state: document.getElementById('state').textContent,
    width: window.innerWidth,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
})()";

/// The operations of a document, as `GET /v1/agents`.
fn operations(document: &Json) -> Result<BTreeSet<String>> {
    let mut operations = BTreeSet::new();
    for (path, item) in document["paths"].as_object().context("paths")? {
        let methods = item.as_object().context("operations")?.keys();
        operations.extend(methods.map(|method| format!("{} {path}", method.to_ascii_uppercase())));
    }
    Ok(operations)
}

/// The operations that the page shows.
fn shown_operations(view: &Json) -> Result<BTreeSet<String>> {
    let (methods, paths) = (view["methods"].as_array(), view["paths"].as_array());
    let pairs = methods.context("methods")?.iter().zip(paths.context("paths")?);
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    Ok(pairs.map(|(method, path)| format!("{} {}", text(method), text(path))).collect())
}

#[tokio::test]
async fn the_page_shows_every_route_without_an_error_and_fits_its_window() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    let document = up.get("/openapi.json").await?.json()?;
    let expected = operations(&document)?;
    ensure!(expected.len() > 20, "{expected:?}");
    let mut browser = Browser::start().await?;
    for (width, height) in [(1280, 800), (400, 800)] {
        browser.open(&format!("http://{}/", up.addr), width, height).await?;
        let view =
            browser.wait_for(LOOK, |view| view["paths"].as_array().is_some_and(|paths| !paths.is_empty())).await?;
        assert_eq!(shown_operations(&view)?, expected, "at a width of {width}");
        assert_eq!(view["width"], width, "the window has the width of the test");
        ensure!(view["overflow"].as_i64().is_some_and(|pixels| pixels <= 0), "{width}: {}", view["overflow"]);
        ensure!(view["state"].as_str().is_some_and(|state| state.contains("ready")), "{}", view["state"]);
        ensure!(view["statuses"].to_string().contains("\"401\""), "the responses are shown: {}", view["statuses"]);
        ensure!(browser.errors().is_empty(), "{width}: {:?}", browser.errors());
    }
    Ok(())
}

#[tokio::test]
async fn an_error_of_a_page_is_noticed() -> Result<()> {
    let up = UpProcess::start_embedded().await?;
    let mut browser = Browser::start().await?;
    browser.open(&format!("http://{}/", up.addr), 1280, 800).await?;
    browser.wait_for("(() => { console.error('planted'); return 1; })()", |value| *value == 1).await?;
    // The browser sends its messages in their order.
    browser.wait_for("2", |value| *value == 2).await?;
    ensure!(browser.errors().iter().any(|error| error.contains("planted")), "{:?}", browser.errors());
    Ok(())
}
