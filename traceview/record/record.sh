#!/bin/sh
#@ABOUT@
#
#   sh record.sh [OPTION...] -- COMMAND...       record while COMMAND runs
#   sh record.sh [OPTION...] --duration TIME     10s, 500ms, 2min, 1h; a number alone is seconds
#   sh record.sh [OPTION...]                     record until Ctrl-C
#   sh record.sh --dry-run [OPTION...]           only say what would be recorded; changes nothing
#   sh record.sh --restore                       after a recording that was killed: put tracefs back
#
#   --preset NAME      @PRESETS@
#   -o, --output NAME  writes the folder NAME and NAME.tar; default: run1
#   --origin WHAT      hardware or emulated: nothing else can say it
#   --label TEXT, --run TEXT, --order NUMBER     docs/sidecar.md
#   --buffer-kb N      of each CPU's buffer, 64 or more
#   --top-level        record in tracefs' top level, not in buffers of its own
#   --no-hypervisor    not what EL2 records of itself; without it that is recorded where it is (nVHE and
#                      pKVM hosts, 7.1 and later)
#@OPERAND@
#   --unmap-defer Y|N  of VMs created meanwhile: the switch of a patched kernel (docs/how-to.md)
#
# Runs in any POSIX sh, busybox's too. Needs root, tracefs, and awk, cat, cut, date, dd, dmesg, grep,
# kill, mkdir, rm, rmdir, sed, sleep, sort, tail, tar, tr, uname, wc. Then: traceview analyze NAME.tar
# Exit status: 0 recorded; 1 recorded, with losses, or the command failed; 2 not recorded.

set -u
LC_ALL=C
export LC_ALL
umask 077

ROOT=${TRACEVIEW_ROOT:-} # of the host's files; for tests
STATE=$ROOT/run/traceview
LOCK=$STATE/recording.json # the file of traceview record: one recording at a time on a host
SAVED=$STATE/script
ME=record.sh
if [ -f "$0" ]; then ME=${0##*/}; fi # else the shell reads it from its standard input
NEWLINE='
'
@DATA@

say() { printf '%s\n' "$*" >&2; }
fail() {
	say "$ME: $*"
	exit 2
}
# The lines above that say how it is used, with the name that this file has now
usage() {
	[ -f "$0" ] || fail "--help is in the file: sh $ME --help"
	ME=$ME awk '
	!/^#/ { exit }
	NR > 1 {
		sub(/^# ?/, "")
		at = index($0, "record.sh")
		if (at > 0) $0 = substr($0, 1, at - 1) ENVIRON["ME"] substr($0, at + 9)
		print
	}' "$0"
	exit 0
}
put() { printf '%s\n' "$2" 2> /dev/null > "$1"; } 2> /dev/null
add() { printf '%s\n' "$2" 2> /dev/null >> "$1"; } 2> /dev/null
# Whether $1 is one of the words of $2
is_in() { case " $2 " in *" $1 "*) return 0 ;; esac; return 1; }
is_number() { case $1 in '' | *[!0-9]* | ??????????*) return 1 ;; esac; return 0; }

# Into $duration: the seconds of a time as `traceview record --duration` takes it
read_duration() {
	printf '%s\n' "$1" | grep -qE '^[0-9]{1,9}([.][0-9]{1,9})?(ms|s|m|min|h)?$' &&
		duration=$(printf '%s\n' "$1" | awk '{
			factor = /ms$/ ? 0.001 : /(m|min)$/ ? 60 : /h$/ ? 3600 : 1
			text = sprintf("%.3f", $0 * factor)
			sub(/[.]?0+$/, "", text)
			print text
		}') && [ "$duration" != 0 ]
}

# `read` of the shell is used only where no signal was caught before: after one, that of busybox 1.38
# never returns.

# Into $value: the first line of a file
value_of() { value=$(sed 1q "$1" 2> /dev/null) || value=''; }

# The elements of a list; `#### all functions enabled ####` and `no pid` are none
elements_of() {
	case $1 in
	*pid) awk '/^#/ || $0 == "no pid" || /:/ { next } { for (n = 1; n <= NF; n++) print $n }' "$1" ;;
	*) awk '/^#/ || $0 == "no pid" || /:/ { next } NF { print $1 }' "$1" ;;
	esac 2> /dev/null
}

# --- the host -----------------------------------------------------------------------------------

look() {
	T=
	for folder in "$ROOT/sys/kernel/tracing" "$ROOT/sys/kernel/debug/tracing"; do
		if [ -e "$folder/available_tracers" ] || [ -e "$folder/README" ]; then
			T=$folder
			break
		fi
	done
	if [ -n "$ROOT" ]; then
		value_of "$ROOT/proc/sys/kernel/osrelease" && kernel=$value
		value_of "$ROOT/proc/sys/kernel/arch" && machine=$value
	else
		kernel=$(uname -r) machine=$(uname -m)
	fi
	release=$(printf '%s\n' "$kernel" | awk -F '[^0-9]+' '/^[0-9]+\.[0-9]+/ { print $1 * 1000 + $2 }')
	release=${release:-0} # 6.12 is 6012
	boot_log=$({ [ -z "$ROOT" ] && journalctl -k -b 0 -o cat --no-pager; } 2> /dev/null | grep .)
	case $boot_log in
	*"Booting Linux on physical CPU"*) ;;
	*) boot_log=$(dmesg 2> /dev/null) ;;
	esac
	mode=$(printf '%s\n' "$boot_log" | kvm_mode)
	if [ -z "$mode" ]; then
		value_of "$ROOT/proc/cmdline"
		case " $value " in *" kvm-arm.mode=nvhe "*) mode=nvhe ;; *" kvm-arm.mode=protected "*) mode=protected ;; esac
	fi
	if [ -z "$mode" ] && [ -e "$T/remotes/hypervisor" ]; then mode=nvhe; fi
	fwb=$(feature 'Stage-2 Force Write-Back')
	cpus=$(cpu_count)
	available_kb=$(awk '/^MemAvailable:/ { print $2; exit }' "$ROOT/proc/meminfo" 2> /dev/null)
}

