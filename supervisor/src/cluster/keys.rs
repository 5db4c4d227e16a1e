//! The secret of the cluster, and the keys of the traffic between its pods. Every pod has the secret, and nothing else: what
//! a key is for is a label of HKDF-SHA256, so that none of them proves anything in the place of another.

use std::fmt;

use greenroom_protocol::{Cause, ErrorCode};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{hkdf, hmac};

/// The shortest secret, in bytes.
pub const SECRET_BYTES_MIN: usize = 16;
/// Bytes of an authentication code.
pub const TAG_BYTES: usize = 32;

/// The authentication code of a message.
pub type Tag = [u8; TAG_BYTES];

/// What a key is for. A code for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyLabel {
    /// Pods announce themselves and their database. The context is the prefix of the subjects.
    Pods,
    /// Pods notify each other of work. The context is the prefix of the subjects.
    Wake,
    /// Pods pass on what models write. The context is the prefix of the subjects.
    Texts,
    /// Pods copy the root chain of the audit. The context is the prefix of the subjects.
    RootCopy,
    /// The handshake of sessions.
    Handshake,
    /// The chunks of one direction of a session.
    Chunks,
    /// The delegations that one pod issues.
    Delegation,
    /// The cookie of the nodes, which prove it to each other inside of their sessions.
    Cookie,
}

impl KeyLabel {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Pods => b"greenroom cluster v1 pods",
            Self::Wake => b"greenroom cluster v1 wake",
            Self::Texts => b"greenroom cluster v1 texts",
            Self::RootCopy => b"greenroom cluster v1 audit root",
            Self::Handshake => b"greenroom cluster v1 session handshake",
            Self::Chunks => b"greenroom cluster v1 session chunks",
            Self::Delegation => b"greenroom cluster v1 delegation",
            Self::Cookie => b"greenroom cluster v1 node cookie",
        }
    }
}

/// Why a key cannot be derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The secret is too short to be one.
    #[error("the secret of the cluster has fewer than {SECRET_BYTES_MIN} bytes")]
    TooShort,
    /// The function that derives keys has refused their length.
    #[error("a key of the cluster cannot be derived")]
    Derivation,
    /// The system has no random bytes.
    #[error("the system has no random bytes")]
    Random,
}

impl From<KeyError> for Cause {
    fn from(error: KeyError) -> Self {
        let code = match error {
            KeyError::TooShort => ErrorCode::InvalidConfiguration,
            KeyError::Derivation | KeyError::Random => ErrorCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}

/// The secret of the cluster. Its `Debug` never prints it.
#[derive(Clone)]
pub struct ClusterSecret(hkdf::Prk);

/// The length of a cookie, in bytes.
struct CookieBytes;

impl hkdf::KeyType for CookieBytes {
    fn len(&self) -> usize {
        TAG_BYTES
    }
}

impl ClusterSecret {
    /// The secret of a cluster of this name: clusters of other names have other keys, even with the same secret.
    ///
    /// # Errors
    /// [`KeyError::TooShort`]
    pub fn new(secret: &str, cluster: &str) -> Result<Self, KeyError> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::TooShort);
        }
        Ok(Self(hkdf::Salt::new(hkdf::HKDF_SHA256, cluster.as_bytes()).extract(secret.as_bytes())))
    }

    /// The key for a label and a context, such as a pod or the transcript of a handshake.
    ///
    /// # Errors
    /// [`KeyError::Derivation`]
    pub fn key(&self, label: KeyLabel, context: &[u8]) -> Result<ClusterKey, KeyError> {
        // The length of the label separates it from the context.
        let length = [u8::try_from(label.as_bytes().len()).map_err(|_| KeyError::Derivation)?];
        let info = [&length[..], label.as_bytes(), context];
        let key = self.0.expand(&info, hmac::HMAC_SHA256).map_err(|_| KeyError::Derivation)?;
        Ok(ClusterKey(key.into()))
    }

    /// The cookie of the nodes, as text.
    ///
    /// # Errors
    /// [`KeyError::Derivation`]
    pub fn cookie(&self) -> Result<String, KeyError> {
        let (mut bytes, info) = ([0; TAG_BYTES], [KeyLabel::Cookie.as_bytes()]);
        let filled = self.0.expand(&info, CookieBytes).and_then(|cookie| cookie.fill(&mut bytes));
        filled.map_err(|_| KeyError::Derivation)?;
        Ok(hex::encode(bytes))
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(***)")
    }
}

/// A key that authenticates messages by HMAC-SHA256. Its `Debug` never prints it.
#[derive(Clone)]
pub struct ClusterKey(hmac::Key);

impl ClusterKey {
    /// The code of a message.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> Tag {
        let mut tag = [0; TAG_BYTES];
        // Both have the length of SHA-256.
        tag.iter_mut().zip(hmac::sign(&self.0, message).as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }

    /// True if the code is that of the message. The time of the comparison reveals nothing.
    #[must_use]
    pub fn is_tag(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.0, message, tag).is_ok()
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(***)")
    }
}

/// Bytes that no other process can predict.
///
/// # Errors
/// [`KeyError::Random`]
pub fn random<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of sixteen bytes or more";

    fn tag(secret: &str, cluster: &str, label: KeyLabel, context: &[u8]) -> Tag {
        ClusterSecret::new(secret, cluster).unwrap().key(label, context).unwrap().tag(b"message")
    }

    #[test]
    fn keys_differ_by_secret_cluster_label_and_context() {
        let tags = [
            tag(SECRET, "a", KeyLabel::Handshake, b"x"),
            tag("another secret of the cluster", "a", KeyLabel::Handshake, b"x"),
            tag(SECRET, "b", KeyLabel::Handshake, b"x"),
            tag(SECRET, "a", KeyLabel::Chunks, b"x"),
            tag(SECRET, "a", KeyLabel::Pods, b"x"),
            tag(SECRET, "a", KeyLabel::Wake, b"x"),
            tag(SECRET, "a", KeyLabel::Handshake, b"y"),
        ];
        for (at, one) in tags.iter().enumerate() {
            assert!(tags.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
        assert_eq!(tags[0], tag(SECRET, "a", KeyLabel::Handshake, b"x"));
    }

    #[test]
    fn a_code_is_of_one_message_and_of_its_whole_length() {
        let key = ClusterSecret::new(SECRET, "a").unwrap().key(KeyLabel::Chunks, b"").unwrap();
        let tag = key.tag(b"onetwo");
        assert!(key.is_tag(b"onetwo", &tag));
        assert!(!key.is_tag(b"onetwo!", &tag) && !key.is_tag(b"onetwo", &tag[..31]));
    }

    #[test]
    fn a_short_secret_is_rejected_and_none_is_printed() {
        assert_eq!(ClusterSecret::new("short", "a").unwrap_err(), KeyError::TooShort);
        let secret = ClusterSecret::new(SECRET, "a").unwrap();
        let key = secret.key(KeyLabel::Delegation, b"pod").unwrap();
        assert!(!format!("{secret:?}{key:?}").contains("sixteen"));
        assert_eq!(secret.cookie().unwrap().len(), 64);
        assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
    }
}
