-- Which format of the journals all pods have agreed to write, and what a pod that joins has to read.

-- The newest version of journals that may be written. It is raised by an operator, once every pod that is alive reads it.
CREATE TABLE cluster_format (
    one             boolean PRIMARY KEY DEFAULT true CHECK (one),
    journal_version integer NOT NULL DEFAULT 1,
    -- By the clock of the pod or command that has raised it; NULL for the first one.
    finalized_at    bigint
);
INSERT INTO cluster_format DEFAULT VALUES;

-- As `greenroom_join_v1`, for a pod that reads every journal which may be written. The row is locked until the pod is
-- registered, so no finalization misses it.
CREATE FUNCTION greenroom_join_v2(
    p_pod text, p_version text, p_reads_from integer, p_reads_to integer, p_lanes integer, p_lease_ms bigint,
    p_now bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_version integer;
BEGIN
    SELECT f.journal_version INTO v_version FROM cluster_format f FOR SHARE;
    IF v_version > p_reads_to THEN
        RETURN jsonb_build_object('unreadable', v_version)::text;
    END IF;
    RETURN greenroom_join_v1(p_pod, p_version, p_reads_from, p_reads_to, p_lanes, p_lease_ms, p_now);
END $$;

-- Raises the version that may be written, unless a pod that is alive does not read it. A pod whose lease has expired
-- counts until it is dead: it may renew the lease.
CREATE FUNCTION greenroom_finalize_v1(p_version integer, p_now bigint) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_format cluster_format;
    v_pods   jsonb;
BEGIN
    SELECT * INTO v_format FROM cluster_format FOR UPDATE;
    IF v_format.journal_version >= p_version THEN
        RETURN jsonb_build_object('state', 'unchanged', 'journal_version', v_format.journal_version,
                                  'finalized_at', v_format.finalized_at)::text;
    END IF;
    SELECT jsonb_agg(p.pod ORDER BY p.id) INTO v_pods FROM pods p WHERE NOT p.dead AND p.reads_to < p_version;
    IF v_pods IS NOT NULL THEN
        RETURN jsonb_build_object('state', 'refused', 'pods', v_pods)::text;
    END IF;
    UPDATE cluster_format SET journal_version = p_version, finalized_at = p_now;
    RETURN jsonb_build_object('state', 'done', 'journal_version', p_version, 'finalized_at', p_now)::text;
END $$;
