//! The target `stream`: arbitrary bytes as the body of a provider's response, over a real socket, through
//! the real adapter. The first byte selects the API and the size of the pieces. The call must end within
//! its timeouts, and it must report no usage that the bytes do not contain.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use greenroom_actors::model::{Delta, Message, ModelCall, ModelName, ModelProvider, Role, Timeouts};
use greenroom_definitions::agent::ModelParameters;
use greenroom_protocol::{AgentId, CallKey, Clock, PodId, PriceBasis, PrincipalId, TenantId, UserId, Values};
use greenroom_registry::audit::signer::Signer;
use greenroom_registry::core::CoreStore;
use greenroom_registry::ledger::{Account, Amount, ReservationRequest};
use greenroom_registry::{StoreParts, in_memory_artifacts, open_in_memory};
use greenroom_runtimes::models::http::{ApiKey, ProviderSettings, Settings, open};
use greenroom_supervisor::clock::WallClock;
use tokio::runtime::Runtime;

use crate::script_server::{RecordedRequest, ScriptServer, ServerBehavior};

/// Tokens of streams.
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

/// Timeout of every phase of a call.
const PHASE_TIMEOUT: Duration = Duration::from_secs(1);
/// Bound of the whole call, with room for a busy machine.
const TOTAL_MAX: Duration = Duration::from_secs(4);
/// Maximum number of deltas of one answer: far above what one input can encode.
const DELTAS_MAX: usize = 200_000;
const APIS: [&str; 2] = ["openai", "anthropic"];

/// A server that replies to each request with the current bytes, and a provider for each API.
struct StreamFixture {
    runtime: Runtime,
    body: Arc<Mutex<(Vec<u8>, usize)>>,
    providers: Vec<Arc<dyn ModelProvider>>,
    core: Arc<dyn CoreStore>,
}

impl StreamFixture {
    fn open() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let body = Arc::new(Mutex::new((Vec::new(), 0)));
        let shared = Arc::clone(&body);
        let script = move |_: &RecordedRequest| {
            let (bytes, size) = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            ServerBehavior::Bytes(bytes, size)
        };
        let url = runtime.block_on(ScriptServer::start(script))?.url().to_owned();
        let settings = |api: &str| ProviderSettings {
            name: api.to_owned(),
            api: api.to_owned(),
            key: Some(ApiKey::new("sk-none")),
            base_url: Some(url.clone()),
            internal: false,
        };
        let settings = Settings { providers: APIS.iter().map(|api| settings(api)).collect(), ..Settings::default() };
        let providers = runtime.block_on(async { open(&settings) }).map_err(|cause| anyhow::anyhow!("{cause}"))?;
        let parts = StoreParts {
            clock: Arc::new(WallClock),
            signer: Signer::ephemeral([7; 32]),
            artifacts: in_memory_artifacts(),
            pod: PodId::new("fuzz")?,
        };
        Ok(Self { runtime, body, providers, core: open_in_memory(parts).stores.core })
    }

    /// Streams the bytes through a provider, and returns whether it reported usage.
    fn stream_through(&self, api: usize, split: usize, bytes: &[u8]) -> anyhow::Result<bool> {
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = (bytes.to_vec(), split);
        let provider = self.providers.get(api).context("an API")?;
        let model: ModelName =
            format!("{}.test-model", provider.name()).parse().map_err(|_| anyhow::anyhow!("a model"))?;
        let key = CallKey::new("run_1/step")?;
        let account = Account {
            principal: PrincipalId::local(TenantId::new("acme")?, UserId::new("alice")?),
            agent: AgentId::new("writer")?,
            workflow: None,
            run: None,
            model: model.to_string(),
            price: PriceBasis::Listed,
        };
        self.runtime.block_on(async {
            let request =
                ReservationRequest { account: &account, limits: &[], upper_bound: Amount::default(), key: &key };
            let reservation = self.core.reserve(request, WallClock.now()).await?;
            let messages = [Message::text(Role::User, "hello")];
            let timeouts = Timeouts {
                connect: PHASE_TIMEOUT,
                first_token: PHASE_TIMEOUT,
                idle: PHASE_TIMEOUT,
                total: PHASE_TIMEOUT * 2,
            };
            let call = ModelCall {
                model: &model,
                system: "You answer.",
                messages: &messages,
                inputs: &Values::new(),
                schema: None,
                tools: &[],
                tokens_max: 100,
                parameters: ModelParameters::default(),
                key: &key,
                timeouts,
                reservation: &reservation,
            };
            let Ok(mut deltas) = provider.stream(call).await else { return Ok(false) };
            let (mut has_usage, mut count) = (false, 0);
            while let Some(Ok(delta)) = deltas.next().await {
                count += 1;
                assert!(count < DELTAS_MAX, "a stream has an end");
                match delta {
                    Delta::Usage(_) => has_usage = true,
                    Delta::End(_) => {
                        assert!(!matches!(deltas.next().await, Some(Ok(_))), "nothing follows the end");
                        break;
                    }
                    Delta::Text(_) | Delta::Reasoning | Delta::Tool(_) => {}
                }
            }
            Ok(has_usage)
        })
    }
}

/// Streams a provider's response.
#[expect(clippy::expect_used, reason = "without a socket there is nothing to test")]
pub(super) fn stream(bytes: &[u8]) {
    static FIXTURE: OnceLock<StreamFixture> = OnceLock::new();
    let Some((choice, body)) = bytes.split_first() else { return };
    let fixture = FIXTURE.get_or_init(|| StreamFixture::open().expect("a socket is available"));
    // Large pieces of a long body and small ones of a short body: single-byte writes of 64 KiB test no more.
    let split = (usize::from(choice >> 1) + 1).max(body.len() / 64);
    let started_at = Instant::now();
    let has_usage = fixture.stream_through(usize::from(choice & 1), split, body).expect("a call can be made");
    assert!(started_at.elapsed() < TOTAL_MAX, "it took {:?}", started_at.elapsed());
    let mentions_usage = body.windows(6).any(|window| window == b"tokens");
    assert!(mentions_usage || !has_usage, "the provider reported usage that the bytes do not contain");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_stream_of_the_corpus_reports_usage_and_half_of_it_does_not() {
        let fixture = StreamFixture::open().unwrap();
        for (api, name) in APIS.iter().enumerate() {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/stream");
            let good = std::fs::read(folder.join(format!("{name}_good"))).unwrap();
            assert!(fixture.stream_through(api, 7, &good[1..]).unwrap(), "{name}");
            assert!(!fixture.stream_through(api, 7, &good[1..20]).unwrap(), "{name}");
        }
    }
}
