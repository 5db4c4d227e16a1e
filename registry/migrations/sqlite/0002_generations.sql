-- The catalogues and the policies that were applied. Each application is a generation of its kind, `catalogue` or
-- `policy`; the last one is current. The content of files is stored once, under its hash.
CREATE TABLE generations (
    kind   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    -- The hash of the names and the hashes of its files.
    hash   BLOB    NOT NULL,
    -- Where the files were read, as the user named it.
    source TEXT    NOT NULL,
    -- Who applied it, and when, in microseconds since 1970-01-01, UTC.
    issuer TEXT    NOT NULL,
    tenant TEXT    NOT NULL,
    user   TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    PRIMARY KEY (kind, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE generation_files (
    hash    BLOB NOT NULL PRIMARY KEY,
    content BLOB NOT NULL
) STRICT;

-- The files of a generation.
CREATE TABLE generation_members (
    kind   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    name   TEXT    NOT NULL,
    hash   BLOB    NOT NULL,
    PRIMARY KEY (kind, number, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX generation_members_by_hash ON generation_members (hash);

-- The numbers of the current generations; zero until the first application.
CREATE TABLE current_generations (
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    catalogue INTEGER NOT NULL,
    policy    INTEGER NOT NULL
) STRICT;
INSERT INTO current_generations (one, catalogue, policy) VALUES (1, 0, 0);
