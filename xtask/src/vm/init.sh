#!/bin/busybox sh
# The first process of a guest: makes a small system out of the initramfs, runs /xtask/command and
# reports on the fourth serial port. The first port is the kernel's log; the second and the third
# are the command's standard output and standard error, byte for byte.

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tracefs tracefs /sys/kernel/tracing
# Attaching to a tracepoint that nobody else has rewrites the kernel's code, also that of an exit or
# an exec that is on its way: emulated processors have tripped over it ("int3" in do_exit). With two
# listeners from the start nothing is rewritten.
mkdir /sys/kernel/tracing/instances/keep
for event in sched_process_exec sched_process_exit; do
    echo 1 >/sys/kernel/tracing/events/sched/$event/enable
    echo 1 >/sys/kernel/tracing/instances/keep/events/sched/$event/enable
done
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# No file system of its own: the suite itself may be below it.
chmod 1777 /tmp
# The kernel lets everybody write there, and a tool that runs as root trusts nothing below that.
chmod 755 /
ip link set lo up
if [ -e /dev/nvme0n1 ]; then
    mkswap /dev/nvme0n1 >/dev/null && swapon /dev/nvme0n1
fi

for port in 1 2 3; do
    stty -F /dev/ttyS$port raw -echo -hupcl 115200
done
mount -t debugfs debugfs /sys/kernel/debug
echo "release $(uname -r)" >/dev/ttyS3
# `none voluntary (full)`
echo "preempt $(cat /sys/kernel/debug/sched/preempt 2>/dev/null)" >/dev/ttyS3
echo ready >/dev/ttyS3

if [ -e /xtask/terminal ]; then
    # Held open: the size of a terminal that nobody has open is forgotten.
    exec 9<>/dev/ttyS1
    stty -F /dev/ttyS1 sane $(cat /xtask/terminal)
    setsid -c sh /xtask/command <>/dev/ttyS1 >&0 2>&0 9>&-
    status=$?
else
    # Through pipes, so that programs do not take the ports for terminals.
    mkfifo /run/out /run/err
    cat /run/out >/dev/ttyS1 &
    out=$!
    cat /run/err >/dev/ttyS2 &
    err=$!
    setsid sh /xtask/command </dev/null >/run/out 2>/run/err
    status=$?
    # What the command has left behind may hold the pipes open for ever.
    for tenth in $(seq 20); do
        kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
        sleep 0.1
    done
fi

echo "tainted $(cat /proc/sys/kernel/tainted)" >/dev/ttyS3
echo "exit $status" >/dev/ttyS3
reboot -f
