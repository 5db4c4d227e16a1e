-- Statements that read more rows than they name. A plan in a function is made on a database that is new and empty, where an
-- index with few columns seems to be the cheapest, and it is used for as long as the pod is connected.
--
-- Three statements chose the index of a column beside the key by which they look a row up: the pod that has reserved an
-- idempotency key or money, and the root of a run. Each reply of a batch read all keys that the pod had reserved, also those
-- that were not vacuumed yet; each append all runs of its tree; each settlement all reservations of the pod. A comparison by
-- IS NOT DISTINCT FROM uses no index, and has the same result, because its other side is never NULL. The number of a
-- reservation is unique only beside its pod, so that pod comes from the same rows as the number.
DO $$
DECLARE
    v_changes CONSTANT text[][] := ARRAY[
        ['k.tenant = y.tenant AND k.holder = p_pod', 'k.tenant = y.tenant AND k.holder IS NOT DISTINCT FROM p_pod'],
        ['r.number = a.run AND r.root = a.root', 'r.number = a.run AND r.root IS NOT DISTINCT FROM a.root'],
        ['WITH settled AS (', 'WITH settled AS MATERIALIZED ('],
        ['SELECT * FROM jsonb_to_recordset(p_settled)', 'SELECT p_pod AS pod, s.* FROM jsonb_to_recordset(p_settled)'],
        ['WHERE r.pod = p_pod AND r.n = s.n', 'WHERE r.pod = s.pod AND r.n = s.n']
    ];
    v_change   text[];
    v_function oid;
BEGIN
    FOREACH v_change SLICE 1 IN ARRAY v_changes LOOP
        FOR v_function IN
            SELECT oid FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
                                      AND starts_with(proname, 'greenroom_') AND position(v_change[1] IN prosrc) > 0
        LOOP
            EXECUTE replace(pg_get_functiondef(v_function), v_change[1], v_change[2]);
        END LOOP;
    END LOOP;
END $$;

-- The accounts that belong to one tree of runs; the others are shared by many. Only these are asked for the models of the
-- calls in flight, at the end of each run.
CREATE FUNCTION greenroom_tree_accounts_v1(p_budgets text[]) RETURNS text[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT ARRAY(SELECT b.account FROM unnest(p_budgets) AS b (account)
                 WHERE b.account LIKE '{"Execution"%' OR b.account LIKE '{"Run"%')
$$;
CREATE INDEX reservations_by_account ON reservations USING gin (greenroom_tree_accounts_v1(budgets)) WITH (fastupdate = off);
CREATE INDEX settlements_by_account ON settlements USING gin (greenroom_tree_accounts_v1(budgets)) WITH (fastupdate = off);

-- As before, by these indexes: it read all calls in flight of the cluster.
CREATE OR REPLACE FUNCTION greenroom_charged_v2(p_pod bigint, p_accounts jsonb, p_settling jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
    RETURN (WITH asked AS MATERIALIZED (
        SELECT p_pod AS pod, w.*
        FROM jsonb_to_recordset(p_settling) AS w (n bigint, kind smallint, input bigint, output bigint, cost bigint)
    ), settling AS MATERIALIZED (
        SELECT r.n, r.budgets, r.model, r.assumed, r.tokens_input AS reserved_input, r.tokens_output AS reserved_output,
               r.cost AS reserved_cost, w.kind, w.input AS tokens_input, w.output AS tokens_output, w.cost
        FROM asked w JOIN reservations r ON r.pod = w.pod AND r.n = w.n
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
                FROM settlements WHERE greenroom_tree_accounts_v1(budgets) @> ARRAY[q.account]
                UNION ALL
                SELECT id, model, assumed, kind, tokens_input, tokens_output, cost, reserved_input, reserved_output,
                       reserved_cost
                FROM settlements WHERE NOT greenroom_has_models_v1(q.account) AND q.account = ANY (budgets)
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
            WHERE greenroom_tree_accounts_v1(r.budgets) @> ARRAY[q.account]
              AND NOT EXISTS (SELECT 1 FROM settling g WHERE r.pod = p_pod AND r.n = g.n)
        ) o
    ) x);
END $$;
ALTER FUNCTION greenroom_charged_v2 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_charged_v2 SET enable_seqscan = off;
ALTER FUNCTION greenroom_charged_v2 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_charged_v2 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_charged_v2 SET jit = off;
ALTER FUNCTION greenroom_settle_v1 SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION greenroom_settle_v1 SET enable_seqscan = off;
ALTER FUNCTION greenroom_settle_v1 SET enable_hashjoin = off;
ALTER FUNCTION greenroom_settle_v1 SET enable_mergejoin = off;
ALTER FUNCTION greenroom_settle_v1 SET jit = off;
