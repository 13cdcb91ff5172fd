-- Unmaps that held up vCPUs of other tasks the most.
--
-- vcpus        that entered guests before and after, or during the unmap; vm: whose they are
-- stalls       their exits for stage-2 faults that overlap the unmap
-- stall_ns     time of these inside the unmap, added up: an upper bound of what they waited for it
-- longest_ns   the longest of one vCPU
SELECT b.source_id AS source, b.unmap_id, u.step, u.leaves, u.duration_ns, b.vm, b.vcpus, b.stalls,
       b.stall_ns, b.longest_stall_ns AS longest_ns, b.guest_faults
FROM bystanders b
JOIN unmaps u ON b.source_id = u.source_id AND b.unmap_id = u.unmap_id
WHERE b.vcpus > 0
ORDER BY b.stall_ns DESC NULLS LAST, b.guest_faults DESC NULLS LAST, source, b.unmap_id
LIMIT 20
