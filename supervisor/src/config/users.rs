//! Who may ask: users and tenants, as the file says them, or the three that are built in.

use std::collections::BTreeMap;

use greenroom_protocol::{CategoryId, Period, TenantId, UserId};
use serde::Deserialize;

use super::secret::Secret;

/// Requests that a user of the built-in three may make in an hour.
const RATE_LIMIT: u64 = 100_000;

/// Over which time a limit counts. Days, weeks and months are those of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPeriod {
    /// From the first request on: what is spent stays spent.
    #[default]
    AllTime,
    /// Today, from midnight on.
    Day,
    /// The last seven days, today included.
    Week,
    /// The calendar's month, from its first day on.
    Month,
}

impl From<LimitPeriod> for Period {
    fn from(span: LimitPeriod) -> Self {
        match span {
            LimitPeriod::AllTime => Self::AllTime,
            LimitPeriod::Day => Self::Days(1),
            LimitPeriod::Week => Self::Days(7),
            LimitPeriod::Month => Self::Month,
        }
    }
}

/// What may be spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens, in and out.
    pub tokens: Option<u64>,
    /// Over which time both are counted.
    pub period: LimitPeriod,
}

/// What a user may touch beyond what their roles say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermissionsConfig {
    /// Categories whose agents an `agent_operator` may run.
    pub allowed_categories: Vec<CategoryId>,
    /// True if they may run agents that see personal data.
    pub pii_access: bool,
}

/// Somebody who may ask.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Their name.
    pub name: UserId,
    /// On whose account they ask.
    #[serde(default)]
    pub tenant: TenantId,
    /// `admin`, `agent_operator`, …
    #[serde(default)]
    pub roles: Vec<String>,
    /// What they may touch.
    #[serde(default)]
    pub permissions: PermissionsConfig,
    /// Requests an hour.
    #[serde(default = "default_rate")]
    pub rate_limit: u64,
    /// What they may spend.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The key that names them on the wire.
    #[serde(default)]
    pub api_key: Option<Secret>,
}

/// A customer of the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// What all its users may spend together.
    pub limits: LimitsConfig,
}

/// All users and tenants.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct UserDirectory {
    /// The users.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// Tenants with limits of their own.
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, TenantConfig>,
}

const fn default_rate() -> u64 {
    RATE_LIMIT
}

/// The built-in three, as a file would say them: `admin` may do everything, `operator` runs agents of
/// the categories that the demo needs, `guest` has no role.
pub(super) const BUILT_IN_USERS: &str = r#"
[[users]]
name = "admin"
roles = ["admin"]
permissions = { pii_access = true }

[[users]]
name = "operator"
roles = ["agent_operator"]
permissions = { allowed_categories = ["business_ops", "data_analytics"] }

[[users]]
name = "guest"
"#;

impl UserDirectory {
    /// The user of a name.
    #[must_use]
    pub fn user(&self, name: &UserId) -> Option<&UserConfig> {
        self.users.iter().find(|user| user.name == *name)
    }

    /// The user whose key this is. Every key is compared in full, so that the time says nothing.
    #[must_use]
    pub fn user_by_api_key(&self, key: &str) -> Option<&UserConfig> {
        let mut found = None;
        for user in &self.users {
            if user.api_key.as_ref().is_some_and(|known| constant_time_eq(known.reveal(), key)) {
                found = Some(user);
            }
        }
        found
    }

    /// What all users of a tenant may spend together.
    #[must_use]
    pub fn tenant_limits(&self, tenant: &TenantId) -> LimitsConfig {
        self.tenants.get(tenant).map(|tenant| tenant.limits).unwrap_or_default()
    }
}

fn constant_time_eq(left: &str, right: &str) -> bool {
    let differs = left.bytes().zip(right.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b));
    differs == 0 && left.len() == right.len()
}
