-- Which events the trace holds, and how many of each.
--
-- events       decoded ones, and those that were seen and not decoded because no question needs them
-- percent      of all events of the trace
SELECT source_id AS source, name, symbol, phase, evidence, sum(count) AS events,
       round(100 * sum(count) / sum(sum(count)) OVER (PARTITION BY source_id), 1) AS percent
FROM event_counts
GROUP BY source_id, name, symbol, phase, evidence
ORDER BY source, events DESC, name, symbol, phase
