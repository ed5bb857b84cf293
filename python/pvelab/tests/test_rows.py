"""Lists of guests are kept as text between requests: what they say is true after every change, for every caller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from pvelab.api import endpoints, http, registry
from pvelab.api.guestconf import GuestConf
from pvelab.api.pve import NodeInfo, Pve
from pvelab.api.registry import Call
from pvelab.api.rows import JsonText, Row, Rows, dumps
from pvelab.backend_none import NoneBackend

ROOT, TOKEN = "root@pam", "ops@pve!watch"
LISTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/cluster/resources", {"type": "vm"}),
    ("/cluster/resources", {}),
    ("/nodes/pve/lxc", {}),
    ("/nodes/pve/qemu", {}),
    ("/nodes/pve/qemu", {"full": "1"}),
)
Lists = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
def routes() -> None:
    endpoints.load()


@pytest.fixture
def pve(tmp_path: Path) -> Pve:
    made = Pve(tmp_path, NoneBackend(tmp_path), NodeInfo(), "secret")
    made.guests.save(
        GuestConf(101, "lxc", {"hostname": "web", "memory": "512", "rootfs": "local:101/vm-101-disk-0.raw"})
    )
    made.guests.save(GuestConf(102, "qemu", {"name": "gpu", "memory": "1024", "cores": "2"}))
    say(made, "POST", "/access/users", userid="ops@pve")
    say(made, "POST", "/access/users/ops@pve/token/watch", privsep="0")
    say(made, "POST", "/pools", poolid="lab")
    for path in ("/vms", "/pool/lab"):
        say(made, "PUT", "/access/acl", path=path, roles="PVEAuditor", users="ops@pve")
    return made


def say(pve: Pve, method: str, path: str, user: str = ROOT, /, **params: str) -> Any:
    """One call past the HTTP side; a task is waited for."""
    found = registry.find(method, path)
    assert found
    route, values = found
    result = route.handler(Call(pve, user, {**values, **params}, method, path))
    if isinstance(result, str) and result in pve.tasks.all:
        task = pve.tasks.all[result]
        assert task.done.wait(10)
        assert task.status == "OK", task.status
    return result


def plain(found: Any) -> Any:
    """A result as a client reads it."""
    return json.loads(dumps(found) if isinstance(found, list) else found)


def lists(pve: Pve) -> Lists:
    """Every list as both callers get it."""
    return {
        f"{user} {path} {params}": plain(say(pve, "GET", path, user, **params))
        for user in (ROOT, TOKEN)
        for path, params in LISTS
    }


def anew(pve: Pve) -> Lists:
    """The same lists with nothing kept from before."""
    pve.rows.clear()
    pve.users._cache = {}
    return lists(pve)


def lock(pve: Pve) -> None:
    conf = pve.guests._all[101].copy()
    conf.values["lock"] = "backup"
    pve.guests.save(conf)


def replace(pve: Pve) -> None:
    say(pve, "DELETE", "/nodes/pve/lxc/101")
    pve.guests.save(GuestConf(101, "lxc", {"hostname": "another", "rootfs": "local:101/vm-101-disk-1.raw"}))


IN_ROWS: dict[str, Callable[[Pve], Any]] = {
    "a container's config": lambda pve: say(pve, "PUT", "/nodes/pve/lxc/101/config", memory="768"),
    "a machine's config": lambda pve: say(pve, "PUT", "/nodes/pve/qemu/102/config", name="other"),
    "tags": lambda pve: say(pve, "PUT", "/nodes/pve/qemu/102/config", tags="one;two"),
    "start": lambda pve: say(pve, "POST", "/nodes/pve/lxc/101/status/start"),
    "a lock": lock,
    "high availability": lambda pve: say(pve, "POST", "/cluster/ha/resources", sid="vm:102", state="stopped"),
    "another guest on the number": replace,
}
BESIDE_ROWS: dict[str, Callable[[Pve], Any]] = {
    "a machine paused": lambda pve: say(pve, "POST", "/nodes/pve/qemu/102/status/suspend"),
    "into a pool": lambda pve: say(pve, "PUT", "/pools/lab", vms="101"),
    "a right taken away": lambda pve: say(
        pve, "PUT", "/access/acl", path="/vms", roles="PVEAuditor", users="ops@pve", delete="1"
    ),
    "a guest removed": lambda pve: say(pve, "DELETE", "/nodes/pve/qemu/102"),
}


@pytest.mark.parametrize("change", [*IN_ROWS, *BESIDE_ROWS])
def test_lists_are_true_after_a_change(pve: Pve, change: str) -> None:
    if change == "a machine paused":
        say(pve, "POST", "/nodes/pve/qemu/102/status/start")
    before = lists(pve)
    {**IN_ROWS, **BESIDE_ROWS}[change](pve)
    after = lists(pve)
    assert after != before
    assert after == anew(pve)


@pytest.mark.parametrize("change", IN_ROWS)
def test_rows_that_ignore_their_sources_would_be_seen(pve: Pve, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Rows.row

    def careless(self: Rows, vmid: int, sources: tuple[object, ...], make: Callable[[], dict[str, Any]]) -> Row:
        return self._kept.get(vmid) or whole(self, vmid, sources, make)

    monkeypatch.setattr(Rows, "row", careless)
    lists(pve)
    IN_ROWS[change](pve)
    assert lists(pve) != anew(pve)


def test_uptime_goes_on_without_a_change(pve: Pve, monkeypatch: pytest.MonkeyPatch) -> None:
    say(pve, "POST", "/nodes/pve/lxc/101/status/start")
    began = pve.runtime.all()[101].since
    for later in (0.5, 1.0, 61.7):
        monkeypatch.setattr(time, "time", lambda later=later: began + later)
        (row,) = json.loads(say(pve, "GET", "/nodes/pve/lxc"))
        assert row["uptime"] == int(later)
        assert {r["vmid"]: r["uptime"] for r in json.loads(say(pve, "GET", "/cluster/resources", type="vm"))} == {
            101: int(later),
            102: 0,
        }


def test_a_guest_that_is_gone_is_forgotten(pve: Pve) -> None:
    lists(pve)
    say(pve, "DELETE", "/nodes/pve/qemu/102")
    lists(pve)
    assert {vmid for rows in pve.rows.values() for vmid in rows._kept} == {101}


def test_rights_computed_while_they_change_are_not_kept(pve: Pve, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = pve.users._compute

    def overtaken(user: str, path: str) -> dict[str, int]:
        found = compute(user, path)
        monkeypatch.setattr(pve.users, "_compute", compute)
        BESIDE_ROWS["a right taken away"](pve)
        return found

    monkeypatch.setattr(pve.users, "_compute", overtaken)
    say(pve, "GET", "/nodes/pve/lxc", TOKEN)
    assert json.loads(say(pve, "GET", "/nodes/pve/lxc", TOKEN)) == []


@pytest.mark.parametrize("names", [("uptime", "a", "b"), ("a", "uptime", "b"), ("a", "b", "uptime"), ("uptime",)])
def test_a_row_is_the_entry(names: tuple[str, ...]) -> None:
    entry = {name: 7 if name == "uptime" else 'quote " back\\slash ü "uptime":1' for name in names}
    row = Rows().row(1, (), lambda: entry)
    assert json.loads(row.text(9)) == {**entry, "uptime": 9}
    assert json.loads(row.text(9, ',"pool":"p"')) == {**entry, "uptime": 9, "pool": "p"}


@pytest.mark.parametrize(
    ("form", "wanted"),
    [("json", {"data": [1], "total": 3}), ("extjs", {"data": [1], "success": 1, "total": 3})],
)
def test_json_text_is_printed_like_what_it_says(form: str, wanted: dict[str, Any]) -> None:
    request = make_mocked_request("GET", "/")
    texts = [
        http._printed(http.Answer(200, data, attributes={"total": 3}), form, request).body
        for data in (JsonText("[1]"), [1])
    ]
    assert texts[0] == texts[1]
    assert isinstance(texts[0], bytes) and json.loads(texts[0]) == wanted
