-- How much of all unmap time each component took, by how the unmaps invalidated.
--
-- unmaps       complete ones of which the component is known (separated), of so many: of
-- component_ns its time in them, tracing included
-- percent      of the time of these unmaps
WITH complete AS (
  SELECT * FROM unmaps WHERE status = 'complete' AND duration_ns IS NOT NULL
),
parts AS (
  SELECT source_id, strategy, duration_ns, 'invalidate_leaf' AS component, invalidate_leaf_ns AS part_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'invalidate_table', invalidate_table_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'invalidate_ipa', invalidate_ipa_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'invalidate_range', invalidate_range_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'cmo', cmo_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'table_put', table_put_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'hypercall', hypercall_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'irq', irq_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'off_cpu', off_cpu_ns FROM complete
  UNION ALL SELECT source_id, strategy, duration_ns, 'rest', rest_ns FROM complete
)
SELECT source_id AS source, strategy, component, count(part_ns) AS unmaps, count(*) AS "of",
       sum(part_ns) AS component_ns,
       round(100 * sum(part_ns)
         / nullif(sum(CASE WHEN part_ns IS NOT NULL THEN duration_ns END), 0), 1) AS percent
FROM parts
GROUP BY source_id, strategy, component
HAVING count(part_ns) > 0
ORDER BY source_id, strategy, component_ns DESC, component
