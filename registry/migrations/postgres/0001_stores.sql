-- Schema of the registry's PostgreSQL database, which many pods share.
--
-- Times of runs, records and money are microseconds since 1970-01-01, UTC, by the clock of the pod that wrote them.
-- Only the leases of pods are times of the database (`clock_timestamp()`), because every pod compares them. Money is
-- in millionths of a US dollar. Hashes are 32 bytes. JSON is compact text; a text that may contain any character is
-- stored as UTF-8 bytes, because a text of PostgreSQL has no U+0000.

-- Which database this is, and the public key that certifies the keys of its audit chains; NULL until the first pod.
CREATE TABLE store_identity (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    database  text    NOT NULL,
    audit_key text
);
INSERT INTO store_identity (database) VALUES (replace(gen_random_uuid()::text, '-', ''));

-- The starts of pods. A pod whose row is dead writes nothing any more: every batch locks the row of its pod for as long
-- as it runs, and a pod that declares it dead waits for these locks.
CREATE TABLE pods (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The id of this start; the next start of the same process has another one.
    pod        text        NOT NULL UNIQUE,
    store      text        NOT NULL,
    version    text        NOT NULL,
    -- The versions of journals that it reads.
    reads_from integer     NOT NULL,
    reads_to   integer     NOT NULL,
    labels     text[]      NOT NULL DEFAULT '{}',
    -- Trees of runs that it accepts at once; zero if that is not bounded.
    capacity   integer     NOT NULL DEFAULT 0,
    -- The number of its renewals: an observer sees a renewal by it, and not by a clock.
    renewals   bigint      NOT NULL DEFAULT 0,
    renewed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When it was last active, by its own clock, as the times of its runs are.
    active_at  bigint      NOT NULL,
    dead       boolean     NOT NULL DEFAULT false,
    -- The pod that frees, settles and closes what this one has left; it is another one if that dies too.
    cleaner    bigint,
    cleaned    boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX pods_live ON pods (expires_at) WHERE NOT dead;
CREATE INDEX pods_to_clean ON pods (id) WHERE dead AND NOT cleaned;

-- The batches of the lanes of pods. A pod that does not know whether a batch was committed inserts it as void: then
-- it never can be. `result` is what the batch has replied.
CREATE TABLE batches (
    pod    bigint      NOT NULL,
    lane   integer     NOT NULL,
    batch  bigint      NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    void   boolean     NOT NULL DEFAULT false,
    result text,
    PRIMARY KEY (pod, lane, batch)
) WITH (fillfactor = 50);
CREATE INDEX batches_by_age ON batches (at);

-- A run and the runs that it calls. A tree has one owner, and every run of it has that owner's fence.
CREATE TABLE trees (
    root            text    PRIMARY KEY,
    -- `runs.number` of the root.
    number          bigint  NOT NULL,
    tenant          text    NOT NULL,
    -- `pods.id` of the owner; NULL if it has none. An owner that is dead is none either.
    holder          bigint,
    -- The id by which the last owner is named in records.
    pod             text    NOT NULL,
    fence           bigint  NOT NULL,
    -- How often it has failed, and how often its owner has died, since one of its runs last made progress.
    failures        integer NOT NULL DEFAULT 0,
    attempts        integer NOT NULL DEFAULT 0,
    -- Its runs that have not ended.
    open_runs       integer NOT NULL,
    -- When a pod is to claim it; the largest number if it waits for a signal only.
    wake_at         bigint  NOT NULL DEFAULT 0,
    -- It only waits, for that time or for a message.
    parked          boolean NOT NULL DEFAULT false,
    -- The version of the journals of its runs; a pod that does not read it does not claim the tree.
    journal_version integer NOT NULL DEFAULT 1,
    -- Since when the last owner could work on it, and whether that owner has written to one of its runs.
    granted_at      bigint  NOT NULL,
    has_written     boolean NOT NULL,
    -- When the last owner before that, or after a release this one, was active that has written to one of its runs.
    active_since    bigint,
    active_until    bigint
) WITH (fillfactor = 70);
CREATE INDEX trees_without_owner ON trees (wake_at, number) WHERE holder IS NULL AND open_runs > 0;
CREATE INDEX trees_by_holder ON trees (holder) WHERE holder IS NOT NULL AND open_runs > 0;

-- The owners of runs. `hash` is that of issuer, tenant and user, each after its length.
CREATE TABLE principals (
    hash    bytea PRIMARY KEY,
    issuer  text  NOT NULL,
    tenant  text  NOT NULL,
    user_id text  NOT NULL
);

-- Fence, pod and failures of a run are those of its tree.
CREATE TABLE runs (
    number            bigint  GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run               text    NOT NULL UNIQUE,
    tenant            text    NOT NULL,
    -- The owner, by the hash of the row of `principals`. `tenant` is that of the owner.
    principal         bytea   NOT NULL,
    workflow          text    NOT NULL,
    version           bytea   NOT NULL,
    team              text,
    parent            text,
    root              text    NOT NULL,
    request_hash      bytea   NOT NULL,
    -- True if an agent of the run, or of a run that it called, processes personal data.
    personal_data     boolean NOT NULL,
    status            text    NOT NULL,
    ended             boolean NOT NULL,
    -- Steps that await an approval; the run awaits approval until none is left.
    pending_approvals integer NOT NULL,
    -- The number of its last journal entry.
    seq               bigint  NOT NULL,
    created           bigint  NOT NULL,
    updated           bigint  NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX runs_by_tenant ON runs (tenant, number);
CREATE INDEX runs_by_root ON runs (root);
CREATE INDEX runs_ended ON runs (number) WHERE ended;

CREATE TABLE journal (
    run   bigint NOT NULL,
    seq   bigint NOT NULL,
    at    bigint NOT NULL,
    entry text   NOT NULL,
    PRIMARY KEY (run, seq)
);

-- Signals, cancellations and replies for runs, from the pods that have received them. The owner of the run records
-- each by its id in the journal, and then removes it.
CREATE TABLE inbox (
    run  text   NOT NULL,
    id   text   NOT NULL,
    root text   NOT NULL,
    body text   NOT NULL,
    at   bigint NOT NULL,
    PRIMARY KEY (run, id)
);
CREATE INDEX inbox_by_root ON inbox (root);

CREATE TABLE idempotency_keys (
    key          text   NOT NULL,
    tenant       text   NOT NULL,
    request_hash bytea  NOT NULL,
    run          text,
    reply        text,
    at           bigint NOT NULL,
    -- The pod whose request has reserved it, until it has a reply.
    holder       bigint,
    PRIMARY KEY (key, tenant)
);
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run) WHERE run IS NOT NULL;
CREATE INDEX idempotency_keys_replied ON idempotency_keys (at) WHERE reply IS NOT NULL;
CREATE INDEX idempotency_keys_reserved ON idempotency_keys (holder) WHERE holder IS NOT NULL;

-- One hash chain for each lane of each pod. The first one has the number 0.
CREATE TABLE audit_chains (
    chain  bigint  GENERATED ALWAYS AS IDENTITY (MINVALUE 0 START WITH 0) PRIMARY KEY,
    pod    bigint  NOT NULL,
    lane   integer NOT NULL,
    -- Its last record.
    number bigint  NOT NULL,
    hash   bytea   NOT NULL,
    UNIQUE (pod, lane)
) WITH (fillfactor = 50);

CREATE TABLE audit (
    chain    bigint NOT NULL,
    number   bigint NOT NULL,
    hash     bytea  NOT NULL,
    at       bigint NOT NULL,
    request  text,
    -- The tenant of the entry; NULL for an event of the platform itself.
    tenant   text,
    record   text   NOT NULL,
    -- The order of the records of all chains, for readers.
    position bigint GENERATED ALWAYS AS IDENTITY,
    PRIMARY KEY (chain, number)
);
CREATE UNIQUE INDEX audit_by_position ON audit (position);
CREATE INDEX audit_by_request ON audit (request) WHERE request IS NOT NULL;

-- The entries that are open, by the record that opened them.
CREATE TABLE audit_open (
    chain   bigint NOT NULL,
    number  bigint NOT NULL,
    request text   NOT NULL,
    tenant  text   NOT NULL,
    PRIMARY KEY (chain, number)
);

-- The root chain: which chains there are, with the key of each, and their signed heads.
CREATE TABLE audit_root (
    number bigint PRIMARY KEY,
    hash   bytea  NOT NULL,
    at     bigint NOT NULL,
    record text   NOT NULL
);

-- Pinned versions of definitions.
CREATE TABLE definition_versions (
    hash bytea PRIMARY KEY,
    body bytea NOT NULL
);

-- The versions of a directory of definitions that are in service. A definition whose file has become invalid
-- remains in service in its version here, also in the next process.
CREATE TABLE definitions_in_service (
    kind   text  NOT NULL,
    id     text  NOT NULL,
    source text  NOT NULL,
    -- NULL if the definition has no file of its own, or one whose name is not UTF-8.
    file   text,
    hash   bytea NOT NULL,
    PRIMARY KEY (kind, id)
);

-- Texts that agents remember. Vectors are 32-bit floats, little-endian.
CREATE TABLE memories (
    tenant     text   NOT NULL,
    agent      text   NOT NULL,
    id         bytea  NOT NULL,
    at         bigint NOT NULL,
    expires_at bigint,
    text       bytea  NOT NULL,
    vector     bytea  NOT NULL,
    PRIMARY KEY (tenant, agent, id)
);
CREATE INDEX memories_by_age ON memories (tenant, agent, at, id);

-- Queries are counted apart from the requests that execute something (`requests`).
CREATE TABLE usage_minutes (
    minute   bigint NOT NULL,
    issuer   text   NOT NULL,
    tenant   text   NOT NULL,
    user_id  text   NOT NULL,
    requests bigint NOT NULL,
    queries  bigint NOT NULL,
    tokens   bigint NOT NULL,
    cost     bigint NOT NULL,
    PRIMARY KEY (issuer, tenant, user_id, minute)
);
CREATE INDEX usage_minutes_by_age ON usage_minutes (minute);

-- `workflow` is empty for a call outside a workflow. The `assumed` columns count calls that were
-- priced by their tier, because their model has no price of its own.
CREATE TABLE costs (
    day              bigint NOT NULL,
    issuer           text   NOT NULL,
    tenant           text   NOT NULL,
    user_id          text   NOT NULL,
    agent            text   NOT NULL,
    workflow         text   NOT NULL,
    calls            bigint NOT NULL,
    tokens_input     bigint NOT NULL,
    tokens_output    bigint NOT NULL,
    cost             bigint NOT NULL,
    calls_estimated  bigint NOT NULL,
    estimated_input  bigint NOT NULL,
    estimated_output bigint NOT NULL,
    estimated_cost   bigint NOT NULL,
    calls_assumed    bigint NOT NULL,
    assumed_cost     bigint NOT NULL,
    PRIMARY KEY (day, issuer, tenant, user_id, agent, workflow)
);

-- What each budget has been charged, of all time, and what calls in flight have reserved. A reservation locks the rows
-- of all its budgets, in the order of their names.
CREATE TABLE accounts (
    account         text   PRIMARY KEY,
    -- The day of the last change.
    day             bigint NOT NULL,
    tokens_input    bigint NOT NULL DEFAULT 0,
    tokens_output   bigint NOT NULL DEFAULT 0,
    cost            bigint NOT NULL DEFAULT 0,
    reserved_input  bigint NOT NULL DEFAULT 0,
    reserved_output bigint NOT NULL DEFAULT 0,
    reserved_cost   bigint NOT NULL DEFAULT 0,
    -- Of an execution or a run: the models that were charged, and whether the price of any was assumed.
    models          text[]  NOT NULL DEFAULT '{}',
    assumed         boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE INDEX accounts_by_age ON accounts (day);

-- What each budget has been charged on a day; the days of the longest period only.
CREATE TABLE account_days (
    account       text   NOT NULL,
    day           bigint NOT NULL,
    tokens_input  bigint NOT NULL,
    tokens_output bigint NOT NULL,
    cost          bigint NOT NULL,
    PRIMARY KEY (account, day)
) WITH (fillfactor = 70);
CREATE INDEX account_days_by_age ON account_days (day);

-- Reservations that are not settled yet; `n` is the pod's own number.
CREATE TABLE reservations (
    pod      bigint  NOT NULL,
    n        bigint  NOT NULL,
    key      text    NOT NULL,
    issuer   text    NOT NULL,
    tenant   text    NOT NULL,
    user_id  text    NOT NULL,
    agent    text    NOT NULL,
    workflow text    NOT NULL,
    model    text    NOT NULL,
    assumed  boolean NOT NULL,
    budgets  text[]  NOT NULL,
    tokens_input  bigint NOT NULL,
    tokens_output bigint NOT NULL,
    cost     bigint  NOT NULL,
    at       bigint  NOT NULL,
    PRIMARY KEY (pod, n)
);

-- Settlements that the accounts do not show yet. A settlement becomes durable with what its call has produced; the
-- accounts, which many calls share, are changed by a later batch of their own lane.
CREATE TABLE settlements (
    id              bigint   GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer          text     NOT NULL,
    tenant          text     NOT NULL,
    user_id         text     NOT NULL,
    agent           text     NOT NULL,
    workflow        text     NOT NULL,
    model           text     NOT NULL,
    assumed         boolean  NOT NULL,
    budgets         text[]   NOT NULL,
    reserved_input  bigint   NOT NULL,
    reserved_output bigint   NOT NULL,
    reserved_cost   bigint   NOT NULL,
    -- 0: not used, 1: as the provider reported it, 2: estimated.
    kind            smallint NOT NULL,
    tokens_input    bigint   NOT NULL,
    tokens_output   bigint   NOT NULL,
    cost            bigint   NOT NULL,
    day             bigint   NOT NULL,
    minute          bigint   NOT NULL
);
