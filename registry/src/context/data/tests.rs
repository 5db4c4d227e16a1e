//! The decisions on a context, and its fold.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop};
use proptest::{prop_assert_eq, prop_oneof, proptest};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn key(name: &str) -> ContextKey {
    ContextKey::new(name).unwrap()
}

fn put(name: &str, value: Json) -> ContextPut {
    ContextPut { key: key(name), expect: None, change: ContextChange::Put(value), until: None }
}

fn append(name: &str, item: Json) -> ContextPut {
    ContextPut { change: ContextChange::Append(item), ..put(name, Json::Null) }
}

/// Decides a write and applies it as the next change.
fn write(data: &mut ContextData, put: &ContextPut, at: Timestamp) -> Result<Version, ContextError> {
    data.check(put, at)?;
    let version = Version(data.version().0 + 1);
    Ok(data.apply(version, at, &put.key, &put.change, put.until).version)
}

#[test]
fn of_two_writers_that_read_the_same_version_one_succeeds() {
    let mut data = ContextData::default();
    let expecting = |version| ContextPut { expect: Some(Version(version)), ..put("a", json!("x")) };
    assert_eq!(write(&mut data, &expecting(0), NOW), Ok(Version(1)));
    let conflict = ContextError::Conflict { key: key("a"), found: Version(1) };
    assert_eq!(write(&mut data, &expecting(0), NOW), Err(conflict));
    assert_eq!(write(&mut data, &expecting(1), NOW), Ok(Version(2)));
    assert_eq!(write(&mut data, &put("b", json!(1)), NOW), Ok(Version(3)));
    assert_eq!(write(&mut data, &expecting(2), NOW), Ok(Version(4)), "another key does not count");
}

#[test]
fn appending_creates_a_list_and_only_a_list_can_be_appended_to() {
    let mut data = ContextData::default();
    for item in 0..50 {
        write(&mut data, &append("list", json!(item)), NOW).unwrap();
    }
    let snapshot = data.snapshot(&[key("list"), key("none")], NOW);
    assert_eq!(snapshot.values.len(), 1);
    assert_eq!(snapshot.values[&key("list")].value.as_array().map(Vec::len), Some(50));
    write(&mut data, &put("list", json!("text")), NOW).unwrap();
    assert_eq!(data.check(&append("list", json!(1)), NOW), Err(ContextError::NotAList { key: key("list") }));
}

#[test]
fn an_expired_value_is_not_read_and_does_not_conflict() {
    let mut data = ContextData::default();
    let until = NOW.saturating_add(Duration::from_secs(1));
    write(&mut data, &ContextPut { until: Some(until), ..append("a", json!(1)) }, NOW).unwrap();
    assert_eq!(data.snapshot(&[], NOW).values.len(), 1);
    assert_eq!(data.snapshot(&[], until).values.len(), 0);
    let new_list = ContextPut { expect: Some(Version(0)), ..append("a", json!(2)) };
    assert_eq!(write(&mut data, &new_list, until), Ok(Version(2)));
    assert_eq!(data.snapshot(&[], until).values[&key("a")].value, json!([2]));
}

#[test]
fn a_context_is_bounded_and_expired_keys_make_room() {
    let mut data = ContextData::default();
    let large = json!("x".repeat(CONTEXT_VALUE_BYTES_MAX + 1));
    assert!(matches!(data.check(&put("a", large.clone()), NOW), Err(ContextError::TooLarge { .. })));
    assert!(matches!(ContextData::new([(key("a"), large)], Version(1)), Err(ContextError::TooLarge { .. })));
    let until = NOW.saturating_add(Duration::from_secs(1));
    for number in 0..CONTEXT_KEYS_MAX {
        let brief = (number == 7).then_some(until);
        write(&mut data, &ContextPut { until: brief, ..put(&format!("k{number}"), json!(1)) }, NOW).unwrap();
    }
    assert_eq!(data.check(&put("more", json!(1)), NOW), Err(ContextError::TooManyKeys));
    assert_eq!(data.check(&put("k1", json!(2)), NOW), Ok(()));
    write(&mut data, &put("more", json!(1)), until).unwrap();
    assert_eq!(data.snapshot(&[], until).values.len(), CONTEXT_KEYS_MAX);
    let half = json!("x".repeat(CONTEXT_VALUE_BYTES_MAX / 2));
    write(&mut data, &put("k1", json!([half])), NOW).unwrap();
    assert!(matches!(data.check(&append("k1", half), NOW), Err(ContextError::TooLarge { .. })));
}

fn puts() -> impl Strategy<Value = Vec<(ContextPut, u64)>> {
    let change = prop_oneof![
        any::<u8>().prop_map(|number| ContextChange::Put(json!(number))),
        any::<u8>().prop_map(|number| ContextChange::Put(json!([number]))),
        any::<u8>().prop_map(|number| ContextChange::Append(json!(number))),
    ];
    let until = prop_oneof![Just(None), (0_u64..20).prop_map(Some)];
    let expect = prop_oneof![3 => Just(None), 1 => (0_u64..9).prop_map(Some)];
    let put = ("[abc]", change, until, expect, 0_u64..3).prop_map(|(name, change, until, expect, pause)| {
        let until = until.map(|seconds| NOW.saturating_add(Duration::from_secs(seconds)));
        (ContextPut { key: key(&name), expect: expect.map(Version), change, until }, pause)
    });
    prop::collection::vec(put, 0..40)
}

proptest! {
    #[test]
    fn replaying_the_changes_that_were_taken_gives_the_same_context(puts in puts()) {
        let (mut live, mut replayed) = (ContextData::default(), ContextData::default());
        let (mut journal, mut at) = (Vec::new(), NOW);
        for (put, pause) in puts {
            at = at.saturating_add(Duration::from_secs(pause));
            let version = Version(live.version().0 + 1);
            if write(&mut live, &put, at).is_ok() {
                journal.push((version, at, put));
            }
        }
        for (version, at, put) in journal {
            let value = replayed.apply(version, at, &put.key, &put.change, put.until);
            prop_assert_eq!(value.version, version);
        }
        prop_assert_eq!(live, replayed);
    }
}
