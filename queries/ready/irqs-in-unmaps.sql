-- Unmaps that interrupts prolonged the most.
--
-- irqs         calls of interrupt handling inside the unmap (a hard interrupt may be several)
-- irq_ns       time in them, cut out of all other components; null: they were not timed
-- percent      of the unmap's duration
SELECT source_id AS source, unmap_id, step, cpu, leaves, irq AS irqs, irq_ns, duration_ns,
       round(100 * irq_ns / nullif(duration_ns, 0), 1) AS percent
FROM unmaps
WHERE status = 'complete' AND irq > 0
ORDER BY irq_ns DESC NULLS LAST, irqs DESC, source_id, unmap_id
LIMIT 20
