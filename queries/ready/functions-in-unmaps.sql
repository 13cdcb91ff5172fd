-- In which traced functions the time of unmaps went, each without the traced functions in it.
--
-- calls        complete ones inside complete unmaps
-- own_ns       their time without that of traced calls in them; tracing included
-- percent      of the time of all these unmaps
WITH whole AS (
  SELECT source_id, unmap_id, duration_ns FROM unmaps
  WHERE status = 'complete' AND duration_ns IS NOT NULL
),
total AS (
  SELECT source_id, sum(duration_ns) AS unmaps_ns FROM whole GROUP BY source_id
)
SELECT c.source_id AS source, c.symbol, c.operation, count(*) AS calls, sum(c.self_ns) AS own_ns,
       round(100 * sum(c.self_ns) / nullif(max(t.unmaps_ns), 0), 1) AS percent
FROM calls c
JOIN whole w ON c.source_id = w.source_id AND c.unmap_id = w.unmap_id
JOIN total t ON c.source_id = t.source_id
WHERE c.status = 'complete'
GROUP BY c.source_id, c.symbol, c.operation
ORDER BY source, own_ns DESC NULLS LAST, c.symbol
