-- Two statements compare a column that has an index of its own beside the key by which they look a row up: the pod that has
-- reserved an idempotency key, and the root of a run. A generic plan on a new database chose those indexes, so that each
-- reply of a batch read all keys that the pod had reserved, also those that were not vacuumed yet, and each append all runs
-- of its tree. A comparison by IS NOT DISTINCT FROM uses no index, and has the same result: its other side is never NULL.
DO $$
DECLARE
    v_changes CONSTANT text[][] := ARRAY[
        ['k.tenant = y.tenant AND k.holder = p_pod', 'k.tenant = y.tenant AND k.holder IS NOT DISTINCT FROM p_pod'],
        ['r.number = a.run AND r.root = a.root', 'r.number = a.run AND r.root IS NOT DISTINCT FROM a.root']
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
