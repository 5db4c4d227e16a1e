-- The commit of a batch of units, in one call of `greenroom_commit_v1`. A function that is in use is never changed: a
-- later one has the next number, so that pods of two releases work on one database.
--
-- A batch has at most one unit that changes a run, a tree or a key. Rows are locked in the order of the tables (pods,
-- batches, trees, runs, idempotency_keys, reservations, audit) and, within a table, of their keys. Each statement sees
-- what the statements before it have locked, so no decision rests on what another transaction has changed meanwhile.
--
-- Only the owner of a tree writes to its runs. A tree that was released or parked has none (`holder` is NULL), and its
-- fence is that of the last one until it is claimed: so the holder is compared by IS DISTINCT FROM.
--
-- Whether a unit is taken is decided first; `refused` has the others, each with its reason:
--   unknown_run, ended, fenced, owned, out_of_order (with the last `seq`),
--   run (the run exists; `run` is its id if the same request has created it),
--   run_key, key (the key was used; `same` if by the same request, with its `run` or its `reply`),
--   again (what was in the way no longer exists; the unit is to be repeated).

-- The appends and claims that are not taken.
CREATE FUNCTION greenroom_judge_v1(p_pod bigint, p_units jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') FROM (
        SELECT a.unit,
               CASE WHEN r.number IS NULL THEN 'unknown_run'
                    WHEN t.fence <> a.fence OR t.holder IS DISTINCT FROM p_pod THEN 'fenced'
                    WHEN r.ended THEN 'ended'
                    ELSE 'out_of_order' END AS reason,
               r.seq
        FROM jsonb_to_recordset(p_units->'appends') AS a (unit integer, run text, fence bigint, after bigint)
        LEFT JOIN runs r ON r.run = a.run
        LEFT JOIN trees t ON t.root = r.root
        WHERE r.number IS NULL OR t.fence <> a.fence OR t.holder IS DISTINCT FROM p_pod OR r.ended OR r.seq <> a.after
        UNION ALL
        SELECT c.unit,
               CASE WHEN t.root IS NULL THEN 'unknown_run' WHEN t.open_runs = 0 THEN 'ended' ELSE 'owned' END,
               NULL
        FROM jsonb_to_recordset(p_units->'claims') AS c (unit integer, root text, leased boolean)
        LEFT JOIN trees t ON t.root = c.root
        LEFT JOIN pods h ON h.id = t.holder
        WHERE t.root IS NULL OR t.open_runs = 0
           OR CASE WHEN t.holder = p_pod THEN c.leased ELSE NOT COALESCE(h.dead, true) END
    ) x);
END $$;

