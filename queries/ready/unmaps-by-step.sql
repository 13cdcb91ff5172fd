-- Each step of the recording: its unmaps, their leaves and what they took.
--
-- complete     those with a usable duration; of them total_ns, median_ns, per_leaf_ns
-- from_ns      when the first unmap of the step began, in the trace's clock
SELECT source_id AS source, step, count(*) AS unmaps,
       sum(CASE WHEN status = 'complete' AND duration_ns IS NOT NULL THEN 1 ELSE 0 END) AS complete,
       sum(CASE WHEN status = 'complete' AND duration_ns IS NOT NULL THEN leaves END) AS leaves,
       sum(CASE WHEN status = 'complete' THEN duration_ns END) AS total_ns,
       median(CASE WHEN status = 'complete' THEN duration_ns END) AS median_ns,
       round(sum(CASE WHEN status = 'complete' AND leaves > 0 THEN duration_ns END)
         / nullif(sum(CASE WHEN status = 'complete' AND duration_ns IS NOT NULL THEN leaves END), 0), 1)
         AS per_leaf_ns,
       min(start_ns) AS from_ns
FROM unmaps
GROUP BY source_id, step
ORDER BY source, from_ns NULLS LAST, step
