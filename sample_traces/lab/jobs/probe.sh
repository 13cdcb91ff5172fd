# What this machine is: facts, functions, tools; and whether the workload does every action.
. /share/lib.sh
facts
cat /proc/cmdline
grep -m1 Features /proc/cpuinfo
dmesg | grep -iE 'kvm|vhe|hugetlb' | head -20
cat $tracefs/available_tracers $tracefs/trace_clock
cp $tracefs/available_filter_functions "$OUT/"
grep -E ' [tTwW] ' /proc/kallsyms > "$OUT/kallsyms.txt"
for program in trace-cmd perf perfetto python3; do
	say "$program: $($program --version 2>&1 | head -1)"
done
truth probe std
truth storm storm
say "$(wc -l < "$OUT/probe.truth.jsonl") steps"
