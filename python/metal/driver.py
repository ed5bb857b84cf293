"""NVIDIA's driver for the node itself, where containers share a card: packages, options of its boot, device nodes.

A card is the node's own driver's or vfio-pci's from the boot on. What was installed for it and was not there before
goes again with the last container that shares one; its module stays loaded until the node boots.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from aihub.names import CARD_NODES, Layout, unit_file

from .actual import ActualNode
from .cards import VFIO, Found, loads
from .desired import Desired, Driver
from .hardware import Device
from .refusal import RefusedByNode
from .services import file_part
from .steps import Step, Upload, command
from .texts import render

SUBJECT = "driver of shared cards"
KEY = Path(__file__).resolve().parents[2] / "roles" / "nvidia" / "files" / "fetch_key.py"
_INITRAMFS = "update-initramfs -u -k all"
_QUIET = "DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120"

Commands = list[str | Upload]
Differences = list[tuple[str, str, str]]


def steps(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> list[Step]:
    """The step that makes the node drive the card that containers share; or the one that ends that."""
    driver = desired.driver
    if driver is None:
        return [] if desired.sharing else removal(desired, actual)
    _refuse_others(desired, actual, found)
    commands, differences = _packages(desired, actual, driver)
    for more, also in (_options(desired, actual), _unit(desired, actual, found)):
        commands += more
        differences += also
    return [Step("driver", SUBJECT, "configure", tuple(differences), tuple(commands) if differences else ())]


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The step that takes it off the node again; none where nothing of it is there."""
    layout = Layout(desired.hub)
    files = [path for path in layout.driver if path in actual.files]
    if not files:
        return []
    commands = [f"systemctl disable --now --quiet {layout.driver_unit} 2>/dev/null || :"]
    if ours := actual.values.get("driver packages", "").split():
        there = f"$(dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {' '.join(ours)} 2>/dev/null"
        commands += [
            "systemctl stop nvidia-persistenced.service 2>/dev/null || :",
            f"apt-mark unhold {' '.join(ours)} >/dev/null 2>&1 || :",
            f"set -- {there} | sed -n 's/ installed$//p'); [ $# = 0 ] || {_QUIET} purge -y \"$@\"",
        ]
    done = [layout.driver_packages, layout.driver_done]  # last: they remind of what a killed run left
    commands += [command("rm", "-f", *(path for path in files if path not in done)), "systemctl daemon-reload"]
    commands += [_INITRAMFS, command("rm", "-f", *done)]
    return [Step("driver", SUBJECT, "delete", (("NVIDIA's driver", "ours", "none"),), tuple(commands))]


def _refuse_others(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> None:
    """The driver takes every card that nobody else has, and numbers them as they come."""
    known = {one.main.slot for one in found}
    other = [one for one in actual.devices if _is_nvidia(one) and one.slot not in known and one.driver != VFIO]
    if other:
        raise RefusedByNode(
            "precondition",
            f"node {desired.node} has another NVIDIA card, {', '.join(map(str, other))}: its own driver would take "
            "that, too, and which one containers get would be left to chance",
            f"name it under nodes.{desired.node}.gpus and give it to a VM, or take it out of the node",
        )


def _is_nvidia(device: Device) -> bool:
    return device.id.startswith("10de:") and device.kind.startswith("03")


def _packages(desired: Desired, actual: ActualNode, driver: Driver) -> tuple[Commands, Differences]:
    """Its source, its packages, and that no upgrade changes them: libraries in containers are of the same version."""
    layout = Layout(desired.hub)
    commands, differences = Commands(), Differences()
    key = layout.driver_key if driver.key else ""
    texts = {
        layout.driver_source: render("driver.sources.j2", desired, driver=driver, key=key),
        layout.driver_pin: render("driver.pref.j2", desired, driver=driver),
    }
    for path, text in texts.items():
        more, also = file_part(actual, path, text)
        commands += more
        differences += also
    if key and key not in actual.files:
        commands.append(command("python3", "-c", KEY.read_text(), driver.key, driver.fingerprint, key))
        differences.append((key, "none", "the one of its fingerprint"))
    wanted = (*driver.packages, *driver.headers)
    if missing := [name for name in wanted if name not in actual.packages]:
        before = actual.values.get("driver packages", "").split()
        record = " ".join(dict.fromkeys([*before, *missing])) + "\n"
        commands += [Upload(layout.driver_packages, record), *_install(layout, driver, missing)]
        differences.append(("packages", "no", " ".join(missing)))
    if free := [name for name in driver.packages if name not in actual.kept_back]:
        commands.append(f"apt-mark hold {' '.join(driver.packages)} >/dev/null")
        differences += [("packages held", "no", " ".join(free))] if not missing else []
    return commands, differences


def _install(layout: Layout, driver: Driver, missing: Sequence[str]) -> Commands:
    names = " ".join(missing)
    if driver.headers:  # its module is built with the tools of Debian's own sources
        return [
            f"{_QUIET} update",
            f'{_QUIET} install -y --no-install-recommends {names} "proxmox-headers-$(uname -r)"',
        ]
    alone = f"-o Dir::Etc::sourcelist={layout.driver_source} -o Dir::Etc::sourceparts=- -o APT::Get::List-Cleanup=0"
    return [f"{_QUIET} {alone} update", f"{_QUIET} install -y --no-install-recommends {names}"]


def _options(desired: Desired, actual: ActualNode) -> tuple[Commands, Differences]:
    """What the kernel is told of it at boot; a stamp says that the initramfs was made with that."""
    layout, text = Layout(desired.hub), render("driver.modprobe.conf.j2", desired)
    commands, differences = file_part(actual, layout.driver_options, text)
    mark, _ = file_part(actual, layout.driver_done, hashlib.sha256(text.encode()).hexdigest() + "\n")
    if not commands and not mark:
        return [], []
    return [*commands, _INITRAMFS, *mark], differences or [(f"{layout.driver_options} in force", "no", "yes")]


def _unit(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> tuple[Commands, Differences]:
    """The unit that makes its device nodes, before Proxmox starts guests; not started while another has the card."""
    layout = Layout(desired.hub)
    unit, now = layout.driver_unit, actual.units[layout.driver_unit]
    commands, differences = file_part(actual, unit_file(unit), render("driver.service.j2", desired))
    commands += ["systemctl daemon-reload"] if commands else []
    if now.enabled != "enabled":
        commands.append(f"systemctl enable --quiet {unit}")
        differences.append((f"{unit} at boot", now.enabled or "not found", "enabled"))
    there = actual.values.get("card nodes", "").split()
    if not loads(found) or (now.active == "active" and set(CARD_NODES) <= {*there} and not differences):
        return commands, differences
    absent = f'for n in {" ".join(CARD_NODES)}; do [ -c "$n" ] || {{ echo "there is no $n" >&2; exit 1; }}; done'
    told = f"journalctl --no-pager -o cat -n 8 -u {unit} >&2"
    commands.append(f"systemctl restart {unit} || {{ {told}; exit 1; }}; {absent}")
    lacking = [name for name in CARD_NODES if name not in there]
    return commands, [*differences, ("device nodes", f"without {', '.join(lacking)}" if lacking else "old", "made")]
