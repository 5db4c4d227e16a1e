-- Most batches are plain: nothing in them is claimed, released or freed, each run that they create is the root of a tree,
-- and each of their units is taken. `greenroom_commit_plain_v1` commits such a batch with a statement for each kind of row
-- that it has, from arrays, and without a row of `batches`: a lane has one batch in flight, so its last outcome is all that
-- it ever resolves, and the row of its chain, which each batch changes anyway, has that.
--
-- A batch that is not plain is committed by `greenroom_commit_v2`, as before, and so is one of which a unit is not taken:
-- nothing of it is written, and it is sent again to that function, which decides about each unit.

-- The last batch of the lane that was committed by `greenroom_commit_plain_v1`, or that never can be, and then `result` is
-- NULL. The numbers of the batches of a lane only grow: a batch whose number is not greater is never committed.
ALTER TABLE audit_chains ADD COLUMN batch bigint NOT NULL DEFAULT 0, ADD COLUMN result text;

-- An array that is NULL is empty. `p_tip` is the number of the last record of the chain; the records follow it.
--   append:    by the numbers of their runs; `status` and what follows it are those of the run after the append
--   new:       the runs that are created, sorted by the bytes of their ids; this pod owns the tree of each unless it is
--              `unowned`
--   principal: the owners of the new runs that may not be stored yet
--   entry:     entries of journals: of the run with this number, or else of the new run at this position
--   record:    records of the chain; `opens` is true for one that opens an entry
--   closed:    the entries that are closed, each by the record that has opened it
--   key:       keys to reserve, for a run or for a request of this pod
--   reply:     the replies of requests under their keys; NULL releases the key
--
-- The result is `committed` with the numbers of the new runs, in the order of their ids; `dead`; or `refused`, and then
-- nothing was written. If another transaction is in the way at the same moment, it is the error GR002, with the same
-- meaning. Rows are locked in the order of the tables: pods, trees, runs, idempotency_keys, reservations, audit.
CREATE FUNCTION greenroom_commit_plain_v1(
    p_pod bigint, p_batch bigint, p_chain bigint, p_tip bigint,
    p_append_run bigint[], p_append_root text[], p_append_fence bigint[], p_append_after bigint[], p_append_seq bigint[],
    p_append_status text[], p_append_ended boolean[], p_append_pending integer[], p_append_updated bigint[],
    p_append_progress boolean[],
    p_new_run text[], p_new_tenant text[], p_new_principal bytea[], p_new_workflow text[], p_new_version bytea[],
    p_new_team text[], p_new_hash bytea[], p_new_personal boolean[], p_new_status text[], p_new_ended boolean[],
    p_new_pending integer[], p_new_seq bigint[], p_new_at bigint[], p_new_pod text[], p_new_fence bigint[],
    p_new_unowned boolean[], p_new_journal integer[],
    p_principal_hash bytea[], p_principal_issuer text[], p_principal_tenant text[], p_principal_user text[],
    p_entry_run bigint[], p_entry_new integer[], p_entry_seq bigint[], p_entry_at bigint[], p_entry text[],
    p_record_hash bytea[], p_record_at bigint[], p_record_request text[], p_record_tenant text[], p_record_opens boolean[],
    p_record text[],
    p_closed_chain bigint[], p_closed_number bigint[],
    p_key text[], p_key_tenant text[], p_key_hash bytea[], p_key_run text[], p_key_at bigint[],
    p_reply_key text[], p_reply_tenant text[], p_reply_at bigint[], p_reply text[],
    p_settled jsonb
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_records  integer := COALESCE(cardinality(p_record), 0);
    v_rows     bigint;
    v_roots    text[];
    v_ended    boolean[];
    v_progress boolean[];
    v_numbers  bigint[];
    v_result   text := '{"state":"committed"}';
BEGIN
    -- As long as this row is locked, no pod declares this one dead.
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    -- A request that is repeated is not unusual, and is no error in the log of the server.
    IF p_key IS NOT NULL AND EXISTS (
        SELECT 1 FROM unnest(p_key, p_key_tenant) AS w (key, tenant)
        JOIN idempotency_keys k ON k.key = w.key AND k.tenant = w.tenant
    ) THEN
        RETURN '{"state":"refused"}';
    END IF;
    IF p_append_run IS NOT NULL THEN
        -- Each tree is locked before its owner is compared, and each run before its position is.
        WITH changed AS (
            UPDATE runs r SET seq = a.seq, status = a.status, ended = a.ended, pending_approvals = a.pending,
                              updated = a.updated
            FROM (
                SELECT a.*, a.ended OR NOT t.has_written OR a.progress AND (t.failures > 0 OR t.attempts > 0) AS counts
                FROM unnest(p_append_run, p_append_root, p_append_fence, p_append_after, p_append_seq, p_append_status,
                            p_append_ended, p_append_pending, p_append_updated, p_append_progress)
                     AS a (run, root, fence, after, seq, status, ended, pending, updated, progress)
                JOIN trees t ON t.root = a.root
                WHERE t.holder = p_pod AND t.fence = a.fence
                ORDER BY a.root FOR NO KEY UPDATE OF t
            ) a
            WHERE r.number = a.run AND r.root = a.root AND r.seq = a.after AND NOT r.ended
            RETURNING a.root, a.ended, a.progress, a.counts
        )
        SELECT count(*), array_agg(c.root) FILTER (WHERE c.counts), array_agg(c.ended) FILTER (WHERE c.counts),
               array_agg(c.progress) FILTER (WHERE c.counts)
        INTO v_rows, v_roots, v_ended, v_progress FROM changed c;
        IF v_rows <> cardinality(p_append_run) THEN
            RAISE EXCEPTION 'an append of the batch is not taken' USING ERRCODE = 'GR002';
        END IF;
        IF v_roots IS NOT NULL THEN
            UPDATE trees t SET open_runs = t.open_runs - n.ended,
                               failures = CASE WHEN n.progress THEN 0 ELSE t.failures END,
                               attempts = CASE WHEN n.progress THEN 0 ELSE t.attempts END,
                               has_written = true
            FROM (SELECT c.root, count(*) FILTER (WHERE c.ended)::integer AS ended, bool_or(c.progress) AS progress
                  FROM unnest(v_roots, v_ended, v_progress) AS c (root, ended, progress) GROUP BY c.root) n
            WHERE t.root = n.root;
        END IF;
    END IF;
    IF p_principal_hash IS NOT NULL THEN
        INSERT INTO principals (hash, issuer, tenant, user_id)
        SELECT p.hash, p.issuer, p.tenant, p.user_id
        FROM unnest(p_principal_hash, p_principal_issuer, p_principal_tenant, p_principal_user)
             AS p (hash, issuer, tenant, user_id)
        ORDER BY p.hash ON CONFLICT (hash) DO NOTHING;
    END IF;
    IF p_new_run IS NOT NULL THEN
        WITH created AS (
            INSERT INTO runs (run, tenant, principal, workflow, version, team, root, request_hash, personal_data, status,
                              ended, pending_approvals, seq, created, updated)
            SELECT c.run, c.tenant, c.principal, c.workflow, c.version, c.team, c.run, c.hash, c.personal, c.status,
                   c.ended, c.pending, c.seq, c.at, c.at
            FROM unnest(p_new_run, p_new_tenant, p_new_principal, p_new_workflow, p_new_version, p_new_team, p_new_hash,
                        p_new_personal, p_new_status, p_new_ended, p_new_pending, p_new_seq, p_new_at)
                 AS c (run, tenant, principal, workflow, version, team, hash, personal, status, ended, pending, seq, at)
            ORDER BY c.run COLLATE "C" ON CONFLICT (run) DO NOTHING
            RETURNING run, number
        )
        SELECT array_agg(c.number ORDER BY c.run COLLATE "C") INTO v_numbers FROM created c;
        IF v_numbers IS NULL OR cardinality(v_numbers) <> cardinality(p_new_run) THEN
            RAISE EXCEPTION 'a run of the batch exists' USING ERRCODE = 'GR002';
        END IF;
        INSERT INTO trees (root, number, tenant, holder, pod, fence, open_runs, journal_version, granted_at, has_written,
                           active_since, active_until)
        SELECT c.root, c.number, c.tenant, CASE WHEN c.unowned THEN NULL ELSE p_pod END, c.pod, c.fence,
               CASE WHEN c.ended THEN 0 ELSE 1 END, c.journal, c.at, true, c.at, c.at
        FROM unnest(p_new_run, v_numbers, p_new_tenant, p_new_unowned, p_new_pod, p_new_fence, p_new_ended, p_new_journal,
                    p_new_at)
             AS c (root, number, tenant, unowned, pod, fence, ended, journal, at)
        ORDER BY c.root COLLATE "C" ON CONFLICT (root) DO NOTHING;
        v_result := '{"state":"committed","numbers":' || array_to_json(v_numbers)::text || '}';
    END IF;
    IF p_entry IS NOT NULL THEN
        INSERT INTO journal (run, seq, at, entry)
        SELECT COALESCE(e.run, v_numbers[e.new]), e.seq, e.at, e.entry
        FROM unnest(p_entry_run, p_entry_new, p_entry_seq, p_entry_at, p_entry) AS e (run, new, seq, at, entry);
    END IF;
    IF p_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (key, tenant, request_hash, run, at, holder)
        SELECT w.key, w.tenant, w.hash, w.run, w.at, CASE WHEN w.run IS NULL THEN p_pod END
        FROM unnest(p_key, p_key_tenant, p_key_hash, p_key_run, p_key_at) AS w (key, tenant, hash, run, at)
        ORDER BY w.key, w.tenant ON CONFLICT (key, tenant) DO NOTHING;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows <> cardinality(p_key) THEN
            RAISE EXCEPTION 'a key of the batch is in use' USING ERRCODE = 'GR002';
        END IF;
    END IF;
    IF p_reply_key IS NOT NULL THEN
        -- The replies under keys, and the settlements, report what has happened; they are always written.
        PERFORM 1 FROM idempotency_keys k JOIN unnest(p_reply_key, p_reply_tenant) AS y (key, tenant)
             ON k.key = y.key AND k.tenant = y.tenant ORDER BY k.key, k.tenant FOR UPDATE OF k;
        UPDATE idempotency_keys k SET reply = y.reply, at = y.at, holder = NULL
        FROM unnest(p_reply_key, p_reply_tenant, p_reply_at, p_reply) AS y (key, tenant, at, reply)
        WHERE y.reply IS NOT NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
        DELETE FROM idempotency_keys k USING unnest(p_reply_key, p_reply_tenant, p_reply) AS y (key, tenant, reply)
        WHERE y.reply IS NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
    END IF;
    IF p_settled IS NOT NULL THEN
        PERFORM greenroom_settle_v1(p_pod, p_settled);
    END IF;
    IF v_records > 0 THEN
        INSERT INTO audit (chain, number, hash, at, request, tenant, record)
        SELECT p_chain, p_tip + x.nth, x.hash, x.at, x.request, x.tenant, x.record
        FROM unnest(p_record_hash, p_record_at, p_record_request, p_record_tenant, p_record) WITH ORDINALITY
             AS x (hash, at, request, tenant, record, nth);
    END IF;
    IF true = ANY (p_record_opens) THEN
        INSERT INTO audit_open (chain, number, request, tenant)
        SELECT p_chain, p_tip + x.nth, x.request, x.tenant
        FROM unnest(p_record_opens, p_record_request, p_record_tenant) WITH ORDINALITY AS x (opens, request, tenant, nth)
        WHERE x.opens;
    END IF;
    IF p_closed_number IS NOT NULL THEN
        DELETE FROM audit_open a USING unnest(p_closed_chain, p_closed_number) AS c (chain, number)
        WHERE a.chain = c.chain AND a.number = c.number;
    END IF;
    -- Last, because it makes the outcome known. A batch that was made void meanwhile finds no row.
    UPDATE audit_chains SET number = p_tip + v_records,
                            hash = CASE WHEN v_records > 0 THEN p_record_hash[v_records] ELSE hash END,
                            batch = p_batch, result = v_result
    WHERE chain = p_chain AND number = p_tip AND batch < p_batch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the chain % does not end with record %, or its batch % is void', p_chain, p_tip, p_batch;
    END IF;
    RETURN v_result;
END $$;

-- As for `greenroom_commit_v2`: each statement looks up by index what the batch names.
ALTER FUNCTION greenroom_commit_plain_v1 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_commit_plain_v1 SET enable_seqscan = off;
ALTER FUNCTION greenroom_commit_plain_v1 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_commit_plain_v1 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_commit_plain_v1 SET jit = off;

-- As `greenroom_charged_v2`. A reservation locks the rows of its accounts, and creates those that do not exist: what has
-- none was never charged, which is so for a run that has called no model.
CREATE FUNCTION greenroom_charged_v3(p_pod bigint, p_accounts text[], p_settling jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM accounts a WHERE a.account = ANY (p_accounts)) THEN
        RETURN '[]';
    END IF;
    RETURN greenroom_charged_v2(p_pod, to_jsonb(p_accounts), p_settling)::text;
END $$;
