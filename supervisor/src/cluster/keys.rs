//! The keys of the traffic between the pods of a cluster, derived from its secret. A message without a signature by one of
//! them changes nothing.

use greenroom_protocol::{Cause, ErrorCode};
use ring::{hkdf, hmac};

use crate::config::Secret;

/// The salt of the derivation. Another release that derives keys in another way has another one.
const SALT: &[u8] = b"greenroom cluster v1";
/// Separates the parts of what is signed. Neither a subject nor a label contains it.
const SEPARATOR: u8 = 0;

/// What a key is for. A signature for one purpose is none for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyLabel {
    /// Pods announce themselves and their database.
    Pods,
    /// Pods notify each other of work.
    Wake,
}

impl KeyLabel {
    const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Pods => b"pods",
            Self::Wake => b"wake",
        }
    }
}

/// Signs and checks the messages of one purpose in one cluster.
#[derive(Clone)]
pub(crate) struct ClusterKey(hmac::Key);

impl ClusterKey {
    /// The key of a purpose in the cluster of this name, on the subjects with this prefix.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] if it cannot be derived.
    pub(crate) fn derive(secret: &Secret, prefix: &str, cluster: &str, label: KeyLabel) -> Result<Self, Cause> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT).extract(secret.reveal().as_bytes());
        let info = [label.as_bytes(), &[SEPARATOR], prefix.as_bytes(), &[SEPARATOR], cluster.as_bytes()];
        let key = secret
            .expand(&info, hmac::HMAC_SHA256)
            .map_err(|_| Cause::new(ErrorCode::Internal, "a key of the cluster cannot be derived"))?;
        Ok(Self(key.into()))
    }

    /// The signature of a message to this subject, in hexadecimal digits.
    pub(crate) fn sign(&self, subject: &str, body: &[u8]) -> String {
        hex::encode(hmac::sign(&self.0, &signed(subject, body)))
    }

    /// True if this is the signature of a message to this subject. The time of the comparison reveals nothing.
    pub(crate) fn verify(&self, subject: &str, body: &[u8], signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|tag| hmac::verify(&self.0, &signed(subject, body), &tag).is_ok())
    }
}

fn signed(subject: &str, body: &[u8]) -> Vec<u8> {
    [subject.as_bytes(), &[SEPARATOR], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str, prefix: &str, cluster: &str, label: KeyLabel) -> ClusterKey {
        ClusterKey::derive(&Secret::new(secret), prefix, cluster, label).unwrap()
    }

    #[test]
    fn a_signature_holds_for_its_secret_cluster_purpose_subject_and_body_only() {
        let own = key("secret", "p", "c", KeyLabel::Pods);
        let signature = own.sign("p.internal.pods", b"body");
        assert!(key("secret", "p", "c", KeyLabel::Pods).verify("p.internal.pods", b"body", &signature));
        for other in [
            key("other", "p", "c", KeyLabel::Pods),
            key("secret", "q", "c", KeyLabel::Pods),
            key("secret", "p", "d", KeyLabel::Pods),
            key("secret", "p", "c", KeyLabel::Wake),
        ] {
            assert!(!other.verify("p.internal.pods", b"body", &signature));
        }
        assert!(!own.verify("p.internal.wake", b"body", &signature));
        assert!(!own.verify("p.internal.pods", b"bodY", &signature));
        for forged in ["", "zz", "00", &signature[..62]] {
            assert!(!own.verify("p.internal.pods", b"body", forged), "{forged}");
        }
    }
}
