# `traceview record` and its script, for real. Arguments are cases:
#   BACKEND/PRESET/SUITE   recorded by traceview record
#   script/PRESET/SUITE    recorded by /share/record.sh, which traceview record --script printed, with nothing but busybox
#   killed/PRESET/SUITE    the recorder is killed (-9) while it records; --restore puts tracefs back
# Of each: NAME/ (its run folder) or NAME.tar, NAME.log, NAME.truth.jsonl, NAME.status: 0, or what went wrong.
. /share/lib.sh
cat > /tmp/run-suite.sh <<'X'
. /share/lib.sh
truth "$1" "$2"
X

# What was set before is somebody's: it has to be there afterwards
own_settings() {
	clean 1024
	set_to trace_clock global
	options funcgraph-proc
	echo 'p:mine/open do_sys_openat2' > $tracefs/kprobe_events
	# The top level is refused while somebody records there
	case $how in tracefs | script | killed) set_to events/mine/open/enable 1 ;; esac
	set_to tracing_on 1
}
settings() {
	cd $tracefs || return
	for file in current_tracer trace_clock buffer_size_kb trace_options set_event set_ftrace_filter set_graph_function \
		set_ftrace_pid max_graph_depth kprobe_events tracing_on events/enable saved_cmdlines_size; do
		echo "# $file"
		cat $file
	done
	ls instances
	[ ! -e dynamic_events ] || cat dynamic_events
	ls events | sort
	cd - > /dev/null
}
unchanged() {
	settings > /tmp/after
	cmp -s /tmp/before /tmp/after && return
	diff /tmp/before /tmp/after > "$OUT/$name.settings"
	echo "tracefs is not as it was: $(grep -c '^[+-][^+-]' "$OUT/$name.settings") lines"
	return 1
}
record() { python3 -m traceview record "$@"; }

by_record() {
	record -o "$OUT/$name" --backend "$1" --preset "$2" --origin emulated -- sh /tmp/run-suite.sh "$name" "$3" > "$OUT/$name.log" 2>&1 ||
		echo "exit status $?"
	unchanged
}
by_script() {
	# The only PATH is busybox's
	mkdir -p /tmp/only
	[ -e /tmp/only/busybox ] || cp /usr/bin/busybox /tmp/only/
	/tmp/only/busybox --install -s /tmp/only
	cp /usr/bin/workload /tmp/only/
	(
		export PATH=/tmp/only
		cd /tmp || exit
		sh /share/record.sh --preset "$1" -o "$name" --origin emulated -- sh /tmp/run-suite.sh "$name" "$2" > "$OUT/$name.log" 2>&1 ||
			echo "exit status $?"
	)
	mv "/tmp/$name.tar" "$OUT/" || echo "no $name.tar"
	unchanged
}
by_killed() {
	# No function: $! is to be the recorder, not a shell that waits for it
	python3 -m traceview record -o "/tmp/$name" --preset "$1" --origin emulated -- sleep 1000 > "$OUT/$name.log" 2>&1 &
	recorder=$!
	n=0
	until pidof sleep > /dev/null && [ -e /run/traceview/recording.json ]; do
		sleep 1
		n=$((n + 1))
		[ $n -lt 60 ] || { echo "it does not begin"; break; }
	done
	sleep 2
	kill -9 $recorder
	wait $recorder 2> /dev/null
	kill "$(pidof sleep)" 2> /dev/null
	settings > /tmp/after
	cmp -s /tmp/before /tmp/after && echo "a recording changed nothing"
	record -o "/tmp/$name-2" --preset "$1" -- true >> "$OUT/$name.log" 2>&1 && echo "the next recording did not refuse"
	record --restore >> "$OUT/$name.log" 2>&1 || echo "restore: exit status $?"
	[ ! -e /run/traceview/recording.json ] || echo "the state file is still there"
	unchanged
}

facts
for case; do
	how=${case%%/*} rest=${case#*/}
	preset=${rest%%/*} suite=${rest#*/}
	name=$how-$preset
	own_settings
	settings > /tmp/before
	case $how in
	script) said=$(by_script "$preset" "$suite") ;;
	killed) said=$(by_killed "$preset") ;;
	*) said=$(by_record "$how" "$preset" "$suite") ;;
	esac
	echo "${said:-0}" > "$OUT/$name.status"
	say "$case: ${said:-0}"
	[ -z "$said" ] || tail -n 5 "$OUT/$name.log"
done
