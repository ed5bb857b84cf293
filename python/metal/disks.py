"""What is on the disks that hub.yml wants a storage of, and which ZFS pools there are."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from .desired import Desired


@dataclass(frozen=True)
class Disk:
    """A disk that hub.yml names: where it is, its bytes (0: it is not there), and what is on it (empty: nothing)."""

    name: str
    path: str
    size: int
    holds: str


# Prints a line for everything that says that a disk is not free; what can't be looked at is not free either.
HOLDS = r"""holds() {
 r=$(readlink -f "$1"); b=${r##*/}; s=/sys/class/block/$b
 [ -b "$r" ] || echo "no block device"
 [ -e "$s/partition" ] && echo "a partition, not a disk"
 [ "$(cat "$s/ro" 2>/dev/null)" = 1 ] && echo "read-only"
 for q in "$s/$b"*; do [ -e "$q/partition" ] && echo "partition ${q##*/}"; done
 for q in "$s"/holders/*; do [ -e "$q" ] && echo "held by ${q##*/}"; done
 f=$(wipefs --no-act --noheadings --output TYPE "$r" 2>&1) || echo "not readable"
 [ -z "$f" ] || echo "$f" | sort -u | sed 's/^ */signature /'
 awk -v r="^$r(p?[0-9]+)?$" '$1 ~ r { print "in use as " (FILENAME ~ /swaps/ ? "swap" : $2) }' /proc/mounts /proc/swaps
 zpool status -LP 2>/dev/null | awk -v r="^$r(p?[0-9]+)?$" '$1 ~ r { print "part of a ZFS pool" }'
 grep -lswF -e "$r" -e "${1##*/}" /etc/pve/nodes/*/qemu-server/*.conf /etc/pve/nodes/*/lxc/*.conf |
  sed 's/.*\/\([0-9]*\)\.conf/passed to guest \1/'
 :
}
"""


def reading(desired: Desired) -> str:
    """The part of the reading script about pools, and about the disks of those that hub.yml has made."""
    wanted = dict.fromkeys(disk for mirror in desired.mirrors for disk in mirror.disks)
    folders = [f"/{mirror.storage}" for mirror in desired.mirrors]
    return HOLDS + _SCRIPT.format(disks=shlex.join(wanted), folders=shlex.join(folders))


_SCRIPT = r"""
command -v zpool >/dev/null && printf 'value\tzpool\tyes\n' &&
 zpool list -H -o name,comment | sed 's/^/zpool\t/' | plain
for k in {disks}; do
 p=/dev/disk/by-id/$k
 printf 'disk\t%s\t%s\t%s\t%s\n' "$k" "$(readlink -f "$p")" "$(blockdev --getsize64 "$p" 2>/dev/null || echo 0)" \
  "$(holds "$p" | tr '\n\t' '; ' | plain)"
done
for k in {folders}; do
 [ -n "$(ls -A "$k" 2>/dev/null)" ] && printf 'value\tfolder %s\tfull\n' "$k"
done
"""
