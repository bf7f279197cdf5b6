#!/usr/bin/env bash
# Power cuts of a whole mesh. Three nodes, each on a loop-mounted ext4 file system of its own; the kernel's writeback is switched off and
# the journal's interval is an hour, so that a device holds what the node synced and nothing else. Producers run; all nodes are frozen
# at one moment, their images copied as the devices saw them, the nodes killed and started on the copies. One cut falls into
# founding, some follow a kill, some hit the recovery from the cut before. Each acknowledged record must be there, once and in order.
#
#   scripts/power_test.sh [--rounds 25] [--seed N]        needs root and loop devices
#   scripts/power_test.sh --docs                          the full form, kept as docs/power_test.md
#   TARGET=kafka scripts/power_test.sh --kafka-config log.flush.interval.messages=1     Apache Kafka that syncs; without it, it loses
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || die "must run as root: it mounts file systems and switches the kernel's writeback off for its time"
need losetup mount mkfs.ext4
[ -e /dev/loop-control ] || die "this machine has no loop devices (/dev/loop-control); run it where they are, for example in a virtual machine"
venv
target_binaries

run_dir_unmount() { # NAME: an interrupted run may have left mounts
  local point
  for point in "$TARGET_DIR/run/$1"/mnt*; do
    if mountpoint -q "$point" 2> /dev/null; then umount "$point"; fi
  done
}
run_dir_unmount power
run_dir power

truncate -s 16M "$RUN_DIR/try.img"
mkfs.ext4 -q -F "$RUN_DIR/try.img"
mkdir "$RUN_DIR/try"
mount -o loop "$RUN_DIR/try.img" "$RUN_DIR/try" || die "root, but mounting a loop device is not allowed here; run it where it is"
umount "$RUN_DIR/try"

writeback=(/proc/sys/vm/dirty_writeback_centisecs /proc/sys/vm/dirty_expire_centisecs)
saved=("$(cat "${writeback[0]}")" "$(cat "${writeback[1]}")")
restore() {
  echo "${saved[0]}" > "${writeback[0]}"
  echo "${saved[1]}" > "${writeback[1]}"
  stop_all
  run_dir_unmount power
  rm -f "$RUN_DIR"/disk*.img "$RUN_DIR"/disk*.img.cut
}
trap restore EXIT
echo 0 > "${writeback[0]}" || die "the kernel's writeback cannot be switched off here (${writeback[0]})"
echo 360000 > "${writeback[1]}"

export RUN_DIR
if [ "$*" = --docs ]; then
  "$PYTHON" "$SCRIPTS/rig/power_test.py" 2>&1 | keep power_test.md "Power cuts" "scripts/power_test.sh"
else
  "$PYTHON" "$SCRIPTS/rig/power_test.py" "$@"
fi