# hVHE hides EL2 as nVHE does
kvm_mode() {
	sed -n -e 's/.*Protected .*mode initialized success.*/protected/p; t' \
		-e 's/.*Hyp .*mode initialized success.*/nvhe/p; t' \
		-e 's/.*[^nh]VHE.* mode initialized success.*/vhe/p' | sed -n 1p
}

# true or false, or nothing of a boot log that has lost its beginning
feature() {
	case $boot_log in
	*"detected: $1"*) echo true ;;
	*"Booting Linux on physical CPU"*) echo false ;;
	esac
}

cpu_count() {
	value_of "$ROOT/sys/devices/system/cpu/online"
	printf '%s\n' "$value" | awk -F , '{
		for (n = 1; n <= NF; n++) { split($n, ends, "-"); count += (ends[2] == "" ? ends[1] : ends[2]) - ends[1] + 1 }
	} END { print count + 0 }'
}

# Why tracefs' top level belongs to somebody
busy() {
	value_of "$T/current_tracer"
	case $value in nop | '') ;; *) echo "its tracer is $value" ;; esac
	value_of "$T/set_event"
	[ -z "$value" ] || echo "$value is recorded"
}

# --- the plan -----------------------------------------------------------------------------------

# Of the functions wanted, "BASE NAME..." of those that the kernel has, with the compiler's suffixes
kernel_names() {
	awk -v wanted="$*" -v suffix="$SUFFIX" -v no_call="$NO_CALL" '
	BEGIN { count = split(wanted, order, " "); for (n = 1; n <= count; n++) want[order[n]] = 1 }
	{ base = $1; if (index(base, ".")) sub(suffix, "", base) }
	base in want { names[base] = names[base] " " $1; if ($1 !~ no_call) whole[base] = whole[base] " " $1 }
	END {
		for (n = 1; n <= count; n++) {
			base = order[n]
			found = (base in whole) ? whole[base] : names[base]
			if (found == "" || base in done) continue
			done[base] = 1
			size = split(found, list, " ")
			for (i = 2; i <= size; i++)
				for (j = i; j > 1 && list[j] < list[j - 1]; j--) {
					swap = list[j]; list[j] = list[j - 1]; list[j - 1] = swap
				}
			line = base
			for (i = 1; i <= size; i++) line = line " " list[i]
			print line
		}
	}' "$T/available_filter_functions" 2> /dev/null
}

# Into $names: those of the kernel for the function $1, none where it lacks it
names_of() {
	names=
	while read -r base rest; do
		if [ "$base" = "$1" ]; then names=$rest; fi
	done << END
$resolved
END
	[ -n "$names" ]
}

# Into $why: for what reason a function that is there is never called on this host
why_elsewhere() {
	case $mode in
	nvhe | protected) if is_in "$1" "$AT_EL2"; then why=$WHY_AT_EL2 && return 0; fi ;;
	esac
	if [ -n "$tables_at_el2" ] && is_in "$1" "$OF_TABLES"; then why=$WHY_OF_TABLES && return 0; fi
	return 1
}

drop() { dropped="$dropped  $1: $2$NEWLINE"; }
# Whether this kernel is between two releases, 0: no bound
fits() {
	{ [ "$1" = 0 ] && [ "$2" = 0 ]; } || {
		[ "$release" != 0 ] && { [ "$1" = 0 ] || [ "$1" -le "$release" ]; } && { [ "$2" = 0 ] || [ "$release" -le "$2" ]; }
	}
}

# function NAME: the preset wants its durations
function_wanted() {
	if is_in "$1" "$PROTECTED_ONLY" && [ "$mode" != protected ]; then return; fi
	if ! names_of "$1"; then
		why_missing "$1"
		drop "$1" "$why"
	elif why_elsewhere "$1"; then
		drop "$1" "$why"
	else
		graph="$graph $names" kept="$kept $1" timed="$timed $1"
	fi
}

# probe EVENT SYMBOL FIRST LAST NEEDS RETURNS OFFSET ARGUMENTS: the preset wants a kprobe
probe_wanted() {
	if is_in "$2" "$PROTECTED_ONLY" && [ "$mode" != protected ]; then return; fi
	if is_in "$1" "$probed"; then return; fi
	if ! names_of "$2"; then
		why_missing "$2"
		drop_probe "$1" "$2" "$why"
		return
	fi
	if why_elsewhere "$2"; then
		drop_probe "$1" "$2" "$why"
		return
	fi
	if ! fits "$3" "$4" || { [ -n "$5" ] && ! grep -qF "$5" "$T/README"; }; then
		why_arguments
		drop_probe "$1" "$2" "$why"
		return
	fi
	probed="$probed $1"
	symbol=${names%% *}
	kprobes="${kprobes}p:$GROUP/$1 $symbol$7 $8$NEWLINE"
	if [ "$6" = r ]; then
		kprobes="${kprobes}r:$GROUP/${1}_ret $symbol$NEWLINE"
		timed="$timed $2"
	fi
	if [ -z "$7" ]; then kept="$kept $2"; else operands=yes; fi
}
# A probe is told only when none of those of its event fits
drop_probe() { is_in "$1" "$unfit_events" || unfit_events="$unfit_events $1" unfit="$unfit$1 $2: $3$NEWLINE"; }

event_wanted() {
	if grep -qxF "$1" "$T/available_events" 2> /dev/null; then
		events="$events $1" kept="$kept $1"
	else
		no_events="$no_events  $1: $WHY_NO_EVENT$NEWLINE"
	fi
}

operand_wanted() {
	number=$((number + 1))
	offset=${1%%,*} rest=${1#*,}
	probe_wanted "operand$number" "$FLUSH_RANGE" 0 0 '' '' "$offset" "${rest#*,}=%${rest%,*}:x64"
}

make_plan() {
	graph='' timed='' kept='' kprobes='' probed='' events='' dropped='' no_events='' unfit='' unfit_events='' operands='' number=0
	"wanted_$preset"
	value_of "$T/available_filter_functions" && has_functions=$value
	resolved=$(kernel_names "$wanted" "$FLUSH_RANGE")
	tables_at_el2=
	if [ "$mode" = protected ] && names_of "$PKVM_UNMAP"; then tables_at_el2=yes; fi
	"plan_$preset"
	for operand in $operand_list; do operand_wanted "$operand"; done
	while read -r event rest; do
		if [ -n "$event" ] && ! is_in "$event" "$probed"; then dropped="$dropped  $rest$NEWLINE"; fi
	done << END
$unfit
END
	dropped=$dropped$no_events
	choose_place
	hypervisor=$hypervisor_stated
	case $hypervisor$mode in nvhe | protected) if [ -e "$T/$REMOTE" ]; then hypervisor=yes; fi ;; esac
	if [ "$hypervisor" = no ]; then hypervisor=; fi
	choose_buffers
	clock=mono
	if [ -r "$T/trace_clock" ] && ! grep -q 'mono' "$T/trace_clock"; then clock=local; fi
	if [ -n "$hypervisor" ]; then clock=boot; fi
}

