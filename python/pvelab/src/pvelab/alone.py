"""Serves the API without a lab: guests run without a process. For tests of Proxmox clients."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import tempfile
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .world.errors import LabError

if TYPE_CHECKING:
    from .api.pve import NodeInfo, Pve

IMAGE = b"QFI\xfb" + bytes(20) + (3 << 30).to_bytes(8, "big")  # the head of a disk image of 3 GiB


@dataclass(frozen=True)
class Request:
    """What is to be served. Without `state` there is a fresh node that is gone when the server ends."""

    host: str = "127.0.0.1"
    port: int = 0  # 0 takes a free one
    state: Path | None = None
    password_file: Path | None = None  # of root@pam; without it one is made
    config: Path | None = None
    tokens: tuple[str, ...] = ()  # USER@REALM!NAME
    templates: tuple[str, ...] = ()  # VOLID


def run(asked: Request) -> None:
    """Serves until SIGTERM or SIGINT; one line of JSON on standard output says when it is ready, and how to log in.

    Raises LabError for a password file without a password, and for what can't be preloaded.
    """
    from .api import certificate, server
    from .backend_none import NoneBackend

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with ExitStack() as stack:
        state = asked.state or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pvelab-")))
        password = _password(asked.password_file)
        node = _node(asked.config)
        app = server.make_app(state, NoneBackend(state), node, password)
        pve = app[server.PVE_KEY]
        for volid in asked.templates:
            add_template(pve, volid)
        tokens = {ident: add_token(pve, ident) for ident in asked.tokens}
        listening = server.listen(asked.host, asked.port)
        host, port = listening.getsockname()[:2]
        url = f"https://{f'[{host}]' if ':' in host else host}:{port}"
        told: dict[str, Any] = {"url": url, "ca": str(certificate.certificate_file(state)), "node": node.name}
        told |= {"user": "root@pam", "tokens": tokens}
        if asked.password_file is None:
            told["password"] = password

        def ready() -> None:
            sys.stderr.write(f"pvelab: {url}/api2/json\n")
            sys.stdout.write(json.dumps(told) + "\n")
            sys.stdout.flush()

        asyncio.run(server.serve(app, [listening], ready))


def _node(file: Path | None) -> NodeInfo:
    from .api.pve import NodeInfo

    if file is None:
        return NodeInfo()
    try:
        config = json.loads(file.read_text())
        NodeInfo.check_config(config)
        return NodeInfo.from_config(config)
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise LabError(f"{file} describes no node: {error}") from error


def _password(file: Path | None) -> str:
    if file is None:
        return secrets.token_urlsafe(16)
    found = file.read_text().strip("\n")
    if not found:
        raise LabError(f"{file} holds no password")
    return found


def add_template(pve: Pve, volid: str) -> None:
    """Puts an empty OS image there, so that guests can be made of it. Raises LabError for a name that is none."""
    from .api import volumes
    from .api.errors import ApiError

    try:
        path = volumes.file_path(pve, volid)
    except (ApiError, KeyError) as error:
        raise LabError(f"{volid} is no volume of a storage of this node") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(IMAGE)


def add_token(pve: Pve, ident: str) -> str:
    """Makes a token with all rights of its user, or a new secret for it; returns the secret."""
    user, mark, name = ident.partition("!")
    with pve.users.lock:
        entry = pve.users.data["users"].get(user)
        if entry is None or not mark or not name:
            raise LabError(f"{ident} is no token of a user who is there: USER@REALM!NAME")
        value = str(uuid.uuid4())
        entry.setdefault("tokens", {})[name] = {"privsep": 0, "expire": 0}
        pve.users.data["secrets"][ident] = value
        pve.users.save()
    return value
