-- Keys are stored in the order in which they were reserved or got their reply, so that a commit of many requests appends
-- to the end of the table. A table clustered by key changed a page for each of them, and one more for its reply.
CREATE TABLE idempotency_keys_in_order (
    number       INTEGER PRIMARY KEY,
    key          TEXT    NOT NULL,
    tenant       TEXT    NOT NULL,
    request_hash BLOB    NOT NULL,
    run          TEXT,
    reply        TEXT,
    at           INTEGER NOT NULL,
    -- The pod that has reserved the key.
    pod          TEXT    NOT NULL
) STRICT;
INSERT INTO idempotency_keys_in_order (key, tenant, request_hash, run, reply, at, pod)
    SELECT key, tenant, request_hash, run, reply, at, pod FROM idempotency_keys ORDER BY at;
DROP TABLE idempotency_keys;
ALTER TABLE idempotency_keys_in_order RENAME TO idempotency_keys;
CREATE UNIQUE INDEX idempotency_keys_by_key ON idempotency_keys (key, tenant);
CREATE INDEX idempotency_keys_by_run ON idempotency_keys (run) WHERE run IS NOT NULL;
CREATE INDEX idempotency_keys_open ON idempotency_keys (at) WHERE run IS NULL AND reply IS NULL;