is_kept() { is_in "$1" "$kept"; }
any_kept() {
	for name; do if is_kept "$name"; then return 0; fi; done
	return 1
}

choose_place() {
	instance=traceview-$$
	if [ -n "$top_level" ]; then
		instance='' place="tracefs' top level, as asked for"
	elif [ -n "$graph" ] && [ "$release" -lt 6012 ]; then
		instance='' place="tracefs' top level, for function_graph works in no instance of $kernel"
	else
		place="buffers of its own, instances/$instance"
	fi
}

choose_buffers() {
	why_size=
	if [ "$cpus" -gt 0 ]; then of=$cpus; else of=1; fi
	if [ -n "$buffer_stated" ]; then
		buffer_kb=$buffer_stated
		if [ -n "$hypervisor" ]; then of=$((of * 2)); fi
		if [ -n "$available_kb" ] && [ $((buffer_kb * of)) -gt $((available_kb * MOST_PERCENT / 100)) ]; then
			fail "buffers of $buffer_kb KiB on $cpus CPUs are more than half of the available memory: at most" \
				"--buffer-kb $((available_kb * MOST_PERCENT / 100 / of))"
		fi
	elif [ -z "$available_kb" ]; then
		buffer_kb=$LEAST_KB why_size=', for the available memory is not known'
	else
		buffer_kb=$((available_kb * SHARE_PERCENT / 100 / of / 1024 * 1024))
		if [ "$buffer_kb" -ge "$WANTED_KB" ]; then
			buffer_kb=$WANTED_KB
		else
			why_size=", at most $SHARE_PERCENT% of the available memory"
			if [ "$buffer_kb" -lt "$LEAST_KB" ]; then buffer_kb=$LEAST_KB; fi
		fi
	fi
	hypervisor_kb=$buffer_kb
	if [ -z "$buffer_stated" ] && [ "$buffer_kb" -gt "$HYPERVISOR_KB" ]; then hypervisor_kb=$HYPERVISOR_KB; fi
}

# The functions of which durations are recorded and mean something: outside VHE mode those of
# invalidations are there, and others run
traced_names() {
	for name in $timed; do
		if [ "$mode" = vhe ] || ! is_in "$name" "$AT_EL2"; then echo "$name"; fi
	done | sort -u
}

say_plan() {
	say "plan: preset $preset: $what"
	say "  host: kernel $kernel, $machine, $cpus CPUs, KVM ${mode:-in a mode that is not known}"
	for name in $graph; do say "  function_graph $name"; done
	printf '%s' "$kprobes" | sed 's/^/  kprobe /' >&2
	for name in $events; do say "  event $name"; done
	if [ -n "$operands" ]; then say "  the offsets of operands are taken as given: nobody notices a wrong one"; fi
	say "  in $place; $buffer_kb KiB on each CPU$why_size; clock $clock"
	if [ -n "$hypervisor" ]; then say "  in $REMOTE: $hypervisor_kb KiB of its own on each CPU"; fi
	if [ -n "$dropped" ]; then
		say "not recorded:"
		printf '%s' "$dropped" >&2
	fi
	say "this capture will answer:"
	"answers_$preset" >&2
}
# answer yes|no QUESTION WHY
answer() { printf '  %-3s %s (%s)\n' "$1" "$2" "$3"; }

# Why nothing can be recorded on this host, whatever is planned
refuse_host() {
	[ "$machine" = aarch64 ] || fail "this host is ${machine:-of an unknown machine}: the functions are arm64's." \
		"Run this script on an arm64 host with KVM"
	[ -n "$ROOT" ] || [ "$(id -u)" = 0 ] || fail "only root may set tracefs: run it as root"
	[ -n "$T" ] || fail "tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing, or the kernel has none"
	[ -e "$ROOT/dev/kvm" ] || fail "there is no /dev/kvm: no VM can run here, and no unmap happen"
}

# Why what is planned cannot be recorded
refuse_plan() {
	if [ -n "$graph" ] && ! grep -qw function_graph "$T/available_tracers"; then
		fail "this kernel has no tracer function_graph (CONFIG_FUNCTION_GRAPH_TRACER)"
	fi
	if [ -n "$kprobes" ] && [ ! -e "$T/kprobe_events" ]; then fail "this kernel has no kprobe_events (CONFIG_KPROBE_EVENTS)"; fi
	[ -n "$graph$kprobes" ] || fail "none of the functions of preset $preset can be traced here"
	if [ -z "$instance" ] && [ -n "$(busy)" ]; then fail "the top level of tracefs is in use: $(busy | tr '\n' ' ')"; fi
	if [ -n "$hypervisor" ]; then
		[ -e "$T/$REMOTE" ] || fail "this kernel has no $REMOTE: 7.1 and later have, without VHE and with CONFIG_NVHE_EL2_TRACING"
		value_of "$T/$REMOTE/tracing_on"
		if [ "$value" = 1 ] || is_loaded; then fail "$REMOTE is in use by somebody else: end that, or --no-hypervisor"; fi
	fi
	if [ -n "$unmap_defer" ] && [ ! -e "$SWITCH" ]; then fail "no $SWITCH: the kernel lacks the patch (docs/how-to.md)"; fi
	value_of "$ROOT/proc/kallsyms"
	case ${value%% *} in
	*[!0]*) ;;
	*) fail "/proc/kallsyms shows no addresses: echo 1 > /proc/sys/kernel/kptr_restrict" ;;
	esac
}

# --- the state of tracefs: saved, and put back ----------------------------------------------------

