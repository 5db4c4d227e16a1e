-- What agents remember. Vectors are 32-bit floats, the lowest byte first.

CREATE TABLE memories (
    tenant TEXT    NOT NULL,
    agent  TEXT    NOT NULL,
    id     BLOB    NOT NULL,
    at     INTEGER NOT NULL,
    until  INTEGER,
    text   TEXT    NOT NULL,
    vector BLOB    NOT NULL,
    PRIMARY KEY (tenant, agent, id)
) STRICT;
CREATE INDEX memories_by_age ON memories (tenant, agent, at, id);
