//! Where requests are not sent: addresses of private networks without a permission, and redirects to other hosts.

use anyhow::Result;
use greenroom_runtimes::model_server::{ModelServer, Step, response};
use greenroom_supervisor::config::HttpHostConfig;

use super::{ServicePod, allowed, code, good};

/// The address of a server under another name of this machine.
fn with_host(server: &ModelServer, host: &str) -> String {
    server.url().replace("127.0.0.1", host)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_address_is_not_called_without_a_permission() -> Result<()> {
    let server = ModelServer::start(|_| good()).await?;
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.0.0.1."] {
        // Over TLS, so that the address is what is refused.
        let address = with_host(&server, host).replace("http://", "https://");
        let pod = ServicePod::start(&address, "  timeout: 30", &[]).await?;
        let reply = pod.call().await?;
        assert_eq!(code(&reply), Some("address_not_allowed"), "{host}: {reply:?}");
        assert!(reply.error.is_some_and(|cause| cause.message.contains("allow_private")), "{host}");
        pod.shutdown().await;
    }
    // A permission for another port is none.
    let pod = ServicePod::start(server.url(), "  timeout: 30", &[("127.0.0.1:1", allowed())]).await?;
    assert_eq!(code(&pod.call().await?), Some("address_not_allowed"));
    pod.shutdown().await;
    assert_eq!(server.count(), 0, "nothing was sent");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_without_tls_needs_a_permission() -> Result<()> {
    let server = ModelServer::start(|_| good()).await?;
    let host = HttpHostConfig { allow_private: false, ..allowed() };
    let pod = ServicePod::start(server.url(), "  timeout: 30", &[("127.0.0.1", host)]).await?;
    let reply = pod.call().await?;
    assert_eq!((code(&reply), server.count()), (Some("address_not_allowed"), 0), "{reply:?}");
    assert!(reply.error.is_some_and(|cause| cause.message.contains("without TLS")));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_service_of_a_cloud_is_never_called() -> Result<()> {
    let address = format!("http://{}/latest/meta-data", "169.254.169.254");
    let pod = ServicePod::start(&address, "  timeout: 30", &[("169.254.169.254", allowed())]).await?;
    let reply = pod.call().await?;
    assert_eq!(code(&reply), Some("address_not_allowed"), "{reply:?}");
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_carries_the_request_to_the_same_host_only() -> Result<()> {
    let other = ModelServer::start(|_| good()).await?;
    let target = other.url().to_owned();
    for status in
        ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"]
    {
        let location = format!("location: {target}\r\n");
        let server = ModelServer::start(move |_| vec![Step::Send(response(status, &location, ""))]).await?;
        let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
        let reply = pod.call().await?;
        assert_eq!((code(&reply), server.count()), (Some("address_not_allowed"), 1), "{status}: {reply:?}");
        pod.shutdown().await;
    }
    assert_eq!(other.count(), 0, "no request is carried elsewhere");

    let server = ModelServer::start(|request| match request.line.contains("/moved") {
        true => good(),
        false => vec![Step::Send(response("307 Temporary Redirect", "location: /moved\r\n", ""))],
    })
    .await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
    assert_eq!(code(&pod.call().await?), None);
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[1].key(), &requests[1].content), (requests[0].key(), &requests[0].content));
    pod.shutdown().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_redirects_in_a_circle_is_left_after_three_times() -> Result<()> {
    let server =
        ModelServer::start(|_| vec![Step::Send(response("308 Permanent Redirect", "location: /again\r\n", ""))])
            .await?;
    let pod = ServicePod::for_server(&server, "  timeout: 30").await?;
    assert_eq!((code(&pod.call().await?), server.count()), (Some("address_not_allowed"), 4));
    pod.shutdown().await;
    Ok(())
}
