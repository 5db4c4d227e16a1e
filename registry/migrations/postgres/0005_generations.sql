-- The catalogues and the policies that were applied for all pods. Each application is a generation of its kind,
-- `catalogue` or `policy`; the last one is current. The content of files is stored once, under its hash.
CREATE TABLE generations (
    kind    text   NOT NULL,
    number  bigint NOT NULL,
    -- The hash of the names and the hashes of its files.
    hash    bytea  NOT NULL,
    -- Where the files were read, as the user named it.
    source  text   NOT NULL,
    -- Who applied it, and when.
    issuer  text   NOT NULL,
    tenant  text   NOT NULL,
    user_id text   NOT NULL,
    at      bigint NOT NULL,
    PRIMARY KEY (kind, number)
);

CREATE TABLE generation_files (
    hash    bytea PRIMARY KEY,
    content bytea NOT NULL
);

-- The files of a generation.
CREATE TABLE generation_members (
    kind   text   NOT NULL,
    number bigint NOT NULL,
    name   text   NOT NULL,
    hash   bytea  NOT NULL,
    PRIMARY KEY (kind, number, name)
);
CREATE INDEX generation_members_by_hash ON generation_members (hash);

-- The numbers of the current generations; zero until the first application. An application locks the row, so it is
-- decided on what is current then.
CREATE TABLE current_generations (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    catalogue bigint  NOT NULL DEFAULT 0,
    policy    bigint  NOT NULL DEFAULT 0
);
INSERT INTO current_generations DEFAULT VALUES;

-- As `greenroom_tick_v1`, with the numbers of the current generations, so that a pod needs no further statement to learn
-- of an application.
CREATE FUNCTION greenroom_tick_v2(p_pod bigint, p_lease_ms bigint, p_suspects jsonb, p_now bigint, p_inbox_max integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_report jsonb := greenroom_tick_v1(p_pod, p_lease_ms, p_suspects, p_now, p_inbox_max)::jsonb;
BEGIN
    RETURN (v_report || (
        SELECT jsonb_build_object('generations', jsonb_build_object('catalogue', c.catalogue, 'policy', c.policy))
        FROM current_generations c
    ))::text;
END $$;
