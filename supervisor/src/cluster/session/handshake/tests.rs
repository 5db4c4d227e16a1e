//! Handshakes of two pods, without a transport between them.

use super::*;
use crate::cluster::session::stream::Change;

const SECRET: &str = "a secret of sixteen bytes or more";
const CLUSTER: &str = "green";

fn secret(text: &str) -> ClusterSecret {
    ClusterSecret::new(text, CLUSTER).unwrap()
}

fn pod(name: &str) -> PodId {
    PodId::new(name).unwrap()
}

fn dialler(text: &str) -> Dialler {
    let (own, other) = (pod("one"), pod("two"));
    let parties = Parties { cluster: CLUSTER, own: &own, other: &other };
    Dialler::new(&secret(text), parties, &SessionId::from_random([1; 16]), [7; 32]).unwrap()
}

/// What crosses NATS is text.
fn over_wire(message: &Message) -> Message {
    Message::read(&message.to_bytes().unwrap()).unwrap()
}

fn hello(message: &Message) -> Hello {
    match over_wire(message) {
        Message::Hello(hello) => hello,
        other => panic!("{other:?}"),
    }
}

fn accept(hello: Hello, refused: Option<RefusedMessage>) -> Result<Accepted, RefusedMessage> {
    Acceptor::on_hello(&secret(SECRET), (CLUSTER, &pod("two"), VERSIONS), hello, [9; 32], refused)
}

fn welcomed(dialler: &Dialler) -> (Box<Acceptor>, Welcome) {
    match accept(hello(&dialler.hello()), None).unwrap() {
        Accepted::Welcome(acceptor, message) => match over_wire(&message) {
            Message::Welcome(welcome) => (acceptor, welcome),
            other => panic!("{other:?}"),
        },
        Accepted::Refused(_, reason, _) => panic!("{reason:?}"),
    }
}

