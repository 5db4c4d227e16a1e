//! The identity of a database and the key that certifies the keys of its audit chains. All pods of a database have this
//! key in `audit.key`; the first one decides it.

use std::path::Path;

use sqlx::postgres::PgConnection;

use crate::audit::ChainKey;
use crate::audit::chain_key::SavedHead;
use crate::columns::Columns as _;
use crate::error::StoreError;
use crate::postgres::connection::{STATEMENT_TIMEOUT, in_time};

/// Which database this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) database: String,
    /// The public key that certifies; `None` until the first pod has opened it.
    pub(super) audit_key: Option<String>,
}

impl Identity {
    /// Reads it.
    pub(super) async fn fetch(connection: &mut PgConnection) -> Result<Self, StoreError> {
        let sql = "SELECT database, audit_key FROM store_identity";
        let row = in_time(STATEMENT_TIMEOUT, sqlx::query(sql).fetch_optional(connection)).await?;
        let row = row.ok_or_else(|| StoreError::Corrupt("it has no identity".to_owned()))?;
        let audit_key = row.optional_text("audit_key")?.map(str::to_owned);
        Ok(Self { database: row.text("database")?.to_owned(), audit_key })
    }

    /// Binds a new database to this key, and returns its identity.
    pub(super) async fn claim(connection: &mut PgConnection, key: &ChainKey) -> Result<Self, StoreError> {
        let claiming = sqlx::query("UPDATE store_identity SET audit_key = $1 WHERE audit_key IS NULL")
            .bind(key.to_hex())
            .execute(&mut *connection);
        in_time(STATEMENT_TIMEOUT, claiming).await?;
        Self::fetch(connection).await
    }

    /// Fails if another key certifies the chains of the database, or if the saved head is that of another database.
    pub(super) fn check(&self, key: &ChainKey, saved: Option<&SavedHead>) -> Result<(), StoreError> {
        if let Some(own) = self.audit_key.as_ref().filter(|own| **own != key.to_hex()) {
            return Err(StoreError::OtherDirectory(format!(
                "the audit of the database is signed by the key {}, and the key of this data directory is {}: give all \
                 pods of one database the same `audit.key`",
                short(own),
                short(&key.to_hex())
            )));
        }
        match saved {
            Some(saved) if saved.database != self.database => Err(StoreError::OtherDatabase(format!(
                "the data directory belongs to another database: {} names the database {}, and this is the database {}",
                key.head_file().unwrap_or_else(|| Path::new("audit.head")).display(),
                short(&saved.database),
                short(&self.database)
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

/// The first digits of an identity or a key, which are enough to compare two.
fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::ChainTip;
    use crate::audit::head::HeadKind;
    use crate::audit::signer::Signer;
    use greenroom_protocol::Timestamp;

    #[test]
    fn a_pod_with_another_key_or_the_head_of_another_database_is_refused() {
        let (signer, other) = (Signer::ephemeral([7; 32]), Signer::ephemeral([8; 32]));
        let audit_key = Some(signer.chain_key().to_hex());
        let identity = Identity { database: "d1".to_owned(), audit_key };
        assert!(identity.check(signer.chain_key(), None).is_ok());
        let refused = identity.check(other.chain_key(), None);
        assert!(matches!(refused, Err(StoreError::OtherDirectory(text)) if text.contains("audit.key")));
        let head = signer.sign(HeadKind::Running, ChainTip::genesis(), Timestamp::from_micros(5));
        let saved = |database: &str| SavedHead { database: database.to_owned(), head: head.clone() };
        assert!(identity.check(signer.chain_key(), Some(&saved("d1"))).is_ok());
        assert!(matches!(identity.check(signer.chain_key(), Some(&saved("d2"))), Err(StoreError::OtherDatabase(_))));
    }
}
