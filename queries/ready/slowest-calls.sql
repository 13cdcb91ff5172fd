-- The slowest single calls inside unmaps: an invalidation or cache maintenance that stands out.
--
-- duration_ns  of one call, with the traced calls in it; tracing included
-- level        of the page table, as it was passed: 0 and 2147483647 are no level
SELECT source_id AS source, unmap_id, call_id, symbol, operation, cpu, start_ns, duration_ns, ipa, level
FROM calls
WHERE unmap_id IS NOT NULL AND call_id <> unmap_id AND status = 'complete'
  AND operation NOT IN ('walk', 'other')
ORDER BY duration_ns DESC NULLS LAST, source_id, call_id
LIMIT 20