fn confirm(message: &Message) -> Confirm {
    match over_wire(message) {
        Message::Confirm(confirm) => confirm,
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_pods_with_the_secret_open_a_session_in_both_directions() {
    let dialler = dialler(SECRET);
    let (acceptor, welcome) = welcomed(&dialler);
    assert_eq!((acceptor.peer().as_str(), acceptor.session()), ("one", &SessionId::from_random([1; 16])));
    let (message, mut one) = dialler.on_welcome(&welcome).unwrap();
    let mut other = acceptor.on_confirm(&confirm(&message)).unwrap();
    let (_, chunk) = one.send(b"ping", 10).unwrap();
    assert_eq!((other.receive(&chunk), other.read(10)), (Change::Readable, "ping".into()));
    let (_, chunk) = other.send(b"pong", 10).unwrap();
    assert_eq!((one.receive(&chunk), one.read(10)), (Change::Readable, "pong".into()));
}

#[test]
fn a_dialler_with_another_secret_gets_no_reply() {
    let refused = accept(hello(&dialler("another secret of the cluster").hello()), None);
    assert_eq!(refused.unwrap_err(), RefusedMessage::Forged);
}

#[test]
fn a_changed_hello_is_forged() {
    let original = hello(&dialler(SECRET).hello());
    let changed = [
        Hello { versions: Versions { from: 1, to: 2 }, ..original.clone() },
        Hello { from: pod("three"), ..original.clone() },
        Hello { session: SessionId::from_random([2; 16]).as_str().to_owned(), ..original.clone() },
        Hello { nonce: Bytes32([8; 32]), ..original.clone() },
        Hello { window: WINDOW_BYTES - 1, ..original.clone() },
    ];
    for hello in changed {
        assert_eq!(accept(hello.clone(), None).unwrap_err(), RefusedMessage::Forged, "{hello:?}");
    }
    assert!(accept(original, None).is_ok());
}

#[test]
fn a_hello_for_another_cluster_or_another_pod_gets_no_reply() {
    let other_cluster = Hello { cluster: "red".to_owned(), ..hello(&dialler(SECRET).hello()) };
    assert_eq!(accept(other_cluster, None).unwrap_err(), RefusedMessage::Cluster);
    let for_two = hello(&dialler(SECRET).hello());
    let refused = Acceptor::on_hello(&secret(SECRET), (CLUSTER, &pod("three"), VERSIONS), for_two, [9; 32], None);
    assert_eq!(refused.unwrap_err(), RefusedMessage::Audience);
}

#[test]
fn a_changed_welcome_is_forged_and_the_authentic_one_is_taken_after_it() {
    let dialler = dialler(SECRET);
    let (_, welcome) = welcomed(&dialler);
    let changed = [
        Welcome { version: 2, ..welcome },
        Welcome { nonce: Bytes32([0; 32]), ..welcome },
        Welcome { window: WINDOW_BYTES / 2, ..welcome },
        Welcome { code: Bytes32([0; 32]), ..welcome },
    ];
    for welcome in changed {
        assert_eq!(dialler.on_welcome(&welcome).unwrap_err(), RefusedMessage::Forged, "{welcome:?}");
    }
    assert!(dialler.on_welcome(&welcome).is_ok());
}

#[test]
fn the_confirmation_of_another_handshake_confirms_nothing() {
    let dialler = dialler(SECRET);
    let (first, welcome) = welcomed(&dialler);
    let (message, _) = dialler.on_welcome(&welcome).unwrap();
    // The same hello again, which the acceptor welcomes with another nonce.
    let refused = match Acceptor::on_hello(
        &secret(SECRET),
        (CLUSTER, &pod("two"), VERSIONS),
        hello(&dialler.hello()),
        [10; 32],
        None,
    ) {
        Ok(Accepted::Welcome(second, _)) => second.on_confirm(&confirm(&message)).map(drop),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused, Err(RefusedMessage::Forged));
    assert!(first.on_confirm(&confirm(&message)).is_ok());
}

#[test]
fn a_refusal_is_authentic_and_has_a_reason() {
    let dialler = dialler(SECRET);
    let refused = accept(hello(&dialler.hello()), Some(RefusedMessage::Simultaneous)).unwrap();
    let Accepted::Refused(session, RefusedMessage::Simultaneous, message) = refused else { panic!("{refused:?}") };
    assert_eq!(session, SessionId::from_random([1; 16]));
    let Message::Refusal(refusal) = over_wire(&message) else { panic!("{message:?}") };
    assert_eq!((refusal.reason.as_str(), dialler.on_refusal(&refusal)), ("simultaneous", Ok(())));
    let forged = Refusal { reason: "version".to_owned(), ..refusal };
    assert_eq!(dialler.on_refusal(&forged), Err(RefusedMessage::Forged));
}

#[test]
fn pods_agree_on_the_newest_common_version() {
    let range = |from, to| Versions { from, to };
    assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
    assert_eq!(range(1, 1).common(range(1, 1)), Some(1));
    assert_eq!(range(1, 1).common(range(2, 3)), None);
}

#[test]
fn a_dialler_of_later_versions_only_is_refused_with_a_reason() {
    let later = {
        let (own, other) = (pod("one"), pod("two"));
        let parties = Parties { cluster: CLUSTER, own: &own, other: &other };
        let session = SessionId::from_random([1; 16]);
        let dialler = Dialler::new(&secret(SECRET), parties, &session, [7; 32]).unwrap();
        dialler.with_versions(Versions { from: VERSIONS.to + 1, to: VERSIONS.to + 2 })
    };
    let refused = accept(hello(&later.hello()), None).unwrap();
    assert!(matches!(refused, Accepted::Refused(_, RefusedMessage::Version, _)), "{refused:?}");
}

#[test]
fn what_is_no_message_of_the_handshake_is_not_read() {
    for bytes in
        [&b""[..], b"{}", b"{\"type\":\"hello\"}", b"[1]", b"\x01\x00", b"{\"type\":\"confirm\",\"code\":\"AA\"}"]
    {
        assert_eq!(Message::read(bytes), None);
    }
    let with_more = br#"{"type":"confirm","code":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","later":1}"#;
    assert_eq!(Message::read(with_more), Some(Message::Confirm(Confirm { code: Bytes32([0; 32]) })));
}
