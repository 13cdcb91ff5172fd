# What jobs of the lab source (busybox sh). Writes captures NAME.EXTENSION to $OUT, with NAME.truth.jsonl and NAME.setup.
# shellcheck shell=sh
tracefs=/sys/kernel/tracing
group=traceview
operations="kvm_pgtable_stage2_unmap __kvm_tlb_flush_vmid_ipa __kvm_tlb_flush_vmid_range __kvm_tlb_flush_vmid
	clean_dcache_guest_page kvm_s2_put_page"
# What also runs in unmaps, above them and around them
deep="$operations kvm_mmu_notifier_invalidate_range_start kvm_mmu_notifier_invalidate_range_end kvm_mmu_notifier_release
	kvm_unmap_gfn_range kvm_mmu_unmap_gfn_range kvm_set_memslot kvm_arch_flush_shadow_memslot kvm_arch_flush_shadow_all
	kvm_free_stage2_pgd kvm_uninit_stage2_mmu kvm_destroy_vm __unmap_stage2_range kvm_stage2_unmap_range stage2_apply_range
	kvm_pgtable_walk __kvm_pgtable_walk stage2_unmap_walker stage2_put_pte stage2_unmap_put_pte stage2_unmap_defer_tlb_flush
	stage2_has_fwb stage2_try_break_pte kvm_pgtable_stage2_wrprotect kvm_pgtable_stage2_free_unlinked
	__kvm_tlb_flush_vmid_ipa_nsh kvm_tlb_flush_vmid_range enter_vmid_context exit_vmid_context __tlb_switch_to_guest
	__tlb_switch_to_host invalidate_icache_guest_page kvm_pgtable_stage2_destroy kvm_pgtable_stage2_destroy_range
	kvm_pgtable_stage2_destroy_pgd stage2_free_walker kvm_flush_remote_tlbs kvm_arch_flush_remote_tlbs
	kvm_arch_flush_remote_tlbs_range kvm_flush_remote_tlbs_range kvm_flush_remote_tlbs_memslot kvm_nested_s2_unmap"

say() { echo "$* (up $(cut -d' ' -f1 /proc/uptime))"; }
fail() { say "failed: $*"; exit 1; }
set_to() { echo "$2" > "$tracefs/$1" || fail "$1 refuses: $2"; }

# The functions of this kernel among those named, with the compiler's suffixes: lines of number and name
numbered() {
	[ -e /tmp/functions ] || cut -d' ' -f1 $tracefs/available_filter_functions > /tmp/functions
	awk 'BEGIN { for (n = 2; n < ARGC; n++) { wanted[ARGV[n]]; delete ARGV[n] } }
		{ name = $1; sub(/(\.[a-z]+\.[0-9]+)+$/, "", name); if (name in wanted) print FNR, $1 }' /tmp/functions "$@"
}
present() { numbered "$@" | cut -d' ' -f2 | sort -u; }

# tracefs as it is after a boot
clean() {
	set_to tracing_on 0
	set_to current_tracer nop
	for file in set_event set_ftrace_filter set_graph_function kprobe_events; do : > $tracefs/$file; done
	set_to trace_clock local
	for option in funcgraph-abstime funcgraph-proc funcgraph-tail latency-format record-tgid stacktrace; do
		[ -e $tracefs/options/$option ] && set_to options/$option 0
	done
	set_to buffer_size_kb "${1:-32768}"
	: > $tracefs/trace
	: > /tmp/setup
}
options() { for option; do set_to "options/$option" 1; done; }

# Lines of NAME.setup: what the host cannot read from the capture
note() { echo "$*" >> /tmp/setup; }

# function_graph (or $tracer) of the functions named
trace_functions() {
	numbered "$@" > /tmp/numbered
	# By number: a name is compared with every function of the kernel
	cut -d' ' -f1 /tmp/numbered | tr '\n' ' ' > $tracefs/set_ftrace_filter || fail "set_ftrace_filter"
	cut -d' ' -f2 /tmp/numbered | sort -u > /tmp/traced
	[ "$(cut -d' ' -f1 $tracefs/set_ftrace_filter | sort -u)" = "$(cat /tmp/traced)" ] || fail "set_ftrace_filter has others"
	set_to current_tracer "${tracer:-function_graph}"
	[ "${tracer:-function_graph}" != function_graph ] || sed 's/\..*//; s/^/traced /' /tmp/traced >> /tmp/setup
}

probe() { echo "$*" >> $tracefs/kprobe_events 2>> /tmp/refused && note "kprobe_events $*" || say "refused: $*"; }

# Kprobes of the operations with their arguments. The walker's visit needs BTF.
set_probes() {
	probe "p:$group/s2_unmap kvm_pgtable_stage2_unmap pgt=%x0:x64 addr=%x1:x64 size=%x2:x64"
	probe "r:$group/s2_unmap_ret kvm_pgtable_stage2_unmap ret=\$retval:s32"
	probe "p:$group/tlbi_ipa __kvm_tlb_flush_vmid_ipa mmu=%x0:x64 ipa=%x1:x64 level=%x2:s32"
	probe "r:$group/tlbi_ipa_ret __kvm_tlb_flush_vmid_ipa"
	probe "p:$group/tlbi_range __kvm_tlb_flush_vmid_range mmu=%x0:x64 start=%x1:x64 pages=%x2:u64"
	probe "r:$group/tlbi_range_ret __kvm_tlb_flush_vmid_range"
	probe "p:$group/tlbi_range_outer kvm_tlb_flush_vmid_range mmu=%x0:x64 addr=%x1:x64 size=%x2:x64"
	probe "p:$group/tlbi_vmid __kvm_tlb_flush_vmid mmu=%x0:x64"
	probe "r:$group/tlbi_vmid_ret __kvm_tlb_flush_vmid"
	probe "p:$group/cmo_page clean_dcache_guest_page va=%x0:x64 size=%x1:x64"
	probe "p:$group/unmap_gfn kvm_unmap_gfn_range kvm=%x0:x64"
	probe "r:$group/unmap_gfn_ret kvm_unmap_gfn_range"
	probe "p:$group/flush_memslot kvm_arch_flush_shadow_memslot"
	probe "r:$group/flush_memslot_ret kvm_arch_flush_shadow_memslot"
	probe "p:$group/s2_destroy kvm_pgtable_stage2_destroy"
	probe "r:$group/s2_destroy_ret kvm_pgtable_stage2_destroy"
	probe "p:$group/walker stage2_unmap_walker addr=ctx->addr level=ctx->level:s8"
	probe "p:$group/put_page kvm_s2_put_page addr=%x0:x64"
}

