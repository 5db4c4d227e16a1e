//! A server that is stopped, suspended or slow: each operation ends in time with a code, and the client connects again.

use super::*;

/// The shared server through a proxy.
async fn proxied() -> (FaultProxy, String) {
    let url = variable(URL_VARIABLE);
    let server = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let proxy = FaultProxy::start(move |mut client| {
        let server = server.clone();
        async move {
            let mut server = tokio::net::TcpStream::connect(server).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
        }
    })
    .await;
    let proxied_url = format!("http://{}", proxy.address());
    (proxy, proxied_url)
}

/// Waits until an operation succeeds.
async fn until_available(store: &Arc<dyn MemoryStore>) {
    let waiting = async {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        while store.list(&owner(), 1, NOW).await.is_err() {
            interval.tick().await;
        }
    };
    tokio::time::timeout(RECONNECT_WAIT_MAX, waiting).await.unwrap();
}

#[tokio::test]
async fn a_pod_starts_without_the_server_and_each_operation_reports_the_reason() {
    // Nothing listens at a port that was just closed.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (url, failures) = (format!("http://127.0.0.1:{port}"), Arc::<Failures>::default());
    let qdrant = Server::new(&url).connect(prefix(), EmbedderId::hashed(), DIMENSIONS, &failures).await.unwrap();
    let store = qdrant.memory_store();
    assert_eq!(kind(remember(&store, "x").await), "qdrant_unreachable");
    assert_eq!(kind(store.forget(&owner(), &ForgetSelection::All).await), "qdrant_unreachable");
    assert_eq!(kind(store.referenced_artifacts().await), "qdrant_unreachable", "nothing may be swept then");
    assert!(failures.0.lock().unwrap().iter().filter(|kind| **kind == "qdrant_unreachable").count() >= 4);
    let cause = remember(&store, "x").await.unwrap_err().cause();
    assert_eq!((cause.code.as_str(), cause.code.is_retryable()), ("store_unavailable", true));
    assert!(cause.message.contains("`qdrant.url`"), "{cause}");
}

#[tokio::test]
async fn a_connection_that_is_lost_is_made_again() {
    let (proxy, url) = proxied().await;
    let store = Server::new(&url).connect_hashed().await.unwrap().memory_store();
    remember(&store, "before the loss").await.unwrap();
    for _ in 0..3 {
        proxy.close_connections();
        until_available(&store).await;
        assert_eq!(recall(&store, &EmbedderId::hashed(), "before the loss").await.unwrap(), ["before the loss"]);
    }
}

#[tokio::test]
async fn a_silent_server_delays_an_operation_by_its_bound_at_most() {
    let (proxy, url) = proxied().await;
    let store = Server::new(&url).connect_hashed().await.unwrap().memory_store();
    remember(&store, "before the silence").await.unwrap();
    proxy.set_silent(true);
    let started_at = Instant::now();
    assert_eq!(kind(store.list(&owner(), 5, NOW).await), "qdrant_timeout");
    assert!(started_at.elapsed() < OPERATION_TIMEOUT * 2, "{:?}", started_at.elapsed());
    proxy.set_silent(false);
    until_available(&store).await;
    assert_eq!(store.list(&owner(), 5, NOW).await.unwrap().len(), 1);
}

#[tokio::test]
async fn after_two_silent_operations_others_fail_at_once_until_the_server_is_tried_again() {
    let (proxy, url) = proxied().await;
    let store = Server::new(&url).connect_hashed().await.unwrap().memory_store();
    remember(&store, "before the silence").await.unwrap();
    proxy.set_silent(true);
    let (owner, memory) = (owner(), Arc::clone(&store));
    let silent = tokio::join!(store.list(&owner, 5, NOW), memory.list(&owner, 5, NOW));
    assert_eq!([kind(silent.0), kind(silent.1)], ["qdrant_timeout"; 2]);
    let started_at = Instant::now();
    for _ in 0..20 {
        assert_eq!(kind(store.list(&owner, 5, NOW).await), "qdrant_timeout");
    }
    assert!(started_at.elapsed() < OPERATION_TIMEOUT / 2, "{:?}", started_at.elapsed());
    proxy.set_silent(false);
    until_available(&store).await;
    assert_eq!(store.list(&owner, 5, NOW).await.unwrap().len(), 1);
}
