//! From an error of the client to the fault that an operator resolves. A reply of S3 may quote the request with its key
//! id, and an address may have a password, so only the status and the code of a reply are part of an error.

use std::error::Error;
use std::time::Duration;

use object_store::client::{HttpError, HttpErrorKind};

use crate::authorities::is_untrusted;
use crate::error::{S3Fault, StoreError};

/// What the client says of a reply that refers to the region of the bucket.
const OTHER_REGION: &str = "redirect without LOCATION";

/// The error of a request.
pub(super) fn store_error(error: &object_store::Error) -> StoreError {
    StoreError::S3 { fault: fault(error), reason: reason(error) }
}

/// The error of a request whose time is up.
pub(super) fn slow(timeout: Duration) -> StoreError {
    StoreError::S3 { fault: S3Fault::Slow, reason: format!("no reply within {timeout:?}") }
}

/// True if the object of a request does not exist.
pub(super) fn is_missing(error: &object_store::Error) -> bool {
    code(&error.to_string()) == Some("NoSuchKey")
}

/// The status and the code of a reply, or the error of the connection.
pub(super) fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    let reply: Vec<&str> = [status(&text), code(&text)].into_iter().flatten().collect();
    if !reply.is_empty() {
        return reply.join(" ");
    }
    match transport(error) {
        Some((_, reason)) => reason,
        None if text.contains(OTHER_REGION) => "the bucket is in another region".to_owned(),
        None => "the request failed".to_owned(),
    }
}

fn fault(error: &object_store::Error) -> S3Fault {
    let text = error.to_string();
    match code(&text) {
        Some("RequestTimeTooSkewed" | "RequestExpired") => return S3Fault::ClockSkewed,
        Some("NoSuchBucket") => return S3Fault::NoBucket,
        Some("SlowDown" | "InternalError" | "ServiceUnavailable") => return S3Fault::Unavailable,
        // Servers differ in the status of their reply to an unknown key id; the last code is that of versitygw.
        Some("AccessDenied" | "SignatureDoesNotMatch" | "InvalidAccessKeyId" | "XAdminUserNotFound") => {
            return S3Fault::Denied;
        }
        // The request was signed for another region.
        Some("AuthorizationHeaderMalformed" | "PermanentRedirect") => return S3Fault::Denied,
        Some(_) | None => {}
    }
    match status(&text).and_then(|status| status.get(..3)) {
        // The bucket of a redirect is in another region.
        Some("301" | "307" | "401" | "403") => return S3Fault::Denied,
        Some(status) if status == "429" || status.starts_with('5') => return S3Fault::Unavailable,
        Some(_) => return S3Fault::Other,
        None => {}
    }
    match transport(error) {
        Some((_, reason)) if is_untrusted(&reason) => S3Fault::Untrusted,
        Some((HttpErrorKind::Connect, _)) => S3Fault::Unreachable,
        Some((HttpErrorKind::Timeout, _)) => S3Fault::Slow,
        // A body that ends early, and a connection that is closed before its reply.
        Some(_) => S3Fault::Truncated,
        None if text.contains(OTHER_REGION) => S3Fault::Denied,
        None => S3Fault::Other,
    }
}

/// The code of a reply, from its document or from the client's own message about one object of several.
fn code(text: &str) -> Option<&str> {
    between(text, "<Code>", "</Code>").or_else(|| between(text, "(code: ", ")"))
}

/// The status of a reply: its number and its name.
fn status(text: &str) -> Option<&str> {
    between(text, "status code: ", ":").map(str::trim)
}

fn between<'t>(text: &'t str, before: &str, after: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(before)?;
    rest.split_once(after).map(|(found, _)| found)
}

