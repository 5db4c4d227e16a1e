-- Where each pod stores artifacts: pods that would not find those of each other do not share a database.

-- A folder or a bucket, without credentials; NULL for a pod of an earlier release.
ALTER TABLE pods ADD COLUMN artifacts text;

-- As `greenroom_join_v2`, for a pod that stores artifacts in `p_artifacts`, where every pod finds them if `p_shared`. Beside
-- pods that store them elsewhere it does not join, and gets those pods. Pods join one after the other, so of two that start
-- together one finds the other.
CREATE FUNCTION greenroom_join_v3(
    p_pod text, p_version text, p_reads_from integer, p_reads_to integer, p_lanes integer, p_lease_ms bigint,
    p_now bigint, p_artifacts text, p_shared boolean
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_apart  jsonb;
    v_joined jsonb;
BEGIN
    PERFORM pg_advisory_xact_lock(7310590842617290002);
    SELECT jsonb_agg(jsonb_build_object('id', p.id, 'pod', p.pod, 'renewals', p.renewals, 'artifacts', p.artifacts)
                     ORDER BY p.id)
    INTO v_apart FROM pods p
    WHERE NOT p.dead AND p.expires_at > clock_timestamp() AND (NOT p_shared OR p.artifacts <> p_artifacts);
    IF v_apart IS NOT NULL THEN
        RETURN jsonb_build_object('apart', v_apart)::text;
    END IF;
    v_joined := greenroom_join_v2(p_pod, p_version, p_reads_from, p_reads_to, p_lanes, p_lease_ms, p_now)::jsonb;
    UPDATE pods SET artifacts = p_artifacts WHERE id = (v_joined->>'pod')::bigint;
    RETURN v_joined::text;
END $$;
