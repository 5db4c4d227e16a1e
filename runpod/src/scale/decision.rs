//! How many leases are wanted. It is a function of the demand and the limits, and of nothing else.

/// What waits beside RunPod's own queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Demand {
    /// Requests that no pod has accepted, and runs that no pod owns.
    pub waiting: u64,
    /// Requests and runs under way.
    pub under_way: u64,
}

/// The limits of the workers that are started for demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleLimits {
    /// Leases that there always are.
    pub min: u32,
    /// The most leases.
    pub max: u32,
    /// Work for one worker; at least one.
    pub work_per_worker: u32,
}

/// The number of leases for a demand.
#[must_use]
pub const fn leases_wanted(demand: Demand, limits: ScaleLimits) -> u32 {
    let work = demand.waiting.saturating_add(demand.under_way);
    let per_worker = if limits.work_per_worker == 0 { 1 } else { limits.work_per_worker };
    let wanted = work.div_ceil(per_worker as u64);
    // A limit that is less than the minimum is one all the same.
    if wanted >= limits.max as u64 || limits.min >= limits.max {
        limits.max
    } else if wanted < limits.min as u64 {
        limits.min
    } else {
        // It is less than the maximum, which is a number of this type.
        wanted as u32
    }
}

#[cfg(test)]
mod tests {
    use super::{Demand, ScaleLimits, leases_wanted};

    #[test]
    fn the_number_of_leases_follows_the_demand_within_its_limits() {
        let limits = ScaleLimits { min: 1, max: 10, work_per_worker: 4 };
        for (waiting, under_way, wanted) in
            [(0, 0, 1), (1, 0, 1), (4, 0, 1), (5, 0, 2), (3, 6, 3), (400, 0, 10), (u64::MAX, u64::MAX, 10)]
        {
            assert_eq!(leases_wanted(Demand { waiting, under_way }, limits), wanted, "{waiting} {under_way}");
        }
        let none = ScaleLimits { min: 0, max: 10, work_per_worker: 0 };
        assert_eq!(leases_wanted(Demand::default(), none), 0);
        assert_eq!(leases_wanted(Demand { waiting: 3, under_way: 0 }, none), 3);
        assert_eq!(leases_wanted(Demand::default(), ScaleLimits { min: 5, max: 2, work_per_worker: 1 }), 2);
    }
}
