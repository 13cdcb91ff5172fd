-- What the recording lost: where, how much, and for how long.
--
-- holes        places where events are missing, by kind; a hole without a place has no span
-- events       how many are missing, where that was said; unsaid: holes of which it was not
-- longest_ns   the longest span between the events around a hole
SELECT l.source_id AS source, s.path, l.kind, l.cpu, count(*) AS holes, sum(l.count) AS events,
       sum(CASE WHEN l.count IS NULL THEN 1 ELSE 0 END) AS unsaid,
       max(l.to_ns - l.from_ns) AS longest_ns
FROM losses l
JOIN sources s ON l.source_id = s.source_id
GROUP BY l.source_id, s.path, l.kind, l.cpu
ORDER BY source, events DESC NULLS LAST, l.kind, l.cpu
