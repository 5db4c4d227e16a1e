-- The same batches with fewer statements: a part that a batch does not have costs none. A function that is in use is
-- never changed, so these are the next versions.

-- As `greenroom_judge_v1`, for a batch without claims.
CREATE FUNCTION greenroom_judge_appends_v1(p_pod bigint, p_appends jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') FROM (
        SELECT a.unit,
               CASE WHEN r.number IS NULL THEN 'unknown_run'
                    WHEN t.fence <> a.fence OR t.holder IS DISTINCT FROM p_pod THEN 'fenced'
                    WHEN r.ended THEN 'ended'
                    ELSE 'out_of_order' END AS reason,
               r.seq
        FROM jsonb_to_recordset(p_appends) AS a (unit integer, run text, fence bigint, after bigint)
        LEFT JOIN runs r ON r.run = a.run
        LEFT JOIN trees t ON t.root = r.root
        WHERE r.number IS NULL OR t.fence <> a.fence OR t.holder IS DISTINCT FROM p_pod OR r.ended OR r.seq <> a.after
    ) x);
END $$;

-- Applies the appends that are taken to their runs and trees, as `greenroom_apply_runs_v1` does.
CREATE FUNCTION greenroom_apply_appends_v1(p_appends jsonb, p_out integer[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE runs r SET seq = a.seq, status = a.status, ended = a.ended, pending_approvals = a.pending,
                      updated = a.updated
    FROM jsonb_to_recordset(p_appends)
         AS a (unit integer, run text, seq bigint, status text, ended boolean, pending integer, updated bigint)
    WHERE r.run = a.run AND a.unit <> ALL (p_out);
    UPDATE trees t SET open_runs = t.open_runs - n.ended,
                       failures = CASE WHEN n.progress THEN 0 ELSE t.failures END,
                       attempts = CASE WHEN n.progress THEN 0 ELSE t.attempts END,
                       has_written = true
    FROM (SELECT r.root, count(*) FILTER (WHERE a.ended)::integer AS ended, bool_or(a.progress) AS progress
          FROM jsonb_to_recordset(p_appends) AS a (unit integer, run text, ended boolean, progress boolean)
          JOIN runs r ON r.run = a.run
          WHERE a.unit <> ALL (p_out) GROUP BY r.root) n
    WHERE t.root = n.root
      AND (n.ended > 0 OR NOT t.has_written OR n.progress AND (t.failures > 0 OR t.attempts > 0));
END $$;

-- As `greenroom_record_v1`.
CREATE FUNCTION greenroom_record_v2(
    p_chain bigint, p_units jsonb, p_refused jsonb, p_number bigint[], p_hash bytea[], p_at bigint[], p_request text[],
    p_tenant text[], p_record text[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_before bigint := (p_units->>'tip')::bigint;
    v_number bigint := v_before + cardinality(p_record);
    v_hash   bytea := p_hash[cardinality(p_record)];
BEGIN
    IF p_refused <> '[]' OR p_units ? 'interrupted' OR cardinality(p_record) = 0 THEN
        RETURN greenroom_record_v1(p_chain, p_units, p_refused, p_number, p_hash, p_at, p_request, p_tenant, p_record);
    END IF;
    INSERT INTO audit (chain, number, hash, at, request, tenant, record)
    SELECT p_chain, x.number, x.hash, x.at, x.request, x.tenant, x.record
    FROM unnest(p_number, p_hash, p_at, p_request, p_tenant, p_record)
         AS x (number, hash, at, request, tenant, record)
    ORDER BY x.number;
    IF p_units ? 'opened' THEN
        INSERT INTO audit_open (chain, number, request, tenant)
        SELECT p_chain, o.number, o.request, o.tenant
        FROM jsonb_to_recordset(p_units->'opened') AS o (number bigint, request text, tenant text);
    END IF;
    IF p_units ? 'closed' THEN
        DELETE FROM audit_open a USING jsonb_to_recordset(p_units->'closed') AS c (chain bigint, number bigint)
        WHERE a.chain = c.chain AND a.number = c.number;
    END IF;
    UPDATE audit_chains SET number = v_number, hash = v_hash WHERE chain = p_chain AND number = v_before;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the chain % does not end with record %', p_chain, v_before;
    END IF;
    RETURN jsonb_build_object('number', v_number, 'hash', encode(v_hash, 'hex'));
END $$;

-- As `greenroom_commit_v1`.
CREATE FUNCTION greenroom_commit_v2(
    p_pod bigint, p_lane integer, p_batch bigint, p_units jsonb,
    p_entry_unit integer[], p_entry_run text[], p_entry_seq bigint[], p_entry_at bigint[], p_entry text[],
    p_reply_key text[], p_reply_tenant text[], p_reply_at bigint[], p_reply text[],
    p_chain bigint, p_record_number bigint[], p_record_hash bytea[], p_record_at bigint[], p_record_request text[],
    p_record_tenant text[], p_record text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_is_plain boolean := NOT p_units ?| ARRAY['creates', 'claims', 'releases'];
    v_refused  jsonb := '[]';
    v_taken    jsonb := '[]';
    v_created  jsonb := '[]';
    v_claimed  jsonb := '[]';
    v_tip      jsonb;
    v_part     jsonb;
    v_out      integer[] := '{}';
    v_result   text;
BEGIN
    -- As long as this row is locked, no pod declares this one dead.
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    INSERT INTO batches (pod, lane, batch) VALUES (p_pod, p_lane, p_batch) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN '{"state":"void"}';
    END IF;
    IF NOT v_is_plain THEN
        PERFORM 1 FROM trees WHERE root IN (
            SELECT r.root FROM jsonb_to_recordset(p_units->'appends') AS a (run text) JOIN runs r ON r.run = a.run
            UNION SELECT c.root FROM jsonb_to_recordset(p_units->'creates') AS c (root text)
            UNION SELECT c.root FROM jsonb_to_recordset(p_units->'claims') AS c (root text)
            UNION SELECT r.root FROM jsonb_to_recordset(p_units->'releases') AS r (root text)
        ) ORDER BY root FOR NO KEY UPDATE;
    ELSIF p_units ? 'appends' THEN
        PERFORM 1 FROM trees WHERE root IN (
            SELECT r.root FROM jsonb_to_recordset(p_units->'appends') AS a (run text) JOIN runs r ON r.run = a.run
        ) ORDER BY root FOR NO KEY UPDATE;
    END IF;
    IF p_units ? 'claims' THEN
        v_refused := greenroom_judge_v1(p_pod, p_units);
    ELSIF p_units ? 'appends' THEN
        v_refused := greenroom_judge_appends_v1(p_pod, p_units->'appends');
    END IF;
    IF v_refused <> '[]' THEN
        v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    END IF;
    IF p_units ? 'keys' OR p_units ? 'freed' OR cardinality(p_reply_key) > 0 THEN
        PERFORM 1 FROM idempotency_keys k WHERE (k.key, k.tenant) IN (
            SELECT w.key, w.tenant FROM jsonb_to_recordset(p_units->'keys') AS w (key text, tenant text)
            UNION SELECT y.key, y.tenant FROM unnest(p_reply_key, p_reply_tenant) AS y (key, tenant)
            UNION SELECT f.key, f.tenant FROM jsonb_to_recordset(p_units->'freed') AS a (run text)
                  JOIN idempotency_keys f ON f.run = a.run
        ) ORDER BY k.key, k.tenant FOR UPDATE;
        -- A run that ends by a failure which may pass frees its key, also for a unit of this batch.
        DELETE FROM idempotency_keys k USING jsonb_to_recordset(p_units->'freed') AS a (unit integer, run text)
        WHERE k.run = a.run AND a.unit <> ALL (v_out);
        v_part := greenroom_take_keys_v1(p_pod, p_units->'keys', v_out);
        v_taken := v_part->'taken';
        v_refused := v_refused || (v_part->'refused');
        v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    END IF;
    IF p_units ? 'creates' THEN
        v_part := greenroom_create_runs_v1(p_pod, p_units->'creates', v_out);
        v_created := v_part->'created';
        v_refused := v_refused || (v_part->'refused');
        v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    END IF;
    IF v_taken <> '[]' THEN
        -- What was reserved for a unit that is not taken after all, and the keys of runs that end at once by a failure
        -- which may pass.
        DELETE FROM idempotency_keys k
        USING jsonb_to_recordset(v_taken) AS w (unit integer, key text, tenant text, transient boolean)
        WHERE k.key = w.key AND k.tenant = w.tenant AND (w.transient OR w.unit = ANY (v_out));
    END IF;
    IF NOT v_is_plain THEN
        v_claimed := greenroom_apply_runs_v1(p_pod, p_units, v_created, v_out);
    ELSIF p_units ? 'appends' THEN
        PERFORM greenroom_apply_appends_v1(p_units->'appends', v_out);
    END IF;
    IF cardinality(p_entry) > 0 THEN
        INSERT INTO journal (run, seq, at, entry)
        SELECT r.number, e.seq, e.at, e.entry
        FROM unnest(p_entry_unit, p_entry_run, p_entry_seq, p_entry_at, p_entry) AS e (unit, run, seq, at, entry)
        JOIN runs r ON r.run = e.run
        WHERE e.unit <> ALL (v_out);
    END IF;
    IF cardinality(p_reply_key) > 0 THEN
        -- The replies under keys, and the settlements, report what has happened; they are always written.
        UPDATE idempotency_keys k SET reply = y.reply, at = y.at, holder = NULL
        FROM unnest(p_reply_key, p_reply_tenant, p_reply_at, p_reply) AS y (key, tenant, at, reply)
        WHERE y.reply IS NOT NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
        DELETE FROM idempotency_keys k USING unnest(p_reply_key, p_reply_tenant, p_reply) AS y (key, tenant, reply)
        WHERE y.reply IS NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
    END IF;
    IF p_units ? 'settled' THEN
        PERFORM greenroom_settle_v1(p_pod, p_units->'settled');
    END IF;
    IF cardinality(p_record) > 0 OR p_units ? 'interrupted' THEN
        v_tip := greenroom_record_v2(p_chain, p_units, v_refused, p_record_number, p_record_hash, p_record_at,
                                     p_record_request, p_record_tenant, p_record);
    END IF;
    v_result := jsonb_build_object('state', 'committed', 'refused', v_refused, 'created', v_created,
                                   'claimed', v_claimed, 'tip', v_tip)::text;
    UPDATE batches SET result = v_result WHERE pod = p_pod AND lane = p_lane AND batch = p_batch;
    RETURN v_result;
END $$;

-- Each statement of a batch looks up by index what the batch names. The planner knows neither that these are few rows nor
-- how large the tables become while a connection lasts: left to itself, it reads whole tables for each batch.
ALTER FUNCTION greenroom_commit_v2 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_commit_v2 SET enable_seqscan = off;
ALTER FUNCTION greenroom_commit_v2 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_commit_v2 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_commit_v2 SET jit = off;
