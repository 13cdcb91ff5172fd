-- Unmaps that enter no statistics, and why.
--
-- why          entry missing, exit missing (censored); events lost, or a call in it cut off
--              (contaminated); recorded by entries alone (point); or no duration
-- leaves       that they cleared, as far as that was recorded
-- first_ns, last_ns   when the first and the last of them began, in the trace's clock
WITH reasons AS (
  SELECT source_id, status, leaves, start_ns,
         CASE WHEN status = 'point' THEN 'only entries were recorded'
              WHEN status = 'contaminated' THEN 'events lost in it, or a call in it cut off'
              WHEN status = 'censored' AND start_ns IS NULL THEN 'entry missing'
              WHEN status = 'censored' THEN 'exit missing'
              ELSE 'no duration' END AS why
  FROM unmaps
  WHERE status <> 'complete' OR duration_ns IS NULL
)
SELECT source_id AS source, status, why, count(*) AS unmaps, sum(leaves) AS leaves,
       min(start_ns) AS first_ns, max(start_ns) AS last_ns
FROM reasons
GROUP BY source_id, status, why
ORDER BY source, unmaps DESC, status, why
