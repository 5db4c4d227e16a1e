-- Times are microseconds since 1970, UTC. Money is in millionths of a US dollar.
-- Hashes are 32 bytes. JSON is compact text.

CREATE TABLE runs (
    number   INTEGER PRIMARY KEY,
    run      TEXT    NOT NULL UNIQUE,
    tenant   TEXT    NOT NULL,
    owner    TEXT    NOT NULL,
    workflow TEXT    NOT NULL,
    version  BLOB    NOT NULL,
    team     TEXT,
    parent   TEXT,
    body     BLOB    NOT NULL,
    state    TEXT    NOT NULL,
    ended    INTEGER NOT NULL,
    fence    INTEGER NOT NULL,
    pod      TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL
) STRICT;
CREATE INDEX runs_by_tenant ON runs (tenant, number);
CREATE INDEX runs_unfinished ON runs (number) WHERE ended = 0;

-- `run` is runs.number: entries of one run lie together, and their key is short.
CREATE TABLE journal (
    run   INTEGER NOT NULL,
    seq   INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    entry TEXT    NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    number  INTEGER PRIMARY KEY,
    hash    BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    request TEXT,
    record  TEXT    NOT NULL
) STRICT;
CREATE INDEX audit_by_request ON audit (request) WHERE request IS NOT NULL;

-- What was signed: one row a second at most while something happens, and the anchor of a pruning.
CREATE TABLE audit_heads (
    number    INTEGER NOT NULL,
    is_anchor INTEGER NOT NULL,
    head      TEXT    NOT NULL,
    PRIMARY KEY (number, is_anchor)
) STRICT, WITHOUT ROWID;

-- Which brackets were open when record `through` was the last: where the next start begins to look.
CREATE TABLE audit_open (
    id      INTEGER PRIMARY KEY CHECK (id = 1),
    through INTEGER NOT NULL,
    open    TEXT    NOT NULL
) STRICT;

CREATE TABLE once_keys (
    key    TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    body   BLOB    NOT NULL,
    run    TEXT,
    reply  TEXT,
    at     INTEGER NOT NULL,
    PRIMARY KEY (key, tenant)
) STRICT, WITHOUT ROWID;
CREATE INDEX once_keys_by_run ON once_keys (run) WHERE run IS NOT NULL;
CREATE INDEX once_keys_open ON once_keys (at) WHERE run IS NULL AND reply IS NULL;

CREATE TABLE contexts (
    run     TEXT    NOT NULL PRIMARY KEY,
    fence   INTEGER NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE context_values (
    run     TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    version INTEGER NOT NULL,
    value   TEXT,
    until   INTEGER,
    PRIMARY KEY (run, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE bodies (
    hash BLOB NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE usage_minutes (
    minute   INTEGER NOT NULL,
    tenant   TEXT    NOT NULL,
    user     TEXT    NOT NULL,
    requests INTEGER NOT NULL,
    tokens   INTEGER NOT NULL,
    cost     INTEGER NOT NULL,
    PRIMARY KEY (minute, tenant, user)
) STRICT, WITHOUT ROWID;

-- `workflow` is empty for a call outside a workflow.
CREATE TABLE costs (
    day              INTEGER NOT NULL,
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
    PRIMARY KEY (day, tenant, user, agent, workflow)
) STRICT, WITHOUT ROWID;

-- What executions and runs have spent; the other budgets follow from the costs.
CREATE TABLE budgets (
    budget        TEXT    NOT NULL PRIMARY KEY,
    day           INTEGER NOT NULL,
    tokens_input  INTEGER NOT NULL,
    tokens_output INTEGER NOT NULL,
    cost          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reservations (
    id   INTEGER PRIMARY KEY,
    held TEXT NOT NULL
) STRICT;
