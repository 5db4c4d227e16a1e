//! The runtime of handlers in Python, and the service that installs their packages.

use std::sync::Arc;
use std::time::Duration;

use greenroom_actors::supervision::ChildKind;
use greenroom_runtimes::python::PythonRuntime;
use greenroom_runtimes::python::events::WorkerObserver;

use super::parts::PodParts;
use crate::services::{Service, Services};

/// How long after a preparation that has failed the next one begins: what it lacks, such as the network, may come back.
const PREPARE_INTERVAL: Duration = Duration::from_secs(60);

/// The runtime, without a process yet. If handlers need packages, a service prepares them now, so that no call has to wait
/// for it longer than it takes; a call in a pod without that service prepares them itself.
pub(crate) fn start(services: &mut Services, parts: &PodParts) -> Arc<PythonRuntime> {
    let settings = parts.config.python.settings.clone();
    let needs_packages = settings.requirements.is_some() || settings.handlers.join("requirements.txt").is_file();
    let observer: Arc<dyn WorkerObserver> = parts.metrics.python().clone();
    let runtime = Arc::new(PythonRuntime::new(settings, observer));
    if needs_packages && parts.restores.is_none() {
        let prepared = Arc::clone(&runtime);
        services.start(Service::droppable("python packages", ChildKind::Periodic, move || {
            let runtime = Arc::clone(&prepared);
            async move {
                // Each call gets the same error, until the cause is removed. A call cannot do that by itself: an installation
                // may take longer than its deadline.
                while let Err(cause) = runtime.prepare().await {
                    let output = cause.details.get("output").and_then(serde_json::Value::as_str).unwrap_or_default();
                    tracing::error!(error.message = cause.message, output, "handlers in Python cannot be executed");
                    tokio::time::sleep(PREPARE_INTERVAL).await;
                }
                Ok(())
            }
        }));
    }
    runtime
}
