//! The connection to the server: it is made again whenever it is lost, and meanwhile each operation fails at once. An
//! operation waits for [`OPERATION_TIMEOUT`] at most.

use std::sync::Arc;
use std::time::Duration;

use fred::clients::{Client, WithOptions};
use fred::error::Error;
use fred::interfaces::{ClientLike, EventInterface, FunctionInterface};
use fred::types::config::{Config, Options, ReconnectPolicy, UnresponsiveConfig};
use fred::types::{Builder, ClusterHash, ConnectHandle, CustomCommand, Value};
use futures::FutureExt as _;
use futures::future::{join, lazy};
use tokio::sync::OnceCell;

use super::error::{RedisError, is_missing_function};
use super::eviction::EvictionMonitor;
use super::failure_log::FailureLog;
use super::functions::{Function, FunctionLibrary};
use super::reply_monitor::{ReplyMonitor, UNRESPONSIVE_INTERVAL, UNRESPONSIVE_TIMEOUT};
use super::tls::trust_authorities;
use super::{RedisObserver, RedisParts};

/// The longest time of one operation.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for the first connection, and for each step of a later one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Where the first key of a call is among the words after the command.
const FIRST_KEY: usize = 2;
/// The delays between attempts to connect, in milliseconds.
const RECONNECT_DELAY_MIN_MS: u32 = 20;
const RECONNECT_DELAY_MAX_MS: u32 = 1_000;
/// The random part of such a delay.
const RECONNECT_JITTER_MS: u32 = 20;

/// The connection to the server.
pub(super) struct Connection {
    /// Sends each command once and within the time. It does not wait for a connection.
    client: WithOptions<Client>,
    /// The client's own task.
    task: ConnectHandle,
    library: FunctionLibrary,
    prefix: String,
    observer: Arc<dyn RedisObserver>,
    /// Set once the server was checked and has the library.
    prepared: OnceCell<()>,
    evictions: EvictionMonitor,
    replies: ReplyMonitor,
    failures: FailureLog,
}