# NAME VALUE of every setting, as traceview/record/settings.py reads them
settings_now() {
	(
		cd "$T" || exit 1
		sizes=buffer_size_kb
		value_of buffer_size_kb
		if [ "$value" = X ]; then sizes='per_cpu/cpu*/buffer_size_kb'; fi
		remote=
		if [ -n "$hypervisor" ]; then remote="$REMOTE/tracing_on $REMOTE/buffer_size_kb $REMOTE/events/hypervisor/*/enable"; fi
		# shellcheck disable=SC2086 # names, and patterns of names
		for name in $VALUES current_tracer tracing_on $sizes options/* $remote; do
			if [ -e "$name" ]; then printf '%s\n' "$name"; fi
		done | {
			names=$(cat)
			# shellcheck disable=SC2086 # names without blanks
			awk 'FNR == 1 {
				value = $0
				if (FILENAME ~ /buffer_size_kb$/ && match(value, /expanded: [0-9]+/)) value = substr(value, RSTART + 10, RLENGTH - 10)
				if (FILENAME ~ /^remotes.*buffer_size_kb$/) sub(/ .*/, "", value) # 7 (unloaded)
				if (FILENAME == "trace_clock" && match(value, /\[[^]]*\]/)) value = substr(value, RSTART + 1, RLENGTH - 2)
				print FILENAME, value
			}' $names
		}
	)
}

# What is now goes to the folder $1
snapshot() {
	mkdir -p "$1/lists" && settings_now > "$1/settings" || return 1
	for name in $LISTS; do
		if [ -e "$T/$name" ]; then elements_of "$T/$name" > "$1/lists/$name" || return 1; fi
	done
	sort "$T/set_event" > "$1/set_event" && cat "$T/kprobe_events" > "$1/kprobe_events"
}

# What process $1 is: the time at which it began, in ticks since boot
began() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }

refuse_pending() {
	[ -e "$LOCK" ] || return 0
	if [ ! -d "$SAVED" ]; then
		fail "traceview record records, or was killed ($LOCK): traceview record --restore puts tracefs back"
	fi
	pid=$(cat "$SAVED/pid" 2> /dev/null)
	if [ -n "$pid" ] && [ "$(began "$pid")" = "$(cat "$SAVED/began" 2> /dev/null)" ]; then
		fail "process $pid is recording: wait for its end"
	fi
	fail "a recording was killed, and tracefs is as it left it: sh $0 --restore puts it back"
}

begin() {
	refuse_pending
	mkdir -p "$STATE" || fail "$STATE cannot be made"
	( set -C && printf '{"version": "of the script of traceview record --script: its --restore puts tracefs back"}\n' > "$LOCK" ) 2> /dev/null ||
		refuse_pending
	has_state=yes
	rm -rf "$SAVED"
	mkdir "$SAVED" && echo $$ > "$SAVED/pid" && began $$ > "$SAVED/began" &&
		printf '%s\n' "$T" > "$SAVED/tracefs" && printf '%s\n' "$instance" > "$SAVED/instance" &&
		cat "$ROOT/proc/sys/kernel/random/boot_id" > "$SAVED/boot_id" 2> /dev/null
	if [ -n "$unmap_defer" ]; then cat "$SWITCH" > "$SAVED/unmap_defer"; fi
	snapshot "$SAVED" || fail "the state of tracefs cannot be saved in $SAVED"
	echo > "$SAVED/complete"
}

# What is saved becomes the state of tracefs again
put_back() {
	refused=
	if [ ! -e "$SAVED/complete" ]; then # nothing was changed before
		rm -rf "$SAVED" "$LOCK"
		return
	fi
	T=$(cat "$SAVED/tracefs")
	if [ "$(cat "$ROOT/proc/sys/kernel/random/boot_id" 2> /dev/null)" = "$(cat "$SAVED/boot_id")" ]; then
		remove_instance "$(cat "$SAVED/instance")"
		put_back_settings
		remove_kprobes
		if [ -e "$SAVED/unmap_defer" ]; then put "$SWITCH" "$(cat "$SAVED/unmap_defer")" || refused="$refused $SWITCH"; fi
	fi
	if [ -n "$refused" ]; then say "$ME: could not be put back:$refused"; fi
	rm -rf "$SAVED" "$LOCK"
}

# Its flags are cleared first: their use is counted for the whole kernel
remove_instance() {
	if [ -z "$1" ] || [ ! -d "$T/instances/$1" ]; then return; fi
	for name in tracing_on events/enable options/record-tgid options/copy_trace_marker; do
		if [ -e "$T/instances/$1/$name" ]; then put "$T/instances/$1/$name" 0; fi
	done
	put "$T/instances/$1/current_tracer" nop
	rmdir "$T/instances/$1" 2> /dev/null || refused="$refused instances/$1"
}

put_back_settings() {
	if grep -q "^$REMOTE/" "$SAVED/settings"; then hypervisor=yes; fi
	settings_now > "$SAVED/now"
	changed=$(awk 'NR == FNR { now[$1] = $0; next } $1 in now && now[$1] != $0 { print $1 }' "$SAVED/now" "$SAVED/settings")
	changed_lists=
	for name in $LISTS; do
		if [ -e "$SAVED/lists/$name" ] && [ "$(elements_of "$T/$name")" != "$(cat "$SAVED/lists/$name")" ]; then
			changed_lists="$changed_lists $name"
		fi
	done
	# What nobody has read would keep the buffers of EL2, and their size.
	case $changed in *"$REMOTE"*) put "$T/$REMOTE/tracing_on" 0 && put "$T/$REMOTE/trace" '' ;; esac
	# Nothing is recorded, and no tracer holds what is changed, until all is as it was.
	if [ -n "$changed$changed_lists" ]; then put "$T/tracing_on" 0; fi
	changed=$(printf '%s' "$changed" | tr '\n' ' ')
	if [ -n "$changed_lists" ] || is_in current_tracer "$changed"; then put "$T/current_tracer" nop; fi
	put_back_events
	for name in $changed_lists; do
		: > "$T/$name"
		elements=$(cat "$SAVED/lists/$name")
		for element in $elements; do add "$T/$name" "$element" || refused="$refused $name"; done
	done
	for name in $changed; do
		case $name in current_tracer | tracing_on) ;; *) put_back_value "$name" ;; esac
	done
	for name in current_tracer tracing_on; do put_back_value "$name"; done
}

