//! The checks of addresses and redirects. That they hold on sockets is tested with whole pods.

use reqwest::header::HeaderValue;

use super::*;

fn check(url: &str, allows_private: bool) -> Result<(), OutboundError> {
    check_url(&Url::parse(url).unwrap(), allows_private)
}

fn check_host(host: &str, allows_private: bool) -> Result<(), OutboundError> {
    check(&format!("https://{host}/path"), allows_private)
}

#[test]
fn every_form_of_a_private_address_is_refused_without_a_permission() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.:8080",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    ] {
        assert_eq!(check_host(host, false), Err(OutboundError::Refused(AddressClass::Loopback)), "{host}");
        assert_eq!(check_host(host, true), Ok(()), "{host}");
    }
    for host in ["169.254.169.254", "[fd00:ec2::254]", "0xa9fea9fe"] {
        for allows_private in [false, true] {
            assert_eq!(check_host(host, allows_private), Err(OutboundError::Refused(AddressClass::Metadata)), "{host}");
        }
    }
    assert_eq!(check_host("8.8.8.8:444", false), Ok(()));
    assert_eq!(check_host("api.example", false), Ok(()));
}

#[test]
fn only_web_servers_with_tls_are_called_without_a_permission() {
    assert_eq!(check("http://api.example/", false), Err(OutboundError::Insecure));
    assert_eq!(check("http://api.example/", true), Ok(()));
    for url in ["ftp://h/", "file:///etc/passwd", "unix:/run/x", "data:text/plain,x"] {
        assert!(matches!(check(url, true), Err(OutboundError::InvalidUrl(_))), "{url}");
    }
    assert!(matches!(check("https://user:secret@h/", false), Err(OutboundError::InvalidUrl(_))));
}

fn redirected(method: Method, status: u16, location: Option<&'static str>) -> Result<Option<Url>, OutboundError> {
    let request = OutboundRequest {
        kind: CallKind::Service,
        method,
        url: Url::parse("https://h.example/a/b?x=y").unwrap(),
        headers: HeaderMap::new(),
        body: None,
        allows_private: false,
        timeout: Duration::from_secs(1),
        bytes_max: 1,
    };
    let location = location.map(|location| (LOCATION, HeaderValue::from_static(location)));
    redirect_target(&request, StatusCode::from_u16(status).unwrap(), &HeaderMap::from_iter(location))
}

#[test]
fn a_redirect_is_followed_on_the_same_host_only() {
    for (location, target) in [
        ("/c", "https://h.example/c"),
        ("c?z=1", "https://h.example/a/c?z=1"),
        ("https://h.example:443/d", "https://h.example:443/d"),
    ] {
        for (method, status) in [(Method::POST, 307), (Method::POST, 308), (Method::GET, 302), (Method::GET, 303)] {
            let found = redirected(method, status, Some(location)).unwrap().unwrap();
            assert_eq!(found, Url::parse(target).unwrap(), "{status} {location}");
        }
    }
    for location in [
        "https://other.example/",
        "//other.example/",
        "http://h.example/",
        "https://h.example:8443/",
        "file:///etc/passwd",
    ] {
        for status in [301, 302, 303, 307, 308] {
            let refused = redirected(Method::GET, status, Some(location));
            assert!(matches!(refused, Err(OutboundError::Redirect(_))), "{status} {location}: {refused:?}");
        }
    }
}

#[test]
fn a_redirect_that_would_lose_the_body_or_has_no_target_is_not_followed() {
    for status in [301, 302, 303] {
        assert!(matches!(redirected(Method::POST, status, Some("/c")), Err(OutboundError::Redirect(_))), "{status}");
    }
    assert!(matches!(redirected(Method::POST, 307, None), Err(OutboundError::Redirect(_))));
    for status in [200, 300, 304, 404] {
        assert_eq!(redirected(Method::POST, status, Some("https://other.example/")), Ok(None));
    }
}
