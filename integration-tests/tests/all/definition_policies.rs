//! Every policy that a definition may name, on every definition that may name it (an agent, a workflow, a
//! team), through the whole pipeline of a pod with the shipped bundle: one request that it allows, and one
//! that it denies. The audit tells which hop was denied, and by what.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use greenroom_rego::Bundle;

use self::cases::{Level, Route, Setup, Worker};
use self::world::World;

mod cases;
mod faulty_audit;
mod host;
mod inheritance;
mod world;

/// The codes of all denials below one request, and whether the request itself succeeded.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    denials: BTreeSet<String>,
    has_succeeded: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_policy_allows_and_denies_below_each_definition_that_names_it() -> Result<()> {
    let world = World::start(every_setup()).await?;
    for policy in cases::POLICIES {
        for level in Level::ALL {
            let case = cases::case(policy, level);
            let allowed = world.run(policy, level, &case.allowed).await?;
            assert_eq!(
                allowed,
                Outcome { denials: BTreeSet::new(), has_succeeded: true },
                "{policy} on {level:?} allows {:?}",
                case.allowed
            );
            let Some(setup) = case.denied else { continue };
            let denied = world.run(policy, level, &setup).await?;
            assert_eq!(denied.denials, BTreeSet::from([policy.to_owned()]), "{policy} on {level:?} denies {setup:?}");
        }
    }
    world.shutdown().await;
    Ok(())
}

/// A user who is not known is rejected before any policy: a pod with users of its configuration only has no
/// request that `require_authentication` would deny.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_user_is_rejected_whichever_definition_requires_authentication() -> Result<()> {
    let unknown = |level| Setup { user: "not_registered", ..Setup::new(Worker::Quiet, Route::for_level(level)) };
    let world = World::start(Level::ALL.map(|level| ("require_authentication", level, unknown(level))).into()).await?;
    for level in Level::ALL {
        let reply = world.send("require_authentication", level, &unknown(level)).await?;
        let code = reply.error.context("an error")?.code;
        assert_eq!(code, greenroom_protocol::ErrorCode::Unauthenticated, "{level:?}");
    }
    world.shutdown().await;
    Ok(())
}

#[test]
fn the_cases_are_those_of_the_bundle() -> Result<()> {
    let bundle = Bundle::embedded()?;
    let of_bundle: BTreeSet<_> =
        bundle.data()["cfg"]["policies"].as_object().context("policies")?.keys().map(String::as_str).collect();
    assert_eq!(BTreeSet::from(cases::POLICIES), of_bundle);
    Ok(())
}

/// Every case, for the definitions of a world.
fn every_setup() -> Vec<(&'static str, Level, Setup)> {
    let mut all = Vec::new();
    for policy in cases::POLICIES {
        for level in Level::ALL {
            let case = cases::case(policy, level);
            all.extend([Some(case.allowed), case.denied].into_iter().flatten().map(|setup| (policy, level, setup)));
        }
    }
    all
}
