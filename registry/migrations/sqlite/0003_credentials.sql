-- API keys without their secrets, and the principals that identity providers vouch for.
CREATE TABLE api_keys (
    id         TEXT    NOT NULL PRIMARY KEY,
    -- The SHA-256 of its text.
    hash       BLOB    NOT NULL UNIQUE,
    -- The user for whom it acts.
    issuer     TEXT    NOT NULL,
    tenant     TEXT    NOT NULL,
    user       TEXT    NOT NULL,
    -- What it is for, in words.
    name       TEXT    NOT NULL,
    -- What it allows, as JSON.
    scope      TEXT    NOT NULL,
    -- A principal as issuer/tenant/user; times are in microseconds since 1970-01-01, UTC.
    created_by TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    -- NULL unless it is revoked.
    revoked_by TEXT,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);

CREATE TABLE subjects (
    issuer     TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    user       TEXT NOT NULL,
    -- The rights of the last token, as JSON; NULL if none was seen.
    rights     TEXT,
    revoked_by TEXT,
    revoked_at INTEGER,
    PRIMARY KEY (issuer, tenant, user)
) STRICT, WITHOUT ROWID;

-- The number of revocations and reinstatements so far.
CREATE TABLE credential_revision (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO credential_revision (one, revision) VALUES (1, 0);