/// The kind of the error of a connection, and its innermost reason.
fn transport(error: &object_store::Error) -> Option<(HttpErrorKind, String)> {
    let mut kind = None;
    let mut current: &(dyn Error + 'static) = error;
    loop {
        kind = kind.or_else(|| current.downcast_ref::<HttpError>().map(HttpError::kind));
        match current.source() {
            Some(source) => current = source,
            None => return kind.map(|kind| (kind, current.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn generic(source: impl Error + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: Box::new(source) }
    }

    fn reply(status: &str, body: &str) -> object_store::Error {
        generic(io::Error::other(format!(
            "Error performing GET http://u:p@h/b in 1ms - Server returned non-2xx status code: {status}: {body}"
        )))
    }

    #[test]
    fn a_reply_is_classified_by_its_code_and_its_status() {
        for (status, code, fault) in [
            ("403 Forbidden", "RequestTimeTooSkewed", S3Fault::ClockSkewed),
            ("403 Forbidden", "SignatureDoesNotMatch", S3Fault::Denied),
            ("401 Unauthorized", "", S3Fault::Denied),
            ("404 Not Found", "XAdminUserNotFound", S3Fault::Denied),
            ("301 Moved Permanently", "", S3Fault::Denied),
            ("400 Bad Request", "AuthorizationHeaderMalformed", S3Fault::Denied),
            ("404 Not Found", "NoSuchBucket", S3Fault::NoBucket),
            ("404 Not Found", "NoSuchKey", S3Fault::Other),
            ("503 Service Unavailable", "SlowDown", S3Fault::Unavailable),
            ("502 Bad Gateway", "", S3Fault::Unavailable),
            ("429 Too Many Requests", "", S3Fault::Unavailable),
            ("200 OK", "InternalError", S3Fault::Unavailable),
        ] {
            let body = match code {
                "" => "<html>bad</html>".to_owned(),
                code => format!("<Error><Code>{code}</Code><AWSAccessKeyId>AKIA</AWSAccessKeyId></Error>"),
            };
            let StoreError::S3 { fault: found, reason } = store_error(&reply(status, &body)) else {
                panic!("{status} {code}")
            };
            assert_eq!((found, reason.as_str()), (fault, format!("{status} {code}").trim()), "{status} {code}");
        }
    }

    #[test]
    fn an_error_of_the_connection_is_classified_by_its_kind() {
        for (kind, fault) in [
            (HttpErrorKind::Connect, S3Fault::Unreachable),
            (HttpErrorKind::Timeout, S3Fault::Slow),
            (HttpErrorKind::Interrupted, S3Fault::Truncated),
            (HttpErrorKind::Decode, S3Fault::Truncated),
        ] {
            let error = generic(HttpError::new(kind, io::Error::other("connection refused")));
            let StoreError::S3 { fault: found, reason } = store_error(&error) else { panic!("{kind:?}") };
            assert_eq!((found, reason.as_str()), (fault, "connection refused"), "{kind:?}");
        }
    }

    #[test]
    fn a_certificate_that_is_not_trusted_is_no_lost_connection() {
        let untrusted = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let handshake = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, untrusted));
        let error = generic(HttpError::new(HttpErrorKind::Connect, handshake));
        let StoreError::S3 { fault, reason } = store_error(&error) else { panic!("{error:?}") };
        assert!(fault == S3Fault::Untrusted && reason.starts_with("invalid peer certificate"), "{fault:?}: {reason}");
    }

    #[test]
    fn a_bucket_in_another_region_is_a_mistake_of_the_settings() {
        let redirect = generic(io::Error::other("Received redirect without LOCATION, this normally indicates …"));
        let StoreError::S3 { fault, reason } = store_error(&redirect) else { panic!("{redirect:?}") };
        assert_eq!((fault, reason.as_str()), (S3Fault::Denied, "the bucket is in another region"));
    }

    #[test]
    fn the_message_about_one_object_of_several_has_its_code() {
        let message = "DeleteObjects request failed for key a/b: gone (code: NoSuchKey)";
        assert!(is_missing(&generic(io::Error::other(message))));
        assert!(!is_missing(&reply("404 Not Found", "<Code>NoSuchBucket</Code>")));
    }
}
