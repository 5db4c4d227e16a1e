//! The target `stream`: arbitrary bytes as the body of a provider's answer, over a real socket, through
//! the real adapter. The first byte chooses the wire and how the rest is split. It ends within its
//! bounds, and no usage is read where the bytes speak of none.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use greenroom_actors::model::{Delta, Message, ModelCall, ModelName, ModelProvider, Role, Timeouts};
use greenroom_protocol::{AgentId, CallKey, Clock, PriceBasis, TenantId, UserId};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::ledger::{Account, Amount, Ledger};
use greenroom_registry::{StoreParts, in_memory_artifacts, open_in_memory};
use greenroom_runtimes::models::genai::{ApiKey, ProviderSettings, Settings, open};
use greenroom_supervisor::clock::WallClock;
use tokio::runtime::Runtime;

/// What streams are made of.
pub(super) const WORDS: &[&str] = &[
    "data: ",
    "event: ",
    "\n\n",
    "\r\n",
    ": ping\n\n",
    "data: [DONE]\n\n",
    "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}",
    "{\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}",
    "{\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}",
    "\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}}]",
    "{\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":1,\"output_tokens\":1}}}",
    "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}}",
    "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}",
    "18446744073709551616",
    "-1",
    "null",
    "\u{fffd}",
];

/// What every phase of a call may take here.
const PHASE: Duration = Duration::from_secs(1);
/// What the whole of it may take, with room for a busy machine.
const ALL_MAX: Duration = Duration::from_secs(4);
/// Pieces of one answer: far above what the bytes of one input can hold.
const DELTAS_MAX: usize = 200_000;
const WIRES: [&str; 2] = ["openai", "anthropic"];

/// A server that answers each request with the bytes of the moment, and a provider of each wire.
struct Bench {
    runtime: Runtime,
    body: Arc<Mutex<(Vec<u8>, usize)>>,
    providers: Vec<Arc<dyn ModelProvider>>,
    ledger: Arc<dyn Ledger>,
}

impl Bench {
    fn open() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let body = Arc::new(Mutex::new((Vec::new(), 0)));
        let served = Arc::clone(&body);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up in the middle is what is tried here.
                drop(answer(stream, &served));
            }
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let settings = |wire: &str| ProviderSettings {
            name: wire.to_owned(),
            api: wire.to_owned(),
            key: Some(ApiKey::new("sk-none")),
            base_url: Some(url.clone()),
        };
        let settings = Settings { providers: WIRES.iter().map(|wire| settings(wire)).collect(), ..Settings::default() };
        let providers = runtime.block_on(async { open(&settings) }).map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let parts = StoreParts {
            clock: Arc::new(WallClock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: in_memory_artifacts(),
        };
        Ok(Self { runtime, body, providers, ledger: open_in_memory(parts).stores.ledger })
    }

    /// Streams the bytes through a provider; answers whether it told a usage.
    fn reads(&self, wire: usize, split: usize, bytes: &[u8]) -> anyhow::Result<bool> {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = (bytes.to_vec(), split);
        let provider = self.providers.get(wire).context("a wire")?;
        let model: ModelName =
            format!("{}.test-model", provider.name()).parse().map_err(|_| anyhow::anyhow!("a model"))?;
        let key = CallKey::new("run_1/step")?;
        let account = Account {
            tenant: TenantId::new("acme")?,
            user: UserId::new("alice")?,
            agent: AgentId::new("writer")?,
            workflow: None,
            run: None,
            price: PriceBasis::Listed,
        };
        self.runtime.block_on(async {
            let paid = self.ledger.reserve(&account, &[], Amount::default(), &key, WallClock.now()).await?;
            let messages = [Message::text(Role::User, "hello")];
            let timeouts = Timeouts { connect: PHASE, first_token: PHASE, idle: PHASE, total: PHASE * 2 };
            let call = ModelCall {
                model: &model,
                system: "You answer.",
                messages: &messages,
                schema: None,
                tools: &[],
                tokens_max: 100,
                key: &key,
                timeouts,
                reservation: &paid,
            };
            let Ok(mut deltas) = provider.stream(call).await else { return Ok(false) };
            let (mut tells_usage, mut count) = (false, 0);
            while let Some(Ok(delta)) = deltas.next().await {
                count += 1;
                assert!(count < DELTAS_MAX, "an answer has an end");
                match delta {
                    Delta::Usage(_) => tells_usage = true,
                    Delta::End(_) => {
                        assert!(!matches!(deltas.next().await, Some(Ok(_))), "nothing follows the end");
                        break;
                    }
                    Delta::Text(_) | Delta::Tool(_) => {}
                }
            }
            Ok(tells_usage)
        })
    }
}

/// Reads one request and answers with the bytes of the moment, in pieces.
fn answer(mut stream: std::net::TcpStream, body: &Mutex<(Vec<u8>, usize)>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PHASE))?;
    stream.set_nodelay(true)?;
    let mut seen = Vec::new();
    let mut chunk = [0; 8192];
    while !is_complete(&seen) {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            count => seen.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    let (bytes, split) = body.lock().unwrap_or_else(PoisonError::into_inner).clone();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")?;
    for piece in bytes.chunks(split.max(1)) {
        stream.write_all(piece)?;
    }
    stream.shutdown(std::net::Shutdown::Write)
}

/// True once the head and as much of a body as it announces have come.
fn is_complete(seen: &[u8]) -> bool {
    let Some(head) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(seen.get(..head).unwrap_or_default()).to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
    seen.len() >= head + 4 + length.unwrap_or(0)
}

/// A provider's answer.
#[expect(clippy::expect_used, reason = "without a socket there is nothing to try")]
pub(super) fn stream(bytes: &[u8]) {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    let Some((choice, body)) = bytes.split_first() else { return };
    let bench = BENCH.get_or_init(|| Bench::open().expect("there is a socket to be had"));
    // Few pieces of a long body, many of a short one: a write a byte of 64 KiB says nothing more.
    let split = (usize::from(choice >> 1) + 1).max(body.len() / 64);
    let begun = Instant::now();
    let tells_usage = bench.reads(usize::from(choice & 1), split, body).expect("a call can be made");
    assert!(begun.elapsed() < ALL_MAX, "it took {:?}", begun.elapsed());
    let speaks_of_usage = body.windows(6).any(|window| window == b"tokens");
    assert!(speaks_of_usage || !tells_usage, "a usage was told that nobody sent");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_of_the_corpus_tells_its_usage_and_half_of_it_tells_none() {
        let bench = Bench::open().unwrap();
        for (wire, name) in WIRES.iter().enumerate() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/stream");
            let good = std::fs::read(folder.join(format!("{name}_good"))).unwrap();
            assert!(bench.reads(wire, 7, &good[1..]).unwrap(), "{name}");
            assert!(!bench.reads(wire, 7, &good[1..20]).unwrap(), "{name}");
        }
    }
}
