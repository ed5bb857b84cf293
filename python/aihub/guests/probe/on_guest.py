"""Runs on a guest, sent over stdin: looks at what is managed there, places files, writes the manifest.

Standard library and ASCII only. The request follows the program on stdin, as JSON, so that no value is ever
on a command line or in a traceback:
{"action": "probe", "secrets": [PATH], "lines": [PATH]}
{"action": "forget", "stack": NAME}
{"action": "record", "desired": {KEY: HASH}, "made_from": {KEY: {PART: TEXT}}, "entries": {KEY: MANAGED},
    "stacks_gone": [STACK]}
    with MANAGED = {"files": [], "units": [], "boot_units": [], "tables": [] or {TABLE: HASH}, "stacks": [],
        "holds": [], "folders": [] that go with the role, and what is in them}
{"action": "bring", "networks": {STACK: [NETWORK]}} for the stacks that run, with all that "place" and "record" take
{"action": "leave", "stacks": [STACK]} or with "declared": [STACK] instead: every other one that the manifest lists
{"action": "agent", "wake": false, "renew": [STACK]}
{"action": "place", "wanted": [FILE], "role": KEY, "check": false} or with "lists": {KEY: [PATH]} instead of "role"
    with FILE = {"path": PATH, "content": TEXT, "mode": "0644", "owner": "0:0", "validate": ARGV}
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from typing import Any

FORMAT = 1
UNFINISHED = "unfinished"  # what the manifest holds as a role's hash while its files are being placed
MANIFEST = "/etc/hub/manifest.json"
CONFIGURATION = "/etc/hub"
AGENT = "/run/hub/agent"
DATA = "/var/lib/hub"
HOME = "/opt/hub"
SECRETS = "/run/hub"
LOGROTATE = "/etc/logrotate.d/hub-"
TRUST = "/usr/local/share/ca-certificates/"
UNITS = "/etc/systemd/system/"
OUR_UNIT = re.compile(r"hub-(.+)\.(?:service|timer|path|socket)")
STACK_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
PROJECT = "com.docker.compose.project"
DOCKER_UNIT = "docker.service"
DOCKER_LINK = "docker0"
BY_IPTABLES = ("filter", "mangle", "nat", "raw", "security")  # nft tables that Docker fills, by their names
MOST = 200  # things that nobody declares, named in one answer
LINES = 1 << 18  # characters of a file whose lines are asked for
UNNAMED = re.compile(r"[0-9a-f]{64}")  # how Docker calls a volume that nobody gave a name
SAID = 4000  # characters of what a program said last
BUILT = " built from"  # how the parts end that say what an image was built from, where its tag does not
DOCKER_SOCKET = "/var/run/docker.sock"


def file_state(path: str) -> dict[str, str] | None:
    """Content, mode and owner of a file; None when there is none."""
    try:
        found = os.lstat(path)
        content = "directory" if stat.S_ISDIR(found.st_mode) else "special"
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb", opener=_no_link) as handle:
                content = hashlib.sha256(handle.read()).hexdigest()
        elif stat.S_ISLNK(found.st_mode):
            content = "link " + hashlib.sha256(os.fsencode(os.readlink(path))).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return {"content": content, **_rights(found)}


def _no_link(path: str, flags: int) -> int:
    """Opens a file, and neither follows a link that stands there by now nor waits for a pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def secret_state(path: str) -> dict[str, str] | None:
    """Mode and owner of a secret file, never anything of its content; None when there is none."""
    try:
        return _rights(os.lstat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _rights(found: os.stat_result) -> dict[str, str]:
    return {"mode": f"{stat.S_IMODE(found.st_mode):04o}", "owner": f"{found.st_uid}:{found.st_gid}"}


def unit_states(names: list[str]) -> dict[str, dict[str, str]]:
    """Whether units start at boot and run."""
    command = ["systemctl", "show", "--property=Id,UnitFileState,ActiveState", "--", *names]
    text = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.decode()
    states = {}
    for name, block in zip(names, text.strip().split("\n\n"), strict=True):
        values = dict(line.split("=", 1) for line in block.splitlines())
        states[name] = {"boot": values["UnitFileState"] or "none", "active": values["ActiveState"]}
    return states


def held() -> set[str]:
    """The packages that nothing but a person's own word replaces."""
    return set(subprocess.run(["apt-mark", "showhold"], stdout=subprocess.PIPE, check=True).stdout.decode().split())


def table_state(name: str) -> str | None:
    """The hash of an nft table's rules without counters; None when there is no such table."""
    found = subprocess.run(["nft", "--stateless", "list", "table", *name.split()], capture_output=True, check=False)
    return hashlib.sha256(found.stdout).hexdigest() if found.returncode == 0 else None


def ask_docker(*paths: str) -> list[Any]:
    """What Docker answers, each as JSON. Raises OSError where none runs."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("docker", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    with contextlib.closing(connection):
        connection.sock.connect(DOCKER_SOCKET)
        answers = []
        for path in paths:
            connection.request("GET", path)
            answers.append(json.loads(connection.getresponse().read()))
    return answers


def every_container() -> list[dict[str, Any]]:
    """Every container, running or not; none where no Docker runs."""
    try:
        (found,) = ask_docker("/containers/json?all=1")
        return list(found)
    except OSError:
        return []


def project_of(one: dict[str, Any]) -> str:
    """The Compose project that a container is of; what `docker compose run` leaves is of none."""
    labels = one["Labels"] or {}
    return "" if labels.get("com.docker.compose.oneoff") == "True" else labels.get(PROJECT, "")


def containers(every: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, str]]]:
    """Every container of every Compose project, by project and service."""
    projects: dict[str, dict[str, dict[str, str]]] = {}
    for one in every:
        labels, project = one["Labels"] or {}, project_of(one)
        if not project:
            continue
        service, number = (labels.get(f"com.docker.compose.{key}", "?") for key in ("service", "container-number"))
        health = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", one["Status"])
        projects.setdefault(project, {})[f"{service}-{number}"] = {
            "image": one["ImageID"],
            "configuration": labels.get("com.docker.compose.config-hash", ""),
            "state": one["State"],
            "health": health.group(1) if health else "none",
        }
    return projects


def states(entries: dict[str, dict[str, Any]], every: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The state of everything managed, in the shape of the entries; `every` are the containers that are there."""
    kinds = ("units", "boot_units")
    names = sorted({name for entry in entries.values() for kind in kinds for name in entry.get(kind, ())})
    units = unit_states(names) if names else {}
    projects = containers(every)
    holds = held() if any(entry.get("holds") for entry in entries.values()) else set()
    return {
        key: {
            "files": {path: file_state(path) for path in entry.get("files", ())},
            "units": {name: units[name] for name in entry.get("units", ())},
            "boot_units": {name: {"boot": units[name]["boot"]} for name in entry.get("boot_units", ())},
            "tables": {name: table_state(name) for name in entry.get("tables", ())},
            "stacks": {name: projects.get(name, {}) for name in entry.get("stacks", ())},
            **({"holds": {name: name in holds for name in entry["holds"]}} if entry.get("holds") else {}),
            **({"folders": list(entry["folders"])} if entry.get("folders") else {}),
        }
        for key, entry in entries.items()
    }


def read_manifest() -> dict[str, Any]:
    """The manifest, or an empty one when there is none that this program understands."""
    try:
        with open(MANIFEST) as handle:
            found: dict[str, Any] = json.load(handle)
        if found["format"] == FORMAT:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"format": FORMAT, "desired": {}, "entries": {}}


