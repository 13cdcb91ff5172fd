-- What was found wrong with the traces: damage, loss, gaps in the evidence.
--
-- source       row of sources; count: how many events, bytes or calls it concerns, where a number
SELECT d.source_id AS source, d.severity, d.code, d.count, d.message
FROM diagnostics d
ORDER BY CASE d.severity WHEN 'error' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, source, d.code
