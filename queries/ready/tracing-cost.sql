-- How much of the time of unmaps was tracing, and how that is known.
--
-- method       calibrated (another capture says it), bounded, none (an emulator records at no cost)
-- unmaps_ns    time of complete unmaps; of it tracing between low_ns and high_ns, the estimate
--              probe_ns; null where one of them has none
WITH sums AS (
  SELECT source_id, evidence, count(*) AS unmaps, sum(duration_ns) AS unmaps_ns,
         CASE WHEN count(probe_ns) = count(*) THEN sum(probe_ns) END AS probe_ns,
         CASE WHEN count(probe_low_ns) = count(*) THEN sum(probe_low_ns) END AS low_ns,
         CASE WHEN count(probe_high_ns) = count(*) THEN sum(probe_high_ns) END AS high_ns
  FROM unmaps
  WHERE status = 'complete' AND duration_ns IS NOT NULL
  GROUP BY source_id, evidence
)
SELECT s.source_id AS source, s.evidence, c.method, s.unmaps, s.unmaps_ns, s.low_ns, s.probe_ns,
       s.high_ns, round(100 * s.high_ns / nullif(s.unmaps_ns, 0), 1) AS at_most_pct
FROM sums s
LEFT JOIN tracing_costs c ON s.source_id = c.source_id AND s.evidence = c.evidence
ORDER BY source, s.evidence
