#!/bin/busybox sh
# The guest's first process: the host's files, read-only, below a layer in memory that takes what is written.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*.ko; do /bin/busybox insmod "$module"; done
/bin/busybox mount -t virtiofs rootfs /lower || exec /bin/busybox poweroff -f
/bin/busybox mount -t tmpfs -o size=80% tmpfs /upper
/bin/busybox mkdir /upper/files /upper/work
/bin/busybox mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root ||
	exec /bin/busybox poweroff -f
/bin/busybox mount --move /proc /root/proc
/bin/busybox mount --move /sys /root/sys
/bin/busybox mount --move /dev /root/dev
/bin/busybox mount -t tmpfs tmpfs /root/run
/bin/busybox mkdir /root/run/vm
/bin/busybox cp /vm/* /root/run/vm/
exec /bin/busybox switch_root /root /bin/bash /run/vm/guest.sh
