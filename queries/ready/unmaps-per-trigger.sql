-- How many unmaps the requests of each kind caused, and how long both took.
--
-- requests     complete ones, of the function symbol; of these idle ones caused no unmap
-- unmaps, most in all, and by one request
-- unmaps_ns    time in them; between_ns is time of these requests outside of unmaps: waiting for
--              the mmu_lock, cond_resched, the notifier itself
SELECT source_id AS source, kind, symbol, count(*) AS requests,
       sum(CASE WHEN unmaps = 0 THEN 1 ELSE 0 END) AS idle, sum(unmaps) AS unmaps,
       max(unmaps) AS most, sum(unmaps_ns) AS unmaps_ns,
       sum(CASE WHEN unmaps > 0 THEN between_ns END) AS between_ns
FROM triggers
WHERE status = 'complete' AND unmaps IS NOT NULL
GROUP BY source_id, kind, symbol
ORDER BY source, unmaps_ns DESC NULLS LAST, kind, symbol
