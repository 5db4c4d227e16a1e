-- Trees whose journals an earlier release cannot read. Version 2 of the journals has waits: `wait_started` and
-- `event_received`. A pod writes them only after a finalization, and only to trees that have this version.

-- A database without a pod has none of an earlier release.
UPDATE cluster_format SET journal_version = 2 WHERE NOT EXISTS (SELECT 1 FROM pods);

-- As `greenroom_commit_v2`, for batches that create a run with a later version of journals: its tree has that version from
-- the commit on, so no pod claims it that does not read it.
CREATE FUNCTION greenroom_commit_v3(
    p_pod bigint, p_lane integer, p_batch bigint, p_units jsonb,
    p_entry_unit integer[], p_entry_run text[], p_entry_seq bigint[], p_entry_at bigint[], p_entry text[],
    p_reply_key text[], p_reply_tenant text[], p_reply_at bigint[], p_reply text[],
    p_chain bigint, p_record_number bigint[], p_record_hash bytea[], p_record_at bigint[], p_record_request text[],
    p_record_tenant text[], p_record text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_result text := greenroom_commit_v2(
        p_pod, p_lane, p_batch, p_units, p_entry_unit, p_entry_run, p_entry_seq, p_entry_at, p_entry, p_reply_key,
        p_reply_tenant, p_reply_at, p_reply, p_chain, p_record_number, p_record_hash, p_record_at, p_record_request,
        p_record_tenant, p_record);
BEGIN
    -- The rows of these trees are locked by the commit. A batch without a result has created no run.
    UPDATE trees t SET journal_version = c.version
    FROM jsonb_to_recordset(p_units->'versions') AS c (unit integer, root text, version integer)
    JOIN jsonb_to_recordset(v_result::jsonb->'created') AS i (unit integer) ON i.unit = c.unit
    WHERE t.root = c.root AND t.journal_version < c.version;
    RETURN v_result;
END $$;
