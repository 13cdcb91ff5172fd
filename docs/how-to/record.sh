#!/bin/sh
# record.sh SIDE PRESET RUN ORDER DIR COMMAND...: one capture of COMMAND with its sidecar (docs/how-to.md).
#
# SIDE    deferred, per-leaf: how the VMs that COMMAND creates invalidate (needs the patch); stock: leave it alone
# PRESET  top, split, deep (function_graph), args (kprobes with arguments), bystanders (split, kvm and sched events)
# RUN     the boot or VM, the unit of replication;  ORDER: 1, 2, ... in the order of recording
# Writes DIR/SIDE-RUN-PRESET.dat, .dat.host.json, .out (what COMMAND printed) and .stats; fails when events were lost.
# Environment: ORIGIN (hardware, emulated; there is no default), BUFFER_KB per CPU, OPERANDS (docs/how-to.md).
set -eu

# The lines above
usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2; exit 2; }

[ $# -ge 6 ] || usage
side=$1 preset=$2 run=$3 order=$4 dir=$5
shift 5
tracefs=/sys/kernel/tracing
switch=/sys/module/kvm/parameters/unmap_defer
buffer_kb=${BUFFER_KB:-65536}
name=$dir/$side-$run-$preset
: "${ORIGIN:?hardware or emulated}"

top="kvm_pgtable_stage2_unmap"
split="$top __kvm_tlb_flush_vmid_ipa __kvm_tlb_flush_vmid_range __kvm_tlb_flush_vmid
	clean_dcache_guest_page kvm_s2_put_page"
deep="$split kvm_unmap_gfn_range __unmap_stage2_range stage2_apply_range kvm_arch_flush_shadow_memslot
	kvm_pgtable_walk __kvm_pgtable_walk stage2_unmap_walker stage2_unmap_put_pte stage2_put_pte
	stage2_unmap_defer_tlb_flush kvm_tlb_flush_vmid_range enter_vmid_context exit_vmid_context
	__tlb_switch_to_guest __tlb_switch_to_host"

fail() { echo "record.sh: $*" >&2; exit 1; }

set_side() {
	case $side in deferred) want=Y ;; per-leaf) want=N ;; stock) return ;; *) fail "no side $side" ;; esac
	[ -e $switch ] || fail "no $switch: the kernel lacks the patch"
	echo $want > $switch
	[ "$(cat $switch)" = $want ] || fail "$switch is not $want"
}

# The functions of this kernel among the names given, with the compiler's suffixes; others are told, once.
present() {
	for wanted; do
		cut -d' ' -f1 $tracefs/available_filter_functions | grep -E "^$wanted(\.[a-z]+\.[0-9]+)*\$" ||
			echo "not in this kernel, or inlined: $wanted" >&2
	done
}

probe() { echo "$*" >> $tracefs/kprobe_events || fail "refused: $*"; }

set_probes() {
	visit='addr=+40(%x0):x64 level=+56(%x0):s8'	# struct kvm_pgtable_visit_ctx of 6.12 and 7.1
	: > $tracefs/kprobe_events
	probe 'p:s2/unmap kvm_pgtable_stage2_unmap addr=%x1:x64 size=%x2:x64'
	probe 'r:s2/unmap_ret kvm_pgtable_stage2_unmap'
	probe "p:s2/walker stage2_unmap_walker $visit"
	probe 'p:s2/ipa __kvm_tlb_flush_vmid_ipa mmu=%x0:x64 ipa=%x1:x64 level=%x2:s32'
	probe 'r:s2/ipa_ret __kvm_tlb_flush_vmid_ipa'
	probe 'p:s2/range __kvm_tlb_flush_vmid_range mmu=%x0:x64 start=%x1:x64 pages=%x2:u64'
	probe 'r:s2/range_ret __kvm_tlb_flush_vmid_range'
	probe 'p:s2/put_page kvm_s2_put_page addr=%x0:x64'
	number=0
	for operand in ${OPERANDS:-}; do	# +0xOFFSET,REGISTER,INSTRUCTION of __kvm_tlb_flush_vmid_range
		number=$((number + 1))
		at=${operand%%,*} rest=${operand#*,}
		probe "p:s2/operand$number __kvm_tlb_flush_vmid_range$at ${rest#*,}=%${rest%,*}:x64"
	done
}

start() {
	events=
	case $preset in
	top) functions=$(present $top) ;;
	split | bystanders) functions=$(present $split) ;;
	deep) functions=$(present $deep) ;;
	args) functions= traced="$top __kvm_tlb_flush_vmid_ipa __kvm_tlb_flush_vmid_range" ;;
	*) fail "no preset $preset" ;;
	esac
	case $preset in
	args) set_probes && events="-e s2 -e kvm:kvm_guest_fault" ;;
	bystanders) events="-e kvm:kvm_entry -e kvm:kvm_exit -e kvm:kvm_guest_fault -e sched:sched_switch" ;;
	esac
	traced=${traced:-$functions}
	filters=
	for function in $functions; do filters="$filters -l $function"; done
	trace-cmd start -q -C mono -b "$buffer_kb" ${functions:+-p function_graph} $filters $events > /dev/null
}

