-- Schema of the registry's SQLite file.
--
-- Times are microseconds since 1970-01-01, UTC. Money is in millionths of a US dollar. Hashes are
-- 32 bytes. JSON is compact text.

-- Which database this is, and the public key that signs its audit. The data directory has both too: a
-- database that is used with another data directory is reported as such, and not as one that was changed.
-- Copies of a database have its identity.
CREATE TABLE store_identity (
    id        INTEGER PRIMARY KEY CHECK (id = 1),
    database  TEXT NOT NULL,
    audit_key TEXT
) STRICT;
INSERT INTO store_identity (id, database) VALUES (1, lower(hex(randomblob(16))));

-- The processes that have owned the database, each with an id of its own. One is alive. A dead one remains for as
-- long as it is the last owner of a run that has not ended: the run was not paused until `active_at`, which is
-- recorded every few seconds.
CREATE TABLE pods (
    pod        TEXT    NOT NULL PRIMARY KEY,
    started_at INTEGER NOT NULL,
    active_at  INTEGER NOT NULL,
    dead       INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    number            INTEGER PRIMARY KEY,
    run               TEXT    NOT NULL UNIQUE,
    tenant            TEXT    NOT NULL,
    -- The owner, by the hash of the row of `principals`. `tenant` is that of the owner.
    principal         BLOB    NOT NULL,
    workflow          TEXT    NOT NULL,
    version           BLOB    NOT NULL,
    team              TEXT,
    parent            TEXT,
    -- The run that no run called; its own id for such a run. Fence and pod are those of the whole tree.
    root              TEXT    NOT NULL,
    request_hash      BLOB    NOT NULL,
    -- 1 if an agent of the run, or of a run that it called, processes personal data.
    personal_data     INTEGER NOT NULL,
    status            TEXT    NOT NULL,
    ended             INTEGER NOT NULL,
    -- Steps that await an approval; the run awaits approval until none is left.
    pending_approvals INTEGER NOT NULL,
    fence             INTEGER NOT NULL,
    pod               TEXT    NOT NULL,
    -- Of a root: how often its tree has failed since one of its runs last made progress.
    failures          INTEGER NOT NULL,
    created           INTEGER NOT NULL,
    updated           INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_tenant ON runs (tenant, number);
CREATE INDEX runs_unfinished ON runs (number) WHERE ended = 0;
CREATE INDEX runs_unfinished_by_root ON runs (root) WHERE ended = 0;

-- The owners of runs. `hash` is that of issuer, tenant and user, each after its length.
CREATE TABLE principals (
    hash   BLOB NOT NULL PRIMARY KEY,
    issuer TEXT NOT NULL,
    tenant TEXT NOT NULL,
    user   TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- `run` is runs.number, so that the key of an entry is short. Entries are stored in the order of
-- their commits: a commit of many runs appends to the end of the table. A table clustered by run
-- would rewrite one page for each of these runs.
CREATE TABLE journal (
    id    INTEGER PRIMARY KEY,
    run   INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    entry TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX journal_by_run ON journal (run, seq);

CREATE TABLE audit (
    number  INTEGER PRIMARY KEY,
    hash    BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    request TEXT,
    -- The tenant of the entry; NULL for an event of the platform itself.
    tenant  TEXT,
    record  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_request ON audit (request) WHERE request IS NOT NULL;

-- Signed heads of the audit: the newest and one for each hour before it (kind 0), the anchor of the last
-- pruning (1), and the break of each backup that was restored (2).
CREATE TABLE audit_heads (
    number INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    head   TEXT    NOT NULL,
    PRIMARY KEY (number, kind)
) STRICT, WITHOUT ROWID;

-- The audit entries that were open when record `through` was the last one. The next start reads the
-- records after it only.
CREATE TABLE audit_open (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL,
    open    TEXT    NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
    key          TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    run          TEXT,
    reply        TEXT,
    at           INTEGER NOT NULL,
    -- The pod that has reserved the key.
    pod          TEXT    NOT NULL,
    PRIMARY KEY (key, tenant)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run) WHERE run IS NOT NULL;
CREATE INDEX idempotency_keys_open ON idempotency_keys (at) WHERE run IS NULL AND reply IS NULL;

-- Pinned versions of definitions.
CREATE TABLE definition_versions (
    hash BLOB NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Texts that agents remember. Vectors are 32-bit floats, little-endian.
CREATE TABLE memories (
    tenant     TEXT    NOT NULL,
    agent      TEXT    NOT NULL,
    id         BLOB    NOT NULL,
    at         INTEGER NOT NULL,
    expires_at INTEGER,
    text       TEXT    NOT NULL,
    vector     BLOB    NOT NULL,
    PRIMARY KEY (tenant, agent, id)
) STRICT;
CREATE INDEX memories_by_age ON memories (tenant, agent, at, id);

-- Queries are counted apart from the requests that execute something (`requests`).
CREATE TABLE usage_minutes (
    minute   INTEGER NOT NULL,
    issuer   TEXT    NOT NULL,
    tenant   TEXT    NOT NULL,
    user     TEXT    NOT NULL,
    requests INTEGER NOT NULL,
    queries  INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    cost     INTEGER NOT NULL,
    PRIMARY KEY (minute, issuer, tenant, user)
) STRICT, WITHOUT ROWID;

-- `workflow` is empty for a call outside a workflow. The `assumed` columns count calls that were
-- priced by their tier, because their model has no price of its own.
CREATE TABLE costs (
    day              INTEGER NOT NULL,
    issuer           TEXT    NOT NULL,
    tenant           TEXT    NOT NULL,
    user             TEXT    NOT NULL,
    agent            TEXT    NOT NULL,
    workflow         TEXT    NOT NULL,
    calls            INTEGER NOT NULL,
    tokens_input     INTEGER NOT NULL,
    tokens_output    INTEGER NOT NULL,
    cost             INTEGER NOT NULL,
    calls_estimated  INTEGER NOT NULL,
    estimated_input  INTEGER NOT NULL,
    estimated_output INTEGER NOT NULL,
    estimated_cost   INTEGER NOT NULL,
    calls_assumed    INTEGER NOT NULL,
    assumed_cost     INTEGER NOT NULL,
    PRIMARY KEY (day, issuer, tenant, user, agent, workflow)
) STRICT, WITHOUT ROWID;

-- Spending of executions and runs. The other budgets are computed from the costs.
CREATE TABLE budgets (
    budget        TEXT    NOT NULL PRIMARY KEY,
    day           INTEGER NOT NULL,
    tokens_input  INTEGER NOT NULL,
    tokens_output INTEGER NOT NULL,
    cost          INTEGER NOT NULL,
    -- The models that were charged, and the basis of their prices, as JSON.
    models        TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- Reservations that are not settled yet.
CREATE TABLE reservations (
    id          INTEGER PRIMARY KEY,
    -- The pod whose call it is for.
    pod         TEXT    NOT NULL,
    reservation TEXT    NOT NULL
) STRICT;

-- The versions of a directory of definitions that are in service. A definition whose file has become invalid
-- remains in service in its version here, also in the next process.
CREATE TABLE definitions_in_service (
    kind   TEXT NOT NULL,
    id     TEXT NOT NULL,
    source TEXT NOT NULL,
    -- NULL if the definition has no file of its own, or one whose name is not UTF-8.
    file   TEXT,
    hash   BLOB NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
