//! Tests of the ids and of what is derived from them.

use super::*;

#[test]
fn an_id_with_a_disallowed_character_or_length_is_rejected() {
    assert_eq!(AgentId::new(""), Err(IdError::Empty));
    assert_eq!(AgentId::new("a b"), Err(IdError::Character { found: ' ' }));
    assert!(matches!(AgentId::new("x".repeat(500)), Err(IdError::TooLong { .. })));
    assert_eq!(IdempotencyKey::new("order 17"), Err(IdError::KeyCharacter { found: ' ' }));
    assert_eq!(IdempotencyKey::new("order/17:\u{e9}"), Err(IdError::KeyCharacter { found: '\u{e9}' }));
    assert!(IdempotencyKey::new("\"order/17:a=b\"").is_ok());
    assert!(serde_json::from_str::<AgentId>("\"../etc\"").is_err());
    assert_eq!(TenantId::new(".."), Err(IdError::Dots { found: "..".into() }));
    assert!(serde_json::from_str::<RunId>("\".\"").is_err());
}

#[test]
fn each_start_of_a_pod_has_an_id_of_its_own_whatever_its_name() {
    for name in ["local".to_owned(), "x".repeat(ID_BYTES_MAX)] {
        let name = PodId::new(name).unwrap_or_else(|_| unreachable!());
        let starts = [1, 2].map(|number| PodId::for_start(&name, number));
        assert_ne!(starts[0], starts[1]);
        assert!(starts.iter().all(|pod| PodId::new(pod).as_ref() == Ok(pod)), "{starts:?}");
    }
    let local = PodId::new("local").unwrap_or_else(|_| unreachable!());
    assert_eq!(PodId::for_start(&local, 10).as_str(), "local-0000000000000000000000000000000a");
}

#[test]
fn a_run_is_named_after_its_request() {
    let request = RequestId::from_u128(10);
    assert_eq!(RunId::for_request(&request).as_str(), "run_0000000000000000000000000000000a");
}

#[test]
fn a_step_sends_the_same_request_id_after_a_crash_and_a_new_one_for_a_retry() {
    let run = RunId::for_request(&RequestId::from_u128(10));
    let step = StepId::new("gather").unwrap_or_else(|_| unreachable!());
    let key = CallKey::for_step(&run, &step, Some(3));
    assert_eq!(key.as_str(), "run_0000000000000000000000000000000a/gather[3]");
    assert_eq!(key.compensation().as_str(), "run_0000000000000000000000000000000a/gather[3]/undo");
    let of_run = key.compensation().child("turn[1]").run_compensation();
    assert_eq!(of_run, key.compensation().run_compensation(), "all compensations of a run have one");
    assert_eq!(of_run, Some(CallKey::for_run_compensation(&run)));
    assert_eq!(of_run.map(|key| key.to_string()), Some(format!("{run}//undo")));
    let long = key.compensation().child(&"x".repeat(600));
    assert_eq!(long.run_compensation(), Some(CallKey::for_run_compensation(&run)), "{long}");
    assert_eq!(key.child(&"x".repeat(600)).run_compensation(), None);
    let reserved_name = StepId::new("undo").unwrap_or_else(|_| unreachable!());
    assert_eq!(CallKey::for_step(&run, &reserved_name, None).run_compensation(), None);
    assert_eq!(CallKey::for_step(&run, &reserved_name, None).child("turn[1]").run_compensation(), None);
    assert_eq!(key.request_id(1), key.request_id(1));
    assert_eq!(key.compensation().root().as_str(), run.as_str());
    assert_eq!(key.root().root(), key.root());
    assert_ne!(key.request_id(1), key.request_id(2));
    assert!(RequestId::new(key.request_id(1)).is_ok());
}

#[test]
fn request_ids_of_a_run_begin_with_its_timestamp() {
    let run = RunId::for_request(&RequestId::from_u128(0x0192_aaaa_bbbb_7ccc_8ddd_eeee_ffff_0000));
    let step = StepId::new("gather").unwrap_or_else(|_| unreachable!());
    let request = CallKey::for_step(&run, &step, None).request_id(1);
    assert!(request.as_str().starts_with("req_0192aaaabbbb"), "{request}");
    assert_eq!(request.as_str().len(), "req_".len() + 32);
    let delegated = CallKey::for_request(&request).child("helper").request_id(1);
    assert!(delegated.as_str().starts_with("req_0192aaaabbbb"), "{delegated}");
    let named = CallKey::new("team/1").unwrap_or_else(|_| unreachable!()).request_id(1);
    assert_eq!(named.as_str().len(), "req_".len() + 32);
}

fn principal(issuer: &str, tenant: &str, user: &str) -> Option<PrincipalId> {
    let (issuer, tenant) = (Issuer::new(issuer).ok()?, TenantId::new(tenant).ok()?);
    Some(PrincipalId { issuer, tenant, user: UserId::new(user).ok()? })
}

#[test]
fn the_hash_of_a_principal_never_changes() {
    let alice = principal("local", "acme", "alice").unwrap_or_else(|| unreachable!());
    assert_eq!(alice, PrincipalId::local(alice.tenant.clone(), alice.user.clone()));
    assert_eq!(alice.to_string(), "local/acme/alice");
    assert_eq!(alice.hash().to_string(), "a9b9cb2febccdd1cabb7e7ad3bb589c215f0593861c2e75990714d40f2457678");
}

#[test]
fn principals_differ_by_issuer_tenant_and_user() {
    let names = [("local", "acme", "alice"), ("login", "acme", "alice"), ("local", "globex", "alice")];
    // The same characters, divided otherwise.
    let divided = [("local", "acmea", "lice"), ("locala", "cme", "alice"), ("l", "ocalacme", "alice")];
    let all = names.into_iter().chain(divided).filter_map(|(issuer, tenant, user)| principal(issuer, tenant, user));
    let all: Vec<_> = all.collect();
    assert_eq!(all.len(), 6);
    let name = RequestId::from_u128(1);
    let key = IdempotencyKey::new("k").unwrap_or_else(|_| unreachable!());
    let body = ContentHash::from_content(b"body");
    let hashes: std::collections::HashSet<_> = all.iter().map(PrincipalId::hash).collect();
    let requests: std::collections::HashSet<_> = all.iter().map(|id| RequestId::for_caller(id, &name)).collect();
    let calls: std::collections::HashSet<_> = all.iter().map(|id| CallKey::for_caller(id, &key, &body)).collect();
    assert_eq!((hashes.len(), requests.len(), calls.len()), (6, 6, 6));
    assert_eq!(principal("https://example.com", "acme", "alice"), None, "an issuer is an id, and no address");
}
