"""A container of ours opens no raw socket, by the kernel's own word, with what Docker would let it keep.

No Docker runs here: which capabilities a service keeps is read from its two Compose files as Docker reads them, and a
process with just these, as root in a network of its own, tries. `whole/` and `small/` try inside the containers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from aihub import paths
from aihub.reading import load
from aihub.render import containers

pytestmark = pytest.mark.slow

DOCKERS = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
"""What Docker lets a container keep where nobody says anything."""
HUB = load.load(paths.DEFAULT_HUB, target="lab")
SERVICES = [(one.name, service) for one in HUB.instances for service in containers.merged(one)]
TRY = """
import socket
for family, protocol in ((socket.AF_INET, 1), (socket.AF_INET, 255), (socket.AF_PACKET, 0x0300)):
    try:
        socket.socket(family, socket.SOCK_RAW, protocol).close()
        print("open")
    except PermissionError:
        print("refused")
socket.socket().close()
"""


def kept(*files: Mapping[str, Any]) -> set[str]:
    """The capabilities that a service keeps; Compose adds the lists of both files together."""
    dropped = {one for file in files for one in file.get("cap_drop") or ()}
    added = {one for file in files for one in file.get("cap_add") or ()}
    return (set() if "ALL" in dropped else DOCKERS - dropped) | added


def tried(capabilities: set[str]) -> set[str]:
    """How it goes for root with these capabilities and no others."""
    if os.geteuid() != 0:
        pytest.fail("this gives up capabilities: run `make test` as root, or `make check` without", pytrace=False)
    names = ",".join(["-all", *(f"+{one.lower()}" for one in sorted(capabilities))])
    argv = ["unshare", "--net", "setpriv", f"--bounding-set={names}", f"--inh-caps={names}", sys.executable, "-c", TRY]
    return set(subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize(("name", "service"), SERVICES, ids=[f"{name}: {service}" for name, service in SERVICES])
def test_no_container_of_ours_has_raw_sockets(name: str, service: str) -> None:
    instance = HUB.instance(name)
    written = containers.merged(instance)[service]
    put_in = json.loads(containers.override(instance, ""))["services"].get(service, {})
    assert tried(kept(written, put_in)) == {"refused"}
    # Without what its author wrote, too; this is what the version before left open.
    forgotten = {key: value for key, value in written.items() if key != "cap_drop"}
    assert tried(kept(forgotten)) == {"open"}, "this is what the attack does"
    assert tried(kept(forgotten, containers._hardened(instance, forgotten))) == {"refused"}
