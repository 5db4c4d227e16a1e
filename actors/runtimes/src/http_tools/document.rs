//! Reads the OpenAPI document of an API: from a file or an address, as JSON or YAML, within bounds.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use greenroom_actors::concurrency::spawn_blocking;
use greenroom_protocol::{Cause, ErrorCode, Json};
use reqwest::Method;
use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number};
use tokio::io::AsyncReadExt as _;
use url::Url;

use super::{ApiSettings, OpenError};
use crate::outbound::CallKind;
use crate::outbound::client::{Outbound, OutboundRequest};
use crate::outbound::credentials::Credentials;
use crate::outbound::failure::cause_from_status;

/// Maximum bytes of a document.
pub(super) const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Maximum values of a document. The aliases of YAML can multiply what a small text has.
const VALUES_MAX: usize = 1_000_000;
/// Maximum bytes of all texts of a document, the names of members among them, for the same reason.
const TEXT_BYTES_MAX: usize = 4 * DOCUMENT_BYTES_MAX;
/// Time to fetch a document. A pod that starts waits for it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// A document.
pub(super) struct Document {
    /// Its content, an object with `openapi`.
    pub(super) root: Json,
    /// Where it was fetched; `None` for a file.
    pub(super) address: Option<Url>,
}

/// Reads the document that the settings name.
///
/// # Errors
/// [`OpenError::Unavailable`] if it is elsewhere and cannot be fetched or is no document, else [`OpenError::Invalid`].
pub(super) async fn read(
    outbound: &Outbound,
    settings: &ApiSettings,
    credentials: &Credentials,
) -> Result<Document, OpenError> {
    let describe = |problem: &str| format!("tools.http.{}: the document {problem}", settings.name);
    let is_address = settings.document.starts_with("https://") || settings.document.starts_with("http://");
    let (bytes, address) = if is_address {
        let url = Url::parse(&settings.document).map_err(|error| {
            OpenError::Invalid(Cause::new(
                ErrorCode::InvalidConfiguration,
                describe(&format!("has no address: {error}")),
            ))
        })?;
        let fetched = fetch(outbound, settings, credentials, url.clone()).await;
        let unavailable = |cause: Cause| {
            let message = describe(&format!("cannot be fetched: {}", cause.message));
            OpenError::Unavailable(Cause { message, ..cause })
        };
        (fetched.map_err(unavailable)?, Some(url))
    } else {
        let invalid =
            |problem: String| OpenError::Invalid(Cause::new(ErrorCode::InvalidConfiguration, describe(&problem)));
        (read_file(&settings.document).await.map_err(invalid)?, None)
    };
    // A thread ends without a result only if the process ends.
    let parsed = spawn_blocking(move || parse(&bytes)).await.unwrap_or_else(|_| Err("was not read".to_owned()));
    match parsed.and_then(check_version) {
        Ok(root) => Ok(Document { root, address }),
        Err(problem) => {
            let cause = Cause::new(ErrorCode::InvalidConfiguration, describe(&problem));
            Err(if address.is_some() { OpenError::Unavailable(cause) } else { OpenError::Invalid(cause) })
        }
    }
}

async fn read_file(path: &str) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One more byte shows that there is more.
    let limit = u64::try_from(DOCUMENT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    file.take(limit).read_to_end(&mut bytes).await.map_err(unreadable)?;
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("{path} has more than {DOCUMENT_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

/// Fetches a document. The credentials of the API are sent only if it is where the requests go.
async fn fetch(
    outbound: &Outbound,
    settings: &ApiSettings,
    credentials: &Credentials,
    mut url: Url,
) -> Result<Vec<u8>, Cause> {
    let base = settings.base_url.as_deref().and_then(|base| Url::parse(base).ok());
    let is_of_api = base.is_none_or(|base| base.origin() == url.origin());
    let server = format!("the server {}", url.host_str().unwrap_or_default());
    let mut headers = if is_of_api { credentials.headers().clone() } else { HeaderMap::new() };
    headers.insert(ACCEPT, HeaderValue::from_static("application/json, application/yaml, */*"));
    if is_of_api && credentials.query().next().is_some() {
        url.query_pairs_mut().extend_pairs(credentials.query());
    }
    let request = OutboundRequest {
        kind: CallKind::Document,
        method: Method::GET,
        url,
        headers,
        body: None,
        allows_private: settings.allows_private,
        timeout: FETCH_TIMEOUT,
        bytes_max: DOCUMENT_BYTES_MAX,
    };
    let response = outbound.send(request).await.map_err(|error| error.cause(&server))?;
    if response.status.as_u16() != 200 {
        return Err(cause_from_status(&response, &server, credentials));
    }
    Ok(response.body)
}

/// Parses JSON or YAML.
fn parse(bytes: &[u8]) -> Result<Json, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = ReadSize::default();
    let seed = BoundedValue { read: &read };
    if text.trim_start().starts_with('{') {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let parsed = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
        return parsed.map_err(|error| format!("is no JSON: {error}"));
    }
    seed.deserialize(serde_yaml_ng::Deserializer::from_str(text)).map_err(|error| format!("is no YAML: {error}"))
}

fn check_version(root: Json) -> Result<Json, String> {
    let version = root.get("openapi").and_then(Json::as_str).unwrap_or_default();
    if version.starts_with("3.0") || version.starts_with("3.1") {
        return Ok(root);
    }
    match root.get("swagger") {
        Some(_) => Err("is of Swagger 2; convert it to OpenAPI 3".to_owned()),
        None => Err("has no `openapi: 3.0.…` or `openapi: 3.1.…`".to_owned()),
    }
}

/// The address of the first server, with the defaults of its variables; `/` without one, as OpenAPI defines.
pub(super) fn server_url(root: &Json) -> String {
    let Some(server) = root.pointer("/servers/0") else { return "/".to_owned() };
    let mut url = server.get("url").and_then(Json::as_str).unwrap_or("/").to_owned();
    for (name, variable) in server.get("variables").and_then(Json::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Json::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    url
}

/// What was read of a document so far.
#[derive(Default)]
struct ReadSize {
    values: Cell<usize>,
    text_bytes: Cell<usize>,
}

/// Deserializes a value of which each part is counted, and whose objects have no member twice.
#[derive(Clone, Copy)]
struct BoundedValue<'a> {
    read: &'a ReadSize,
}

impl<'de> DeserializeSeed<'de> for BoundedValue<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        let count = self.read.values.get() + 1;
        self.read.values.set(count);
        if count > VALUES_MAX {
            return Err(D::Error::custom(format!("it has more than {VALUES_MAX} values")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for BoundedValue<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Json, E> {
        let bytes = self.read.text_bytes.get().saturating_add(value.len());
        self.read.text_bytes.set(bytes);
        if bytes > TEXT_BYTES_MAX {
            return Err(E::custom(format!("it has more than {TEXT_BYTES_MAX} bytes of text")));
        }
        Ok(Json::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_none<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key_seed(MemberName(self))? {
            let value = map.next_value_seed(self)?;
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("the member {name:?} is there twice")));
            }
            members.insert(name, value);
        }
        Ok(Json::Object(members))
    }
}

/// Deserializes the name of a member. In YAML, the status of a response is a number.
struct MemberName<'a>(BoundedValue<'a>);

impl<'de> DeserializeSeed<'de> for MemberName<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        match deserializer.deserialize_any(self.0)? {
            Json::String(name) => Ok(name),
            Json::Number(name) => Ok(name.to_string()),
            Json::Bool(name) => Ok(name.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => Err(D::Error::custom("a member has no name")),
        }
    }
}

#[cfg(test)]
mod tests;
