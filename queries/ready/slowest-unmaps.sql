-- The slowest unmaps, and what each spent its time on, in percent.
--
-- duration_ns  of complete unmaps, tracing included
-- leaf, table, ipa, range     % in invalidate calls for leaves, for freed tables, for either, of ranges
-- cmo, irq, off_cpu         % in cache maintenance, in interrupts, off the CPU
-- rest         % that is none of these: the walk, and all that was not traced
-- A part that was not separated is null, and its time is in rest.
SELECT source_id AS source, unmap_id, step, strategy, leaves, duration_ns,
       round(100 * invalidate_leaf_ns / nullif(duration_ns, 0), 1) AS leaf,
       round(100 * invalidate_table_ns / nullif(duration_ns, 0), 1) AS "table",
       round(100 * invalidate_ipa_ns / nullif(duration_ns, 0), 1) AS ipa,
       round(100 * invalidate_range_ns / nullif(duration_ns, 0), 1) AS range,
       round(100 * cmo_ns / nullif(duration_ns, 0), 1) AS cmo,
       round(100 * irq_ns / nullif(duration_ns, 0), 1) AS irq,
       round(100 * off_cpu_ns / nullif(duration_ns, 0), 1) AS off_cpu,
       round(100 * (duration_ns - coalesce(invalidate_leaf_ns, 0) - coalesce(invalidate_table_ns, 0)
         - coalesce(invalidate_ipa_ns, 0) - coalesce(invalidate_range_ns, 0) - coalesce(cmo_ns, 0)
         - coalesce(irq_ns, 0) - coalesce(off_cpu_ns, 0)) / nullif(duration_ns, 0), 1) AS rest
FROM unmaps
WHERE status = 'complete' AND duration_ns IS NOT NULL
ORDER BY duration_ns DESC, source_id, unmap_id
LIMIT 20
