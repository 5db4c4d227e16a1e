-- The same batches with fewer statements: a part that a batch does not have costs none, and reservations that all fit are
-- decided together. A function that is in use is never changed, so these are the next versions.

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

-- As `greenroom_show_settlements_v1`. The budgets of executions and of runs are of all time, so their days are not kept.
CREATE FUNCTION greenroom_show_settlements_v2(p_ids bigint[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts a SET
        day = GREATEST(a.day, n.day),
        tokens_input = greenroom_add_v1(a.tokens_input, n.tokens_input),
        tokens_output = greenroom_add_v1(a.tokens_output, n.tokens_output),
        cost = greenroom_add_v1(a.cost, n.cost),
        reserved_input = GREATEST(0, a.reserved_input - n.reserved_input)::bigint,
        reserved_output = GREATEST(0, a.reserved_output - n.reserved_output)::bigint,
        reserved_cost = GREATEST(0, a.reserved_cost - n.reserved_cost)::bigint,
        models = CASE WHEN n.models IS NULL OR n.models <@ a.models THEN a.models
                      ELSE greenroom_add_models_v1(a.models, n.models) END,
        assumed = a.assumed OR COALESCE(n.assumed, false)
    FROM (SELECT b.account, max(s.day) AS day, sum(s.tokens_input) AS tokens_input,
                 sum(s.tokens_output) AS tokens_output, sum(s.cost) AS cost, sum(s.reserved_input) AS reserved_input,
                 sum(s.reserved_output) AS reserved_output, sum(s.reserved_cost) AS reserved_cost,
                 array_agg(s.model ORDER BY s.id) FILTER (WHERE s.kind > 0 AND greenroom_has_models_v1(b.account)) AS models,
                 bool_or(s.assumed) FILTER (WHERE s.kind > 0 AND greenroom_has_models_v1(b.account)) AS assumed
          FROM settlements s CROSS JOIN unnest(s.budgets) AS b (account)
          WHERE s.id = ANY (p_ids) GROUP BY b.account) n
    WHERE a.account = n.account;
    INSERT INTO account_days AS d (account, day, tokens_input, tokens_output, cost)
    SELECT b.account, s.day, greenroom_add_v1(0, sum(s.tokens_input)), greenroom_add_v1(0, sum(s.tokens_output)),
           greenroom_add_v1(0, sum(s.cost))
    FROM settlements s CROSS JOIN unnest(s.budgets) AS b (account)
    WHERE s.id = ANY (p_ids) AND s.kind > 0 AND NOT greenroom_has_models_v1(b.account)
    GROUP BY b.account, s.day ORDER BY b.account, s.day
    ON CONFLICT (account, day) DO UPDATE SET
        tokens_input = greenroom_add_v1(d.tokens_input, excluded.tokens_input),
        tokens_output = greenroom_add_v1(d.tokens_output, excluded.tokens_output),
        cost = greenroom_add_v1(d.cost, excluded.cost);
    INSERT INTO costs AS c (day, issuer, tenant, user_id, agent, workflow, calls, tokens_input, tokens_output, cost,
                            calls_estimated, estimated_input, estimated_output, estimated_cost, calls_assumed,
                            assumed_cost)
    SELECT day, issuer, tenant, user_id, agent, workflow, count(*) FILTER (WHERE kind = 1),
           greenroom_add_v1(0, COALESCE(sum(tokens_input) FILTER (WHERE kind = 1), 0)),
           greenroom_add_v1(0, COALESCE(sum(tokens_output) FILTER (WHERE kind = 1), 0)),
           greenroom_add_v1(0, COALESCE(sum(cost) FILTER (WHERE kind = 1), 0)),
           count(*) FILTER (WHERE kind = 2),
           greenroom_add_v1(0, COALESCE(sum(tokens_input) FILTER (WHERE kind = 2), 0)),
           greenroom_add_v1(0, COALESCE(sum(tokens_output) FILTER (WHERE kind = 2), 0)),
           greenroom_add_v1(0, COALESCE(sum(cost) FILTER (WHERE kind = 2), 0)),
           count(*) FILTER (WHERE assumed), greenroom_add_v1(0, COALESCE(sum(cost) FILTER (WHERE assumed), 0))
    FROM settlements WHERE id = ANY (p_ids) AND kind > 0
    GROUP BY day, issuer, tenant, user_id, agent, workflow ORDER BY day, issuer, tenant, user_id, agent, workflow
    ON CONFLICT (day, issuer, tenant, user_id, agent, workflow) DO UPDATE SET
        calls = greenroom_add_v1(c.calls, excluded.calls),
        tokens_input = greenroom_add_v1(c.tokens_input, excluded.tokens_input),
        tokens_output = greenroom_add_v1(c.tokens_output, excluded.tokens_output),
        cost = greenroom_add_v1(c.cost, excluded.cost),
        calls_estimated = greenroom_add_v1(c.calls_estimated, excluded.calls_estimated),
        estimated_input = greenroom_add_v1(c.estimated_input, excluded.estimated_input),
        estimated_output = greenroom_add_v1(c.estimated_output, excluded.estimated_output),
        estimated_cost = greenroom_add_v1(c.estimated_cost, excluded.estimated_cost),
        calls_assumed = greenroom_add_v1(c.calls_assumed, excluded.calls_assumed),
        assumed_cost = greenroom_add_v1(c.assumed_cost, excluded.assumed_cost);
END $$;

-- As `greenroom_charged_v1`, for a pod that has settled reservations whose units are not durable yet (`p_settling`): they
-- count as settled. What is durable by now has no reservation any more, and is counted once, because all is one statement.
CREATE FUNCTION greenroom_charged_v2(p_pod bigint, p_accounts jsonb, p_settling jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (WITH settling AS MATERIALIZED (
        SELECT r.n, r.budgets, r.model, r.assumed, r.tokens_input AS reserved_input, r.tokens_output AS reserved_output,
               r.cost AS reserved_cost, w.kind, w.input AS tokens_input, w.output AS tokens_output, w.cost
        FROM jsonb_to_recordset(p_settling) AS w (n bigint, kind smallint, input bigint, output bigint, cost bigint)
        JOIN reservations r ON r.pod = p_pod AND r.n = w.n
    )
    SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') FROM (
        SELECT q.account,
               greenroom_add_v1(COALESCE(a.tokens_input, 0), s.tokens_input) AS tokens_input,
               greenroom_add_v1(COALESCE(a.tokens_output, 0), s.tokens_output) AS tokens_output,
               greenroom_add_v1(COALESCE(a.cost, 0), s.cost) AS cost,
               GREATEST(0, COALESCE(a.reserved_input, 0) - s.reserved_input)::bigint AS reserved_input,
               GREATEST(0, COALESCE(a.reserved_output, 0) - s.reserved_output)::bigint AS reserved_output,
               GREATEST(0, COALESCE(a.reserved_cost, 0) - s.reserved_cost)::bigint AS reserved_cost,
               COALESCE(a.models, '{}') || s.models AS models,
               COALESCE(a.assumed, false) OR s.assumed AS assumed,
               o.open
        FROM (SELECT DISTINCT y.account FROM jsonb_array_elements_text(p_accounts) AS y (account)) q
        LEFT JOIN accounts a ON a.account = q.account
        CROSS JOIN LATERAL (
            SELECT COALESCE(sum(u.tokens_input), 0) AS tokens_input, COALESCE(sum(u.tokens_output), 0) AS tokens_output,
                   COALESCE(sum(u.cost), 0) AS cost, COALESCE(sum(u.reserved_input), 0) AS reserved_input,
                   COALESCE(sum(u.reserved_output), 0) AS reserved_output,
                   COALESCE(sum(u.reserved_cost), 0) AS reserved_cost,
                   COALESCE(array_agg(u.model ORDER BY u.id)
                            FILTER (WHERE u.kind > 0 AND greenroom_has_models_v1(q.account)), '{}') AS models,
                   COALESCE(bool_or(u.assumed)
                            FILTER (WHERE u.kind > 0 AND greenroom_has_models_v1(q.account)), false) AS assumed
            FROM (
                SELECT id, model, assumed, kind, tokens_input, tokens_output, cost, reserved_input, reserved_output,
                       reserved_cost
                FROM settlements WHERE q.account = ANY (budgets)
                UNION ALL
                -- The newest of all: NULL is last.
                SELECT NULL, model, assumed, kind, tokens_input, tokens_output, cost, reserved_input, reserved_output,
                       reserved_cost
                FROM settling WHERE q.account = ANY (budgets)
            ) u
        ) s
        CROSS JOIN LATERAL (
            SELECT COALESCE(jsonb_agg(DISTINCT jsonb_build_object('model', r.model, 'assumed', r.assumed)), '[]') AS open
            FROM reservations r
            WHERE q.account = ANY (r.budgets) AND greenroom_has_models_v1(q.account)
              AND NOT EXISTS (SELECT 1 FROM settling g WHERE r.pod = p_pod AND r.n = g.n)
        ) o
    ) x);
END $$;

-- Counts requests, and what settlements have used, in the minutes of their users.
CREATE FUNCTION greenroom_count_usage_v1(p_ids bigint[], p_minutes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_minutes AS u (issuer, tenant, user_id, minute, requests, queries, tokens, cost)
    SELECT x.issuer, x.tenant, x.user_id, x.minute, sum(x.requests)::bigint, sum(x.queries)::bigint,
           greenroom_add_v1(0, sum(x.tokens)), greenroom_add_v1(0, sum(x.cost))
    FROM (
        SELECT m.issuer, m.tenant, m.user_id, m.minute, m.requests, m.queries, 0::numeric AS tokens, 0::numeric AS cost
        FROM jsonb_to_recordset(p_minutes)
             AS m (issuer text, tenant text, user_id text, minute bigint, requests bigint, queries bigint)
        UNION ALL
        SELECT issuer, tenant, user_id, minute, 0, 0, tokens_input::numeric + tokens_output, cost
        FROM settlements WHERE id = ANY (p_ids) AND kind > 0
    ) x GROUP BY x.issuer, x.tenant, x.user_id, x.minute ORDER BY x.issuer, x.tenant, x.user_id, x.minute
    ON CONFLICT (issuer, tenant, user_id, minute) DO UPDATE SET
        requests = greenroom_add_v1(u.requests, excluded.requests),
        queries = greenroom_add_v1(u.queries, excluded.queries),
        tokens = greenroom_add_v1(u.tokens, excluded.tokens),
        cost = greenroom_add_v1(u.cost, excluded.cost);
END $$;

-- Makes all reservations, if together they exceed no limit and none must queue; otherwise it makes none and returns false.
-- The accounts are locked.
CREATE FUNCTION greenroom_reserve_all_v1(p_pod bigint, p_requests jsonb) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_fit boolean;
BEGIN
    WITH wanted AS MATERIALIZED (
        SELECT r.* FROM jsonb_to_recordset(p_requests)
             AS r (budgets text[], limits jsonb, queue text, input numeric, output numeric, cost numeric)
    ), demand AS (
        SELECT b.account, sum(w.input + w.output) AS tokens, sum(w.cost) AS cost
        FROM wanted w CROSS JOIN unnest(w.budgets) AS b (account) GROUP BY b.account
    ), bounds AS (
        SELECT l.account, l.first_day, min(l.cost_max) AS cost_max, min(l.tokens_max) AS tokens_max
        FROM wanted w CROSS JOIN jsonb_to_recordset(w.limits)
             AS l (account text, first_day bigint, cost_max bigint, tokens_max bigint)
        WHERE l.cost_max IS NOT NULL OR l.tokens_max IS NOT NULL
        GROUP BY l.account, l.first_day
    )
    SELECT NOT EXISTS (SELECT 1 FROM wanted w WHERE w.queue IS NOT NULL) AND NOT EXISTS (
        SELECT 1 FROM bounds b JOIN demand d ON d.account = b.account JOIN accounts a ON a.account = b.account
        CROSS JOIN LATERAL (
            SELECT a.tokens_input::numeric + a.tokens_output AS tokens, a.cost::numeric AS cost WHERE b.first_day IS NULL
            UNION ALL
            SELECT COALESCE(sum(y.tokens_input::numeric + y.tokens_output), 0), COALESCE(sum(y.cost), 0)
            FROM account_days y WHERE y.account = b.account AND y.day >= b.first_day
            HAVING b.first_day IS NOT NULL
        ) s
        WHERE b.cost_max < s.cost + a.reserved_cost + d.cost
           OR b.tokens_max < s.tokens + a.reserved_input + a.reserved_output + d.tokens
    ) INTO v_fit;
    IF NOT v_fit THEN
        RETURN false;
    END IF;
    INSERT INTO reservations (pod, n, key, issuer, tenant, user_id, agent, workflow, model, assumed, budgets,
                              tokens_input, tokens_output, cost, at)
    SELECT p_pod, r.n, r.key, r.issuer, r.tenant, r.user_id, r.agent, r.workflow, r.model, r.assumed, r.budgets, r.input,
           r.output, r.cost, r.at
    FROM jsonb_to_recordset(p_requests)
         AS r (n bigint, key text, issuer text, tenant text, user_id text, agent text, workflow text, model text,
               assumed boolean, budgets text[], input bigint, output bigint, cost bigint, at bigint);
    UPDATE accounts a SET
        day = GREATEST(a.day, n.day),
        reserved_input = greenroom_add_v1(a.reserved_input, n.input),
        reserved_output = greenroom_add_v1(a.reserved_output, n.output),
        reserved_cost = greenroom_add_v1(a.reserved_cost, n.cost)
    FROM (SELECT b.account, max(w.day) AS day, sum(w.input) AS input, sum(w.output) AS output, sum(w.cost) AS cost
          FROM jsonb_to_recordset(p_requests) AS w (budgets text[], day bigint, input numeric, output numeric, cost numeric)
          CROSS JOIN unnest(w.budgets) AS b (account) GROUP BY b.account) n
    WHERE a.account = n.account;
    RETURN true;
END $$;

-- As `greenroom_accounts_v1`. An absent part of `p_requests` is empty.
CREATE FUNCTION greenroom_accounts_v2(p_pod bigint, p_lane integer, p_batch bigint, p_requests jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_ids      bigint[];
    v_accounts text[] := '{}';
    v_request  jsonb;
    v_refusal  jsonb;
    v_reserved jsonb := '[]';
    v_charged  jsonb := '[]';
    v_days     jsonb := '[]';
    v_minutes  jsonb := '[]';
    v_result   text;
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    INSERT INTO batches (pod, lane, batch) VALUES (p_pod, p_lane, p_batch) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN '{"state":"void"}';
    END IF;
    IF p_requests ? 'settled' THEN
        PERFORM greenroom_settle_v1(p_pod, p_requests->'settled');
    END IF;
    -- Those that another pod is showing at this moment are left to it.
    v_ids := ARRAY(SELECT id FROM settlements ORDER BY id LIMIT 2000 FOR UPDATE SKIP LOCKED);
    IF cardinality(v_ids) > 0 THEN
        v_accounts := ARRAY(
            SELECT DISTINCT b.account FROM settlements s CROSS JOIN unnest(s.budgets) AS b (account) WHERE s.id = ANY (v_ids));
    END IF;
    IF p_requests ? 'reserve' THEN
        v_accounts := v_accounts || ARRAY(
            SELECT DISTINCT b.account FROM jsonb_array_elements(p_requests->'reserve') AS r (request)
            CROSS JOIN jsonb_array_elements_text(r.request->'budgets') AS b (account));
    END IF;
    IF cardinality(v_accounts) > 0 THEN
        INSERT INTO accounts (account, day) SELECT DISTINCT a.account, 0 FROM unnest(v_accounts) AS a (account) ORDER BY 1
        ON CONFLICT (account) DO NOTHING;
        PERFORM 1 FROM accounts WHERE account = ANY (v_accounts) ORDER BY account FOR NO KEY UPDATE;
    END IF;
    IF cardinality(v_ids) > 0 THEN
        PERFORM greenroom_show_settlements_v2(v_ids);
    END IF;
    IF cardinality(v_ids) > 0 OR p_requests ? 'minutes' THEN
        PERFORM greenroom_count_usage_v1(v_ids, p_requests->'minutes');
    END IF;
    IF cardinality(v_ids) > 0 THEN
        DELETE FROM settlements WHERE id = ANY (v_ids);
    END IF;
    IF p_requests ? 'reserve' THEN
        IF greenroom_reserve_all_v1(p_pod, p_requests->'reserve') THEN
            v_reserved := (SELECT jsonb_agg(jsonb_build_object('n', r.request->'n', 'refusal', NULL))
                           FROM jsonb_array_elements(p_requests->'reserve') AS r (request));
        ELSE
            FOR v_request IN SELECT r.request FROM jsonb_array_elements(p_requests->'reserve') AS r (request) LOOP
                v_refusal := greenroom_reserve_v1(p_pod, v_request);
                v_reserved := v_reserved || jsonb_build_object('n', v_request->'n', 'refusal', v_refusal);
            END LOOP;
        END IF;
    END IF;
    IF p_requests ? 'charged' THEN
        v_charged := greenroom_charged_v1(p_requests->'charged');
    END IF;
    IF p_requests ? 'days' THEN
        SELECT COALESCE(jsonb_agg(to_jsonb(d)), '[]') INTO v_days
        FROM account_days d JOIN jsonb_to_recordset(p_requests->'days') AS q (account text, first_day bigint)
             ON d.account = q.account AND d.day >= q.first_day;
    END IF;
    IF p_requests ? 'usage' THEN
        SELECT COALESCE(jsonb_agg(to_jsonb(u)), '[]') INTO v_minutes
        FROM usage_minutes u JOIN jsonb_to_recordset(p_requests->'usage')
             AS q (issuer text, tenant text, user_id text, first_minute bigint)
             ON u.issuer = q.issuer AND u.tenant = q.tenant AND u.user_id = q.user_id AND u.minute >= q.first_minute;
    END IF;
    v_result := jsonb_build_object('state', 'committed', 'reserved', v_reserved, 'settlements', cardinality(v_ids),
                                   'accounts', v_charged, 'days', v_days, 'minutes', v_minutes)::text;
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
ALTER FUNCTION greenroom_accounts_v2 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_accounts_v2 SET enable_seqscan = off;
ALTER FUNCTION greenroom_accounts_v2 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_accounts_v2 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_accounts_v2 SET jit = off;
