#!/bin/busybox sh
# The first process: loads the modules in their order, mounts the root file system, goes on there.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /mod/*.ko; do
	[ -e "$module" ] && { $b insmod "$module" || echo "lab: insmod $module failed"; }
done
n=0
until [ -b /dev/vda ] || [ $n = 50 ]; do
	$b sleep 0.1
	n=$((n + 1))
done
$b mount -t ext4 -o ro /dev/vda /new || { echo "lab: no root file system"; $b poweroff -f; }
exec $b switch_root /new /init
