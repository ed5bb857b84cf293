"""What a guest's own login lets it do at the vault: everything of others is tried, by the guest, for real.

What would change something is asked in a way that changes nothing even where it is allowed: a write names a version
that cannot be the newest one, a deletion one that does not exist, a certificate a name that nobody may have. Whoever
is allowed gets another answer than "permission denied", and that is what counts.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from aihub.errors import TaskFailed
from aihub.model.resolved import Hub
from aihub.parallel import Answers

from .shell import Shell, Shells

CONFIG, SECRET_ID = "/etc/hub/agent.json", "/etc/hub/agent/secret-id"
ROLE_ID = "/etc/hub/agent/role-id"  # beside it
TIMEOUT = 120.0

PROGRAM = """
import http.client, json, os, socket, ssl, sys
from urllib.parse import urlsplit
asked = json.loads(sys.argv[1])
config = json.load(open(asked["config"]))
parts = urlsplit(config["vault"])
trust = ssl.create_default_context(cafile=config["ca"])
class Link(http.client.HTTPSConnection):
    def connect(self):
        plain = socket.create_connection((config["address"], self.port), 15, source_address=(config["source"], 0))
        self.sock = trust.wrap_socket(plain, server_hostname=self.host)
link, token = Link(parts.hostname, parts.port), ""
def ask(method, path, body=None):
    headers = {"X-Vault-Token": token} if token else {}
    link.request(method, "/v1/" + path, json.dumps(body) if body is not None else None, headers)
    answer = link.getresponse()
    text = answer.read()
    return answer.status, (json.loads(text) if text.startswith(b"{") else {})
halves = {"secret_id": asked["secret_id"], "role_id": os.path.join(os.path.dirname(asked["secret_id"]), "role-id")}
login = {half: open(path).read().strip() for half, path in halves.items()}
status, answer = ask("POST", "auth/approle/login", login)
if status != 200:
    sys.exit("the login ends with %d" % status)
token = answer["auth"]["client_token"]
never = 999999999
def tries(path):
    write = {"options": {"cas": never}, "data": {}}
    yield "read", "GET", "kv/data/" + path, None
    yield "list", "LIST", "kv/metadata/" + path, None
    yield "look at", "GET", "kv/metadata/" + path, None
    yield "update", "POST", "kv/data/" + path, write
    yield "create beside", "POST", "kv/data/" + path + "-beside", write
    yield "delete", "POST", "kv/delete/" + path, {"versions": [never]}
    yield "destroy", "POST", "kv/destroy/" + path, {"versions": [never]}
    if asked["harmful"]:
        yield "delete the newest of", "DELETE", "kv/data/" + path, None
        yield "delete all of", "DELETE", "kv/metadata/" + path, None
def all_tries():
    for path in asked["others"]:
        yield from tries(path)
    for folder in asked["folders"]:
        yield "list", "LIST", "kv/metadata/" + folder, None
    for role in asked["roles"]:
        yield "get certificates of", "POST", "pki/issue/" + role, {"common_name": "nobody.invalid"}
open_, refused = [], 0
for what, method, path, body in all_tries():
    status, answer = ask(method, path, body)
    if status == 403 and any("permission denied" in error for error in answer.get("errors") or ()):
        refused += 1
    else:
        open_.append([what, path, status])
own = [[path, ask("GET", "kv/data/" + path)[0]] for path in asked["own"]]
own.append(["its own login", ask("GET", "auth/token/lookup-self")[0]])
if ask("POST", "auth/token/revoke-self", {})[0] != 204:
    open_.append(["use for longer than it needs", "its own login", ask("GET", "auth/token/lookup-self")[0]])
print(json.dumps({"open": open_, "refused": refused, "own": own}))
"""


@dataclass(frozen=True)
class Tried:
    """What a guest could do with what is not its own, how often it was refused, and what its own answered."""

    allowed: tuple[str, ...]
    refused: int
    own: Mapping[str, int]  # path, or its login itself, which a guest without entries has too -> status


def question(hub: Hub, guest: str) -> dict[str, Any]:
    """What a guest is to try: every entry, pair and certificate of everybody else."""
    own = list(dict.fromkeys(ref.path for instance in hub.told(guest) for ref in hub.read(instance)))
    every = [ref.path for ref in hub.secrets] + [pair.path for pair in hub.pairs]
    others = [path for path in dict.fromkeys(every) if path not in own]
    folders = {"", *(path.rpartition("/")[0] for path in every), "hub", "operator", "operator/rotation"}
    roles = [one.role for one in (*hub.certificates, *hub.machines.values()) if one.guest != guest]
    if hub.vault is not None:
        roles.append(hub.vault.store_name)  # of the vault's own listener
    return {"own": own, "others": others, "folders": sorted(folders), "roles": sorted(set(roles))}


def ask(
    shell: Shell, asked: Mapping[str, Any], *, harmful: bool = False, config: str = CONFIG, secret_id: str = SECRET_ID
) -> Tried:
    """Tries it on a guest. `harmful` also deletes for real: for a lab only."""
    asked = {**asked, "harmful": harmful, "config": config, "secret_id": secret_id}
    output = shell.run(f"python3 -c {shlex.quote(PROGRAM)} {shlex.quote(json.dumps(asked))}", timeout=TIMEOUT)
    if output.code != 0:
        last = output.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise TaskFailed(f"it could not try: {''.join(last)}", where=shell.alias)
    found = json.loads(output.stdout)
    allowed = tuple(f"{what} {path} ({status})" for what, path, status in found["open"])
    return Tried(allowed, found["refused"], dict(found["own"]))


def everybody(shells: Shells, hub: Hub, guests: Collection[str]) -> Answers[str, Tried]:
    """Many guests try at the same time."""
    return Answers(guests, lambda name: ask(shells.shell(name), question(hub, name)))
