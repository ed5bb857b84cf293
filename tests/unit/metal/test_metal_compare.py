"""What metal would do to nodes of several kinds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.names import Layout
from metal.actual import LEAST, OVERCOMMIT, Unit
from metal.compare import notes, steps, strangers
from metal.network import closed
from metal.refusal import RefusedByNode
from metal.rights import ROLES, grants
from metal.steps import Upload

from tests.unit.metal.metal_nodes import REMOVED, WANTED, changed, converged, fresh

NAMES = Layout(WANTED.hub)
RIGHTS = "rights of hub-my-hub@pve"


def pending(desired, actual):
    return {step.subject: step for step in steps(desired, actual) if step.commands}


def test_a_converged_node_needs_nothing():
    assert pending(WANTED, converged()) == {}


def test_a_fresh_node_gets_everything_and_the_walls_before_the_bridges():
    subjects = list(pending(WANTED, fresh()))
    assert subjects.index("walls") < subjects.index("bridge hubinfra") < subjects.index("interfaces")
    assert {"routing", "DNS", "time", "pool hub-my-hub", "user hub-my-hub@pve", RIGHTS} <= set(subjects)


def _set(store, key, value):
    store[key] = value


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        (lambda n: _set(n.values, "loaded", "another"), "walls"),
        (lambda n: n.files.pop(NAMES.walls), "walls"),
        (lambda n: n.files.pop(NAMES.bridge_rules), "walls"),
        (lambda n: _set(n.groups, "hubprivate", "0x0"), "interfaces"),
        (
            lambda n: _set(n.files, NAMES.walls, replace(n.files[NAMES.walls], access="644 root root")),
            "walls",
        ),
        (lambda n: _set(n.units, NAMES.walls_unit, Unit("disabled", "active", 100)), "walls"),
        (lambda n: _set(n.units, NAMES.dns_unit, Unit("enabled", "failed", 100)), "DNS"),
        (lambda n: _set(n.units, NAMES.dns_unit, Unit("enabled", "active", 99)), "DNS"),
        (lambda n: _set(n.units, "chrony.service", Unit("enabled", "inactive", 0)), "time"),
        (lambda n: _set(n.values, "clock", "0"), "time"),
        (lambda n: _set(n.values, "ip_forward", "0"), "routing"),
        (lambda n: n.files.pop(NAMES.limits), "limits"),
        *((lambda n, name=name: _set(n.limits, name, LEAST[name] - 1), "limits") for name in LEAST),
        (lambda n: _set(n.limits, OVERCOMMIT, 0), "limits"),
        (lambda n: n.packages.discard("unbound"), "packages"),
        (lambda n: n.resolvers.insert(0, "192.0.2.99"), "DNS"),
        (lambda n: _set(n.addresses, "hubinfra", []), "interfaces"),
        (lambda n: _set(n.api["network"][1], "cidr", "10.10.10.2/24"), "bridge hubinfra"),
        (lambda n: _set(n.api["network"][1], "bridge_ports", "eno2"), "bridge hubinfra"),
        (lambda n: _set(n.api["roles"][1], "privs", "VM.Audit"), "role HubGuest"),
        (lambda n: _set(n.api["users"][1], "enable", 0), "user hub-my-hub@pve"),
        (lambda n: _set(n.api["users"][1], "tokens", []), "token hub-my-hub@pve!hub"),
        (lambda n: _set(n.api["users"][1]["tokens"][0], "privsep", 0), "token hub-my-hub@pve!hub"),
        (lambda n: _set(n.api["users"][1]["tokens"][0], "comment", WANTED.marker), "token hub-my-hub@pve!hub"),
        (lambda n: n.api["acl"].pop(), RIGHTS),
        (lambda n: _set(n.api["acl"][0], "propagate", 1 - n.api["acl"][0]["propagate"]), RIGHTS),
    ],
)
def test_drift_is_seen_and_only_it(change, subject):
    found = pending(WANTED, changed(change))
    assert subject in found
    assert found[subject].differences
    assert set(found) <= {subject, "interfaces"}


def test_a_limit_is_raised_and_never_lowered():
    """Proxmox gives its node more of some; `sysctl -p` would take that back."""
    node = fresh()
    node.limits["fs/inotify/max_user_watches"] = 4_194_304
    (upload, *raised) = pending(WANTED, node)["limits"].commands
    assert isinstance(upload, Upload)
    assert "kernel.keys.maxkeys = 20000" in upload.text
    assert raised == [
        "sysctl -q -w kernel.keys.maxkeys=20000",
        "sysctl -q -w kernel.keys.maxbytes=2000000",
        "sysctl -q -w fs.inotify.max_user_instances=8192",
        "sysctl -q -w vm.overcommit_memory=1",
    ]
    higher = changed(lambda n: n.limits.update({name: value * 9 for name, value in LEAST.items()}))
    assert pending(WANTED, higher) == {}
    assert "/etc/sysctl.d/10-hub-my-hub.conf" < "/etc/sysctl.d/10-pve-ct-inotify-limits.conf", "theirs is read later"


def test_limits_stand_before_the_guests_that_need_them():
    assert [step.kind for step in steps(WANTED, fresh())].index("limits") < 2


def test_a_kernel_without_a_limit_needs_none():
    assert pending(WANTED, changed(lambda n: n.limits.clear())) == {}


def test_a_kernel_that_somebody_made_strict_is_told_and_left_alone():
    strict = changed(lambda n: _set(n.limits, OVERCOMMIT, 2))
    assert pending(WANTED, strict) == {}
    (said,) = notes(WANTED, strict)
    assert "vm.overcommit_memory is 2" in said


def test_a_lan_with_public_addresses_is_a_lan_all_the_same():
    node = changed(lambda n: _set(n.addresses, "vmbr0", ["198.18.0.2/24", "192.0.3.2/28", "192.0.3.1/32"]))
    (rules,) = (c.text for c in pending(WANTED, node)["walls"].commands if isinstance(c, Upload))
    assert ", 224.0.0.0/3, 192.0.3.0/28 }" in rules


@pytest.mark.parametrize("port", ["veth900i0", "veth110i1", "eno2"])
def test_a_port_that_is_no_guests_of_ours_is_told_and_left_alone(port):
    node = changed(lambda n: _set(n.ports, "hubinfra", ["veth110i0", port]))
    (said,) = strangers(WANTED, node)
    assert f"port {port} on hubinfra" in said
    assert pending(WANTED, node) == {}
    assert strangers(WANTED, changed(lambda n: _set(n.ports, "hubprivate", ["fwpr201p0"]))) == ()


def test_a_token_whose_value_is_not_kept_here_is_renewed():
    found = pending(replace(WANTED, kept=""), converged())
    assert list(found) == ["token hub-my-hub@pve!hub"]


def test_more_rights_than_ours_are_taken_away():
    extra = {"path": "/", "roleid": "Administrator", "ugid": WANTED.token, "propagate": 1}
    (command,) = pending(WANTED, changed(lambda n: n.api["acl"].append(extra)))[RIGHTS].commands
    assert "--path / --roles Administrator" in command
    assert "--delete 1" in command


ONE = replace(WANTED, zones=WANTED.zones[:1], ports=WANTED.ports[:1], flows=())
"""The hub after its second zone was taken out of hub.yml."""


def walls_of(found) -> str:
    (text,) = (c.text for c in found["walls"].commands if isinstance(c, Upload) and c.path == NAMES.walls)
    return text


def test_a_bridge_of_a_zone_that_is_gone_is_removed_once_nobody_is_on_it():
    found = pending(ONE, converged())
    assert found["bridge hubprivate"].action == "delete"
    assert "interfaces" in found
    assert "--delete 1" in found[RIGHTS].commands[0]
    assert "hubprivate" not in walls_of(found)


def test_a_bridge_that_a_zone_left_behind_is_closed_while_somebody_is_on_it():
    """Its guest reaches nobody, is reached by nobody but the node, and can still be moved by the token."""
    used = changed(lambda n: _set(n.ports, "hubprivate", ["tap201i0"]))
    found = pending(ONE, used)
    assert closed(ONE, used) == ("hubprivate",)
    assert not {"bridge hubprivate", RIGHTS} & set(found)
    text = walls_of(found)
    assert [line.strip() for line in text.splitlines() if '"hubprivate"' in line] == [
        'iifname { "hubinfra", "hubprivate" } jump leaving',
        'oifname { "hubinfra", "hubprivate" } jump entering',
        'oifname { "hubinfra", "hubprivate" } counter drop',
        'iifname { "hubinfra", "hubprivate" } jump answering',
        'ip saddr { 10.10.10.0/24 } oifname != { "hubinfra", "hubprivate", "lo" } oifname != "fwbr*" masquerade',
    ]
    (said,) = notes(ONE, used)
    assert "no zone has bridge hubprivate any more, and tap201i0 is on it" in said


def test_the_plan_of_a_removal_has_all_that_its_two_parts_do():
    used = changed(lambda n: _set(n.ports, "hubprivate", ["tap201i0"]))
    whole = pending(replace(ONE, leaving=(201,)), used)
    before = pending(ONE, used)
    assert {(s.subject, s.action, s.restart) for s in before.values()} <= {
        (s.subject, s.action, s.restart) for s in whole.values()
    }
    assert whole == pending(ONE, converged())
    assert "bridge hubprivate" not in pending(replace(ONE, leaving=(200,)), used)


def test_a_bridge_stays_for_a_guest_that_is_configured_with_it_and_off():
    staying = replace(ONE, staying=("hubprivate",))
    assert "bridge hubprivate" not in pending(staying, converged())
    assert "a guest is configured with it" in notes(staying, converged())[0]


def test_the_subnet_of_a_zone_that_is_gone_is_not_given_away_under_its_guests():
    """Two bridges would have one address."""
    public = replace(WANTED.zones[1], name="public", bridge="hubpublic")
    handed_on = replace(ONE, zones=(WANTED.zones[0], public), leaving=(201,))
    assert "bridge hubpublic" in pending(handed_on, converged())
    with pytest.raises(
        RefusedByNode, match=r"zone public has the subnet 10\.10\.20\.0/24.* bridge hubprivate"
    ) as caught:
        steps(handed_on, changed(lambda n: _set(n.ports, "hubprivate", ["tap201i0"])))
    assert caught.value.kind == "precondition"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda n: _set(n.api["network"][1], "comments", ""), "interface hubinfra that is not ours"),
        (lambda n: _set(n.api["network"][1], "comments", "aihub:v1 hub=ffffffffffffffff"), "hubinfra"),
        (lambda n: n.api["network"].pop(1), "Proxmox does not know"),
        (lambda n: _set(n.api["pools"][0], "comment", "mine"), "pool hub-my-hub"),
        (lambda n: _set(n.api["users"][1], "comment", "mine"), "user hub-my-hub@pve"),
    ],
)
def test_what_is_not_ours_is_a_conflict(change, text):
    with pytest.raises(RefusedByNode, match=text) as caught:
        steps(WANTED, changed(change))
    assert caught.value.kind == "conflict"


def test_a_role_that_somebody_else_depends_on_is_not_changed():
    def change(node):
        node.api["roles"][1]["privs"] = "VM.Audit"
        node.api["acl"].append({"path": "/vms", "roleid": "HubGuest", "ugid": "bob@pve", "propagate": 1})

    with pytest.raises(RefusedByNode, match="bob@pve"):
        steps(WANTED, changed(change))


OLD = [
    "auto lo",
    "iface lo inet loopback",
    "",
    "auto vmbr0",
    "iface vmbr0 inet static",
    "\taddress 192.168.1.10/24",
]
OURS = [
    "",
    "auto hubinfra",
    "iface hubinfra inet static",
    "\taddress 10.10.10.1/24",
    "\tbridge-ports none",
    "#aihub",
]


def test_pending_network_changes_of_others_are_a_conflict():
    node = fresh()
    node.interfaces = {"old": OLD, "new": [*OLD[:-1], "\taddress 192.168.1.99/24"]}
    with pytest.raises(RefusedByNode, match="vmbr0") as caught:
        steps(WANTED, node)
    assert caught.value.kind == "conflict"


def test_our_own_pending_bridge_of_a_killed_run_is_taken_up():
    node = fresh()
    node.interfaces = {"old": OLD, "new": [*OLD, *OURS]}
    node.api["network"].append(
        {
            "iface": "hubinfra",
            "type": "bridge",
            "cidr": "10.10.10.1/24",
            "autostart": 1,
            "comments": WANTED.marker,
        }
    )
    found = pending(WANTED, node)
    assert "bridge hubinfra" not in found
    assert found["interfaces"].commands[0] == "pvesh set /nodes/pve/network"


def test_a_missing_storage_is_a_precondition_that_says_what_to_do():
    node = fresh()
    node.api["storage"] = [{"storage": "local"}, {"storage": "tank"}]
    with pytest.raises(RefusedByNode, match="no storage local-zfs") as caught:
        steps(WANTED, node)
    assert caught.value.kind == "precondition"
    assert "hub.yml" in caught.value.hint


@pytest.mark.parametrize(
    ("setting", "why"),
    [({"disable": 1}, "it is disabled"), ({"nodes": "pve2,pve3"}, "only pve2 and pve3 may use it")],
)
def test_a_storage_that_the_node_may_not_use_is_none(setting, why):
    node = fresh()
    node.api["storage"][1] |= setting
    with pytest.raises(RefusedByNode, match=rf"no storage local-zfs \({why}\); it has local, tank"):
        steps(WANTED, node)
    node.api["storage"][1] |= {"disable": 0, "nodes": "pve2,pve"}
    assert pending(WANTED, node)


def test_a_node_without_resolver_is_a_precondition():
    node = fresh()
    node.resolvers = ["10.10.10.1", "fe80::1%vmbr0"]
    with pytest.raises(RefusedByNode, match="resolver"):
        steps(WANTED, node)


def test_removal_takes_all_of_ours_and_nothing_else():
    node = converged()
    node.api["acl"].append({"path": "/vms", "roleid": "HubAudit", "ugid": "other@pve", "propagate": 1})
    found = pending(REMOVED, node)
    assert {step.action for step in found.values()} == {"delete", "configure"}
    text = "\n".join(str(c) for step in found.values() for c in step.commands)
    assert "vmbr0" not in text
    assert "role HubAudit" not in found
    assert {"bridge hubinfra", "bridge hubprivate", "walls", "DNS", "time", "pool hub-my-hub"} <= set(found)


def test_removal_of_what_is_not_there_does_nothing():
    assert pending(REMOVED, fresh()) == {}


def test_removal_leaves_a_foreign_bridge_and_refuses_one_in_use():
    foreign = changed(lambda n: _set(n.api["network"][1], "comments", "mine"))
    assert "bridge hubinfra" not in pending(REMOVED, foreign)
    with pytest.raises(RefusedByNode, match="tap300i0"):
        steps(REMOVED, changed(lambda n: _set(n.ports, "hubinfra", ["tap300i0"])))


@pytest.mark.parametrize("port", ["veth300i0", "tap300i1", "fwpr300p0"])
def test_a_planned_removal_sees_past_guests_that_leave_first(port):
    leaving, used = replace(REMOVED, leaving=(300,)), changed(lambda n: _set(n.ports, "hubinfra", [port]))
    assert "bridge hubinfra" in pending(leaving, used)
    for other in ("tap30i0", "tap3000i0", "eno300", "veth300i0x"):
        used.ports["hubinfra"] = [port, other]
        with pytest.raises(RefusedByNode, match=f": {other} is on it"):
            steps(leaving, used)


def test_no_privilege_at_the_root_and_none_that_gives_power_over_rights():
    assert all(grant.path != "/" for grant in grants(WANTED))
    given = {privilege for privileges in ROLES.values() for privilege in privileges}
    assert not {p for p in given if p.startswith(("Permissions.", "User.", "Realm.", "Sys.Modify", "Sys.Console"))}


def test_unsealing_runs_as_soon_as_there_are_shares():
    node = converged()
    node.units[NAMES.unseal_unit] = Unit("enabled", "inactive", 0)
    assert list(pending(WANTED, node)) == ["unsealing"]
    del node.files[NAMES.shares]
    assert pending(WANTED, node) == {}


def test_new_shares_reach_the_running_unit():
    node = converged()
    node.files[NAMES.shares] = replace(node.files[NAMES.shares], changed=200)
    assert list(pending(WANTED, node)) == ["unsealing"]


def test_a_hub_without_a_vault_leaves_no_shares_behind():
    found = pending(replace(WANTED, vault=None), converged())
    assert list(found) == ["unsealing"]
    assert any(NAMES.shares in str(command) for command in found["unsealing"].commands)


@pytest.mark.parametrize(
    ("change", "restart"),
    [
        (lambda n: n.files.pop(NAMES.dns), True),
        (lambda n: _set(n.units, NAMES.dns_unit, Unit("enabled", "failed", 100)), False),
        (lambda n: n.files.pop(NAMES.chrony), True),
        (lambda n: _set(n.units, "chrony.service", Unit("enabled", "inactive", 0)), False),
        (lambda n: n.files.pop(NAMES.authority), True),
        (lambda n: n.files.pop(NAMES.walls), False),  # nft takes the new ones in one transaction
        (lambda n: _set(n.api["network"][1], "cidr", "10.10.10.2/24"), True),
        (lambda n: n.api["acl"].pop(), False),
    ],
)
def test_a_step_says_whether_something_that_runs_is_stopped_for_it(change, restart):
    assert any(step.restart for step in pending(WANTED, changed(change)).values()) is restart


def test_a_fresh_node_has_nothing_that_could_be_stopped_for_it():
    assert not [subject for subject, step in pending(WANTED, fresh()).items() if step.restart]


def test_a_removal_stops_what_runs():
    assert {step.kind for step in pending(REMOVED, converged()).values() if step.restart} == {
        "bridge", "dns", "walls", "time", "unsealing",
    }  # fmt: skip


def test_subjects_and_actions_are_the_same_at_each_look():
    looks = [[(s.kind, s.subject, s.action) for s in steps(WANTED, fresh())] for _ in range(2)]
    assert looks[0] == looks[1]
    assert len({subject for _, subject, _ in looks[0]}) == len(looks[0])


def test_a_root_certificate_that_is_not_made_yet_is_planned_as_it_will_be_done():
    assert WANTED.vault
    before = replace(WANTED, vault=replace(WANTED.vault, authority=""))
    first, then = (pending(wanted, fresh())["unsealing"] for wanted in (before, WANTED))
    assert (first.action, first.differences, first.restart) == (then.action, then.differences, then.restart)