# What is as it was is not written: to write current_tracer makes buffers that were never used large
put_back_value() {
	was=$(awk -v name="$1" '$1 == name { sub(/^[^ ]* /, ""); print }' "$SAVED/settings")
	value_of "$T/$1"
	if [ -n "$was" ] && [ "$value" != "$was" ]; then put "$T/$1" "$was" || refused="$refused $1"; fi
}

# Events that are on and were not go off; probes that are gone come back, then events that were on
put_back_events() {
	enabled=$(cat "$T/set_event") was=$(cat "$SAVED/set_event")
	for name in $enabled; do
		if ! grep -qxF "$name" "$SAVED/set_event"; then add "$T/set_event" "!$name" || refused="$refused $name"; fi
	done
	lines=$(grep -v ":$GROUP/" "$SAVED/kprobe_events")
	set -f
	IFS=$NEWLINE
	for line in $lines; do
		if ! grep -qxF "$line" "$T/kprobe_events"; then add "$T/kprobe_events" "$line" || refused="$refused ${line%% *}"; fi
	done
	unset IFS
	set +f
	for name in $was; do
		if ! grep -qxF "$name" "$T/set_event"; then add "$T/set_event" "$name" || refused="$refused $name"; fi
	done
}

remove_kprobes() {
	defined=$(sed -n "s/^[pr][0-9]*:\($GROUP\/[^ ]*\) .*/\1/p" "$T/kprobe_events" 2> /dev/null)
	for name in $defined; do
		add "$T/kprobe_events" "-:$name" || refused="$refused kprobe:$name"
	done
}

# --- recording ------------------------------------------------------------------------------------

must_put() { put "$1" "$2" || fail "the kernel refuses '$2' in $1"; }
# Whether the hypervisor's buffers are there: somebody reads them, or has not read all
is_loaded() { case $(cat "$T/$REMOTE/buffer_size_kb") in *"(loaded)"*) return 0 ;; esac; return 1; }

must_add() { add "$1" "$2" || fail "the kernel refuses '$2' in $1"; }

set_up() {
	B=$T
	if [ -n "$instance" ]; then
		B=$T/instances/$instance
		mkdir "$B" || fail "$B cannot be made"
	else
		for name in $LISTS; do
			if [ -n "$(elements_of "$T/$name")" ]; then : > "$T/$name"; fi
		done
	fi
	must_put "$B/tracing_on" 0
	for pair in $NEUTRAL; do
		if [ -e "$T/${pair%=*}" ]; then must_put "$T/${pair%=*}" "${pair#*=}"; fi
	done
	for name in set_graph_function set_graph_notrace; do
		if [ -e "$T/$name" ] && [ -n "$(elements_of "$T/$name")" ]; then : > "$T/$name"; fi
	done
	must_put "$B/trace_clock" "$clock"
	must_put "$B/buffer_size_kb" "$buffer_kb"
	for name in record-cmd record-tgid copy_trace_marker; do
		if [ -n "$instance" ] || [ "$name" != copy_trace_marker ]; then
			if [ -e "$B/options/$name" ]; then put "$B/options/$name" 1; fi
		fi
	done
	define_kprobes
	for event in $events; do must_put "$B/events/${event%:*}/${event#*:}/enable" 1; done
	set_graph
	: > "$B/trace"
	if [ -n "$unmap_defer" ]; then
		must_put "$SWITCH" "$unmap_defer"
		[ "$(cat "$SWITCH")" = "$unmap_defer" ] || fail "$SWITCH is not $unmap_defer"
	fi
}

define_kprobes() {
	set -f
	IFS=$NEWLINE
	for line in $kprobes; do
		must_add "$T/kprobe_events" "$line"
		name=${line#*:"$GROUP"/}
		must_put "$B/events/$GROUP/${name%% *}/enable" 1
	done
	unset IFS
	set +f
}

set_graph() {
	if [ -z "$graph" ]; then return; fi
	: > "$B/set_ftrace_filter"
	for name in $graph; do must_add "$B/set_ftrace_filter" "$name"; done
	# An empty filter would be all functions.
	[ -n "$(elements_of "$B/set_ftrace_filter")" ] || fail "the kernel took no function into set_ftrace_filter"
	must_put "$B/current_tracer" function_graph
}

# "ENTRIES BYTES LOST" of the ring $1, which is a folder per_cpu/cpuN
ring_stats() {
	awk -F ': *' '
	$1 == "entries" { entries = $2 } $1 == "bytes" { bytes = $2 }
	$1 == "overrun" || $1 == "commit overrun" || $1 == "dropped events" { lost += $2 }
	END { print entries + 0, bytes + 0, lost + 0 }' "$1/stats"
}

# The same into $entries, $bytes, $lost by the shell alone, which starts no process
read_stats() {
	entries=0 bytes=0 lost=0
	while IFS=: read -r key number; do
		number=${number# }
		case $key in
		entries) entries=$number ;;
		bytes) bytes=$number ;;
		overrun | 'commit overrun' | 'dropped events') lost=$((lost + number)) ;;
		esac
	done < "$1/stats"
}

# A child reads the hypervisor's events: reading blocks
read_hypervisor() {
	cat < "$T/$REMOTE/trace_pipe" >> "$dump/$REMOTE/trace_pipe" &
	reader=$!
}

# EL2 records from before the host does
start_hypervisor() {
	if [ -z "$hypervisor" ]; then return; fi
	must_put "$T/$REMOTE/buffer_size_kb" "$hypervisor_kb"
	for name in $REMOTE_EVENTS; do must_put "$T/$REMOTE/events/hypervisor/$name/enable" 1; done
	if ! mkdir -p "$dump/$REMOTE" || ! : > "$dump/$REMOTE/trace_pipe"; then fail "$dump cannot be written"; fi
	read_hypervisor
	must_put "$T/$REMOTE/tracing_on" 1
}

