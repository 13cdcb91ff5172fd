-- The longest gaps between two unmaps of one request: what the request did in between.
--
-- gap_ns       from the end of the unmap before it (before) to the beginning of unmap_id, both complete
-- at_ns        when the gap began, in the trace's clock
WITH ordered AS (
  SELECT source_id, trigger_id, unmap_id, start_ns,
         lag(unmap_id) OVER (PARTITION BY source_id, trigger_id ORDER BY unmap_id) AS before,
         lag(start_ns + duration_ns) OVER (PARTITION BY source_id, trigger_id ORDER BY unmap_id) AS at_ns
  FROM unmaps
  WHERE trigger_id IS NOT NULL AND status = 'complete'
)
SELECT source_id AS source, trigger_id, before, unmap_id, at_ns, start_ns - at_ns AS gap_ns
FROM ordered
WHERE at_ns IS NOT NULL
ORDER BY gap_ns DESC, source_id, unmap_id
LIMIT 20
