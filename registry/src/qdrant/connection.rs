//! The connection to the server: it is made again whenever it is lost, and meanwhile each operation fails. An operation
//! waits for [`OPERATION_TIMEOUT`] at most, and not at all while the server counts as away ([`Outage`]). The collection is
//! created before the first operation, and again if something has deleted it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::qdrant_client::qdrant::collections_client::CollectionsClient;
use ::qdrant_client::qdrant::points_client::PointsClient;
use ::qdrant_client::qdrant::{CollectionExistsRequest, GetCollectionInfoRequest, ListCollectionsRequest};
use tokio::sync::Mutex;
use tonic::metadata::AsciiMetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Response, Status};

use super::collection::Collection;
use super::error::QdrantError;
use super::{QdrantObserver, QdrantParts};
use crate::authorities::read_authorities;
use crate::outage::Outage;

/// The longest time of one operation.
pub(super) const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest time in which a pod that starts waits until the collection and its indexes exist.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a connection is checked, and how long the server may take to reply to that.
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Bytes of one reply.
const REPLY_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The header of the API key.
const KEY_HEADER: &str = "api-key";

/// Sends requests with the key.
type KeyedChannel = InterceptedService<Channel, ApiKey>;
/// The client for points.
pub(super) type Points = PointsClient<KeyedChannel>;

/// Adds the API key to each request.
#[derive(Clone)]
pub(super) struct ApiKey(Option<AsciiMetadataValue>);

impl ApiKey {
    fn new(key: Option<&str>) -> Result<Self, QdrantError> {
        let Some(key) = key else { return Ok(Self(None)) };
        let unusable = |_| QdrantError::Rejected("the key has characters that no header has".to_owned());
        let mut value: AsciiMetadataValue = key.parse().map_err(unusable)?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

impl Interceptor for ApiKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(key) = &self.0 {
            request.metadata_mut().insert(KEY_HEADER, key.clone());
        }
        Ok(request)
    }
}

/// The connection to the server.
pub(super) struct Connection {
    points: Points,
    collections: CollectionsClient<KeyedChannel>,
    pub(super) collection: Collection,
    observer: Arc<dyn QdrantObserver>,
    /// True while the collection is known to exist.
    is_prepared: AtomicBool,
    /// Lets one operation prepare, and the others wait for it.
    preparing: Mutex<()>,
    /// Lets operations fail at once while the server is silent or cannot be reached.
    outage: Outage<QdrantError>,
    /// True from the first failure until an operation succeeds.
    is_failing: AtomicBool,
}

impl Connection {
    /// Connects. A server that cannot be reached now is connected as soon as it can be.
    ///
    /// # Errors
    /// A [`QdrantError`] that only a change of the server or of the configuration resolves.
    pub(super) async fn open(parts: QdrantParts<'_>, collection: Collection) -> Result<Self, QdrantError> {
        let channel = build_channel(parts.url, parts.ca_file)?;
        let key = ApiKey::new(parts.api_key)?;
        let points = PointsClient::with_interceptor(channel.clone(), key.clone());
        let collections = CollectionsClient::with_interceptor(channel, key);
        let connection = Self {
            points: points.max_decoding_message_size(REPLY_BYTES_MAX),
            collections: collections.max_decoding_message_size(REPLY_BYTES_MAX),
            collection,
            observer: parts.observer,
            is_prepared: AtomicBool::new(false),
            preparing: Mutex::new(()),
            outage: Outage::default(),
            is_failing: AtomicBool::new(false),
        };
        if let Err(error) = limit_time(PREPARE_TIMEOUT, Box::pin(connection.prepare_once())).await {
            connection.on_failure(&error);
            if error.is_misconfiguration() {
                return Err(error);
            }
        }
        Ok(connection)
    }

