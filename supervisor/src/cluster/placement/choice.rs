//! The choice of a pod, without I/O.

use std::cmp::Ordering;

use greenroom_actors::remote::has_labels;
use greenroom_protocol::PodId;
use greenroom_registry::cluster::PodInfo;

/// The least loaded pod with these labels: the fewest trees of runs and calls of this pod for each unit of its capacity.
/// Neither this pod nor one that was tried is chosen. Of equal ones it is the one with the smallest id.
pub fn choose<'p>(
    pods: &'p [PodInfo],
    needed: &[String],
    (own, tried): (&PodId, &[PodId]),
    calls: impl Fn(&PodId) -> usize,
) -> Option<&'p PodId> {
    let candidates =
        pods.iter().filter(|pod| pod.pod != *own && !tried.contains(&pod.pod) && has_labels(&pod.labels, needed));
    let loaded = candidates.map(|pod| {
        let load = u128::from(pod.trees) + calls(&pod.pod) as u128;
        // Zero is no bound.
        let capacity = if pod.capacity == 0 { u128::from(u32::MAX) } else { u128::from(pod.capacity) };
        (load, capacity, &pod.pod)
    });
    loaded.min_by(|one, other| by_load(*one, *other)).map(|(_, _, pod)| pod)
}

fn by_load((load, capacity, pod): (u128, u128, &PodId), other: (u128, u128, &PodId)) -> Ordering {
    // A fraction compared without a division.
    (load * other.1).cmp(&(other.0 * capacity)).then_with(|| load.cmp(&other.0)).then_with(|| pod.cmp(other.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, labels: &[&str], (trees, capacity): (u64, u32)) -> PodInfo {
        PodInfo {
            pod: PodId::new(name).unwrap(),
            version: "1".to_owned(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            capacity,
            trees,
            reads: (1, 1),
            lease_age_ms: 0,
            expires_in_ms: 3_000,
        }
    }

    fn chosen(pods: &[PodInfo], needed: &[&str], tried: &[&str], busy: Option<&str>) -> Option<String> {
        let needed: Vec<String> = needed.iter().map(|label| (*label).to_owned()).collect();
        let tried: Vec<PodId> = tried.iter().map(|name| PodId::new(name).unwrap()).collect();
        let calls = |pod: &PodId| if Some(pod.as_str()) == busy { 10 } else { 0 };
        choose(pods, &needed, (&PodId::new("own").unwrap(), &tried), calls).map(ToString::to_string)
    }

    #[test]
    fn a_pod_needs_every_label_and_is_another_one() {
        let pods = [pod("own", &["gpu", "eu"], (0, 0)), pod("a", &["gpu"], (0, 0)), pod("b", &["eu", "gpu"], (9, 0))];
        assert_eq!(chosen(&pods, &["gpu", "eu"], &[], None).as_deref(), Some("b"));
        assert_eq!(chosen(&pods, &["cpu"], &[], None), None);
        assert_eq!(chosen(&pods, &["gpu", "eu"], &["b"], None), None, "it was tried");
    }

    #[test]
    fn the_least_loaded_pod_is_chosen_by_its_capacity() {
        let pods = [pod("a", &["gpu"], (50, 100)), pod("b", &["gpu"], (60, 1_000)), pod("c", &["gpu"], (6, 10))];
        assert_eq!(chosen(&pods, &["gpu"], &[], None).as_deref(), Some("b"));
        assert_eq!(chosen(&pods, &["gpu"], &["b"], None).as_deref(), Some("a"));
        let equal = [pod("b", &["gpu"], (0, 0)), pod("a", &["gpu"], (0, 0))];
        assert_eq!(chosen(&equal, &["gpu"], &[], None).as_deref(), Some("a"));
        assert_eq!(chosen(&equal, &["gpu"], &[], Some("a")).as_deref(), Some("b"), "our own calls count");
    }
}
