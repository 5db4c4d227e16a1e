//! The tables `users` and `tenants` of the file, and the three built-in users.

use std::collections::BTreeMap;

use greenroom_protocol::{CategoryId, MicroUsd, Period, TenantId, UserId};
use serde::Deserialize;

use super::reader::ConfigReader;
use super::secret::Secret;

/// Requests per hour of a user without a rate limit of their own.
pub(super) const DEFAULT_RATE_LIMIT: u64 = 100_000;
/// Queries per hour of a user without a query limit of their own.
pub(super) const DEFAULT_QUERY_LIMIT: u64 = 100_000;

/// The period over which a limit counts. Days, weeks and months are those of UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitPeriod {
    /// From the first request on; nothing is reset.
    #[default]
    AllTime,
    /// The current day, from midnight.
    Day,
    /// The last seven days, today included.
    Week,
    /// The current calendar month, from its first day.
    Month,
}

impl From<LimitPeriod> for Period {
    fn from(period: LimitPeriod) -> Self {
        match period {
            LimitPeriod::AllTime => Self::AllTime,
            LimitPeriod::Day => Self::Days(1),
            LimitPeriod::Week => Self::Days(7),
            LimitPeriod::Month => Self::Month,
        }
    }
}

/// Limits on usage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// US dollars.
    pub usd: Option<f64>,
    /// Tokens, input and output together.
    pub tokens: Option<u64>,
    /// The period over which both are counted.
    pub period: LimitPeriod,
}

/// Permissions of a user beyond those of their roles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PermissionsConfig {
    /// Categories whose agents an `agent_operator` may run.
    pub allowed_categories: Vec<CategoryId>,
    /// True if they may run agents that process personal data.
    pub pii_access: bool,
}

/// A user who may send requests.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserConfig {
    /// Their name.
    pub name: UserId,
    /// The tenant whose account they use.
    #[serde(default)]
    pub tenant: TenantId,
    /// `admin`, `agent_operator`, …
    #[serde(default)]
    pub roles: Vec<String>,
    /// Their permissions.
    #[serde(default)]
    pub permissions: PermissionsConfig,
    /// Requests an hour that execute or change something.
    #[serde(default = "default_rate_limit")]
    pub rate_limit: u64,
    /// Queries an hour: they are counted apart, so that a dashboard that polls uses up no other request.
    #[serde(default = "default_query_limit")]
    pub query_limit: u64,
    /// Their limits.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// The key that authenticates them over the network.
    #[serde(default)]
    pub api_key: Option<Secret>,
}

/// A customer of the platform.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantConfig {
    /// Limits on the usage of all its users together.
    pub limits: LimitsConfig,
}

/// All users and tenants.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct UserDirectory {
    /// The users.
    #[serde(default)]
    pub users: Vec<UserConfig>,
    /// Tenants that have limits.
    #[serde(default)]
    pub tenants: BTreeMap<TenantId, TenantConfig>,
}

const fn default_rate_limit() -> u64 {
    DEFAULT_RATE_LIMIT
}

const fn default_query_limit() -> u64 {
    DEFAULT_QUERY_LIMIT
}

/// The built-in users as a file would define them: `admin` may do everything, `operator` runs agents of
/// the categories that the demo uses, `guest` has no role.
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

/// The users and tenants; a problem if two users have one name.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> UserDirectory {
    let tenants: BTreeMap<TenantId, TenantConfig> = reader.get("tenants").unwrap_or_default();
    let users: Vec<UserConfig> = reader.get("users").unwrap_or_default();
    for (index, user) in users.iter().enumerate() {
        if users.iter().take(index).any(|other| other.name == user.name) {
            reader.report(format!("users[{index}]: there is another user {}", user.name));
        }
        report_amount(reader, &format!("users[{index}].limits.usd"), user.limits);
    }
    for (tenant, config) in &tenants {
        report_amount(reader, &format!("tenants.{tenant}.limits.usd"), config.limits);
    }
    UserDirectory { users, tenants }
}

/// Reports a limit that is no amount of money.
fn report_amount(reader: &mut ConfigReader<'_>, setting: &str, limits: LimitsConfig) {
    if let Some(usd) = limits.usd.filter(|usd| MicroUsd::from_usd(*usd).is_none()) {
        reader.report(format!("{setting}: {usd} is not an amount of money"));
    }
}

impl UserDirectory {
    /// The user of a name.
    #[must_use]
    pub fn user(&self, name: &UserId) -> Option<&UserConfig> {
        self.users.iter().find(|user| user.name == *name)
    }

    /// The user with this key. Every key is compared in full, so that the time reveals nothing.
    #[must_use]
    pub fn user_by_api_key(&self, key: &str) -> Option<&UserConfig> {
        let mut matching = None;
        for user in &self.users {
            if user.api_key.as_ref().is_some_and(|api_key| constant_time_eq(api_key.reveal(), key)) {
                matching = Some(user);
            }
        }
        matching
    }

    /// Limits on the usage of all users of a tenant together.
    #[must_use]
    pub fn tenant_limits(&self, tenant: &TenantId) -> LimitsConfig {
        self.tenants.get(tenant).map(|tenant| tenant.limits).unwrap_or_default()
    }
}

fn constant_time_eq(left: &str, right: &str) -> bool {
    let differs = left.bytes().zip(right.bytes()).fold(0, |difference, (a, b)| difference | (a ^ b));
    differs == 0 && left.len() == right.len()
}