def probe(request: dict[str, Any]) -> dict[str, Any]:
    """The manifest, what it lists as it is now, the asked secret files, and the lines of other asked files."""
    manifest, every = read_manifest(), every_container()
    return {
        "manifest": manifest,
        "actual": states(manifest["entries"], every),
        "there": there(manifest, every),
        "secrets": {path: secret_state(path) for path in request.get("secrets", ())},
        "agent": agent_status(),
        "data": volumes(),
        "lines": {path: lines(path) for path in request.get("lines", ())},
    }


def lines(path: str) -> list[str] | None:
    """What stands in a file; None when there is none."""
    try:
        with open(path, errors="replace", opener=_no_link) as handle:
            return handle.read(LINES).splitlines()
    except OSError:
        return None


def there(manifest: dict[str, Any], every: list[dict[str, Any]]) -> dict[str, Any]:
    """What is here whether it is listed or not: what each stack of ours has, and what is neither listed nor a stack's.

    Ours is what says so itself: a unit by its first line, a container by the folder that Compose was called in.
    """
    stacks: dict[str, set[str]] = {}
    others: set[tuple[str, str]] = set()

    def seen(stack: str, what: str) -> None:
        stacks.setdefault(stack, set()).add(what)

    files = {path for entry in manifest["entries"].values() for path in entry.get("files", ())}
    for name in sorted(os.listdir(UNITS) if os.path.isdir(UNITS) else ()):
        if OUR_UNIT.fullmatch(name):
            stack, role = whose_unit(name)
            if stack:
                seen(stack, f"unit {name}")
            elif UNITS + name not in files and (manifest["desired"] or not role):
                others.add(("unit", name))
    for place in (HOME, SECRETS):
        for name in folders(place):
            if place == HOME or (name not in OWN_SECRETS and os.listdir(f"{place}/{name}")):
                seen(name, f"folder {place}/{name}")
    listed = {name for entry in manifest["entries"].values() for name in entry.get("stacks", ())}
    for one in every:
        name, project = (one["Names"] or ["/" + one["Id"][:12]])[0].lstrip("/"), project_of(one)
        if is_ours(one):
            seen(project, f"container {name}")
        elif project not in listed:
            others.add(("container", name))
    known = {name: stack for stack, names in manifest.get("volumes", {}).items() for name in names}
    for kind, name, project in in_docker() if every or os.path.exists(DOCKER_SOCKET) else ():
        if kind == "volume" and name in known:
            seen(known[name], f"volume {name}")
        elif kind == "network" and name.startswith("hub-") and STACK_NAME.fullmatch(project):
            seen(project, f"network {name}")
        else:
            others.add((kind, name))
    tables = {name for entry in manifest["entries"].values() for name in entry.get("tables", ())}
    others.update(("table", name) for name in strange_tables(tables, docker=runs_docker(manifest)))
    return {
        "stacks": {name: sorted(map(plain, what))[:MOST] for name, what in sorted(stacks.items())[:MOST]},
        "others": [{"kind": kind, "name": plain(name)} for kind, name in sorted(others)[:MOST]],
    }