# ... until after the host; what is left is read until the kernel gives the empty buffers up
stop_hypervisor() {
	if [ -z "$reader" ]; then return; fi
	put "$T/$REMOTE/tracing_on" 0
	for round in 1 2 3 4 5; do
		size='' quiet=0
		while [ "$quiet" -lt 3 ]; do
			sleep 1
			now=$(wc -c < "$dump/$REMOTE/trace_pipe")
			# Behind its name; S: it waits for more, Z: it has ended
			case $(sed 's/.*) \(.\).*/\1/' "/proc/$reader/stat" 2> /dev/null) in
			S | Z | '') if [ "$now" = "$size" ]; then quiet=$((quiet + 1)); else quiet=0; fi ;;
			*) quiet=0 ;;
			esac
			size=$now
		done
		end_reader
		if ! is_loaded; then return; fi
		if [ "$round" -lt 5 ]; then read_hypervisor; fi
	done
	say "$ME: somebody else has read from $T/$REMOTE/trace_pipe: whether events are missing is not known"
	unknown_loss=yes
}

end_reader() {
	if [ -n "$reader" ]; then
		kill "$reader" 2> /dev/null
		wait "$reader"
	fi 2> /dev/null
	reader=''
}

# As many pages of a ring as are full for certain, so that nobody waits: a page holds less than its
# size, and `bytes` is what they hold
drain() {
	dd if="$1/trace_pipe_raw" bs="$page_bytes" count="$2" >> "$dump/per_cpu/${1##*/}/trace_pipe_raw" 2> /dev/null
}

# While recording: what fills a quarter of its ring is written out, losses are told once. Waiting for
# a ring would make each event wake somebody.
watch() {
	trap - EXIT TERM HUP
	told=
	while [ ! -e "$dump/stop" ] && kill -0 $$ 2> /dev/null; do
		for ring in "$B"/per_cpu/cpu*; do
			read_stats "$ring"
			if [ "$lost" -gt 0 ] && ! is_in "$ring" "$told"; then
				told="$told $ring"
				say "$ME: ${ring##*/} loses events: record again with a larger --buffer-kb"
			fi
			pages=$((bytes / page_bytes - 1))
			if [ $((bytes / 256)) -ge "$buffer_kb" ] && [ "$pages" -gt 0 ]; then drain "$ring" "$pages"; fi
		done
		if [ -n "$hypervisor" ] && ! is_in hypervisor "$told" && tail -c 65536 "$dump/$REMOTE/trace_pipe" | grep -q '\[LOST '; then
			told="$told hypervisor"
			say "$ME: the hypervisor loses events: record again with a larger --buffer-kb"
		fi
		sleep 1
	done
	# Of a recorder that was killed
	if [ ! -e "$dump/stop" ] && [ -n "$reader" ]; then kill "$reader"; fi
}

