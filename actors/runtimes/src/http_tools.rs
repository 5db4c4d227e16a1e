//! The tools `http:API/OPERATION`: the operations of APIs that the configuration names by their OpenAPI documents.
//!
//! ```text
//! document     reads a document: from a file or an address, as JSON or YAML, within bounds
//! references   follows `$ref` within a document
//! operation    finds the operations of a document, and their parameters and bodies
//! schema       the schema of an argument, without references
//! encode       arguments → the address, the headers and the body of a request
//! result       a response → the result of the tool
//! ```
//!
//! A document is read once, so an API cannot change its tools between two calls: when the pod starts, or later if it was not
//! available then. What it says becomes the description of a tool and nothing else: where requests are sent, with which
//! credentials, is up to the configuration.

mod document;
mod encode;
mod operation;
mod references;
mod result;
mod schema;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use greenroom_actors::concurrency::spawn_blocking;
use greenroom_actors::handler::FileAccess;
use greenroom_actors::tool::{ToolDescription, ToolInput, ToolSource};
use greenroom_definitions::Catalogue;
use greenroom_protocol::header::TRACEPARENT;
use greenroom_protocol::{Cause, ErrorCode, Json};
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::watch;
use url::Url;

use crate::outbound::client::{Outbound, OutboundRequest};
use crate::outbound::credentials::Credentials;
use crate::outbound::{CallKind, CredentialSettings};

use operation::Operation;

/// Maximum bytes of the body of a response.
const RESPONSE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Default time of one call.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// One API of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiSettings {
    /// Its name, the part of its tools' names before the `/`.
    pub name: String,
    /// Where its document is: a path or an address.
    pub document: String,
    /// Where its requests are sent, instead of the first server of the document.
    pub base_url: Option<String>,
    /// The operations that are tools; `None` for all that can be.
    pub operations: Option<Vec<String>>,
    /// Headers and parameters of each request.
    pub credentials: CredentialSettings,
    /// True if it may be in a network of the operator, and need not have TLS.
    pub allows_private: bool,
    /// True if its requests stay within the organization.
    pub is_internal: bool,
    /// The time of one call.
    pub timeout: Duration,
}

/// Why the tools of an API cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The configuration or a file of this machine is wrong.
    Invalid(Cause),
    /// The document is elsewhere, and could not be fetched.
    Unavailable(Cause),
}

impl OpenError {
    /// The cause of either.
    #[must_use]
    pub fn into_cause(self) -> Cause {
        match self {
            Self::Invalid(cause) | Self::Unavailable(cause) => cause,
        }
    }
}

/// The tools of all APIs. One may be added at any time; none is replaced.
pub struct HttpTools {
    outbound: Outbound,
    apis: RwLock<BTreeMap<String, Arc<Api>>>,
    /// The number of APIs that were added.
    api_count: watch::Sender<usize>,
}

/// The tools of one API.
struct Api {
    base: Url,
    operations: BTreeMap<String, Operation>,
    credentials: Credentials,
    allows_private: bool,
    is_internal: bool,
    timeout: Duration,
}

impl HttpTools {
    /// The source without an API.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self { outbound, apis: RwLock::default(), api_count: watch::Sender::new(0) }
    }

    /// The number of APIs that were added, to wait for the next one.
    #[must_use]
    pub fn api_count(&self) -> watch::Receiver<usize> {
        self.api_count.subscribe()
    }

    /// Reads the document of an API, and adds its tools. Returns why operations of it are no tools.
    ///
    /// # Errors
    /// [`OpenError`] with the name of the API; the other APIs are not changed.
    pub async fn open_api(&self, settings: &ApiSettings) -> Result<Vec<String>, OpenError> {
        let invalid = |problem: String| {
            let message = format!("tools.http.{}: {problem}", settings.name);
            OpenError::Invalid(Cause::new(ErrorCode::InvalidConfiguration, message))
        };
        check_name(&settings.name).map_err(invalid)?;
        let credentials = Credentials::new(&settings.credentials).map_err(invalid)?;
        let read = document::read(&self.outbound, settings, &credentials).await?;
        // What is elsewhere may be another document at the next attempt.
        let is_elsewhere = read.address.is_some();
        let of_document = |problem: String| match invalid(problem) {
            OpenError::Invalid(cause) if is_elsewhere => OpenError::Unavailable(cause),
            error => error,
        };
        let base = base_url(settings, &read).map_err(of_document)?;
        let (root, wanted) = (read.root, settings.operations.clone());
        // A thread ends without a result only if the process ends.
        let finding = spawn_blocking(move || operation::find(&root, wanted.as_deref()));
        let found =
            finding.await.unwrap_or_else(|_| Err("the document was not read".to_owned())).map_err(of_document)?;
        let api = Api {
            base,
            operations: found.operations,
            credentials,
            allows_private: settings.allows_private,
            is_internal: settings.is_internal,
            timeout: settings.timeout,
        };
        // It is changed in one step.
        self.apis.write().unwrap_or_else(PoisonError::into_inner).insert(settings.name.clone(), Arc::new(api));
        self.api_count.send_modify(|count| *count = count.saturating_add(1));
        Ok(found.skipped)
    }

    /// True if the tools of the API with this name are known.
    #[must_use]
    pub fn has_api(&self, name: &str) -> bool {
        self.apis.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }

    /// The names of all tools, with the scheme.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.map_operations(|api, operation| format!("http:{api}/{}", operation.id))
    }

    fn map_operations<T>(&self, map: impl Fn(&str, &Operation) -> T) -> Vec<T> {
        let apis = self.apis.read().unwrap_or_else(PoisonError::into_inner);
        let of_api = |(name, api): (&String, &Arc<Api>)| -> Vec<T> {
            api.operations.values().map(|operation| map(name, operation)).collect()
        };
        apis.iter().flat_map(of_api).collect()
    }

    /// The API of a name without its scheme, and the name of the operation, if the API has it.
    fn find<'n>(&self, name: &'n str) -> Option<(Arc<Api>, &'n str)> {
        let (api, operation) = name.split_once('/')?;
        let api = self.apis.read().unwrap_or_else(PoisonError::into_inner).get(api).cloned()?;
        api.operations.contains_key(operation).then_some((api, operation))
    }
}