OWN_SECRETS = ("agent", "backup", "machine")  # of the folder with secrets: no stack's


def plain(text: str) -> str:
    """A name on one line."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def whose_unit(name: str) -> tuple[str, bool]:
    """The stack that a unit says it is of; and whether it says that it is a role's."""
    try:
        with open(UNITS + name, errors="replace", opener=_no_link) as handle:
            first = handle.readline(256)
    except OSError:
        return "", False
    said = re.match(r"# (\S+): written by aihub", first)
    stack = said.group(1) if said and f"hub-{said.group(1)}.service" == name else ""
    return (stack if STACK_NAME.fullmatch(stack) else ""), first.startswith("# Ansible managed")


def folders(place: str) -> list[str]:
    """The folders in a place that bear the name of a stack."""
    try:
        return [n for n in os.listdir(place) if STACK_NAME.fullmatch(n) and os.path.isdir(f"{place}/{n}")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def is_ours(one: dict[str, Any]) -> bool:
    """Whether Compose made a container out of a folder of ours."""
    project = project_of(one)
    folder = (one["Labels"] or {}).get(PROJECT + ".working_dir", "")
    return bool(STACK_NAME.fullmatch(project)) and folder == f"{HOME}/{project}"


def in_docker() -> list[tuple[str, str, str]]:
    """Networks, and volumes that no container uses: what kind, its name, its Compose project."""
    try:
        networks, unused = ask_docker("/networks", '/volumes?filters={"dangling":["true"]}')
    except OSError:
        return []
    found = [("network", one) for one in networks if one["Name"] not in ("bridge", "host", "none")]
    found += [("volume", one) for one in unused["Volumes"] or ()]
    return [(kind, one["Name"], (one["Labels"] or {}).get(PROJECT, "")) for kind, one in found]


def runs_docker(manifest: dict[str, Any]) -> bool:
    """Whether a role that the manifest lists runs Docker here."""
    return any(DOCKER_UNIT in entry.get("units", ()) for entry in manifest["entries"].values())


def strange_tables(listed: set[str], docker: bool) -> list[str]:
    """The nft tables that are neither listed nor Docker's own.

    An image may bring a Docker that no stack of its guest needs: what it runs is seen, its empty rules are nobody's.
    """
    strange = [name for name in nft_tables() if name not in listed]
    return [name for name in strange if not (is_dockers(name) and (docker or holds_docker_alone(name)))]


def nft_tables() -> list[str]:
    """The names of all tables, with their families."""
    try:
        shown = subprocess.run(["nft", "list", "tables"], capture_output=True, check=False).stdout.decode()
    except FileNotFoundError:
        return []
    return [line.removeprefix("table ").strip() for line in shown.splitlines() if line.startswith("table ")]


def holds_docker_alone(table: str) -> bool:
    """Whether a table is there, and nobody but Docker has put anything into it."""
    shown = subprocess.run(["nft", "--json", "list", "table", *table.split()], capture_output=True, check=False)
    return shown.returncode == 0 and dockers_alone(json.loads(shown.stdout)["nftables"])


def is_dockers(table: str) -> bool:
    """Whether a table is one of those in which Docker puts its rules."""
    family, _, name = table.partition(" ")
    return family in ("ip", "ip6") and (name in BY_IPTABLES or name.startswith("docker"))


def volumes() -> list[str]:
    """The stacks whose volumes lie here, declared or not."""
    try:
        return sorted(name for name in os.listdir(DATA) if os.listdir(f"{DATA}/{name}"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def forget(request: dict[str, Any]) -> dict[str, Any]:
    """Removes the volumes of a stack, with all that is in them; fine if there are none."""
    import shutil

    path = f"{DATA}/{request['stack']}"
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    return {"forgotten": request["stack"]}


def agent_status() -> dict[str, Any] | None:
    """What the guest's agent last said of itself; None where it never ran."""
    try:
        with open(AGENT + "/status.json") as handle:
            found: dict[str, Any] = json.load(handle)
            return found
    except (OSError, ValueError):
        return None


def agent(request: dict[str, Any]) -> dict[str, Any]:
    """The agent's status; with `wake` it reads everything anew, `renew` are stacks whose certificate is to go."""
    for stack in request.get("renew", ()):
        os.makedirs(AGENT + "/renew", mode=0o700, exist_ok=True)
        with open(f"{AGENT}/renew/{stack}", "w"):
            pass
    if request.get("wake"):
        subprocess.run(["systemctl", "reload-or-restart", "hub-agent.service"], stdout=sys.stderr, check=True)
    return {"status": agent_status()}


def bring(request: dict[str, Any]) -> dict[str, Any]:
    """Instances are as declared and run, one after the other, and are recorded at once; answers with what was changed,
    and with what those said that did not start: they keep no other from it, and are not recorded.
    """
    changed = place(request)["changed"]
    if request.get("check"):
        return {"changed": changed, "failed": {}}
    failed: dict[str, str] = {}
    remembered = read_manifest().get("volumes", {})
    if request["networks"]:
        reload_units([unit_of(name) for name in request["networks"]])
    for name, networks in request["networks"].items():
        try:
            if is_built_anew(request, name):
                tell(["docker", "compose", "pull", "--quiet"], f"{HOME}/{name}")
            changed += start(name)
            changed += clear_networks(name, networks)
            changed += clear_volumes(remembered.get(name, []))
        except RuntimeError as error:
            failed[name] = str(error)
    entries = {key: entry for key, entry in request["entries"].items() if key.partition("/")[2] not in failed}
    record({**request, "entries": entries})
    return {"changed": changed, "failed": failed}


def unit_of(stack: str) -> str:
    """The unit that starts a stack."""
    return f"hub-{stack}.service"


def reload_units(units: list[str]) -> None:
    """systemd reads anew what it has read before and what was written since, by this run or by one that was killed."""
    asked = ["systemctl", "show", "--property=NeedDaemonReload", "--value", "--", *units]
    if b"yes" in subprocess.run(asked, stdout=subprocess.PIPE, check=True).stdout:
        subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)


def is_built_anew(request: dict[str, Any], stack: str) -> bool:
    """Whether an image may be another one under the same name: Docker takes the one that it has."""
    key = "stack/" + stack
    before, now = read_manifest().get("made_from", {}), request.get("made_from", {})
    old, new = ({p: t for p, t in found.get(key, {}).items() if p.endswith(BUILT)} for found in (before, now))
    return bool(new) and old != new


def start(stack: str) -> list[str]:
    """The unit of a stack has started it and does so at boot; the containers of one that ran before are as declared."""
    unit = unit_of(stack)
    state = unit_states([unit])[unit]
    changed = []
    if state["boot"] != "enabled":
        tell(["systemctl", "enable", unit])
        changed.append(f"{unit}: enabled")
    if state["active"] == "activating":
        tell(["systemctl", "stop", unit])  # one that failed tries again by itself, and would make the same containers
    if state["active"] not in ("active", "reloading"):
        tell(["systemctl", "start", unit])
        return [*changed, f"{unit}: started"]
    up = ["docker", "compose", "up", "--detach", "--wait", "--remove-orphans", "--quiet-pull"]
    lines = tell(up, f"{HOME}/{stack}").splitlines()
    return [*changed, *(one.strip() for one in lines if re.search(" (Created|Recreated|Started)", one))]


def unnamed(every: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The volumes without a name that containers of each stack have: an image asks for one, and nobody declared it.

    Compose hands them on to the next container, and after that Docker takes them for somebody's: they outlive it.
    """
    found: dict[str, list[str]] = {}
    for one in filter(is_ours, every):
        mounts = [mount.get("Name", "") for mount in one.get("Mounts") or () if mount.get("Type") == "volume"]
        found.setdefault(project_of(one), []).extend(filter(UNNAMED.fullmatch, mounts))
    return {stack: sorted(names) for stack, names in found.items() if names}


def clear_volumes(remembered: list[str]) -> list[str]:
    """Volumes without a name go that a stack had, and whose container somebody has removed."""
    (found,) = ask_docker('/volumes?filters={"dangling":["true"]}')
    left = [one["Name"] for one in found["Volumes"] or () if one["Name"] in remembered]
    if left:
        tell(["docker", "volume", "rm", *left])
    return [f"volume {name}" for name in left]


def clear_networks(stack: str, wanted: list[str]) -> list[str]:
    """Compose makes networks, and removes none of those that a stack no longer names."""
    (found,) = ask_docker("/networks")
    own = [one["Name"] for one in found if (one["Labels"] or {}).get(PROJECT) == stack]
    left = [name for name in own if name not in wanted]
    if left:
        tell(["docker", "network", "rm", *left])
    return [f"network {name}" for name in left]


def tell(argv: list[str], folder: str | None = None) -> str:
    """What a program says beside its output. Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(said.strip()[-SAID:] or f"{argv[0]} ended with exit code {done.returncode}")
    return said


def record(request: dict[str, Any]) -> dict[str, Any]:
    """Writes the manifest anew for the given entries; forgets those that nobody wants any more.

    What is known is recorded as it was to be, so that nothing that somebody changed meanwhile counts as ours: files as
    they were placed, rules as they were loaded, and of a definition that is the same whether its units start at boot.
    A stack is forgotten only by the run that has just taken it away: until then it is still here. A role goes now, its
    units and its files; what its packages brought stays, but does not run.
    """
    gone = {"stack/" + name for name in request.get("stacks_gone", ())}
    old, every = read_manifest(), every_container()
    wanted, made_from = request["desired"], request.get("made_from", {})
    now = states(request["entries"], every)
    for key, entry in now.items():
        same = old["desired"].get(key) == wanted.get(key)
        settle(entry, request["entries"][key], old["entries"].get(key, {}), old.get("placed", {}).get(key, {}), same)
    left = {key for key in old["entries"] if key.startswith("stack/") and key not in gone}
    for key, value in old["entries"].items():
        if key not in wanted and not key.startswith("stack/"):
            if is_used(value, bool(every)):
                left.add(key)
            else:
                retire(value)
    entries = {key: value for key, value in old["entries"].items() if key in wanted or key in left} | now
    desired = {key: wanted[key] if key in now and key in wanted else old["desired"].get(key, "") for key in entries}
    before = old.get("made_from", {})
    parts = {key: made_from.get(key, {}) if key in now else before.get(key, {}) for key in entries}
    new = {"format": FORMAT, "desired": desired, "entries": entries, "made_from": parts}
    changed = new != {key: value for key, value in old.items() if key not in ("placed", "volumes")}
    placed = {key: files for key, files in old.get("placed", {}).items() if key in wanted and key not in now}
    if placed:
        new["placed"] = placed
    volumes = {stack: names for stack, names in old.get("volumes", {}).items() if "stack/" + stack in left - now.keys()}
    volumes |= {stack: names for stack, names in unnamed(every).items() if "stack/" + stack in now}
    if volumes:
        new["volumes"] = volumes
    if new != old:
        write_manifest(new)
    return {"changed": changed}


def settle(
    now: dict[str, Any], asked: dict[str, Any], before: dict[str, Any], placed: dict[str, Any], same: bool
) -> None:
    """Puts what is known in place of what was found; `before` is the last record."""
    for path in now["files"]:
        known = placed.get(path) or before.get("files", {}).get(path)
        now["files"][path] = known or now["files"][path]
    for table, loaded in asked["tables"].items() if isinstance(asked.get("tables"), dict) else ():
        now["tables"][table] = loaded or now["tables"][table]
    for kind in ("units", "boot_units") if same else ():
        for name, state in now[kind].items():
            state["boot"] = before.get(kind, {}).get(name, state)["boot"]


def is_used(entry: dict[str, Any], containers: bool) -> bool:
    """Whether something still rests on a role that no instance needs."""
    return containers and DOCKER_UNIT in entry.get("units", ())


def ours_alone(entry: dict[str, Any]) -> bool:
    """Whether a role consists of units that we wrote: then nothing of it stays."""
    units = [name for kind in ("units", "boot_units") for name in entry.get(kind, ())]
    return all(UNITS + name in entry.get("files", ()) for name in units)


def retire(entry: dict[str, Any]) -> None:
    """Stops the units of a role and removes its files and folders, and theirs where one is empty then."""
    import shutil

    units, files = list(entry.get("units", ())), list(entry.get("files", ()))
    stop(units)
    if names := [name for name in entry.get("holds", ()) if name in held()]:
        subprocess.run(["apt-mark", "unhold", *names], stdout=sys.stderr, check=True)
    for path in files:
        remove(path)
        folder = os.path.dirname(path)
        if os.path.dirname(folder) == CONFIGURATION and not os.listdir(folder):
            os.rmdir(folder)
    for path in entry.get("folders", ()):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
    if units:
        subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)
    if any(path.startswith(TRUST) for path in files):
        subprocess.run(["update-ca-certificates"], stdout=sys.stderr, check=True)
    if DOCKER_UNIT in units:
        clear_after_docker()


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


def clear_after_docker() -> None:
    """Docker leaves its bridge and its rules behind when it stops; a table that holds anybody else's rule stays."""
    quiet: dict[str, Any] = {"stdout": sys.stderr, "stderr": sys.stderr}
    if os.path.exists(f"/sys/class/net/{DOCKER_LINK}"):
        subprocess.run(["ip", "link", "delete", DOCKER_LINK], check=False, **quiet)
    for table in filter(is_dockers, nft_tables()):
        if holds_docker_alone(table):
            subprocess.run(["nft", "delete", "table", *table.split()], check=False, **quiet)


def dockers_alone(listed: list[dict[str, Any]]) -> bool:
    """Whether a table holds nothing but Docker's chains, ours beside them, and what leads there."""
    own = ("DOCKER", "HUB-LOCAL")
    rules = [one["rule"] for one in listed if "rule" in one]
    chains = [one["chain"] for one in listed if "chain" in one]
    strange = [one for one in chains if "hook" not in one and not one["name"].startswith(own)]
    words = ("DOCKER", "HUB-LOCAL", '"docker0"', '"br-')
    return not strange and all(
        rule["chain"].startswith(own) or any(word in json.dumps(rule) for word in words) for rule in rules
    )


def leave(request: dict[str, Any]) -> dict[str, Any]:
    """Takes stacks away, with everything of theirs but their data; fine for one of which nothing is left."""
    names = request.get("stacks")
    if names is None:
        listed = [key.partition("/")[2] for key in read_manifest()["desired"] if key.startswith("stack/")]
        names = [name for name in listed if name not in request["declared"]]
    if not request.get("check"):
        for name in names:
            leave_one(name)
    return {"left": names}


def leave_one(stack: str) -> None:
    """The unit of a stack, its containers, networks, files and secrets go."""
    import shutil

    if not STACK_NAME.fullmatch(stack):
        sys.exit(f"no stack is called {stack}")
    unit, installed = unit_of(stack), shutil.which("docker")
    if os.path.lexists(UNITS + unit):
        stop([unit])
    if installed and (os.path.exists(DOCKER_SOCKET) or os.path.isdir("/var/lib/docker")):
        subprocess.run(["systemctl", "start", DOCKER_UNIT], stdout=sys.stderr, check=True)  # it knows what there is
        every, networks = ask_docker("/containers/json?all=1", "/networks")
        found = [one["Id"] for one in every if project_of(one) == stack and is_ours(one)]
        if found:
            subprocess.run(["docker", "stop", *found], stdout=sys.stderr, check=True)
            subprocess.run(["docker", "rm", "--force", "--volumes", *found], stdout=sys.stderr, check=True)
        clear_volumes([*unnamed(every).get(stack, []), *read_manifest().get("volumes", {}).get(stack, [])])
        own = [one["Id"] for one in networks if (one["Labels"] or {}).get(PROJECT) == stack]
        if own:
            subprocess.run(["docker", "network", "rm", *own], stdout=sys.stderr, check=True)
    for place in (HOME, SECRETS):
        path = f"{place}/{stack}"
        if os.path.islink(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
    for path in (LOGROTATE + stack, UNITS + unit):
        remove(path)
    subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)


def write_manifest(manifest: dict[str, Any]) -> None:
    """Replaces the manifest, readable by root only."""
    write(MANIFEST, json.dumps(manifest, indent=1, sort_keys=True).encode(), "0600", "0:0", [])


def place(request: dict[str, Any]) -> dict[str, Any]:
    """Makes files and directories as wanted; answers with the paths of those that were not, and of files that the
    manifest lists for an entry and that are no longer of it: they are removed.

    With `role`, the manifest first says that the role is unfinished, until `record` says what it left: a run that
    dies in between has files in place that no service has read yet, and the next run must hear of a change again.
    """
    check, role = bool(request.get("check")), request.get("role")
    changed = [wanted["path"] for wanted in request["wanted"] if place_one(wanted, True)]
    manifest = read_manifest()
    stale = leftovers(request, manifest)
    changed += stale
    left = bool(role) and manifest["desired"].get(role) == UNFINISHED
    if not check:
        begun = promise(request, manifest)
        if changed and role and not left:
            manifest["desired"][role] = UNFINISHED
            begun = True
        if begun:
            write_manifest(manifest)
    if changed and not check:
        for wanted in request["wanted"]:
            place_one(wanted, False)
        for path in stale:
            remove(path)
    return {"changed": [*changed, *([f"{role}: unfinished"] if left else [])], "system": system()}


def system() -> str:
    """The distribution, as it calls itself: `debian` or `ubuntu`."""
    with open("/etc/os-release") as file:
        return next((line[3:].strip().strip('"') for line in file if line.startswith("ID=")), "")


def promise(request: dict[str, Any], manifest: dict[str, Any]) -> bool:
    """Notes in the manifest how files are to be, where it does not say so yet; tells whether it is to be written."""
    wanted = {one["path"]: state_of(one) for one in request["wanted"]}
    lists = request.get("lists") or ({request["role"]: list(wanted)} if request.get("role") else {})
    before = manifest.get("placed", {})
    placed = dict(before)
    for key, paths in lists.items():
        now = {path: wanted[path] for path in paths if path in wanted}
        known = {**manifest["entries"].get(key, {}).get("files", {}), **before.get(key, {})}
        if any(known.get(path) != state for path, state in now.items()):
            placed[key] = now
    if placed != before:
        manifest["placed"] = placed
    return bool(placed != before)


def state_of(wanted: dict[str, Any]) -> dict[str, str]:
    """How a file or a directory is to be, as `file_state` tells it."""
    content = hashlib.sha256(wanted["content"].encode()).hexdigest() if "content" in wanted else "directory"
    return {"content": content, "mode": wanted.get("mode", "0644"), "owner": wanted.get("owner", "0:0")}


def leftovers(request: dict[str, Any], manifest: dict[str, Any]) -> list[str]:
    """Files that an earlier run placed for the entries of this request, and that nobody wants now."""
    wanted = {one["path"] for one in request["wanted"]}
    lists = request.get("lists") or ({request["role"]: wanted} if request.get("role") else {})
    wanted.update(path for paths in lists.values() for path in paths)
    for key, entry in manifest["entries"].items():
        wanted.update(() if key in lists else entry.get("files", ()))
    listed = {path for key in lists for path in manifest["entries"].get(key, {}).get("files", ())}
    return sorted(path for path in listed - wanted if os.path.islink(path) or os.path.isfile(path))


def place_one(wanted: dict[str, Any], check: bool) -> bool:
    """Makes one file, or a directory where there is no content."""
    path, state = wanted["path"], state_of(wanted)
    changed = file_state(path) != state
    if changed and not check:
        if "content" in wanted:
            write(path, wanted["content"].encode(), state["mode"], state["owner"], wanted.get("validate", []))
        else:
            handle = folder(path)
            adopt(handle, state["mode"], state["owner"])
            os.close(handle)
    return changed


def folder(path: str) -> int:
    """A directory, made where there is none, as an open handle.

    A link on the way is followed only where nobody but root could have put it: whoever owns a directory, like a
    container its volume, could lead root elsewhere.
    """
    here, ours = os.open("/", os.O_RDONLY | os.O_DIRECTORY), True
    try:
        for part in filter(None, path.split("/")):
            found = os.fstat(here)
            ours = ours and found.st_uid == 0 and not found.st_mode & 0o022
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
            flags = os.O_RDONLY | os.O_DIRECTORY | (0 if ours else os.O_NOFOLLOW)
            below = os.open(part, flags, dir_fd=here)
            os.close(here)
            here = below
    except OSError as error:
        os.close(here)
        raise OSError(error.errno, f"{path}: no way there without following what is not root's") from error
    return here


def remove(path: str) -> None:
    """Removes a file; fine if there is none."""
    if os.path.lexists(path):
        handle = folder(os.path.dirname(path))
        os.unlink(os.path.basename(path), dir_fd=handle)
        os.close(handle)


def write(path: str, data: bytes, mode: str, owner: str, validate: list[str]) -> None:
    """Replaces a file in one step, after `validate` with the new file's path has agreed."""
    here, name = folder(os.path.dirname(path)), os.path.basename(path)
    fresh = f".{name}.hub-new"
    try:
        unlink(fresh, here)  # a run that was killed may have left it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(fresh, flags, 0o600, dir_fd=here), "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
            adopt(handle.fileno(), mode, owner)
        new = os.path.join(os.path.dirname(path), fresh)
        if validate and subprocess.run([*validate, new], stdout=sys.stderr, check=False).returncode != 0:
            sys.exit(f"{path}: {validate[0]} refuses the new text; the old one stays")
        os.rename(fresh, name, src_dir_fd=here, dst_dir_fd=here)
    finally:
        unlink(fresh, here)
        os.close(here)


def unlink(name: str, here: int) -> None:
    """Removes a file from an open directory; fine if there is none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=here)


def adopt(handle: int, mode: str, owner: str) -> None:
    """Sets owner and mode of what is open."""
    uid, gid = owner.split(":")
    os.fchown(handle, int(uid), int(gid))
    os.fchmod(handle, int(mode, 8))


def main() -> None:
    request = json.loads(sys.stdin.buffer.read())
    actions = (probe, forget, leave, record, place, bring, agent)
    done = next(one for one in actions if one.__name__ == request["action"])(request)
    json.dump(done, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
