# What the kernels of ../kernel show: unmaps that free tables, and the dirty logs of slots up to 12 GiB, in every recorder.
# Files: slot (slot.c) and operands of the kernel that runs. Arguments: on or off, whether new VMs defer; on if none; or
# executed: they defer, and nothing is traced (boot --plugin).
. /share/lib.sh
suite_kernel() {
	workload "$@" -i u1 -a dontneed -s 64K
	workload "$@" -i u2 -a dontneed -s 2M
	workload "$@" -i u3 -a dontneed -b thp -s 4M
	workload "$@" -i u4 -a memslot -s 64K
	workload "$@" -i u5 -a half -s 256K
	/share/slot slot 1024 4096 8192 12288 >> /tmp/slot.jsonl
}
# job.sh work NAME: the suite alone, for recorders that want a command
if [ "${1:-}" = work ]; then truth "$2" kernel && exit; fi

# Kprobes with arguments, and one on each TLBI of a range flush
set_all_probes() {
	set_probes
	# struct kvm_pgtable_visit_ctx of 6.12, without BTF
	[ -e /sys/kernel/btf/vmlinux ] || probe "p:$group/walker stage2_unmap_walker addr=+40(%x0):x64 level=+56(%x0):s8"
	number=0
	while IFS=, read -r at register instruction; do
		number=$((number + 1))
		probe "p:$group/operand$number __kvm_tlb_flush_vmid_range$at $instruction=%$register:x64"
	done < /share/operands
	for function in kvm_pgtable_stage2_unmap __kvm_tlb_flush_vmid_ipa __kvm_tlb_flush_vmid_range kvm_s2_put_page; do
		note "traced $function"
	done
}
start_over() {
	clean
	set_to trace_clock mono
}

unmap_defer=/sys/module/kvm/parameters/unmap_defer
case ${1:-on} in on | executed) side=Y ;; off) side=N ;; *) fail "not on, off or executed: $1" ;; esac
[ -e $unmap_defer ] || fail "no $unmap_defer: a kernel without the switch"
echo "$side" > $unmap_defer
facts
if [ "${1:-on}" = executed ]; then truth insn kernel && exit; fi

start_over
set_all_probes
set_to "events/$group/enable" 1
as_text args kernel

for more in "" stage2_unmap_walker; do
	start_over
	# shellcheck disable=SC2086  # a list of names
	trace_functions $operations $more
	options funcgraph-abstime funcgraph-proc
	as_text ${more:+visits-}fgraph kernel
done

start_over
set_all_probes
trace-cmd start -q -C mono -b 32768 -e "$group" > /dev/null || fail "trace-cmd start"
truth args-trace-cmd kernel
trace-cmd stop
lossless
trace-cmd extract -o "$OUT/args-trace-cmd.dat" > /tmp/extract.log 2>&1 || fail "trace-cmd extract: $(cat /tmp/extract.log)"
described args-trace-cmd trace-cmd
trace-cmd reset > /dev/null

start_over
set_all_probes
perf record -q -a -k mono -m 4096 -e "$group:*" -o "$OUT/args-perf.perf.data" -- sh /share/job.sh work args-perf > /tmp/perf.log 2>&1 ||
	fail "perf record: $(cat /tmp/perf.log)"
described args-perf perf
