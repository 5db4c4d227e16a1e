-- API keys without their secrets, and the principals that identity providers vouch for.
CREATE TABLE api_keys (
    id         text   PRIMARY KEY,
    -- The SHA-256 of its text.
    hash       bytea  NOT NULL UNIQUE,
    -- The user for whom it acts.
    issuer     text   NOT NULL,
    tenant     text   NOT NULL,
    user_id    text   NOT NULL,
    -- What it is for, in words.
    name       text   NOT NULL,
    -- What it allows, as JSON.
    scope      text   NOT NULL,
    -- A principal as issuer/tenant/user; times are in microseconds since 1970-01-01, UTC.
    created_by text   NOT NULL,
    created_at bigint NOT NULL,
    expires_at bigint NOT NULL,
    -- NULL unless it is revoked.
    revoked_by text,
    revoked_at bigint
);
CREATE INDEX api_keys_by_tenant ON api_keys (tenant, created_at);

CREATE TABLE subjects (
    issuer     text NOT NULL,
    tenant     text NOT NULL,
    user_id    text NOT NULL,
    -- The rights of the last token, as JSON; NULL if none was seen.
    rights     text,
    revoked_by text,
    revoked_at bigint,
    PRIMARY KEY (issuer, tenant, user_id)
);

-- The number of revocations and reinstatements so far. Each pod reads it several times a second.
CREATE TABLE credential_revision (
    one      boolean PRIMARY KEY DEFAULT true CHECK (one),
    revision bigint  NOT NULL DEFAULT 0
);
INSERT INTO credential_revision DEFAULT VALUES;
