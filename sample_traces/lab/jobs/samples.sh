# The captures of the samples, by the names given: fgraph fgraph-latency function kprobes kprobes-dat kprobes-perf
# cpuclock fgraph-perfetto kprobes-perfetto observer
. /share/lib.sh

capture_fgraph() { # SUITE [NAME]
	clean
	options funcgraph-abstime funcgraph-proc funcgraph-tail
	trace_functions $operations
	as_text "${2:-fgraph}" "${1:-std}"
}
capture_fgraph_latency() {
	clean
	options latency-format
	trace_functions $deep
	as_text fgraph-latency tiny
}
capture_function() {
	clean
	options latency-format
	tracer=function trace_functions $deep
	as_text function tiny
}
capture_kprobes() {
	clean
	set_probes
	set_to events/$group/enable 1
	as_text kprobes std
}
# Untraced, then the same with ever more traced: what tracing costs
capture_observer() {
	clean 120000
	truth warm observer -q
	truth untraced observer -q
	for preset in top split deep; do
		clean 120000
		options funcgraph-abstime funcgraph-proc funcgraph-tail
		case $preset in
		top) trace_functions kvm_pgtable_stage2_unmap ;;
		split) trace_functions $operations ;;
		deep) trace_functions $deep ;;
		esac
		as_text observer-$preset observer
	done
	rm "$OUT/warm.truth.jsonl"
}
# A directory with copies of tracefs' files, as docs/formats.md has it
capture_raw() {
	clean
	set_probes
	set_to events/$group/enable 1
	truth_into raw std
}
# Reads a ring until it is empty: a reader of an empty one waits
drain() {
	dd if="$1/trace_pipe_raw" of="$2" bs="$(page_bytes)" 2> /dev/null &
	reader=$!
	n=0
	until grep -q '^entries: 0$' "$1/stats"; do
		usleep 100000
		n=$((n + 1))
		[ $n -lt 600 ] || fail "the ring is never empty: $1"
	done
	sleep 1
	kill $reader 2> /dev/null # or it has read the end
	wait $reader 2> /dev/null
	[ -s "$2" ] || say "nothing in $1"
}
truth_into() {
	: > $tracefs/trace
	set_to tracing_on 1
	truth "$1" "$2"
	set_to tracing_on 0
	lossless
	dump=$OUT/$1
	for cpu in $tracefs/per_cpu/cpu*; do
		to=$dump/per_cpu/${cpu##*/}
		mkdir -p "$to"
		cp "$cpu/stats" "$to/"
		drain "$cpu" "$to/trace_pipe_raw"
	done
	mkdir -p "$dump/events/$group" "$dump/events/ftrace"
	cp $tracefs/events/header_page $tracefs/events/header_event "$dump/events/"
	for event in $tracefs/events/$group/*/ $tracefs/events/ftrace/*/; do
		[ -e "${event}format" ] || continue
		to=$dump/events/${event#"$tracefs"/events/}
		mkdir -p "$to"
		cp "${event}format" "$to"
	done
	for file in trace_clock saved_cmdlines saved_tgids; do cat $tracefs/$file > "$dump/$file" 2> /dev/null; done
	described "$1" tracefs
}
page_bytes() { workload_page_bytes; }

# program NAME SUITE COMMAND...: records the suite with a program that runs a command
cat > /tmp/run-suite.sh <<'X'
. /share/lib.sh
truth "$1" "$2"
X
capture_kprobes_dat() {
	clean
	set_probes
	trace-cmd record -b 32768 -C boot --compression none --file-version 6 -e $group -e kvm -o "$OUT/kprobes.dat" \
		sh /tmp/run-suite.sh kprobes-dat tiny > /tmp/record.log 2>&1 || fail "trace-cmd: $(tail -5 /tmp/record.log)"
	mv "$OUT/kprobes.dat" "$OUT/kprobes-dat.dat"
	described kprobes-dat "$(trace_cmd_version)"
}
trace_cmd_version() { echo "trace-cmd $(trace-cmd 2>&1 | sed -n 's/^trace-cmd version \([^ ]*\).*/\1/p')"; }
capture_kprobes_perf() {
	clean
	set_probes
	perf record -m 4096 -a -z -k mono -e "$group:*" -o "$OUT/kprobes-perf.perf.data" -- \
		sh /tmp/run-suite.sh kprobes-perf tiny > /tmp/record.log 2>&1 || fail "perf: $(tail -5 /tmp/record.log)"
	described kprobes-perf "$(perf --version | sed 's/ version//')"
}
capture_cpuclock() {
	clean
	perf record -m 1024 -a -g -F 999 -e cpu-clock -o /tmp/cpuclock.perf.data -- \
		sh /tmp/run-suite.sh cpuclock tiny > /tmp/record.log 2>&1 || fail "perf: $(tail -5 /tmp/record.log)"
	perf script -i /tmp/cpuclock.perf.data > "$OUT/cpuclock.script.txt" 2> /tmp/script.err || fail "perf script"
	described cpuclock "$(perf --version | sed 's/ version//')"
}

# Perfetto: one name that the kernel lacks silently ends the whole data source
perfetto_config() {
	echo 'buffers { size_kb: 262144 fill_policy: DISCARD }'
	echo 'write_into_file: true file_write_period_ms: 1000 flush_period_ms: 5000'
	echo 'data_sources { config { name: "linux.ftrace" ftrace_config {'
	cat
	echo 'symbolize_ksyms: true buffer_size_kb: 32768 drain_period_ms: 250 } } }'
	echo 'data_sources { config { name: "linux.process_stats" process_stats_config { scan_all_processes_on_start: true } } }'
	echo 'data_sources { config { name: "linux.system_info" } }'
}
perfetto_records() { # NAME SUITE, after /tmp/perfetto.cfg was written
	export PERFETTO_PRODUCER_SOCK_NAME=/tmp/producer PERFETTO_CONSUMER_SOCK_NAME=/tmp/consumer
	traced > /tmp/traced.log 2>&1 &
	service=$!
	sleep 1
	traced_probes > /tmp/traced_probes.log 2>&1 &
	probes=$!
	sleep 1
	perfetto --txt -c /tmp/perfetto.cfg -o "$OUT/$1.perfetto" > /tmp/perfetto.log 2>&1 &
	recorder=$!
	n=0
	until [ "$(cat $tracefs/tracing_on)" = 1 ]; do
		sleep 1
		n=$((n + 1))
		[ $n -lt 90 ] || fail "Perfetto does not record: $(tail -3 /tmp/traced_probes.log /tmp/perfetto.log)"
	done
	before=
	until [ "$before" = "$(set_up)" ]; do
		before=$(set_up)
		sleep 3
	done
	truth "$1" "$2"
	sleep 1
	kill -TERM $recorder
	wait $recorder
	described "$1" "$(perfetto --version | sed 's/v\([0-9]*\).*/\1/')"
	kill $probes $service
	wait
}
set_up() { cat $tracefs/set_event $tracefs/current_tracer $tracefs/set_ftrace_filter; }
capture_fgraph_perfetto() {
	clean
	roots="kvm_mmu_notifier_invalidate_range_start kvm_arch_flush_shadow_memslot"
	present $roots kvm_unmap_gfn_range kvm_pgtable_stage2_unmap kvm_pgtable_stage2_destroy stage2_unmap_walker \
		stage2_free_walker $operations > /tmp/traced
	sort -u /tmp/traced | sed 's/\..*//; s/^/traced /' >> /tmp/setup
	{
		echo 'ftrace_events: "sched/sched_switch" ftrace_events: "ftrace/print" enable_function_graph: true'
		sort -u /tmp/traced | sed 's/.*/function_filters: "&"/'
		present $roots | sed 's/.*/function_graph_roots: "&"/'
	} | perfetto_config > /tmp/perfetto.cfg
	perfetto_records fgraph-perfetto tiny
}
capture_kprobes_perfetto() {
	clean
	set_probes
	echo "ftrace_events: \"kvm/*\" ftrace_events: \"sched/sched_switch\" ftrace_events: \"ftrace/print\" ftrace_events: \"$group/*\"" |
		perfetto_config > /tmp/perfetto.cfg
	perfetto_records kprobes-perfetto std
}

facts
[ $# -gt 0 ] || fail "no capture was asked for"
for capture; do "capture_$(echo "$capture" | tr - _)"; done
clean