#[async_trait]
impl ToolSource for HttpTools {
    fn scheme(&self) -> &str {
        "http"
    }

    fn list(&self, _: &Catalogue) -> Vec<ToolDescription> {
        self.map_operations(describe)
    }

    fn describe(&self, name: &str, _: &Catalogue) -> Option<ToolDescription> {
        let (api_name, _) = name.split_once('/')?;
        let (api, operation) = self.find(name)?;
        Some(describe(api_name, api.operations.get(operation)?))
    }

    fn is_external(&self, name: &str) -> bool {
        !self.find(name).is_some_and(|(api, _)| api.is_internal)
    }

    async fn call(&self, name: &str, input: ToolInput, files: &FileAccess) -> Result<Json, Cause> {
        let unknown = || Cause::new(ErrorCode::UnknownTool, format!("there is no tool `http:{name}`"));
        let (api, operation) = self.find(name).ok_or_else(unknown)?;
        let operation = api.operations.get(operation).ok_or_else(unknown)?;
        let encoded = encode::encode(operation, &api.base, &input.arguments)?;
        let mut headers = encoded.headers;
        headers.extend(api.credentials.headers().clone());
        if operation.method != Method::GET
            && operation.method != Method::HEAD
            // A key is printable ASCII, which every header may have.
            && let Ok(key) = HeaderValue::from_str(input.key.as_str())
        {
            headers.insert(HeaderName::from_static("idempotency-key"), key);
        }
        if let Some(trace) = input.trace.and_then(|trace| HeaderValue::from_str(&trace.to_string()).ok()) {
            headers.insert(HeaderName::from_static(TRACEPARENT), trace);
        }
        let mut url = encoded.url;
        encode::add_query(&mut url, api.credentials.query());
        let request = OutboundRequest {
            kind: CallKind::Tool,
            method: operation.method.clone(),
            url,
            headers,
            body: encoded.body,
            allows_private: api.allows_private,
            timeout: api.timeout,
            bytes_max: RESPONSE_BYTES_MAX,
        };
        let server = format!("`http:{name}`");
        let response = self.outbound.send(request).await.map_err(|error| error.cause(&server))?;
        result::read(response, &server, operation, &api.credentials, files).await
    }
}

fn describe(api: &str, operation: &Operation) -> ToolDescription {
    ToolDescription {
        name: format!("{api}/{}", operation.id),
        description: operation.description.clone(),
        parameters: operation.schema.clone(),
    }
}

/// The name of an API is a part of the names of its tools.
fn check_name(name: &str) -> Result<(), String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(is_plain) {
        return Ok(());
    }
    Err("the name of an API has 1 to 64 letters, digits, `_` and `-`".to_owned())
}

/// Where requests are sent: the address of the configuration, else the first server of the document.
fn base_url(settings: &ApiSettings, read: &document::Document) -> Result<Url, String> {
    let (text, origin) = match &settings.base_url {
        Some(text) => (text.clone(), "`base_url`"),
        None => (document::server_url(&read.root), "the first server of the document"),
    };
    let parsed = match &read.address {
        Some(address) if settings.base_url.is_none() => address.join(&text),
        Some(_) | None => Url::parse(&text),
    };
    let hint = "set `base_url` to an address such as `https://api.example/v1`";
    let url = parsed.map_err(|_| format!("{origin} is no address; {hint}"))?;
    let is_base = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if is_base { Ok(url) } else { Err(format!("{origin} is no address of a web server alone; {hint}")) }
}

#[cfg(test)]
mod tests;
