-- What a profiler's samples inside unmaps were doing.
--
-- operation    the component that the sample falls in; null: no frame of it has a name
-- samples      inside unmaps, by what was sampled (event) and the function at the sampled address
-- percent      of the samples of that event inside unmaps
SELECT source_id AS source, event, operation, symbol, count(*) AS samples,
       round(100 * count(*) / sum(count(*)) OVER (PARTITION BY source_id, event), 1) AS percent
FROM samples
WHERE unmap_id IS NOT NULL OR operation IS NOT NULL
GROUP BY source_id, event, operation, symbol
ORDER BY source, event, samples DESC, operation, symbol
