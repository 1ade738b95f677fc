#!/bin/bash
# In the guest, as process 1: what a booted machine has, then the job, then off. The console is its report.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
. /run/vm/settings
mount -t tmpfs tmpfs /tmp
chmod 1777 /tmp
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t debugfs debugfs /sys/kernel/debug
mkdir -p /lib/modules
mount --bind "$MODULES" /lib/modules
# The checkout as it was when the machine was started, whatever happens to it meanwhile.
mount --bind "$CHECKOUT/.venv" "$SNAPSHOT/.venv"
mount --rbind "$SNAPSHOT" "$CHECKOUT"
modprobe tun # makes /dev/net/tun
ip link set lo up
hostname vm
cd "$CHECKOUT" || exit
stty -F /dev/ttyS1 raw
echo "@@UP $(cut -d' ' -f1 /proc/uptime) $(uname -r)"
bash /run/vm/job
echo "@@RC $? $(cut -d' ' -f1 /proc/uptime)"
[ ! -f /run/vm/results ] || cat /run/vm/results >/dev/ttyS1
sync
echo o >/proc/sysrq-trigger
sleep 60
