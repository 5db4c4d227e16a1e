//! The section `audit`: the key that signs the audit, for pods that have no file with it.

use super::reader::ConfigReader;
use super::secret::Secret;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[Setting::text(
    "audit.key",
    &["GREENROOM_AUDIT_KEY"],
    "key that signs the audit, 64 hex digits, the same for all pods of a database; default the file DATA_DIR/audit.key, \
     which the first start creates",
)
.masked()];

/// Digits of a key.
const KEY_DIGITS: usize = 64;

/// The configured key; `None` for that of the file.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<Secret> {
    let key = reader.get::<String>("audit.key").map(|key| key.trim().to_owned()).filter(|key| !key.is_empty())?;
    if key.len() != KEY_DIGITS || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        reader
            .report(format!("audit.key: it must have {KEY_DIGITS} hex digits, as `openssl rand -hex 32` prints them"));
    }
    Some(Secret::new(key))
}
