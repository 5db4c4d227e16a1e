//! The model server with the same steps for every request, and providers that call it.

use std::sync::Arc;

use greenroom_actors::model::ModelProvider;
use tokio::net::TcpListener;

use crate::model_server::{ModelServer, RecordedRequest, Step, response};
use crate::models::http::{ApiKey, ProviderSettings, Settings, open};

/// The key that the tests search for in messages.
pub(super) const KEY: &str = "sk-planted-0123456789";

/// The server.
pub(super) struct Server {
    pub(super) url: String,
    server: ModelServer,
}

impl Server {
    /// Replays one list of steps per request, and repeats the last one.
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let script = move |request: &RecordedRequest| scripts[request.number.min(scripts.len() - 1)].clone();
        let server = ModelServer::start(script).await.unwrap();
        Self { url: server.url().to_owned(), server }
    }

    pub(super) fn requests(&self) -> Vec<RecordedRequest> {
        self.server.requests()
    }

    /// Opens a provider of this API at the address of this server.
    pub(super) fn provider(&self, api: &str) -> Arc<dyn ModelProvider> {
        self.provider_with_key(api, KEY)
    }

    pub(super) fn provider_with_key(&self, api: &str, key: &str) -> Arc<dyn ModelProvider> {
        let settings = Settings {
            providers: vec![ProviderSettings {
                name: api.to_owned(),
                api: api.to_owned(),
                key: Some(ApiKey::new(key)),
                base_url: Some(self.url.clone()),
                internal: false,
            }],
            ..Settings::default()
        };
        open(&settings).unwrap().remove(0)
    }
}

/// Starts a server that closes every connection at once; returns its `https` address.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
pub(super) async fn closing_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/v1", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    url
}

/// A response with a status and a body.
pub(super) fn status(line: &str, headers: &str, body: &str) -> Vec<Step> {
    vec![Step::Send(response(line, headers, body))]
}

/// The head of an event stream.
pub(super) fn head() -> Step {
    Step::Send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned())
}
