//! A model server that replays scripted steps over a real socket and records every request.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_actors::model::ModelProvider;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::http_request::{HttpRequest, read_request};
use crate::models::genai::{ApiKey, ProviderSettings, Settings, open};

/// The key that the tests search for in messages.
pub(super) const KEY: &str = "sk-planted-0123456789";

/// One thing that the server does with a connection.
#[derive(Clone)]
pub(super) enum Step {
    /// Writes.
    Send(String),
    /// Writes binary data.
    Bytes(Vec<u8>),
    /// Waits.
    Wait(Duration),
    /// Writes the same text until the client closes the connection.
    Endless(&'static str),
    /// Resets the connection.
    Reset,
    /// Sends nothing more.
    Silence,
}

/// The server.
pub(super) struct Server {
    pub(super) url: String,
    requests: Arc<Mutex<Vec<HttpRequest>>>,
}

impl Server {
    /// Replays one list of steps per connection, and repeats the last one.
    #[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
    pub(super) async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let recorded = requests.clone();
        tokio::spawn(async move {
            let mut index = 0;
            while let Ok((stream, _)) = listener.accept().await {
                let steps = scripts[index.min(scripts.len() - 1)].clone();
                index += 1;
                tokio::spawn(replay(stream, steps, recorded.clone()));
            }
        });
        Self { url, requests }
    }

    pub(super) fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap().clone()
    }

    /// Opens a provider of this API at the address of this server.
    pub(super) fn provider(&self, api: &str) -> Arc<dyn ModelProvider> {
        let settings = Settings {
            providers: vec![ProviderSettings {
                name: api.to_owned(),
                api: api.to_owned(),
                key: Some(ApiKey::new(KEY)),
                base_url: Some(self.url.clone()),
            }],
            ..Settings::default()
        };
        open(&settings).unwrap().remove(0)
    }
}

async fn replay(mut stream: TcpStream, steps: Vec<Step>, recorded: Arc<Mutex<Vec<HttpRequest>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    recorded.lock().unwrap().push(request);
    for step in steps {
        match step {
            Step::Send(text) => {
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Step::Bytes(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Wait(duration) => {
                let _ = timeout(duration, pending::<()>()).await;
            }
            Step::Endless(text) => while stream.write_all(text.as_bytes()).await.is_ok() {},
            Step::Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Step::Silence => pending().await,
        }
    }
    let _ = stream.shutdown().await;
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
    let length = body.len();
    vec![Step::Send(format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    ))]
}

/// The head of an event stream.
pub(super) fn head() -> Step {
    Step::Send("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n".to_owned())
}