    /// Sends a request, which `send` makes anew if the collection had to be created again.
    ///
    /// # Errors
    /// [`QdrantError`]; then it is not known whether the request was executed.
    pub(super) async fn call<T, F>(&self, send: impl Fn(Points) -> F) -> Result<T, QdrantError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.execute(self.try_call(send)).await
    }

    /// Executes an operation, unless the server counts as away.
    async fn execute<T>(&self, work: impl Future<Output = Result<T, QdrantError>>) -> Result<T, QdrantError> {
        let result = match self.outage.begin() {
            Err(error) => Err(error),
            Ok(attempt) => {
                // The requests of the client are large futures, and their callers need not be.
                let result = limit_time(OPERATION_TIMEOUT, Box::pin(work)).await;
                match &result {
                    Err(error) if error.is_outage() => attempt.fail(error.clone()),
                    Ok(_) | Err(_) => attempt.succeed(),
                }
                result
            }
        };
        self.record(&result);
        result
    }

    /// The names of the collections of memories, that of this embedder among them.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub(super) async fn collection_names(&self) -> Result<Vec<String>, QdrantError> {
        let list = async {
            self.prepare_once().await?;
            let listed = self.collections.clone().list(ListCollectionsRequest {}).await;
            let listed = listed.map_err(|status| QdrantError::from_status(&status))?.into_inner();
            let names = listed.collections.into_iter().map(|collection| collection.name);
            let others =
                names.filter(|name| name.starts_with(&self.collection.family) && *name != self.collection.name);
            Ok(others.chain([self.collection.name.clone()]).collect())
        };
        self.execute(list).await
    }

    /// Counts and logs an error that a reply has shown.
    pub(super) fn on_failure(&self, error: &QdrantError) {
        self.observer.on_failure(error);
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(qdrant.error = error.detail(), error.message = %error, "qdrant failed");
        }
    }

    fn record<T>(&self, result: &Result<T, QdrantError>) {
        match result {
            Err(error) => self.on_failure(error),
            Ok(_) if self.is_failing.load(Ordering::Relaxed) && self.is_failing.swap(false, Ordering::Relaxed) => {
                tracing::info!("qdrant is available again");
            }
            Ok(_) => {}
        }
    }

    async fn try_call<T, F>(&self, send: impl Fn(Points) -> F) -> Result<T, QdrantError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.prepare_once().await?;
        let mut sent = send(self.points.clone()).await.map_err(|status| QdrantError::from_status(&status));
        if matches!(sent, Err(QdrantError::Missing(_))) {
            self.is_prepared.store(false, Ordering::Release);
            self.prepare_once().await?;
            sent = send(self.points.clone()).await.map_err(|status| QdrantError::from_status(&status));
        }
        if matches!(sent, Err(QdrantError::Failed(_))) {
            // Something else may have created the collection anew, with vectors of other dimensions.
            self.check_collection().await?;
        }
        sent.map(Response::into_inner)
    }

    /// Creates the collection and its indexes, unless that was done.
    async fn prepare_once(&self) -> Result<(), QdrantError> {
        if self.is_prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        let _preparing = self.preparing.lock().await;
        if self.is_prepared.load(Ordering::Acquire) {
            return Ok(());
        }
        self.prepare().await?;
        self.is_prepared.store(true, Ordering::Release);
        Ok(())
    }

    async fn prepare(&self) -> Result<(), QdrantError> {
        let failed = |status: Status| QdrantError::from_status(&status);
        let mut collections = self.collections.clone();
        if !self.exists().await? {
            let created = collections.create(self.collection.creation()).await;
            // Another pod may have created it meanwhile.
            if let Err(status) = created
                && !self.exists().await?
            {
                return Err(failed(status));
            }
        }
        self.check_collection().await?;
        for index in self.collection.indexes() {
            self.points.clone().create_field_index(index).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Checks that the collection has the dimensions and the distance of the vectors.
    async fn check_collection(&self) -> Result<(), QdrantError> {
        let request = GetCollectionInfoRequest { collection_name: self.collection.name.clone() };
        let info = self.collections.clone().get(request).await;
        let info = info.map_err(|status| QdrantError::from_status(&status))?.into_inner();
        self.collection.check(&info.result.unwrap_or_default())
    }

    async fn exists(&self) -> Result<bool, QdrantError> {
        let request = CollectionExistsRequest { collection_name: self.collection.name.clone() };
        let found = self.collections.clone().collection_exists(request).await;
        let found = found.map_err(|status| QdrantError::from_status(&status))?.into_inner();
        Ok(found.result.is_some_and(|result| result.exists))
    }

    /// Deletes the collection past the operations, for tests.
    #[cfg(test)]
    pub(super) async fn delete_collection(&self) {
        let request = ::qdrant_client::qdrant::DeleteCollection {
            collection_name: self.collection.name.clone(),
            ..Default::default()
        };
        self.collections.clone().delete(request).await.unwrap();
    }
}

async fn limit_time<T>(time: Duration, work: impl Future<Output = Result<T, QdrantError>>) -> Result<T, QdrantError> {
    tokio::time::timeout(time, work).await.unwrap_or(Err(QdrantError::Timeout))
}

/// A channel that connects with the first request, and again whenever the connection is lost.
fn build_channel(url: &str, ca_file: Option<&Path>) -> Result<Channel, QdrantError> {
    let unusable = |error: tonic::transport::Error| QdrantError::Failed(format!("its URL cannot be used: {error}"));
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(unusable)?;
    let has_tls = endpoint.uri().scheme_str() == Some("https");
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .tcp_nodelay(true);
    if !has_tls {
        return Ok(endpoint.connect_lazy());
    }
    let tls = match ca_file {
        Some(path) => ClientTlsConfig::new().ca_certificate(read_certificates(path)?),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let endpoint = endpoint.tls_config(tls);
    Ok(endpoint.map_err(|error| QdrantError::Untrusted(error.to_string()))?.connect_lazy())
}

/// The certificates of the authorities that are trusted, and no others.
fn read_certificates(path: &Path) -> Result<Certificate, QdrantError> {
    read_authorities(path).map_err(QdrantError::Untrusted)?;
    let pem = std::fs::read(path).map_err(|error| QdrantError::Untrusted(format!("{}: {error}", path.display())))?;
    Ok(Certificate::from_pem(pem))
}
