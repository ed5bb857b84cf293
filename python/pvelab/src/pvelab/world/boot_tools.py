#!/usr/bin/python3
"""The lab's `update-grub`, `update-initramfs` and `proxmox-boot-tool`. Not the programs of Debian and Proxmox.

The node is a container: no boot loader starts it. What these programs would hand to the next boot is put aside in
/var/lib/lab-boot, and `lab-boot.service` takes it to /run/lab-boot when the node boots: a change is in force after a
boot, and not before.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ASIDE, BOOTED = Path("/var/lib/lab-boot"), Path("/run/lab-boot")
DRIVER = Path("/dev/lab-driver")
MODPROBE = Path("/etc/modprobe.d")
CMDLINE = Path("/etc/kernel/cmdline")
GRUB = Path("/etc/default/grub")
UUIDS = Path("/etc/kernel/proxmox-boot-uuids")
PIN = Path("/etc/kernel/proxmox-boot-pin")


def say(program: str, text: str) -> None:
    """One line, with the name of the stand-in."""
    sys.stdout.write(f"{program} (of the lab): {text}\n")


def keep(name: str, text: str) -> None:
    """Puts something aside for the next boot."""
    ASIDE.mkdir(parents=True, exist_ok=True)
    (ASIDE / name).write_text(text)


def update_grub() -> int:
    """Puts the kernel's command line aside, as GRUB's settings and their snippets give it."""
    files = [GRUB, *sorted(Path("/etc/default/grub.d").glob("*.cfg"))]
    read = " ".join(f". {file};" for file in files)
    done = subprocess.run(
        ["/bin/sh", "-ec", f'{read} printf %s "$GRUB_CMDLINE_LINUX_DEFAULT"'],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        return 1
    keep("cmdline", done.stdout.strip() + "\n")
    say("update-grub", f"the next boot has {done.stdout.strip()}")
    return 0


def update_initramfs(words: Sequence[str]) -> int:
    """Puts the lines of modprobe aside."""
    if list(words) != ["-u", "-k", "all"]:
        sys.stderr.write("the lab's update-initramfs knows `-u -k all` alone\n")
        return 1
    lines = [line for file in sorted(MODPROBE.glob("*.conf")) for line in file.read_text().splitlines()]
    keep("modprobe.json", json.dumps([line for line in lines if line.strip() and not line.startswith("#")]))
    say("update-initramfs", f"the next boot has {len(lines)} lines of modprobe")
    return 0


def boot_tool(words: Sequence[str]) -> int:
    """`status`, `refresh`, `kernel pin VERSION` and `kernel unpin`."""
    if list(words) == ["status"]:
        for line in UUIDS.read_text().splitlines() if UUIDS.exists() else ():
            sys.stdout.write(f"{line} is configured with: uefi (versions: of the lab)\n")
        return 0 if UUIDS.exists() else 2
    if list(words) == ["refresh"]:
        if not UUIDS.exists():
            return update_grub()
        keep("cmdline", CMDLINE.read_text())
        say("proxmox-boot-tool", f"the next boot has {CMDLINE.read_text().strip()}")
        return 0
    if words[:2] == ["kernel", "pin"] and len(words) == 3 and re.fullmatch(r"[\w.+~-]+", words[2]):
        PIN.write_text(words[2] + "\n")
        return 0
    if list(words) == ["kernel", "unpin"]:
        PIN.unlink(missing_ok=True)
        return 0
    sys.stderr.write("the lab's proxmox-boot-tool knows status, refresh, kernel pin VERSION and kernel unpin\n")
    return 1


def boot() -> int:
    """What the node was booted with, from now on."""
    shutil.rmtree(BOOTED, ignore_errors=True)
    for file in (path for path in DRIVER.rglob("*") if path.is_file()):  # no module is loaded yet
        file.unlink()
    if ASIDE.is_dir():
        shutil.copytree(ASIDE, BOOTED)
    return 0


def main() -> int:
    """Does what the name says that it was called by."""
    program, words = Path(sys.argv[0]).name, sys.argv[1:]
    if program == "update-grub":
        return update_grub()
    if program == "update-initramfs":
        return update_initramfs(words)
    return boot() if program == "lab-boot" else boot_tool(words)


if __name__ == "__main__":
    sys.exit(main())
