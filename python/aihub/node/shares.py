"""The shares that unseal the hub's store, kept on the node."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from aihub import ssh
from aihub.errors import TaskFailed
from aihub.model.resolved import Hub
from aihub.names import Layout
from aihub.state.directory import State


def seal_shares(hub: Hub, state: State, shares: Sequence[str]) -> None:
    """The shares that unseal lie on the node, sealed by its TPM2 or else by its host key, and its unit has them.

    They travel over stdin. What lies there is opened and compared first: nothing is written when it is the same.
    """
    layout = Layout(hub.name)
    text = "".join(f"{share}\n" for share in shares).encode()
    digest = hashlib.sha256(text).hexdigest()
    present = f"systemd-creds decrypt --name=shares {layout.shares} - 2>/dev/null | sha256sum | cut -c1-64"
    if ssh.run(state, ssh.NODE, present).stdout.decode().strip() == digest:
        running = f"systemctl is-active --quiet {layout.unseal_unit} || systemctl restart {layout.unseal_unit}"
        ssh.run(state, ssh.NODE, running)
        return
    fresh = f"{layout.shares}.new"
    seal = (
        f"set -e; umask 077; mkdir -p {layout.folder}; rm -f {fresh}; "
        f"systemd-creds encrypt --name=shares - {fresh} 2>/dev/null; sync {fresh}; mv {fresh} {layout.shares}"
    )
    ssh.run(state, ssh.NODE, seal, stdin=text)
    if ssh.run(state, ssh.NODE, present).stdout.decode().strip() != digest:
        raise TaskFailed("the node can't open what it has just sealed", where=ssh.NODE, hint="aihub up")
    ssh.run(state, ssh.NODE, f"systemctl restart {layout.unseal_unit}")
