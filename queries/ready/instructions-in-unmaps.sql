-- TLBI, DSB and other instructions inside unmaps, as an emulator saw them executed.
--
-- executed     how often; unmaps: in how many
-- pages        that range and level operands name, in granules; null: none does
SELECT source_id AS source, insn, op, count(*) AS executed, count(DISTINCT unmap_id) AS unmaps,
       sum(pages) AS pages
FROM instructions
WHERE unmap_id IS NOT NULL
GROUP BY source_id, insn, op
ORDER BY source, executed DESC, insn, op
