-- What a leaf costs, by how many an unmap cleared and how it invalidated them.
--
-- unmaps       complete ones that cleared so many leaves; empty ones have no cost per leaf
-- median_ns    of one unmap: the middle one, or the mean of the two middle ones
-- per_leaf_ns  time of all of them / leaves of all of them, tracing included
-- least_ns, most_ns   the same of single unmaps
SELECT source_id AS source, strategy, leaves, count(*) AS unmaps,
       median(duration_ns) AS median_ns,
       round(sum(duration_ns) / sum(leaves), 1) AS per_leaf_ns,
       round(min(duration_ns / leaves), 1) AS least_ns,
       round(max(duration_ns / leaves), 1) AS most_ns
FROM unmaps
WHERE status = 'complete' AND duration_ns IS NOT NULL AND leaves > 0
GROUP BY source_id, strategy, leaves
ORDER BY source_id, strategy, leaves
