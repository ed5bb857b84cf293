"""PostgreSQL and Redis from Debian, configured as stacks/postgres and stacks/redis configure theirs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from aihub.model.resolved import Instance
from aihub.paths import STACKS
from aihub.services import service as services
from aihub.services.service import Service

if TYPE_CHECKING:
    from .rotation_world import World

UID = 65534 if os.geteuid() == 0 else os.geteuid()  # PostgreSQL refuses to run as root


def postgres(world: World, home: Path, secrets: Path, port: int) -> None:
    """Initialised by the stack's own script, then started with its own configuration."""
    from .rotation_world import eventually, listens

    home.mkdir()
    os.chown(home, UID, UID)
    config, instance = STACKS / "postgres" / "config", world.hub.instance("postgres@db")
    # Whoever is at the socket is the container's own user there, and here whoever runs the tests.
    access = re.sub(r"^local .*\n", "", (config / "pg_hba.conf").read_text(), flags=re.MULTILINE)
    (home / "pg_hba.conf").write_text(f"local all all trust\n{access}")
    text = _rendered(config / "postgresql.conf.j2", instance)
    text = re.sub(r"^max_notify_queue_pages .*\n", "", text, flags=re.MULTILINE)  # this may be an older one
    (home / "postgresql.conf").write_text(text)
    environment = {"PATH": f"{_postgres_bin()}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    environment |= {"PGHOST": str(home), "PGPORT": str(port)}
    own: dict[str, Any] = {"user": UID, "group": UID, "cwd": home, "env": environment}
    settings = {"port": port, "unix_socket_directories": home, "fsync": "off", "max_connections": 50}

    def run(*argv: str | Path, text: str = "") -> None:
        subprocess.run(argv, input=text.encode(), check=True, stdout=subprocess.DEVNULL, **own)

    def ready() -> bool:
        return subprocess.run(["pg_isready", "-q"], check=False, **own).returncode == 0

    run("initdb", "-D", home / "data", "-U", "postgres", "--auth=trust", "--no-sync")
    world.begin("postgres", _postgres(home, settings | {"listen_addresses": ""}), **own)
    eventually(ready)
    run("bash", text=_first_start(config / "initdb" / "10-logins.sh", secrets))
    run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-U", "postgres", text=_roles(world))
    world.end("postgres", signal.SIGINT)
    settings |= {"config_file": home / "postgresql.conf", "hba_file": home / "pg_hba.conf"}
    settings |= {"ssl_cert_file": secrets / "tls.pem", "ssl_key_file": secrets / "tls.pem"}
    settings |= {"listen_addresses": "127.0.0.1", "shared_preload_libraries": ""}
    world.begin("postgres", _postgres(home, settings), **own)
    eventually(lambda: listens(port))


def redis(world: World, home: Path, secrets: Path, port: int) -> None:
    """Started by the stack's own script; its users are made by the stack's own reconcile.py."""
    from .rotation_world import eventually, listens

    (home / "data").mkdir(parents=True)
    # The package redis-tools has the server under this name; what it is called decides what it does.
    (home / "valkey-server").symlink_to("/usr/bin/redis-check-rdb")
    os.chown(home / "data", UID, UID)
    instance = world.hub.instance("redis@db")
    client = home / "valkey-cli"
    client.write_text(f'#!/bin/sh\nexec redis-cli -p {port} "$@"\n')
    client.chmod(0o755)
    for name in ("start.sh", "valkey.conf.j2", "session.sh", "dump.sh", "restore.sh"):
        text = _rendered(STACKS / "redis" / "config" / name, instance).replace("/run/secrets", str(secrets))
        text = text.replace("/etc/valkey", str(home)).replace("6379", str(port))
        (home / name.removesuffix(".j2")).write_text(re.sub(r"(?<=[ \"])/data", f"{home}/data", text))
    own: dict[str, Any] = {"user": UID, "group": UID, "cwd": home, "env": {"PATH": f"{home}:/usr/bin:/bin"}}
    world.begin("redis", ["sh", str(home / "start.sh")], **own)
    eventually(lambda: listens(port))
    module = services.reconciler("redis")
    service = Service(world.hub, instance, world.vault, world.server.state.ca, world.facts.road)
    module.apply(service, module.diff(service.declared, module.read(service)), lambda text: None)


def _first_start(script: Path, secrets: Path) -> str:
    text = script.read_text().replace("/run/secrets", str(secrets))
    text = re.sub(r"^.*superuser\.sh.*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"\\connect template1\n.*\n", "", text)


def _roles(world: World) -> str:
    """What reconcile.py makes of a consumer, in the words of PostgreSQL 15."""
    found = []
    for pair in world.hub.pairs:
        if pair.provider == "postgres@db" and pair.role != "hub_reconcile":
            entry = world.vault.read(pair.path)
            assert entry
            found += [f"CREATE ROLE {pair.role} NOLOGIN;", *database(pair.role)]
            for half in "ab":
                name = f"{pair.role}_{half}"
                found.append(f"CREATE ROLE {name} LOGIN PASSWORD '{entry.data[half]}' IN ROLE {pair.role};")
                found.append(f"ALTER ROLE {name} SET role TO {pair.role};")
    return "\n".join(found)


def database(name: str) -> list[str]:
    """What reconcile.py makes of a consumer's database, for psql."""
    rights = f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {name} TO {name};"
    schema = [f"\\connect {name}", f"ALTER SCHEMA public OWNER TO {name};", "\\connect postgres"]
    return [f"CREATE DATABASE {name} OWNER hub_reconcile;", rights, *schema]


def _postgres(home: Path, settings: dict[str, Any]) -> list[str]:
    return ["postgres", "-D", str(home / "data"), *(p for k, v in settings.items() for p in ("-c", f"{k}={v}"))]


def _rendered(path: Path, instance: Instance) -> str:
    if path.suffix != ".j2":
        return path.read_text()
    return jinja2.Template(path.read_text()).render(instance=instance, guest=instance.guest)


def _postgres_bin() -> str:
    return str(max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name)))
