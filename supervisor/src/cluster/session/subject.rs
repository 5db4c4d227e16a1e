//! The subjects of sessions. An id is one token of a subject: a dot in it is written `%2E`, and no id contains a percent
//! sign.

use greenroom_protocol::PodId;

/// The last token of the subject at which a pod is dialled. No session has this id.
const DIAL: &str = "dial";

/// The subjects of the sessions of one cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// The subjects below a prefix.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where a pod is dialled.
    #[must_use]
    pub fn dial(&self, pod: &PodId) -> String {
        self.of_pod(pod, DIAL)
    }

    /// Where a pod receives what belongs to a session.
    #[must_use]
    pub fn session(&self, pod: &PodId, session: &SessionId) -> String {
        self.of_pod(pod, session.as_str())
    }

    fn of_pod(&self, pod: &PodId, token: &str) -> String {
        let pod = pod.as_str().replace('.', "%2E");
        format!("{}.internal.session.{pod}.{token}", self.prefix)
    }
}

/// The id of a session: 32 hex digits that no other process can predict.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

impl SessionId {
    /// Formats random bytes as an id.
    #[must_use]
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    /// The id of a text, if it has the form of one: nothing else becomes a token of a subject.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The hex digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_one_token_of_a_subject() {
        let (subjects, pod) = (Subjects::new("green"), PodId::new("eu.west-1").unwrap());
        let session = SessionId::from_random([1; 16]);
        assert_eq!(subjects.dial(&pod), "green.internal.session.eu%2Ewest-1.dial");
        let expected = format!("green.internal.session.eu%2Ewest-1.{}", session.as_str());
        assert_eq!(subjects.session(&pod, &session), expected);
    }

    #[test]
    fn only_hex_digits_are_the_id_of_a_session() {
        let id = SessionId::from_random([0xab; 16]);
        assert_eq!(SessionId::parse(id.as_str()), Some(id));
        let long = "a".repeat(33);
        for text in ["", "dial", ">", "*", "ABABABABABABABABABABABABABABABAB", long.as_str()] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }
}