# Suites: suite NAME [OPTION]... prints the ground truth
suite() {
	name=$1
	shift
	"suite_$name" "$@"
}
suite_tiny() {
	workload "$@" -i t1 -a dontneed -s 4K
	workload "$@" -i t2 -a dontneed -s 64K
	workload "$@" -i t3 -a dontneed -b thp -s 4M
	workload "$@" -i t4 -a memslot -s 64K
	workload "$@" -i t5 -a destroy -s 64K
}
suite_std() {
	workload "$@" -i s01 -a dontneed -s 4K -n 3
	workload "$@" -i s02 -a dontneed -s 64K -n 2
	workload "$@" -i s03 -a dontneed -s 2M -n 2
	workload "$@" -i s04 -a dontneed -b thp -s 2M
	workload "$@" -i s05 -a dontneed -b thp -s 16M
	workload "$@" -i s06 -a dontneed -b hugetlb -s 4M
	workload "$@" -i s07 -a chunks -s 1M -c 64K
	workload "$@" -i s08 -a sparse -s 1M -c 16K
	workload "$@" -i s09 -a half -s 1M
	workload "$@" -i s10 -a memslot -s 2M -n 2
	workload "$@" -i s11 -a memslot -b thp -s 8M
	workload "$@" -i s12 -a munmap -s 1M
	workload "$@" -i s13 -a mprotect -s 1M
	workload "$@" -i s14 -a move -s 1M
	workload "$@" -i s15 -a dirtylog -b thp -s 2M
	workload "$@" -i s16 -a destroy -s 2M
	workload "$@" -i s17 -a destroy -b thp -s 8M
	workload "$@" -i s18 -a exit -s 1M
	last=$(($(nproc) - 1))
	workload "$@" -i s19 -p 0 -a dontneed -s 512K &
	first=$!
	workload "$@" -i s20 -p $last -a dontneed -s 512K
	wait $first
}
suite_observer() {
	workload "$@" -i w01 -a dontneed -s 4K -n 6
	workload "$@" -i w02 -a dontneed -s 64K -n 6
	workload "$@" -i w03 -a dontneed -s 512K -n 6
	workload "$@" -i w04 -a dontneed -s 2M -n 6
	workload "$@" -i w05 -a dontneed -s 8M -n 4
	workload "$@" -i w06 -a dontneed -b thp -s 16M -n 6
	workload "$@" -i w07 -a memslot -s 2M -n 4
	workload "$@" -i w08 -a half -s 1M -n 4
}
suite_storm() {
	workload "$@" -i st4k -a storm -s 4M -c 256K -n 40
	workload "$@" -i stthp -a storm -b thp -s 16M -c 4M -n 20
}

# truth NAME SUITE [OPTION]...: runs it, the ground truth goes beside the capture
truth() {
	at=$OUT/$1.truth.jsonl
	shift
	suite "$@" > "$at" 2> /tmp/workload.err || :
	grep -q '"error"' "$at" && fail "the workload: $(cat /tmp/workload.err)"
	[ -s "$at" ] || fail "the workload said nothing"
}

# described NAME RECORDER: NAME.setup of what was noted and of tracefs as it is now
described() {
	{
		echo "recorder $2"
		echo "clock $(sed 's/.*\[\(.*\)\].*/\1/' $tracefs/trace_clock)"
		echo "buffer_size_kb $(cat $tracefs/buffer_size_kb)"
		cat /tmp/setup
	} > "$OUT/$1.setup"
	say "$1: $2"
}

# as_text NAME SUITE: records it into the tracer that is set up, and prints the buffer
as_text() {
	: > $tracefs/trace
	set_to tracing_on 1
	truth "$1" "$2"
	set_to tracing_on 0
	lossless
	cat $tracefs/trace > "$OUT/$1.txt"
	described "$1" tracefs
}

# No sample may have lost events
lossless() {
	for stats in $tracefs/per_cpu/cpu*/stats; do
		grep -qE '^(overrun|commit overrun|dropped events): [1-9]' "$stats" && fail "events were lost: $stats: $(cat "$stats")"
	done
	! awk '$NF > 0 { exit 1 }' $tracefs/kprobe_profile || return 0
	fail "kprobes missed hits: $(cat $tracefs/kprobe_profile)"
}

# facts: guest.setup, what holds for every capture of this boot
facts() {
	dmesg > "$OUT/dmesg.txt"
	{
		echo "kernel $(uname -r)"
		echo "machine $(uname -m)"
		echo "cpus $(nproc)"
		echo "page_size_bytes $(workload_page_bytes)"
		echo "midr $(cat /sys/devices/system/cpu/cpu0/regs/identification/midr_el1)"
	} > "$OUT/guest.setup"
}
workload_page_bytes() { awk '/^KernelPageSize:/ { print $2 * 1024; exit }' /proc/self/smaps; }