-- Reserves the keys of the units that are taken so far. `taken` are those that it has inserted.
CREATE FUNCTION greenroom_take_keys_v1(p_pod bigint, p_keys jsonb, p_out integer[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_taken jsonb;
    v_lost  jsonb;
BEGIN
    WITH wanted AS MATERIALIZED (
        SELECT w.*
        FROM jsonb_to_recordset(p_keys)
             AS w (unit integer, key text, tenant text, hash text, run text, transient boolean, at bigint)
        WHERE w.unit <> ALL (p_out)
    ), taken AS (
        INSERT INTO idempotency_keys (key, tenant, request_hash, run, at, holder)
        SELECT key, tenant, decode(hash, 'hex'), run, at, CASE WHEN run IS NULL THEN p_pod END
        FROM wanted ORDER BY key, tenant
        ON CONFLICT (key, tenant) DO NOTHING
        RETURNING key, tenant
    )
    SELECT COALESCE(jsonb_agg(to_jsonb(w)) FILTER (WHERE t.key IS NOT NULL), '[]'),
           COALESCE(jsonb_agg(to_jsonb(w)) FILTER (WHERE t.key IS NULL), '[]')
    INTO v_taken, v_lost
    FROM wanted w LEFT JOIN taken t ON t.key = w.key AND t.tenant = w.tenant;
    -- A statement of its own, which sees what the conflicting transaction has committed.
    RETURN jsonb_build_object('taken', v_taken, 'refused', (
        SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') FROM (
            SELECT w.unit,
                   CASE WHEN k.key IS NULL THEN 'again' WHEN w.run IS NULL THEN 'key' ELSE 'run_key' END AS reason,
                   k.request_hash = decode(w.hash, 'hex') AS same, k.run, k.reply
            FROM jsonb_to_recordset(v_lost) AS w (unit integer, key text, tenant text, hash text, run text)
            LEFT JOIN idempotency_keys k ON k.key = w.key AND k.tenant = w.tenant
        ) x
    ));
END $$;

-- Creates the runs of the units that are taken so far. `created` has their numbers.
CREATE FUNCTION greenroom_create_runs_v1(p_pod bigint, p_creates jsonb, p_out integer[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_refused jsonb;
    v_created jsonb;
    v_out     integer[];
BEGIN
    SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') INTO v_refused FROM (
        SELECT c.unit,
               CASE WHEN e.number IS NOT NULL THEN 'run'
                    WHEN p.number IS NULL THEN 'unknown_run'
                    WHEN t.fence <> c.fence OR t.holder IS DISTINCT FROM p_pod THEN 'fenced'
                    ELSE 'ended' END AS reason,
               CASE WHEN e.principal = decode(c.principal, 'hex') AND e.request_hash = decode(c.hash, 'hex')
                    THEN e.run END AS run
        FROM jsonb_to_recordset(p_creates)
             AS c (unit integer, run text, principal text, hash text, caller text, fence bigint)
        LEFT JOIN runs e ON e.run = c.run
        LEFT JOIN runs p ON p.run = c.caller
        LEFT JOIN trees t ON t.root = p.root
        WHERE c.unit <> ALL (p_out)
          AND (e.number IS NOT NULL OR c.caller IS NOT NULL
               AND (p.number IS NULL OR t.fence <> c.fence OR t.holder IS DISTINCT FROM p_pod OR p.ended))
    ) x;
    v_out := p_out || ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    -- Most principals are known already, which costs a look into the index.
    INSERT INTO principals (hash, issuer, tenant, user_id)
    SELECT DISTINCT decode(c.principal, 'hex'), c.issuer, c.tenant, c.user_id
    FROM jsonb_to_recordset(p_creates) AS c (unit integer, principal text, issuer text, tenant text, user_id text)
    WHERE c.unit <> ALL (v_out) ORDER BY 1
    ON CONFLICT (hash) DO NOTHING;
    WITH wanted AS MATERIALIZED (
        SELECT c.*
        FROM jsonb_to_recordset(p_creates)
             AS c (unit integer, run text, tenant text, principal text, workflow text, version text, team text,
                   parent text, root text, hash text, personal boolean, status text, ended boolean, pending integer,
                   seq bigint, at bigint)
        WHERE c.unit <> ALL (v_out)
    ), inserted AS (
        INSERT INTO runs (run, tenant, principal, workflow, version, team, parent, root, request_hash, personal_data,
                          status, ended, pending_approvals, seq, created, updated)
        SELECT run, tenant, decode(principal, 'hex'), workflow, decode(version, 'hex'), team, parent, root,
               decode(hash, 'hex'), personal, status, ended, pending, seq, at, at
        FROM wanted ORDER BY run
        ON CONFLICT (run) DO NOTHING
        RETURNING run, number
    )
    SELECT COALESCE(jsonb_agg(jsonb_build_object('unit', w.unit, 'number', i.number))
                    FILTER (WHERE i.number IS NOT NULL), '[]'),
           v_refused || COALESCE(jsonb_agg(jsonb_build_object('unit', w.unit, 'reason', 'again'))
                                 FILTER (WHERE i.number IS NULL), '[]')
    INTO v_created, v_refused
    FROM wanted w LEFT JOIN inserted i ON i.run = w.run;
    RETURN jsonb_build_object('created', v_created, 'refused', v_refused);
END $$;

-- Applies the changes of runs and trees that are taken. Returns the claimed trees.
CREATE FUNCTION greenroom_apply_runs_v1(p_pod bigint, p_units jsonb, p_created jsonb, p_out integer[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_claimed jsonb;
BEGIN
    IF p_units ? 'creates' THEN
        -- Its creator works on it at once, unless it leaves that to any pod.
        INSERT INTO trees (root, number, tenant, holder, pod, fence, open_runs, granted_at, has_written, active_since,
                           active_until)
        SELECT c.root, i.number, c.tenant, CASE WHEN c.unowned THEN NULL ELSE p_pod END, c.pod, c.fence,
               CASE WHEN c.ended THEN 0 ELSE 1 END, c.at, true, c.at, c.at
        FROM jsonb_to_recordset(p_units->'creates')
             AS c (unit integer, root text, tenant text, pod text, fence bigint, caller text, ended boolean,
                   unowned boolean, at bigint)
        JOIN jsonb_to_recordset(p_created) AS i (unit integer, number bigint) ON i.unit = c.unit
        WHERE c.caller IS NULL ORDER BY c.root
        ON CONFLICT (root) DO NOTHING;
        UPDATE trees t SET open_runs = t.open_runs + n.opened
        FROM (SELECT c.root, count(*)::integer AS opened
              FROM jsonb_to_recordset(p_units->'creates') AS c (unit integer, root text, caller text, ended boolean)
              JOIN jsonb_to_recordset(p_created) AS i (unit integer, number bigint) ON i.unit = c.unit
              WHERE c.caller IS NOT NULL AND NOT c.ended GROUP BY c.root) n
        WHERE t.root = n.root;
        -- The runs that called one with personal data, directly or not.
        WITH RECURSIVE callers (run) AS (
            SELECT c.parent FROM jsonb_to_recordset(p_units->'creates') AS c (unit integer, parent text, personal boolean)
            WHERE c.personal AND c.parent IS NOT NULL AND c.unit <> ALL (p_out)
            UNION SELECT r.parent FROM runs r JOIN callers ON r.run = callers.run WHERE r.parent IS NOT NULL
        )
        UPDATE runs SET personal_data = true WHERE run IN (SELECT run FROM callers) AND NOT personal_data;
    END IF;
    IF p_units ? 'appends' THEN
        UPDATE runs r SET seq = a.seq, status = a.status, ended = a.ended, pending_approvals = a.pending,
                          updated = a.updated
        FROM jsonb_to_recordset(p_units->'appends')
             AS a (unit integer, run text, seq bigint, status text, ended boolean, pending integer, updated bigint)
        WHERE r.run = a.run AND a.unit <> ALL (p_out);
        UPDATE trees t SET open_runs = t.open_runs - n.ended,
                           failures = CASE WHEN n.progress THEN 0 ELSE t.failures END,
                           attempts = CASE WHEN n.progress THEN 0 ELSE t.attempts END,
                           has_written = true
        FROM (SELECT r.root, count(*) FILTER (WHERE a.ended)::integer AS ended, bool_or(a.progress) AS progress
              FROM jsonb_to_recordset(p_units->'appends') AS a (unit integer, run text, ended boolean, progress boolean)
              JOIN runs r ON r.run = a.run
              WHERE a.unit <> ALL (p_out) GROUP BY r.root) n
        WHERE t.root = n.root
          AND (n.ended > 0 OR NOT t.has_written OR n.progress AND (t.failures > 0 OR t.attempts > 0));
    END IF;
    WITH claimed AS MATERIALIZED (
        -- A pod that claims a tree of its own, whose lease is over, knows better when it was active.
        SELECT c.unit, t.root, t.number, t.fence + 1 AS fence, t.failures, c.pod, c.at,
               t.holder IS NOT NULL AND t.holder <> p_pod AS orphaned,
               CASE WHEN t.holder = p_pod AND c.since IS NOT NULL THEN c.since
                    WHEN t.holder IS NOT NULL AND t.has_written THEN t.granted_at ELSE t.active_since END AS since,
               CASE WHEN t.holder = p_pod AND c.since IS NOT NULL THEN c.until
                    WHEN t.holder IS NOT NULL AND t.has_written THEN GREATEST(t.granted_at, h.active_at)
                    ELSE t.active_until END AS until
        FROM jsonb_to_recordset(p_units->'claims')
             AS c (unit integer, root text, pod text, since bigint, until bigint, at bigint)
        JOIN trees t ON t.root = c.root
        LEFT JOIN pods h ON h.id = t.holder
        WHERE c.unit <> ALL (p_out)
    ), changed AS (
        UPDATE trees t SET holder = p_pod, pod = c.pod, fence = c.fence, wake_at = 0, parked = false,
                           attempts = t.attempts + c.orphaned::integer, granted_at = c.at, has_written = false,
                           active_since = c.since, active_until = c.until
        FROM claimed c WHERE t.root = c.root
    )
    SELECT COALESCE(jsonb_agg(to_jsonb(c)), '[]') INTO v_claimed FROM claimed c;
    -- An earlier owner releases nothing, and no failure of it is counted.
    UPDATE trees t SET
        holder = NULL,
        failures = t.failures + r.failed::integer,
        wake_at = CASE WHEN r.failed THEN r.wake_at ELSE t.wake_at END,
        active_since = CASE WHEN t.holder IS NOT NULL AND t.has_written THEN t.granted_at ELSE t.active_since END,
        active_until = CASE WHEN t.holder IS NOT NULL AND t.has_written THEN GREATEST(t.granted_at, r.at)
                            ELSE t.active_until END
    FROM jsonb_to_recordset(p_units->'releases') AS r (unit integer, root text, fence bigint, failed boolean, wake_at bigint, at bigint)
    WHERE t.root = r.root AND t.fence = r.fence AND r.unit <> ALL (p_out);
    RETURN v_claimed;
END $$;

-- Moves settled reservations of a pod to the settlements. One that is settled already changes nothing.
CREATE FUNCTION greenroom_settle_v1(p_pod bigint, p_settled jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH settled AS (
        SELECT * FROM jsonb_to_recordset(p_settled)
            AS s (n bigint, kind smallint, input bigint, output bigint, cost bigint, day bigint, minute bigint)
    ), removed AS (
        DELETE FROM reservations r USING settled s WHERE r.pod = p_pod AND r.n = s.n
        RETURNING r.issuer, r.tenant, r.user_id, r.agent, r.workflow, r.model, r.assumed, r.budgets, r.tokens_input,
                  r.tokens_output, r.cost AS reserved_cost, s.kind, s.input, s.output, s.cost, s.day, s.minute
    )
    INSERT INTO settlements (issuer, tenant, user_id, agent, workflow, model, assumed, budgets, reserved_input,
                             reserved_output, reserved_cost, kind, tokens_input, tokens_output, cost, day, minute)
    SELECT issuer, tenant, user_id, agent, workflow, model, assumed, budgets, tokens_input, tokens_output, reserved_cost,
           kind, input, output, cost, day, minute
    FROM removed;
END $$;

-- Appends records to a chain, and after them the closing of each entry whose unit is not taken, and of each entry that a
-- dead pod has left open, unless another unit has closed it: the cleaner of that pod repeats what it does not know to be
-- durable. The hashes of the records are computed by the pod, those of the closings here. Returns the new tip.
CREATE FUNCTION greenroom_record_v1(
    p_chain bigint, p_units jsonb, p_refused jsonb, p_number bigint[], p_hash bytea[], p_at bigint[], p_request text[],
    p_tenant text[], p_record text[]
) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v        record;
    v_before bigint := (p_units->>'tip')::bigint;
    v_number bigint := v_before + cardinality(p_record);
    v_hash   bytea;
    v_record text;
BEGIN
    IF cardinality(p_record) > 0 THEN
        v_hash := p_hash[cardinality(p_record)];
    ELSE
        SELECT c.hash INTO v_hash FROM audit_chains c WHERE c.chain = p_chain;
    END IF;
    INSERT INTO audit (chain, number, hash, at, request, tenant, record)
    SELECT p_chain, x.number, x.hash, x.at, x.request, x.tenant, x.record
    FROM unnest(p_number, p_hash, p_at, p_request, p_tenant, p_record)
         AS x (number, hash, at, request, tenant, record)
    ORDER BY x.number;
    INSERT INTO audit_open (chain, number, request, tenant)
    SELECT p_chain, o.number, o.request, o.tenant
    FROM jsonb_to_recordset(p_units->'opened') AS o (unit integer, number bigint, request text, tenant text)
    WHERE NOT EXISTS (SELECT 1 FROM jsonb_array_elements(p_refused) x
                      WHERE (x->>'unit')::integer = o.unit AND x->>'reason' <> 'again');
    DELETE FROM audit_open a USING jsonb_to_recordset(p_units->'closed') AS c (chain bigint, number bigint)
    WHERE a.chain = c.chain AND a.number = c.number;
    FOR v IN
        SELECT o.*, p_units->'tails'->>(x->>'reason') AS tail
        FROM jsonb_to_recordset(p_units->'opened')
             AS o (unit integer, number bigint, request text, tenant text, at bigint, written_at text)
        JOIN jsonb_array_elements(p_refused) x ON (x->>'unit')::integer = o.unit
        WHERE x->>'reason' <> 'again'
        ORDER BY o.number
    LOOP
        v_number := v_number + 1;
        v_record := format('{"number":%s,"previous":"%s","at":"%s","event":{"kind":"closed","opened":%s%s}',
                           v_number, encode(v_hash, 'hex'), v.written_at, v.number, v.tail);
        v_hash := sha256(v_hash || convert_to(v_record, 'UTF8'));
        INSERT INTO audit (chain, number, hash, at, request, tenant, record)
        VALUES (p_chain, v_number, v_hash, v.at, v.request, v.tenant, v_record);
    END LOOP;
    FOR v IN
        WITH closed AS (
            DELETE FROM audit_open a
            USING jsonb_to_recordset(p_units->'interrupted')
                  AS i (chain bigint, number bigint, request text, tenant text, at bigint, written_at text, event text)
            WHERE a.chain = i.chain AND a.number = i.number
            RETURNING i.*
        )
        SELECT * FROM closed ORDER BY chain, number
    LOOP
        v_number := v_number + 1;
        v_record := format('{"number":%s,"previous":"%s","at":"%s","event":%s}', v_number, encode(v_hash, 'hex'),
                           v.written_at, v.event);
        v_hash := sha256(v_hash || convert_to(v_record, 'UTF8'));
        INSERT INTO audit (chain, number, hash, at, request, tenant, record)
        VALUES (p_chain, v_number, v_hash, v.at, v.request, v.tenant, v_record);
    END LOOP;
    UPDATE audit_chains SET number = v_number, hash = v_hash WHERE chain = p_chain AND number = v_before;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the chain % does not end with record %', p_chain, v_before;
    END IF;
    RETURN jsonb_build_object('number', v_number, 'hash', encode(v_hash, 'hex'));
END $$;

CREATE FUNCTION greenroom_commit_v1(
    p_pod bigint, p_lane integer, p_batch bigint, p_units jsonb,
    p_entry_unit integer[], p_entry_run text[], p_entry_seq bigint[], p_entry_at bigint[], p_entry text[],
    p_reply_key text[], p_reply_tenant text[], p_reply_at bigint[], p_reply text[],
    p_chain bigint, p_record_number bigint[], p_record_hash bytea[], p_record_at bigint[], p_record_request text[],
    p_record_tenant text[], p_record text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_refused jsonb;
    v_keys    jsonb := '{"taken": []}';
    v_created jsonb := '[]';
    v_claimed jsonb := '[]';
    v_tip     jsonb;
    v_part    jsonb;
    v_out     integer[];
    v_result  text;
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
    PERFORM 1 FROM trees WHERE root IN (
        SELECT r.root FROM jsonb_to_recordset(p_units->'appends') AS a (run text) JOIN runs r ON r.run = a.run
        UNION SELECT c.root FROM jsonb_to_recordset(p_units->'creates') AS c (root text)
        UNION SELECT c.root FROM jsonb_to_recordset(p_units->'claims') AS c (root text)
        UNION SELECT r.root FROM jsonb_to_recordset(p_units->'releases') AS r (root text)
    ) ORDER BY root FOR NO KEY UPDATE;
    v_refused := greenroom_judge_v1(p_pod, p_units);
    v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
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
        v_keys := greenroom_take_keys_v1(p_pod, p_units->'keys', v_out);
        v_refused := v_refused || (v_keys->'refused');
        v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    END IF;
    IF p_units ? 'creates' THEN
        v_part := greenroom_create_runs_v1(p_pod, p_units->'creates', v_out);
        v_created := v_part->'created';
        v_refused := v_refused || (v_part->'refused');
        v_out := ARRAY(SELECT (x->>'unit')::integer FROM jsonb_array_elements(v_refused) x);
    END IF;
    -- What was reserved for a unit that is not taken after all, and the keys of runs that end at once by a failure
    -- which may pass.
    DELETE FROM idempotency_keys k
    USING jsonb_to_recordset(v_keys->'taken') AS w (unit integer, key text, tenant text, transient boolean)
    WHERE k.key = w.key AND k.tenant = w.tenant AND (w.transient OR w.unit = ANY (v_out));
    v_claimed := greenroom_apply_runs_v1(p_pod, p_units, v_created, v_out);
    INSERT INTO journal (run, seq, at, entry)
    SELECT r.number, e.seq, e.at, e.entry
    FROM unnest(p_entry_unit, p_entry_run, p_entry_seq, p_entry_at, p_entry) AS e (unit, run, seq, at, entry)
    JOIN runs r ON r.run = e.run
    WHERE e.unit <> ALL (v_out);
    -- The replies under keys, and the settlements, report what has happened; they are always written.
    UPDATE idempotency_keys k SET reply = y.reply, at = y.at, holder = NULL
    FROM unnest(p_reply_key, p_reply_tenant, p_reply_at, p_reply) AS y (key, tenant, at, reply)
    WHERE y.reply IS NOT NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
    DELETE FROM idempotency_keys k USING unnest(p_reply_key, p_reply_tenant, p_reply) AS y (key, tenant, reply)
    WHERE y.reply IS NULL AND k.key = y.key AND k.tenant = y.tenant AND k.holder = p_pod;
    IF p_units ? 'settled' THEN
        PERFORM greenroom_settle_v1(p_pod, p_units->'settled');
    END IF;
    IF cardinality(p_record) > 0 OR p_units ? 'interrupted' THEN
        v_tip := greenroom_record_v1(p_chain, p_units, v_refused, p_record_number, p_record_hash, p_record_at,
                                     p_record_request, p_record_tenant, p_record);
    END IF;
    v_result := jsonb_build_object('state', 'committed', 'refused', v_refused, 'created', v_created,
                                   'claimed', v_claimed, 'tip', v_tip)::text;
    UPDATE batches SET result = v_result WHERE pod = p_pod AND lane = p_lane AND batch = p_batch;
    RETURN v_result;
END $$;
