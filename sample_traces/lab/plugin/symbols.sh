# What functions.py needs of a kernel: addresses of its functions, types.
. /share/lib.sh
grep -E ' [tTwW] ' /proc/kallsyms > "$OUT/kallsyms"
[ ! -e /sys/kernel/btf/vmlinux ] || cp /sys/kernel/btf/vmlinux "$OUT/btf.vmlinux"
