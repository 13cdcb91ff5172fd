-- TLB invalidations that no unmap asked for: write protection, memslots, VM destruction, ...
--
-- calls        by function; complete ones have a duration
-- total_ns, longest_ns   of the complete ones
SELECT source_id AS source, symbol, operation, count(*) AS calls,
       sum(CASE WHEN status = 'complete' THEN 1 ELSE 0 END) AS complete,
       sum(CASE WHEN status = 'complete' THEN duration_ns END) AS total_ns,
       max(CASE WHEN status = 'complete' THEN duration_ns END) AS longest_ns
FROM flushes
GROUP BY source_id, symbol, operation
ORDER BY source, calls DESC, symbol
