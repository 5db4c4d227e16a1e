-- Memories of several embedders, which are never compared; the user for whom each was remembered; and parts of documents.
ALTER TABLE memories ADD COLUMN embedder TEXT NOT NULL DEFAULT 'hashed:1:256';
-- The version of the owner with which the row was written. Searches in memory read the rows of later versions.
ALTER TABLE memories ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
-- NULL for what releases before this one have stored.
ALTER TABLE memories ADD COLUMN issuer TEXT;
ALTER TABLE memories ADD COLUMN user TEXT;
-- The document and the lines of a part of it; NULL for what an execution remembers.
ALTER TABLE memories ADD COLUMN source TEXT;
ALTER TABLE memories ADD COLUMN first_line INTEGER;
ALTER TABLE memories ADD COLUMN last_line INTEGER;
CREATE INDEX memories_by_version ON memories (tenant, agent, embedder, version, id);
CREATE INDEX memories_by_user ON memories (tenant, issuer, user) WHERE user IS NOT NULL;
CREATE INDEX memories_by_source ON memories (tenant, agent, source) WHERE source IS NOT NULL;
CREATE INDEX memories_of_executions ON memories (tenant, agent, at, id) WHERE source IS NULL;
CREATE INDEX memories_by_time ON memories (at);
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

-- How often the memories of an agent were written, for each tenant.
CREATE TABLE memory_owners (
    tenant  TEXT    NOT NULL,
    agent   TEXT    NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (tenant, agent)
) STRICT, WITHOUT ROWID;
