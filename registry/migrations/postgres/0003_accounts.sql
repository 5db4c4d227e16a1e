-- The batches of the accounts' lanes. Each pod has one; the accounts that batches of several pods share are locked in
-- the order of their names, so every reservation is decided on exact amounts.
--
-- A batch first shows settlements in the accounts (those of other lanes and of dead pods too), then adds the counts of
-- requests, then decides each reservation against the limits that it brings, in all its budgets or in none, and then
-- reads what was requested. Amounts that are too large for a column remain the largest number.

-- Adds an amount that is never negative.
CREATE FUNCTION greenroom_add_v1(p_sum bigint, p_amount numeric) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT LEAST(9223372036854775807, p_sum + p_amount)::bigint
$$;

-- True for the budget of an execution or of a run, whose models are recorded. Names of budgets are JSON.
CREATE FUNCTION greenroom_has_models_v1(p_account text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_account LIKE '{"Execution"%' OR p_account LIKE '{"Run"%'
$$;

-- Adds names of models to those of an account: each once, sorted, and no further ones if there are 16 already.
CREATE FUNCTION greenroom_add_models_v1(p_models text[], p_added text[]) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT COALESCE(array_agg(x.model ORDER BY x.model COLLATE "C"), '{}') FROM (
        SELECT u.model FROM unnest(p_models || p_added) WITH ORDINALITY AS u (model, nth)
        GROUP BY u.model ORDER BY min(u.nth) LIMIT 16
    ) x
$$;

-- Shows settlements in the accounts, the costs and the usage, together with counts of requests.
CREATE FUNCTION greenroom_show_settlements_v1(p_ids bigint[], p_minutes jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE accounts a SET
        day = GREATEST(a.day, n.day),
        tokens_input = greenroom_add_v1(a.tokens_input, n.tokens_input),
        tokens_output = greenroom_add_v1(a.tokens_output, n.tokens_output),
        cost = greenroom_add_v1(a.cost, n.cost),
        reserved_input = GREATEST(0, a.reserved_input - n.reserved_input)::bigint,
        reserved_output = GREATEST(0, a.reserved_output - n.reserved_output)::bigint,
        reserved_cost = GREATEST(0, a.reserved_cost - n.reserved_cost)::bigint,
        models = CASE WHEN n.models IS NULL THEN a.models ELSE greenroom_add_models_v1(a.models, n.models) END,
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
    WHERE s.id = ANY (p_ids) AND s.kind > 0 GROUP BY b.account, s.day ORDER BY b.account, s.day
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
    DELETE FROM settlements WHERE id = ANY (p_ids);
END $$;

-- Decides one reservation. Returns NULL if it is made, else the limit that is in the way, by its index, with what is
-- spent in its period and reserved. `queue` is a budget for which an earlier call of the pod waits.
CREATE FUNCTION greenroom_reserve_v1(p_pod bigint, p_request jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v         record;
    v_refusal jsonb;
    v_input   numeric := (p_request->>'input')::numeric;
    v_output  numeric := (p_request->>'output')::numeric;
    v_cost    numeric := (p_request->>'cost')::numeric;
BEGIN
    FOR v IN
        SELECT l.index, l.account, l.cost_max, l.tokens_max, a.reserved_input, a.reserved_output, a.reserved_cost,
               s.input AS spent_input, s.output AS spent_output, s.cost AS spent_cost
        FROM jsonb_to_recordset(p_request->'limits')
             AS l (index integer, account text, first_day bigint, cost_max bigint, tokens_max bigint)
        JOIN accounts a ON a.account = l.account
        CROSS JOIN LATERAL (
            SELECT a.tokens_input::numeric AS input, a.tokens_output::numeric AS output, a.cost::numeric AS cost
            WHERE l.first_day IS NULL
            UNION ALL
            SELECT greenroom_add_v1(0, COALESCE(sum(d.tokens_input), 0)),
                   greenroom_add_v1(0, COALESCE(sum(d.tokens_output), 0)),
                   greenroom_add_v1(0, COALESCE(sum(d.cost), 0))
            FROM account_days d WHERE d.account = l.account AND d.day >= l.first_day
            HAVING l.first_day IS NOT NULL
        ) s
        ORDER BY l.index
    LOOP
        IF v.cost_max < v.spent_cost + v.reserved_cost + v_cost
           OR v.tokens_max < v.spent_input + v.spent_output + v.reserved_input + v.reserved_output + v_input + v_output
        THEN
            RETURN to_jsonb(v);
        END IF;
        IF v.account = p_request->>'queue' THEN
            v_refusal := to_jsonb(v);
        END IF;
    END LOOP;
    IF v_refusal IS NOT NULL THEN
        RETURN v_refusal;
    END IF;
    INSERT INTO reservations (pod, n, key, issuer, tenant, user_id, agent, workflow, model, assumed, budgets,
                              tokens_input, tokens_output, cost, at)
    SELECT p_pod, r.n, r.key, r.issuer, r.tenant, r.user_id, r.agent, r.workflow, r.model, r.assumed, r.budgets, r.input,
           r.output, r.cost, r.at
    FROM jsonb_to_record(p_request)
         AS r (n bigint, key text, issuer text, tenant text, user_id text, agent text, workflow text, model text,
               assumed boolean, budgets text[], input bigint, output bigint, cost bigint, at bigint);
    UPDATE accounts a SET
        day = GREATEST(a.day, (p_request->>'day')::bigint),
        reserved_input = greenroom_add_v1(a.reserved_input, v_input),
        reserved_output = greenroom_add_v1(a.reserved_output, v_output),
        reserved_cost = greenroom_add_v1(a.reserved_cost, v_cost)
    WHERE a.account IN (SELECT jsonb_array_elements_text(p_request->'budgets'));
    RETURN NULL;
END $$;

-- What accounts have been charged, exactly: together with the settlements that another batch is showing at this moment.
-- `open` has the models of calls in flight.
CREATE FUNCTION greenroom_charged_v1(p_accounts jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT COALESCE(jsonb_agg(to_jsonb(x)), '[]') FROM (
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
            SELECT COALESCE(sum(s.tokens_input), 0) AS tokens_input, COALESCE(sum(s.tokens_output), 0) AS tokens_output,
                   COALESCE(sum(s.cost), 0) AS cost, COALESCE(sum(s.reserved_input), 0) AS reserved_input,
                   COALESCE(sum(s.reserved_output), 0) AS reserved_output,
                   COALESCE(sum(s.reserved_cost), 0) AS reserved_cost,
                   COALESCE(array_agg(s.model ORDER BY s.id)
                            FILTER (WHERE s.kind > 0 AND greenroom_has_models_v1(q.account)), '{}') AS models,
                   COALESCE(bool_or(s.assumed)
                            FILTER (WHERE s.kind > 0 AND greenroom_has_models_v1(q.account)), false) AS assumed
            FROM settlements s WHERE q.account = ANY (s.budgets)
        ) s
        CROSS JOIN LATERAL (
            SELECT COALESCE(jsonb_agg(DISTINCT jsonb_build_object('model', r.model, 'assumed', r.assumed)), '[]') AS open
            FROM reservations r WHERE q.account = ANY (r.budgets) AND greenroom_has_models_v1(q.account)
        ) o
    ) x);
END $$;

-- `p_requests` has `settled`, `minutes`, `reserve` (in the order in which they are decided), `charged` (accounts),
-- `days` (accounts with the first day) and `usage` (users with the first minute).
CREATE FUNCTION greenroom_accounts_v1(p_pod bigint, p_lane integer, p_batch bigint, p_requests jsonb) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_ids      bigint[];
    v_accounts text[];
    v_request  jsonb;
    v_refusal  jsonb;
    v_reserved jsonb := '[]';
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
    PERFORM greenroom_settle_v1(p_pod, p_requests->'settled');
    -- Those that another pod is showing at this moment are left to it.
    v_ids := ARRAY(SELECT id FROM settlements ORDER BY id LIMIT 2000 FOR UPDATE SKIP LOCKED);
    v_accounts := ARRAY(
        SELECT b.account FROM settlements s CROSS JOIN unnest(s.budgets) AS b (account) WHERE s.id = ANY (v_ids)
        UNION SELECT b.account FROM jsonb_array_elements(p_requests->'reserve') AS r (request)
              CROSS JOIN jsonb_array_elements_text(r.request->'budgets') AS b (account)
    );
    INSERT INTO accounts (account, day) SELECT a.account, 0 FROM unnest(v_accounts) AS a (account) ORDER BY a.account
    ON CONFLICT (account) DO NOTHING;
    PERFORM 1 FROM accounts WHERE account = ANY (v_accounts) ORDER BY account FOR NO KEY UPDATE;
    PERFORM greenroom_show_settlements_v1(v_ids, p_requests->'minutes');
    FOR v_request IN SELECT r.request FROM jsonb_array_elements(p_requests->'reserve') AS r (request) LOOP
        v_refusal := greenroom_reserve_v1(p_pod, v_request);
        v_reserved := v_reserved || jsonb_build_object('n', v_request->'n', 'refusal', v_refusal);
    END LOOP;
    v_result := jsonb_build_object(
        'state', 'committed', 'reserved', v_reserved, 'settlements', cardinality(v_ids),
        'accounts', greenroom_charged_v1(p_requests->'charged'),
        'days', (
            SELECT COALESCE(jsonb_agg(to_jsonb(d)), '[]')
            FROM account_days d JOIN jsonb_to_recordset(p_requests->'days') AS q (account text, first_day bigint)
                 ON d.account = q.account AND d.day >= q.first_day
        ),
        'minutes', (
            SELECT COALESCE(jsonb_agg(to_jsonb(u)), '[]')
            FROM usage_minutes u JOIN jsonb_to_recordset(p_requests->'usage')
                 AS q (issuer text, tenant text, user_id text, first_minute bigint)
                 ON u.issuer = q.issuer AND u.tenant = q.tenant AND u.user_id = q.user_id AND u.minute >= q.first_minute
        )
    )::text;
    UPDATE batches SET result = v_result WHERE pod = p_pod AND lane = p_lane AND batch = p_batch;
    RETURN v_result;
END $$;
