-- Memories of several embedders, which are never compared; the user for whom each was remembered; and parts of documents.
ALTER TABLE memories
    ADD COLUMN embedder   text   NOT NULL DEFAULT 'hashed:1:256',
    -- The version of the owner with which the row was written. Searches in memory read the rows of later versions.
    ADD COLUMN version    bigint NOT NULL DEFAULT 0,
    -- NULL for what releases before this one have stored.
    ADD COLUMN issuer     text,
    ADD COLUMN user_id    text,
    -- The document and the lines of a part of it; NULL for what an execution remembers.
    ADD COLUMN source     text,
    ADD COLUMN first_line bigint,
    ADD COLUMN last_line  bigint;
CREATE INDEX memories_by_version ON memories (tenant, agent, embedder, version, id);
CREATE INDEX memories_by_user ON memories (tenant, issuer, user_id) WHERE user_id IS NOT NULL;
CREATE INDEX memories_by_source ON memories (tenant, agent, source) WHERE source IS NOT NULL;
CREATE INDEX memories_of_executions ON memories (tenant, agent, at, id) WHERE source IS NULL;
CREATE INDEX memories_by_time ON memories (at);
CREATE INDEX memories_by_expiry ON memories (expires_at) WHERE expires_at IS NOT NULL;

-- How often the memories of an agent were written, for each tenant. The lock of a row orders the writes of its owner, so that
-- versions become visible in their order.
CREATE TABLE memory_owners (
    tenant  text   NOT NULL,
    agent   text   NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant, agent)
);

-- Pods of the release before this one write rows without a version while a cluster is upgraded.
CREATE FUNCTION greenroom_memory_version_v1() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    next_version bigint;
BEGIN
    INSERT INTO memory_owners AS o (tenant, agent, version) VALUES (NEW.tenant, NEW.agent, 1)
    ON CONFLICT (tenant, agent) DO UPDATE SET version = o.version + 1 RETURNING o.version INTO next_version;
    NEW.version := next_version;
    RETURN NEW;
END $$;
CREATE TRIGGER memories_version BEFORE INSERT ON memories
    FOR EACH ROW WHEN (NEW.version = 0) EXECUTE FUNCTION greenroom_memory_version_v1();
