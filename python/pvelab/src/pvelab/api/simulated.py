"""What a guest without processes would say of itself: its interfaces, and the answers of a few harmless programs.

Nothing runs, and what a program would write to its standard error says so in every answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

from ..backend import ExecResult, GuestSpec
from . import lxc_config, qemu_config

NOTICE = "simulated by pvelab: no program ran\n"
SYSTEM = 'ID=linux\nNAME="Linux"\nPRETTY_NAME="no system, simulated by pvelab"\n'
Program = Callable[[GuestSpec, Sequence[str], str], tuple[int, str, str]]  # exit code, output, errors


def interfaces(guest: GuestSpec) -> list[dict[str, Any]]:
    """The loopback, and each card with the fixed addresses of the configuration: nobody answers DHCP."""
    found = [_interface("lo", "00:00:00:00:00:00", ["127.0.0.1/8", "::1/128"])]
    for number in sorted(int(key[3:]) for key in guest.config if re.fullmatch(r"net\d+", key)):
        text = guest.config[f"net{number}"]
        if guest.kind == "lxc":
            card = lxc_config.parse_net(text)
            name, hardware, settings = card["name"], card["hwaddr"], card
        else:
            name, hardware = f"eth{number}", qemu_config.parse_net(text)["macaddr"]
            settings = dict(part.partition("=")[::2] for part in guest.config.get(f"ipconfig{number}", "").split(","))
        fixed = [str(settings[key]) for key in ("ip", "ip6") if "/" in str(settings.get(key, ""))]
        found.append(_interface(name, str(hardware).lower(), fixed))
    return found


def _interface(name: str, hardware: str, addresses: Sequence[str]) -> dict[str, Any]:
    counters = [f"{way}-{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errs", "dropped")]
    return {
        "name": name,
        "hardware-address": hardware,
        "ip-addresses": [_address(text) for text in addresses],
        "statistics": dict.fromkeys(counters, 0),
    }


def _address(text: str) -> dict[str, Any]:
    address, _, length = text.partition("/")
    return {"ip-address": address, "ip-address-type": "ipv6" if ":" in address else "ipv4", "prefix": int(length)}


def execute(guest: GuestSpec, argv: Sequence[str], stdin: bytes) -> ExecResult:
    """What a program would have answered; one that is not simulated ends as one that is missing."""
    program = PROGRAMS.get(PurePosixPath(argv[0]).name) if argv else None
    if program is None:
        return ExecResult(127, b"", f"{NOTICE}there are {', '.join(PROGRAMS)}\n".encode())
    code, said, wrong = program(guest, argv[1:], stdin.decode("utf-8", "replace"))
    return ExecResult(code, said.encode(), f"{NOTICE}{wrong}".encode())


def _cat(guest: GuestSpec, names: Sequence[str], stdin: str) -> tuple[int, str, str]:
    files = {"-": stdin, "/etc/hostname": f"{_hostname(guest)}\n", "/etc/os-release": SYSTEM}
    missing = [name for name in names if name not in files]
    wrong = "".join(f"cat: {name}: No such file or directory\n" for name in missing)
    return int(bool(missing)), "".join(files.get(name, "") for name in names or ["-"]), wrong


def _hostname(guest: GuestSpec) -> str:
    return guest.config.get("name", f"VM{guest.vmid}").partition(".")[0]


PROGRAMS: dict[str, Program] = {
    "cat": _cat,
    "echo": lambda guest, words, stdin: (0, " ".join(words) + "\n", ""),
    "false": lambda guest, words, stdin: (1, "", ""),
    "hostname": lambda guest, words, stdin: (0, f"{_hostname(guest)}\n", ""),
    "true": lambda guest, words, stdin: (0, "", ""),
    "whoami": lambda guest, words, stdin: (0, "root\n", ""),
}
