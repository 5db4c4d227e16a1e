//! The arguments of `keys`.

use clap::{Args, Subcommand};
use greenroom_protocol::{AgentId, CategoryId, Issuer, PrincipalId, TenantId, UserId, WorkflowId};

/// Commands of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create an API key, and print it: nothing shows it again
    Create(CreateKeyArgs),
    /// List the keys, without their secrets
    List,
    /// Revoke a key, or a user of an identity provider: every pod refuses it within a second, and its runs end
    Revoke {
        /// The key, as `list` prints it
        #[arg(required_unless_present = "subject")]
        key: Option<UserId>,
        /// A user of an identity provider instead
        #[arg(long, value_name = "ISSUER/TENANT/USER", conflicts_with = "key", value_parser = parse_subject)]
        subject: Option<PrincipalId>,
    },
    /// Accept the tokens of a user of an identity provider again
    Reinstate {
        /// The user
        #[arg(value_name = "ISSUER/TENANT/USER", value_parser = parse_subject)]
        subject: PrincipalId,
    },
}

/// Arguments of `keys create`.
#[derive(Debug, Args)]
pub struct CreateKeyArgs {
    /// User of the configuration for whom the key acts, with at most the rights of that user
    #[arg(long, value_name = "NAME")]
    pub owner: UserId,
    /// What it is for
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub name: String,
    /// How long it is valid
    #[arg(long, default_value = "90d", value_name = "TIME")]
    pub expires_in: humantime::Duration,
    /// Roles of the key, instead of all of its owner; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    pub roles: Vec<String>,
    /// Categories of agents, instead of all of its owner; may be repeated
    #[arg(long = "category", value_name = "ID")]
    pub categories: Vec<CategoryId>,
    /// Let it process personal data, as its owner may
    #[arg(long)]
    pub pii_access: bool,
    /// Agent that it may call, and no other; may be repeated
    #[arg(long = "agent", value_name = "ID")]
    pub agents: Vec<AgentId>,
    /// Workflow that it may run, and no other; may be repeated
    #[arg(long = "workflow", value_name = "ID")]
    pub workflows: Vec<WorkflowId>,
}

pub(super) fn parse_subject(text: &str) -> Result<PrincipalId, String> {
    let mut parts = text.split('/');
    let (Some(issuer), Some(tenant), Some(user), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("write it as ISSUER/TENANT/USER, as the audit has it".to_owned());
    };
    Ok(PrincipalId {
        issuer: Issuer::new(issuer).map_err(|error| error.to_string())?,
        tenant: TenantId::new(tenant).map_err(|error| error.to_string())?,
        user: UserId::new(user).map_err(|error| error.to_string())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_three_parts() {
        assert_eq!(parse_subject("login/acme/alice").unwrap().to_string(), "login/acme/alice");
        for other in ["", "alice", "acme/alice", "login/acme/alice/x", "login//alice", "login/acme/a b"] {
            assert!(parse_subject(other).is_err(), "{other}");
        }
    }
}