impl Connection {
    /// Connects. A server that cannot be reached now is connected as soon as it can be.
    ///
    /// # Errors
    /// A [`RedisError`] that only a change of the configuration resolves.
    pub(super) async fn open(parts: RedisParts<'_>) -> Result<Self, RedisError> {
        let RedisParts { url, ca_file, prefix, observer } = parts;
        let mut config = Config::from_url(url).map_err(|error| RedisError::from_client(&error))?;
        if let Some(ca_file) = ca_file.filter(|_| config.uses_tls()) {
            config.tls = Some(trust_authorities(ca_file)?);
        }
        let client = build_client(config).map_err(|error| RedisError::from_client(&error))?;
        // The first future has to wait before the client connects, so that it misses no event.
        let (contact, task) = join(first_contact(&client), lazy(|_| client.connect())).await;
        let options =
            Options { max_attempts: Some(1), timeout: Some(OPERATION_TIMEOUT), fail_fast: true, ..Options::default() };
        let connection = Self {
            client: client.with_options(&options),
            task,
            library: FunctionLibrary::new(),
            prefix,
            observer,
            prepared: OnceCell::new(),
            evictions: EvictionMonitor::default(),
            replies: ReplyMonitor::new(),
            failures: FailureLog::default(),
        };
        let ready = match contact {
            Ok(()) => limit_time(OPERATION_TIMEOUT, connection.prepare_once()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ready {
            connection.on_failure(&error);
            if error.is_misconfiguration() {
                return Err(error);
            }
        }
        Ok(connection)
    }

    /// The prefix of every key.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Calls a function, whose reply is a list of texts.
    ///
    /// # Errors
    /// [`RedisError`]; then it is not known whether the function was executed.
    pub(super) async fn call(
        &self,
        function: Function,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Vec<String>, RedisError> {
        let started_at = self.replies.now();
        let result = if self.replies.allows(started_at) {
            let result = self.call_in_time(function, keys, args).await;
            match &result {
                Err(RedisError::Timeout) => self.replies.on_timeout(started_at, self.replies.now()),
                // The server may not have been contacted.
                Err(RedisError::Unreachable(_) | RedisError::Evicting(_)) => {}
                // An error reply is a reply.
                Ok(_) | Err(_) => self.replies.on_reply(self.replies.now()),
            }
            result
        } else {
            Err(RedisError::Timeout)
        };
        match &result {
            Err(error) => self.on_failure(error),
            Ok(_) if function.needs_whole_service() => {
                self.failures.on_recovery();
            }
            Ok(_) => {}
        }
        result
    }

    async fn call_in_time(
        &self,
        function: Function,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Vec<String>, RedisError> {
        // A command that is sent just after the loss of the connection would wait for the next one.
        let mut losses = self.client.error_rx();
        let work = async {
            tokio::select! {
                biased;
                result = self.try_call(function, keys, args) => result,
                _ = losses.recv() => Err(RedisError::Unreachable("the connection was lost".to_owned())),
            }
        };
        limit_time(OPERATION_TIMEOUT, work).await
    }

    async fn try_call(
        &self,
        function: Function,
        keys: Vec<String>,
        args: Vec<Value>,
    ) -> Result<Vec<String>, RedisError> {
        self.prepare_once().await?;
        let result = match self.send(function, keys.clone(), args.clone()).await {
            Err(error) if is_missing_function(&error) => {
                self.prepare().await?;
                self.send(function, keys, args).await
            }
            result => result,
        };
        result.map_err(|error| RedisError::from_client(&error))
    }

    /// Sends the call as a custom command: the client takes its own command for a function for one that may block, so it
    /// would send no other command beside it and never notice that the server is silent.
    async fn send(&self, function: Function, keys: Vec<String>, args: Vec<Value>) -> Result<Vec<String>, Error> {
        let name = if function.is_read_only() { "FCALL_RO" } else { "FCALL" };
        let command = CustomCommand::new_static(name, ClusterHash::Offset(FIRST_KEY), false);
        let mut words = vec![Value::from(self.library.name_of(function)), Value::from(keys.len().to_string())];
        words.extend(keys.into_iter().map(Value::from));
        words.extend(args);
        // The futures of the client are deep types, so they are boxed: those who await them would be deeper still.
        self.client.custom(command, words).boxed().await
    }

    /// Prepares the server before the first operation, and checks it again from time to time.
    async fn prepare_once(&self) -> Result<(), RedisError> {
        self.prepared.get_or_try_init(|| self.prepare()).await?;
        if self.evictions.is_check_due(self.replies.now()) {
            self.check_eviction().await?;
        }
        self.evictions.reject_evicting()
    }

    /// Checks that the server does not remove keys, and loads the library.
    async fn prepare(&self) -> Result<(), RedisError> {
        self.check_eviction().await?;
        self.evictions.reject_evicting()?;
        let loaded: Result<Value, Error> = self.client.function_load_cluster(true, self.library.text()).boxed().await;
        loaded.map(drop).map_err(|error| RedisError::from_client(&error))
    }

    async fn check_eviction(&self) -> Result<(), RedisError> {
        let info = CustomCommand::new_static("INFO", ClusterHash::Random, false);
        let memory: Result<String, Error> = self.client.custom(info, vec!["memory"]).boxed().await;
        self.evictions.on_info(&memory.map_err(|error| RedisError::from_client(&error))?, self.replies.now());
        Ok(())
    }

    /// Counts and logs a failure.
    fn on_failure(&self, error: &RedisError) {
        self.observer.on_failure(error);
        self.failures.on_failure(error);
    }

    /// Sends any command, for tests.
    #[cfg(test)]
    pub(super) async fn command(&self, name: &'static str, args: Vec<String>) -> Result<Value, Error> {
        self.client.custom(CustomCommand::new_static(name, ClusterHash::Random, false), args).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn limit_time<T>(time: Duration, work: impl Future<Output = Result<T, RedisError>>) -> Result<T, RedisError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(RedisError::Timeout))
}

/// A client that connects again for as long as it exists.
fn build_client(config: Config) -> Result<Client, Error> {
    let mut policy = ReconnectPolicy::new_exponential(0, RECONNECT_DELAY_MIN_MS, RECONNECT_DELAY_MAX_MS, 2);
    policy.set_jitter(RECONNECT_JITTER_MS);
    let mut builder = Builder::from_config(config);
    builder
        // Otherwise the client would end if the server could not be reached at first.
        .with_config(|config| config.fail_fast = false)
        .with_connection_config(|connection| {
            connection.connection_timeout = CONNECT_TIMEOUT;
            connection.internal_command_timeout = CONNECT_TIMEOUT;
            connection.tcp.nodelay = Some(true);
            connection.unresponsive =
                UnresponsiveConfig { max_timeout: Some(UNRESPONSIVE_TIMEOUT), interval: UNRESPONSIVE_INTERVAL };
        })
        .set_policy(policy);
    builder.build()
}

/// Waits until the client is connected, or the first attempt fails.
async fn first_contact(client: &Client) -> Result<(), RedisError> {
    let mut errors = client.error_rx();
    let contact = async {
        tokio::select! {
            biased;
            connected = client.wait_for_connect() => connected.map_err(|error| RedisError::from_client(&error)),
            Ok((error, _server)) = errors.recv() => Err(RedisError::from_client(&error)),
        }
    };
    limit_time(CONNECT_TIMEOUT, contact).await
}
