-- The batches of the accounts with fewer statements: reservations that all fit are decided together, and what a budget was
-- charged is read without a batch.

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

-- As for `greenroom_commit_v2`: each statement looks up by index what the batch names.
ALTER FUNCTION greenroom_accounts_v2 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_accounts_v2 SET enable_seqscan = off;
ALTER FUNCTION greenroom_accounts_v2 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_accounts_v2 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_accounts_v2 SET jit = off;