# After recording: all that is left
drain_all() {
	for ring in "$B"/per_cpu/cpu*; do
		left=none
		while stats=$(ring_stats "$ring") && entries=${stats%% *} && [ "$entries" -gt 0 ] && [ "$entries" != "$left" ]; do
			bytes=${stats#* }
			left=$entries pages=$((${bytes%% *} / page_bytes))
			if [ "$pages" -lt 1 ]; then pages=1; fi
			drain "$ring" "$pages"
		done
		cat "$ring/stats" > "$dump/per_cpu/${ring##*/}/stats"
		total_lost=$((total_lost + ${stats##* }))
	done
}

# Markers that the command writes go to the buffers of their own, where that can be arranged
run_command() {
	if [ -n "$instance" ] && [ ! -e "$B/options/copy_trace_marker" ]; then
		if unshare -m true 2> /dev/null; then
			# shellcheck disable=SC2016 # the inner shell expands them
			unshare -m sh -c 'mount --bind "$1" "$2" && shift 2 && exec "$@"' sh "$B/trace_marker" "$T/trace_marker" "$@" <&3 &
			child=$!
			return
		fi
		say "$ME: markers written to trace_marker are not recorded (--top-level records them)"
	fi
	"$@" <&3 &
	child=$!
}

record() {
	page_bytes=$(awk -F '[:;]' '/char data/ { print $4 + $6 }' "$B/events/header_page" 2> /dev/null)
	is_number "$page_bytes" || page_bytes=$(awk -F '[:;]' '/char data/ { print $4 + $6 }' "$T/events/header_page")
	is_number "$page_bytes" || fail "$T/events/header_page does not say how large pages are"
	for ring in "$B"/per_cpu/cpu*; do
		if ! mkdir -p "$dump/per_cpu/${ring##*/}" || ! : > "$dump/per_cpu/${ring##*/}/trace_pipe_raw"; then
			fail "$dump cannot be written"
		fi
	done
	recorded_at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
	status=0
	exec 3<&0
	if [ -n "$stop" ]; then return; fi
	start_hypervisor
	watch &
	watcher=$!
	must_put "$B/tracing_on" 1
	if [ $# -gt 0 ]; then
		say "$ME: records while it runs: $*"
		run_command "$@"
	elif [ -n "$duration" ]; then
		case $duration in
		*.*) sleep 0.001 2> /dev/null || duration=$((${duration%.*} + 1)) ;; # where it takes whole seconds only
		esac
		say "$ME: records for $duration s"
		sleep "$duration" &
		child=$!
	else
		say "$ME: records until Ctrl-C"
	fi
	while [ -z "$stop" ]; do
		if [ -z "$child" ]; then
			sleep 1 &
			wait $!
		else
			wait "$child"
			status=$?
			if ! kill -0 "$child" 2> /dev/null; then
				if [ -z "$stop" ]; then child=''; fi
				break
			fi
		fi
	done
	put "$B/tracing_on" 0
	end_children
	stop_hypervisor
}

# Wait for a process of ours, but not for ever. No helper is started that would have to be killed: a
# shell that is killed just after its fork may still act on the traps of this one. $2: the signal that
# it was sent, and once more, for one between fork and exec is lost.
end_of() {
	looks=0
	while kill -0 "$1" 2> /dev/null; do
		if [ "$looks" = 10 ] && [ -n "${2:-}" ]; then kill "-$2" "$1" 2> /dev/null; fi
		if [ "$looks" = 300 ]; then kill -KILL "$1" 2> /dev/null; fi
		sleep 0.1 2> /dev/null || sleep 1
		looks=$((looks + 1))
	done
}

end_children() {
	if [ -n "$child" ]; then
		if [ -z "$duration" ]; then say "$ME: the recording ends before its command, which is ended"; fi
		kill -TERM "$child" 2> /dev/null
		end_of "$child" TERM
		status=0
	fi
	child=''
	if [ -n "$watcher" ]; then
		: > "$dump/stop"
		end_of "$watcher"
		rm -f "$dump/stop"
	fi
	watcher=''
}

# --- what is written ------------------------------------------------------------------------------

write_dump() {
	total_lost=0 missed=0
	drain_all
	if [ -n "$hypervisor" ]; then
		total_lost=$((total_lost + $(awk '/^CPU:[0-9]+ \[LOST / { lost += $3 } END { print lost + 0 }' "$dump/$REMOTE/trace_pipe")))
	fi
	for name in trace_clock current_tracer buffer_size_kb trace_options; do
		if [ -e "$B/$name" ]; then cat "$B/$name" > "$dump/$name"; fi
	done
	for name in saved_cmdlines saved_tgids kprobe_events dynamic_events printk_formats; do
		if [ -e "$T/$name" ]; then cat "$T/$name" > "$dump/$name"; fi
	done
	mkdir -p "$dump/events"
	for name in header_page header_event; do
		if [ -e "$B/events/$name" ]; then cat "$B/events/$name" > "$dump/events/$name"; else cat "$T/events/$name" > "$dump/events/$name"; fi
	done
	systems="ftrace"
	if [ -n "$kprobes" ]; then systems="$systems $GROUP"; fi
	for event in $events; do
		if ! is_in "${event%:*}" "$systems"; then systems="$systems ${event%:*}"; fi
	done
	for system in $systems; do
		for format in "$T/events/$system"/*/format; do
			to=$dump/${format#"$T/"}
			mkdir -p "${to%/*}" && cat "$format" > "$to"
		done
	done
	grep -i ' [tw] ' "$ROOT/proc/kallsyms" > "$dump/kallsyms"
	if [ -n "$ROOT" ]; then echo "Linux (none) $kernel #1 $machine" > "$dump/uname"; else uname -a > "$dump/uname"; fi
	missed=$(missed_hits)
}

# What our kprobes missed: the last column of kprobe_profile, which has no groups
missed_hits() {
	awk -v defined="$(printf '%s' "$kprobes" | sed 's/^[pr]:[^/]*\///; s/ .*//' | tr '\n' ' ')" '
	BEGIN { n = split(defined, list, " "); for (i = 1; i <= n; i++) ours[list[i]] = 1 }
	NF == 3 && $1 in ours { missed += $3 } END { print missed + 0 }' "$T/kprobe_profile" 2> /dev/null || echo 0
}

quoted() { sed 's/[\\"]/\\&/g; s/	/ /g; s/.*/"&"/' | awk 'NR > 1 { printf ", " } { printf "%s", $0 }'; }
# "NAME": VALUE, where there is a value; $3: it is a string
fact() {
	if [ -z "$2" ]; then return; fi
	if [ -n "${3:-}" ]; then printf '    "%s": %s,\n' "$1" "$(printf '%s\n' "$2" | quoted)"; else printf '    "%s": %s,\n' "$1" "$2"; fi
}

errata() {
	case $boot_log in *"Booting Linux on physical CPU"*) ;; *) return ;; esac
	found=$(printf '%s\n' "$boot_log" | grep -iE 'CPU features: detected: .*(errat|Broken broadcast TLBI)' |
		sed 's/.*detected: //; s/ on CPU.*//; s/Broken broadcast TLBI completion/REPEAT_TLBI/' | sort -u |
		awk 'NR > 1 { printf "," } { printf "%s", $0 }')
	echo "${found:-none}"
}

# Without a run it is the boot: several captures of one boot are one run
write_sidecar() {
	value_of "$ROOT/proc/sys/kernel/random/boot_id"
	boot=$(printf '%s\n' "$value" | cut -c 1-8)
	cat << END
{
$({
	fact label "$label" text
	fact run "${run:-${boot:+boot-$boot}}" text
	fact order "$order"
	fact origin "$origin" text
} | sed 's/^  //')
  "recorded_at": "$recorded_at", "clock": "$clock",
  "traced": [$(traced_names | quoted)],
$(if [ -n "$kprobes" ]; then printf '  "kprobe_events": [%s],\n' "$(printf '%s' "$kprobes" | quoted)"; fi)
  "host": {
$(
	fact fwb "$fwb"
	fact tlbirange "$(feature 'TLB range maintenance instructions')"
	fact lpa2 "$(feature '52-bit Virtual Addressing for KVM (LPA2)')"
	fact dic "$(feature 'Instruction cache invalidation not required for I/D coherence')"
	fact idc "$(feature 'Data cache clean to the PoU not required for I/D coherence')"
	fact cntfrq_hz "$(printf '%s\n' "$boot_log" |
		awk '/arch_timer: .* running at/ { sub(/.*running at /, ""); printf "%d\n", $1 * 1e6 + 0.5; exit }')"
	fact errata "$(errata)" text
	value_of "$ROOT/sys/devices/system/cpu/cpu0/regs/identification/midr_el1"
	fact midr "$value" text
	fact page_size_bytes "$(awk '/^KernelPageSize/ { print $2 * 1024; exit }' "$ROOT/proc/self/smaps" 2> /dev/null)"
	fact tracer_options "$(awk 'NR > 1 { printf " " } { printf "%s", $0 }' "$dump/trace_options")" text
	value_of "$dump/current_tracer"
	fact tracer "$value" text
	fact cpus "$(grep -c '^processor' "$ROOT/proc/cpuinfo")"
	fact machine "$machine" text
)
    "kernel": "$kernel", "buffer_size_kb": $buffer_kb
  }
}
END
}

write_all() {
	write_dump
	write_sidecar > "$output/trace.host.json"
	{
		echo "$ABOUT"
		say_plan
	} > "$output/plan.txt" 2>&1
	( cd "$output/.." && tar -cf "${output##*/}.tar" "${output##*/}" ) || fail "$output.tar cannot be written; the recording is in $output"
}

# --- options, and every way out -------------------------------------------------------------------

# A signal that comes just before `wait` would not end it: the end of the command does
caught() {
	stop=$1
	if [ -n "$child" ]; then kill -TERM "$child" 2> /dev/null; fi
}

# bash 5.2 acts on this trap also in a child that is ended just after its fork, as the command may be: only
# the recorder itself puts back and tidies up. The parent of `cut` is the shell that asks.
leave() {
	status_now=$?
	trap '' INT TERM HUP
	asks=$(exec cut -d ' ' -f 4 /proc/self/stat 2> /dev/null)
	if [ -n "$asks" ] && [ "$asks" != $$ ]; then
		trap - EXIT
		exit "$status_now"
	fi
	if [ -n "$has_state" ]; then
		if [ -n "${B:-}" ] && [ -d "$B" ]; then put "$B/tracing_on" 0; fi
		end_children
		end_reader
		put_back
	fi
	if [ -n "$made" ]; then rm -rf "$made"; fi # nothing was recorded
	trap - EXIT
	exit "$status_now"
}

parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		--dry-run) only_plan=yes ;;
		--restore) only_restore=yes ;;
		--top-level) top_level=yes ;;
		--hypervisor) hypervisor_stated=yes ;;
		--no-hypervisor) hypervisor_stated=no ;;
		--) break ;;
		-h | --help) usage ;;
		--preset | -o | --output | --origin | --label | --run | --order | --buffer-kb | --duration | --operand | --unmap-defer)
			[ $# -gt 1 ] || fail "$1 needs a value"
			option "$1" "$2"
			shift
			used=$((used + 1))
			;;
		--*=*) option "${1%%=*}" "${1#*=}" ;;
		-o*) option -o "${1#-o}" ;;
		-*) fail "no option $1 (sh $0 --help)" ;;
		*) break ;;
		esac
		shift
		used=$((used + 1))
	done
	if [ "${1:-}" = -- ]; then used=$((used + 1)); fi
}

