-- How many invalidate calls a leaf takes: 1 where each is invalidated, fewer where ranges are.
--
-- unmaps       complete ones whose calls of each kind were counted, and whose leaves were counted by
--              something else than these calls (leaves_evidence): else it would be 1 by definition
-- leaf, tables, either, ranges   invalidate calls for leaves, for freed tables, of which it is not
--              known, and of ranges; null: not counted in any of these unmaps
-- per_leaf     all of them / leaves
SELECT source_id AS source, strategy, count(*) AS unmaps, sum(leaves) AS leaves,
       sum(invalidate_leaf) AS leaf, sum(invalidate_table) AS tables,
       sum(invalidate_ipa) AS either, sum(invalidate_range) AS ranges,
       round((coalesce(sum(invalidate_leaf), 0) + coalesce(sum(invalidate_table), 0)
         + coalesce(sum(invalidate_ipa), 0) + coalesce(sum(invalidate_range), 0))
         / nullif(sum(leaves), 0), 4) AS per_leaf
FROM unmaps
WHERE status = 'complete' AND leaves > 0 AND leaves_evidence <> 'invalidate'
  AND invalidate_range IS NOT NULL AND (invalidate_ipa IS NOT NULL OR (invalidate_leaf IS NOT NULL AND invalidate_table IS NOT NULL))
GROUP BY source_id, strategy
ORDER BY source, strategy