# Events that the ring buffer lost, and hits that a kprobe missed (the last column of kprobe_profile).
lost() {
	awk '/^(overrun|commit overrun|dropped events|missed):/ { lost += $NF } END { print lost + 0 }' "$name.stats"
}

boot_log() { journalctl -k -b 0 -o cat 2> /dev/null | grep . || dmesg; }

# true or false, only of a boot log that is whole
detected() {
	grep -q 'Booting Linux on physical CPU' "$name.log" || return 0
	if grep -qF "detected: $2" "$name.log"; then echo "    \"$1\": true,"; else echo "    \"$1\": false,"; fi
}

# Workarounds in force, from a boot log that is whole
errata() {
	grep -q 'Booting Linux on physical CPU' "$name.log" || return 0
	found=$(grep -iE 'detected: .*(errat|Broken broadcast TLBI)' "$name.log" | sed 's/.*detected: //; s/ on CPU.*//' |
		sed 's/Broken broadcast TLBI completion/REPEAT_TLBI/' | sort -u | paste -sd, -)
	echo "    \"errata\": \"${found:-none}\","
}

quoted() { sed 's/\\/\\\\/g; s/"/\\"/g; s/.*/"&"/' | paste -sd, -; }

sidecar() {
	boot_log | sed 's/^\[ *[0-9.]*\] //' > "$name.log"
	if ! grep -qE '[: ]VHE(\+NV2)? mode initialized' "$name.log"; then
		echo "not known to be a VHE host: invalidations at EL2 cannot be traced" >&2
		traced=	# the functions exist, but others run
	fi
	cat <<-END
	{
	  "label": "$side", "run": "$run", "order": $order, "recorded_at": "$(date -u +%Y-%m-%dT%H:%M:%SZ)",
	  "origin": "$ORIGIN", "clock": "mono",
	  "traced": [$(echo $traced | tr ' ' '\n' | grep . | sed 's/\..*//' | quoted)],
	  "kprobe_events": [$(quoted < $tracefs/kprobe_events)],
	  "host": {
	$(detected fwb 'Stage-2 Force Write-Back')
	$(detected tlbirange 'TLB range maintenance instructions')
	$(detected lpa2 '52-bit Virtual Addressing for KVM (LPA2)')
	$(detected dic 'Instruction cache invalidation not required for I/D coherence')
	$(detected idc 'Data cache clean to the PoU not required for I/D coherence')
	$(awk '/arch_timer: .* running at/ { sub(/.*running at /, ""); printf "    \"cntfrq_hz\": %d,", $1 * 1e6 + 0.5; exit }' \
		"$name.log")
	$(errata)
	    "midr": "$(cat /sys/devices/system/cpu/cpu0/regs/identification/midr_el1)",
	    "page_size_bytes": $(awk '/^KernelPageSize/ { print $2 * 1024; exit }' /proc/self/smaps),
	    "cpus": $(grep -c ^processor /proc/cpuinfo), "kernel": "$(uname -r)", "machine": "$(uname -m)",
	    "tracer": "$(cat $tracefs/current_tracer)", "buffer_size_kb": $buffer_kb,
	    "tracer_options": "$(paste -sd' ' $tracefs/trace_options)"
	  }
	}
	END
	rm "$name.log"
}

mkdir -p "$dir"
set_side
trace-cmd reset > /dev/null
start
"$@" > "$name.out"
trace-cmd stop > /dev/null
{
	for stats in $tracefs/per_cpu/cpu*/stats; do echo "$stats" && cat "$stats"; done
	awk '{ print "missed: " $1 " " $NF }' $tracefs/kprobe_profile
} > "$name.stats"
sidecar > "$name.dat.host.json"
trace-cmd extract -o "$name.dat" > /dev/null 2>&1
trace-cmd reset > /dev/null
: > $tracefs/kprobe_events
[ "$(lost)" = 0 ] || fail "$(lost) events lost: a larger BUFFER_KB"
