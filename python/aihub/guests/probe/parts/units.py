"""Units and packages of a guest, and programs that are run there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

SAID = 4000  # characters of what a program said last


def unit_of(stack: str) -> str:
    """The unit that starts a stack."""
    return f"hub-{stack}.service"


def unit_states(names: list[str]) -> dict[str, dict[str, str]]:
    """Whether units start at boot and run."""
    command = ["systemctl", "show", "--property=Id,UnitFileState,ActiveState", "--", *names]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    states = {}
    for name, block in zip(names, text.strip().split("\n\n"), strict=True):
        values = dict(line.split("=", 1) for line in block.splitlines())
        states[name] = {"boot": values["UnitFileState"] or "none", "active": values["ActiveState"]}
    return states


def reload_units(units: list[str]) -> None:
    """systemd reads anew what it has read before and what was written since, by this run or by one that was killed."""
    asked = ["systemctl", "show", "--property=NeedDaemonReload", "--value", "--", *units]
    if b"yes" in subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout:
        subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)


def stop(units: list[str]) -> None:
    """These units neither run nor start at boot; one that is not there any more does neither."""
    quiet: dict[str, Any] = {"stdout": sys.stderr, "stderr": sys.stderr}
    if not units:
        return
    for unit in units:
        subprocess.run(["systemctl", "disable", "--now", unit], check=False, **quiet)
    for unit, state in unit_states(units).items():
        if state["active"] not in ("inactive", "failed"):
            sys.exit(f"{unit} does not stop: it is {state['active']}")
    subprocess.run(["systemctl", "reset-failed", *units], check=False, **quiet)


def held() -> set[str]:
    """The packages that nothing but a person's own word replaces."""
    return set(subprocess.run(["apt-mark", "showhold"], stdout=subprocess.PIPE, check=True).stdout.decode().split())


def tell(argv: list[str], folder: str | None = None) -> str:
    """What a program says beside its output. Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(said.strip()[-SAID:] or f"{argv[0]} ended with exit code {done.returncode}")
    return said