option() {
	case $1 in
	--preset) preset=$2 && { is_in "$preset" "$PRESETS" || fail "no preset $2 in this script: $PRESETS"; } ;;
	-o | --output) output=${2%/} ;;
	--origin) origin=$2 && { is_in "$2" "hardware emulated" || fail "--origin is hardware or emulated"; } ;;
	--label) label=$2 ;;
	--run) run=$2 ;;
	--order) order=$2 && { is_number "$2" || fail "--order is a whole number"; } ;;
	--buffer-kb) buffer_stated=$2 && { { is_number "$2" && [ "$2" -ge 64 ]; } || fail "--buffer-kb is a number of KiB, 64 or more"; } ;;
	--duration) read_duration "$2" || fail "no duration: $2; valid: 10s, 500ms, 2min, 1h, a number of seconds" ;;
	--unmap-defer) unmap_defer=$2 && { is_in "$2" "Y N" || fail "--unmap-defer is Y or N"; } ;;
	--operand)
		printf '%s\n' "$2" | grep -qE '^\+0x[0-9a-f]{1,5},x[0-9]{1,2},[a-z][a-z0-9_]{0,30}$' ||
			fail "no operand: $2; valid: +OFFSET,REGISTER,INSTRUCTION, such as +0x54,x0,ipas2e1is"
		operand_list="$operand_list $2"
		;;
	*) fail "no option $1 with a value (sh $0 --help)" ;;
	esac
	case $2 in *[[:cntrl:]]*) fail "$1 holds a control character" ;; esac
}

only_plan='' only_restore='' top_level='' preset=${PRESETS%% *} output=run1 origin='' label='' run='' order=''
buffer_stated='' duration='' unmap_defer='' operand_list='' used=0 stop='' child='' watcher='' has_state=''
hypervisor_stated='' hypervisor='' reader='' unknown_loss='' made=''
SWITCH=$ROOT/sys/module/kvm/parameters/unmap_defer
parse "$@"
shift "$used"
if [ -n "$only_restore" ]; then
	if [ ! -e "$LOCK" ]; then
		say "$ME: nothing is to be put back"
		exit 0
	fi
	if [ -d "$SAVED" ]; then
		pid=$(cat "$SAVED/pid" 2> /dev/null)
		if [ -n "$pid" ] && [ "$(began "$pid")" = "$(cat "$SAVED/began" 2> /dev/null)" ]; then refuse_pending; fi
	else
		refuse_pending
	fi
	put_back
	[ -z "$refused" ] || exit 1
	say "$ME: tracefs is as it was before the recording"
	exit 0
fi
if [ -n "$operand_list" ] && ! is_in "$preset" "$WITH_PROBES"; then
	[ -n "$WITH_PROBES" ] || fail "--operand is of preset args, which this script does not hold"
	fail "--operand adds a kprobe: with --preset args"
fi
if [ -n "$duration" ] && [ $# -gt 0 ]; then
	fail "--duration and a command exclude each other: with a command, the recording ends when it does"
fi
look
refuse_host
if [ -z "$only_plan" ]; then refuse_pending; fi
make_plan
refuse_plan
if [ -n "$only_plan" ]; then
	say_plan
	exit 0
fi
if [ -e "$output" ] || [ -e "$output.tar" ]; then fail "$output or $output.tar is there already: give another name (-o)"; fi
say_plan
if [ -z "$origin" ]; then say "$ME: without --origin hardware (or emulated) the origin of the capture is unknown"; fi
trap leave EXIT
trap 'caught 2' INT
trap 'caught 15' TERM
trap 'caught 1' HUP
begin
mkdir "$output" || fail "$output cannot be made"
output=$(cd "$output" && pwd) || exit 2
made=$output dump=$output/trace
mkdir "$dump" || fail "$dump cannot be made"
set_up
record "$@"
made=
write_all
put_back
has_state=
say "$ME: wrote $output.tar: traceview analyze ${output##*/}.tar"
if [ "$total_lost" -gt 0 ] || [ "$missed" -gt 0 ]; then
	say "$ME: LOST: $total_lost events, $missed hits of kprobes; record again with a larger --buffer-kb"
	exit 1
fi
if [ -n "$unknown_loss" ]; then exit 1; fi
if [ -n "$stop" ] && [ -n "$duration$*" ]; then exit $((128 + stop)); fi
if [ "$status" -ne 0 ]; then
	say "$ME: the command ended with status $status"
	exit 1
fi
