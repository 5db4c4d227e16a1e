-- Pods: joining, the tick, death and what follows from it, claims, messages for runs, and the root chain of the audit.

-- Registers the start of a pod with an audit chain for each lane.
CREATE FUNCTION greenroom_join_v1(
    p_pod text, p_version text, p_reads_from integer, p_reads_to integer, p_lanes integer, p_lease_ms bigint,
    p_now bigint
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := clock_timestamp();
    v_id  bigint;
BEGIN
    INSERT INTO pods (pod, store, version, reads_from, reads_to, renewed_at, expires_at, active_at)
    SELECT p_pod, i.database, p_version, p_reads_from, p_reads_to, v_now, v_now + p_lease_ms * interval '1 millisecond',
           p_now
    FROM store_identity i
    RETURNING id INTO v_id;
    INSERT INTO audit_chains (pod, lane, number, hash)
    SELECT v_id, l.lane, 0, sha256(''::bytea) FROM generate_series(0, p_lanes - 1) AS l (lane) ORDER BY l.lane;
    RETURN jsonb_build_object('pod', v_id, 'chains', (
        SELECT jsonb_agg(c.chain ORDER BY c.lane) FROM audit_chains c WHERE c.pod = v_id
    ))::text;
END $$;

-- Everything periodic of a pod, once a second. `p_suspects` are pods whose renewals the caller has seen unchanged for a
-- whole lease of its own clock; one is declared dead only if its lease has expired by the clock of the database too.
CREATE FUNCTION greenroom_tick_v1(p_pod bigint, p_lease_ms bigint, p_suspects jsonb, p_now bigint, p_inbox_max integer)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_now  timestamptz := clock_timestamp();
    v_dead bigint[];
BEGIN
    UPDATE pods SET renewals = renewals + 1, renewed_at = v_now, active_at = GREATEST(active_at, p_now),
                    expires_at = v_now + p_lease_ms * interval '1 millisecond'
    WHERE id = p_pod AND NOT dead;
    IF NOT FOUND THEN
        RETURN '{"alive":false}';
    END IF;
    -- The row of a pod is locked by its batches in flight, and then it is left to the next tick.
    v_dead := ARRAY(
        SELECT p.id FROM pods p JOIN jsonb_to_recordset(p_suspects) AS s (id bigint, renewals bigint)
             ON p.id = s.id AND p.renewals = s.renewals
        WHERE NOT p.dead AND p.expires_at < clock_timestamp()
        ORDER BY p.id FOR UPDATE OF p SKIP LOCKED
    );
    UPDATE pods SET dead = true, cleaner = p_pod WHERE id = ANY (v_dead);
    -- Outcomes that no pod resolves any more.
    DELETE FROM batches WHERE (pod, lane, batch) IN (
        SELECT pod, lane, batch FROM batches WHERE at < v_now - interval '1 hour' LIMIT 500 FOR UPDATE SKIP LOCKED
    );
    RETURN jsonb_build_object(
        'alive', true,
        'now', (extract(epoch FROM v_now) * 1000000)::bigint,
        'declared', to_jsonb(v_dead),
        'peers', (SELECT COALESCE(jsonb_agg(jsonb_build_object('id', p.id, 'renewals', p.renewals, 'expires_in_ms',
                         (extract(epoch FROM p.expires_at - v_now) * 1000)::bigint)), '[]')
                  FROM pods p WHERE NOT p.dead AND p.id <> p_pod),
        'to_clean', (SELECT COALESCE(jsonb_agg(p.id ORDER BY p.id), '[]')
                     FROM pods p LEFT JOIN pods c ON c.id = p.cleaner
                     WHERE p.dead AND NOT p.cleaned AND (p.cleaner = p_pod OR COALESCE(c.dead, true))),
        'due', EXISTS (SELECT 1 FROM trees WHERE holder IS NULL AND open_runs > 0 AND wake_at <= p_now),
        'unshown', EXISTS (SELECT 1 FROM settlements),
        'inbox', (SELECT COALESCE(jsonb_agg(to_jsonb(m)), '[]') FROM (
            SELECT i.run, i.id, i.root, i.body, i.at FROM inbox i JOIN trees t ON t.root = i.root
            WHERE t.holder = p_pod ORDER BY i.at LIMIT p_inbox_max) m)
    )::text;
END $$;

-- Frees the keys of a dead pod, releases its trees, settles its reservations as estimated and returns the audit entries
-- that it has left open, at most `p_limit` of each. The caller repeats it until nothing is left, and closes the entries.
CREATE FUNCTION greenroom_clean_v1(
    p_pod bigint, p_dead bigint, p_day bigint, p_minute bigint, p_limit integer
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_reserved  jsonb;
    v_settled   bigint;
    v_released  bigint;
    v_active_at bigint;
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    -- Its death was committed before, so none of its batches can follow.
    UPDATE pods p SET cleaner = p_pod WHERE p.id = p_dead AND p.dead AND NOT p.cleaned
        AND (p.cleaner = p_pod OR NOT EXISTS (SELECT 1 FROM pods c WHERE c.id = p.cleaner AND NOT c.dead));
    IF NOT FOUND THEN
        RETURN '{"state":"taken"}';
    END IF;
    DELETE FROM idempotency_keys WHERE holder = p_dead;
    SELECT p.active_at INTO v_active_at FROM pods p WHERE p.id = p_dead;
    UPDATE trees SET
        holder = NULL,
        attempts = attempts + 1,
        active_since = CASE WHEN has_written THEN granted_at ELSE active_since END,
        active_until = CASE WHEN has_written THEN GREATEST(granted_at, v_active_at) ELSE active_until END
    WHERE root IN (
        SELECT t.root FROM trees t WHERE t.holder = p_dead AND t.open_runs > 0
        ORDER BY t.root LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
    GET DIAGNOSTICS v_released = ROW_COUNT;
    SELECT jsonb_agg(jsonb_build_object('n', r.n, 'kind', 2, 'input', r.tokens_input, 'output', r.tokens_output,
                     'cost', r.cost, 'day', p_day, 'minute', p_minute)), count(*)
    INTO v_reserved, v_settled
    FROM (SELECT * FROM reservations WHERE pod = p_dead ORDER BY n LIMIT p_limit) r;
    PERFORM greenroom_settle_v1(p_dead, v_reserved);
    RETURN jsonb_build_object('state', 'committed', 'settled', v_settled, 'released', v_released, 'open', (
        SELECT COALESCE(jsonb_agg(to_jsonb(o)), '[]') FROM (
            SELECT a.chain, a.number, a.request, a.tenant FROM audit_open a JOIN audit_chains c ON c.chain = a.chain
            WHERE c.pod = p_dead ORDER BY a.chain, a.number LIMIT p_limit) o
    ), 'chains', (
        SELECT COALESCE(jsonb_agg(jsonb_build_object('chain', c.chain, 'number', c.number) ORDER BY c.chain), '[]')
        FROM audit_chains c WHERE c.pod = p_dead
    ))::text;
END $$;

-- Claims trees without an owner that are due, as a whole, at most `p_limit`; of each tenant equally many, and none of
-- the tenants `p_full`. One whose owner has died counts an attempt.
CREATE FUNCTION greenroom_claim_v1(
    p_pod bigint, p_name text, p_now bigint, p_version integer, p_limit integer, p_full text[]
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_roots   text[];
    v_claimed jsonb;
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    -- `greenroom_owned_v1` waits for it.
    PERFORM pg_advisory_xact_lock(731059, (p_pod % 2147483647)::integer);
    v_roots := ARRAY(
        SELECT d.root FROM (
            SELECT t.root, t.number, row_number() OVER (PARTITION BY t.tenant ORDER BY t.number) AS nth FROM (
                SELECT t.root, t.tenant, t.number FROM trees t
                WHERE t.holder IS NULL AND t.open_runs > 0 AND t.wake_at <= p_now AND t.journal_version <= p_version
                  AND t.tenant <> ALL (p_full)
                UNION ALL
                SELECT t.root, t.tenant, t.number FROM pods h JOIN trees t ON t.holder = h.id
                WHERE h.dead AND NOT h.cleaned AND t.open_runs > 0 AND t.wake_at <= p_now AND t.journal_version <= p_version
                  AND t.tenant <> ALL (p_full)
                LIMIT 10000
            ) t
        ) d ORDER BY d.nth, d.number LIMIT p_limit
    );
    v_roots := ARRAY(
        SELECT t.root FROM trees t WHERE t.root = ANY (v_roots) AND t.open_runs > 0
          AND (t.holder IS NULL OR NOT EXISTS (SELECT 1 FROM pods h WHERE h.id = t.holder AND NOT h.dead))
        ORDER BY t.root FOR NO KEY UPDATE SKIP LOCKED
    );
    WITH claimed AS MATERIALIZED (
        SELECT t.root, t.number, t.fence + 1 AS fence, t.failures, t.parked,
               t.attempts + (t.holder IS NOT NULL)::integer AS attempts,
               CASE WHEN t.holder IS NOT NULL AND t.has_written THEN t.granted_at ELSE t.active_since END AS since,
               CASE WHEN t.holder IS NOT NULL AND t.has_written THEN GREATEST(t.granted_at, h.active_at)
                    ELSE t.active_until END AS until
        FROM trees t LEFT JOIN pods h ON h.id = t.holder WHERE t.root = ANY (v_roots)
    ), changed AS (
        UPDATE trees t SET holder = p_pod, pod = p_name, fence = c.fence, attempts = c.attempts, wake_at = 0,
                           parked = false, granted_at = p_now, has_written = false, active_since = c.since, active_until = c.until
        FROM claimed c WHERE t.root = c.root
    )
    SELECT COALESCE(jsonb_agg(to_jsonb(c) ORDER BY c.number), '[]') INTO v_claimed FROM claimed c;
    RETURN jsonb_build_object('state', 'committed', 'claimed', v_claimed)::text;
END $$;

-- The trees that a pod owns, all or those of these numbers. A claim whose reply was lost may still be being committed; this
-- waits for its end, and sees what it has claimed.
CREATE FUNCTION greenroom_owned_v1(p_pod bigint, p_numbers bigint[])
RETURNS TABLE (root text, number bigint, attempts bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(731059, (p_pod % 2147483647)::integer);
    RETURN QUERY
        SELECT t.root, t.number, t.attempts::bigint FROM trees t
        WHERE t.holder = p_pod AND t.open_runs > 0 AND (p_numbers IS NULL OR t.number = ANY (p_numbers))
        ORDER BY t.number;
END $$;

-- Ends the ownership of a tree until `p_wake_at`, and of one that is parked until a message comes. False if it has another
-- owner, or is to be parked and has a message.
CREATE FUNCTION greenroom_park_v1(
    p_pod bigint, p_root text, p_fence bigint, p_wake_at bigint, p_parked boolean, p_now bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM 1 FROM trees WHERE root = p_root FOR NO KEY UPDATE;
    UPDATE trees SET
        holder = NULL,
        wake_at = p_wake_at,
        parked = p_parked,
        active_since = CASE WHEN has_written THEN granted_at ELSE active_since END,
        active_until = CASE WHEN has_written THEN GREATEST(granted_at, p_now) ELSE active_until END
    WHERE root = p_root AND holder = p_pod AND fence = p_fence
      AND (NOT p_parked OR NOT EXISTS (SELECT 1 FROM inbox i WHERE i.root = p_root));
    RETURN FOUND;
END $$;

-- Adds a message for a run, once, and wakes its tree if that is parked. False if the run does not exist or has ended.
CREATE FUNCTION greenroom_send_v1(p_pod bigint, p_run text, p_id text, p_body text, p_at bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    v_root text;
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the pod is dead' USING ERRCODE = 'GR001';
    END IF;
    SELECT r.root INTO v_root FROM runs r WHERE r.run = p_run AND NOT r.ended;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Locked, so that the tree is not parked at the same time. It is due at once, by the clock of every pod.
    UPDATE trees SET wake_at = 0 WHERE root = v_root;
    INSERT INTO inbox (run, id, root, body, at) VALUES (p_run, p_id, v_root, p_body, p_at) ON CONFLICT DO NOTHING;
    RETURN true;
END $$;

-- Appends events to the root chain. Returns its tip.
CREATE FUNCTION greenroom_root_v1(p_pod bigint, p_at bigint, p_written_at text, p_events text[]) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_event  text;
    v_record text;
    v_number bigint;
    v_hash   bytea;
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR KEY SHARE;
    IF NOT FOUND THEN
        RETURN '{"state":"dead"}';
    END IF;
    PERFORM pg_advisory_xact_lock(7310590842617290001);
    SELECT r.number, r.hash INTO v_number, v_hash FROM audit_root r ORDER BY r.number DESC LIMIT 1;
    IF NOT FOUND THEN
        v_number := 0;
        v_hash := sha256(''::bytea);
    END IF;
    FOREACH v_event IN ARRAY p_events LOOP
        v_number := v_number + 1;
        v_record := format('{"number":%s,"previous":"%s","at":"%s","event":%s}', v_number, encode(v_hash, 'hex'),
                           p_written_at, v_event);
        v_hash := sha256(v_hash || convert_to(v_record, 'UTF8'));
        INSERT INTO audit_root (number, hash, at, record) VALUES (v_number, v_hash, p_at, v_record);
    END LOOP;
    RETURN jsonb_build_object('state', 'committed', 'number', v_number, 'hash', encode(v_hash, 'hex'))::text;
END $$;

-- Releases everything that a pod owns, after its last batch; from then on it writes nothing.
CREATE FUNCTION greenroom_leave_v1(p_pod bigint, p_now bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM pods WHERE id = p_pod AND NOT dead FOR UPDATE;
    IF FOUND THEN
        UPDATE trees SET
            holder = NULL,
            active_since = CASE WHEN has_written THEN granted_at ELSE active_since END,
            active_until = CASE WHEN has_written THEN GREATEST(granted_at, p_now) ELSE active_until END
        WHERE holder = p_pod AND open_runs > 0;
        -- What a request has left open although the pod has stopped in order is cleaned by another pod.
        UPDATE pods SET dead = true, active_at = GREATEST(active_at, p_now),
            cleaned = NOT EXISTS (SELECT 1 FROM reservations r WHERE r.pod = p_pod)
                  AND NOT EXISTS (SELECT 1 FROM idempotency_keys k WHERE k.holder = p_pod)
                  AND NOT EXISTS (SELECT 1 FROM audit_open a JOIN audit_chains c ON c.chain = a.chain WHERE c.pod = p_pod)
        WHERE id = p_pod;
    END IF;
END $$;

-- Removes what nothing reads any more, at most 500 rows of a table. A pod is remembered for a week.
CREATE FUNCTION greenroom_sweep_v1(
    p_day bigint, p_minute bigint, p_execution_days bigint, p_run_days bigint, p_period_days bigint
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM usage_minutes WHERE (issuer, tenant, user_id, minute) IN (
        SELECT issuer, tenant, user_id, minute FROM usage_minutes WHERE minute <= p_minute
        ORDER BY minute LIMIT 500 FOR UPDATE SKIP LOCKED);
    DELETE FROM account_days WHERE (account, day) IN (
        SELECT account, day FROM account_days WHERE day <= p_day - p_period_days
        ORDER BY day LIMIT 500 FOR UPDATE SKIP LOCKED);
    DELETE FROM accounts WHERE account IN (
        SELECT account FROM accounts
        WHERE day <= p_day - p_execution_days
          AND (account LIKE '{"Execution"%' OR account LIKE '{"Run"%' AND day <= p_day - p_run_days)
          AND reserved_input = 0 AND reserved_output = 0 AND reserved_cost = 0
        ORDER BY day LIMIT 500 FOR UPDATE SKIP LOCKED);
    DELETE FROM pods WHERE id IN (
        SELECT id FROM pods WHERE dead AND cleaned AND renewed_at < clock_timestamp() - interval '7 days'
        ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED);
END $$;
