"""The enterprise repository is put aside as it is and comes back; what others have set is theirs."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.names import Layout
from metal import compare, repositories
from metal.actual import ActualNode, File, parse, script
from metal.refusal import RefusedByNode
from metal.steps import Upload

from tests.unit.metal.metal_nodes import REMOVED, WANTED, converged, printed

FREE = replace(WANTED, packages="no-subscription")
NAMES = Layout(WANTED.hub)
FOLDER = "/etc/apt/sources.list.d"
PVE = """Types: deb
URIs: https://enterprise.proxmox.com/debian/pve
Suites: trixie
Components: pve-enterprise
Signed-By: /usr/share/keyrings/proxmox-archive-keyring.gpg
"""
CEPH = PVE.replace("debian/pve", "debian/ceph-squid").replace("pve-enterprise", "enterprise")
OPEN = PVE.replace("https://enterprise", "http://download").replace("pve-enterprise", "pve-no-subscription")
LINE = "deb https://enterprise.proxmox.com/debian/pve trixie pve-enterprise"


def node(**files: str) -> ActualNode:
    actual = converged()
    actual.values["suite"] = "trixie"
    actual.sources = {f"{FOLDER}/{name}.sources": text.splitlines() for name, text in files.items()}
    return actual


def only(actual: ActualNode):
    (step,) = repositories.steps(FREE, actual)
    return step


def ours(step) -> str:
    return next((one.text for one in step.commands if isinstance(one, Upload)), "")


def test_a_fresh_node_gets_the_free_repository_for_each_that_is_put_aside():
    step = only(node(pve_enterprise=PVE, ceph=CEPH))
    assert "URIs: http://download.proxmox.com/debian/pve\nSuites: trixie\nComponents: pve-no-subscription" in ours(step)
    assert "debian/ceph-squid\nSuites: trixie\nComponents: no-subscription" in ours(step)
    aside = f"{FOLDER}/ceph.sources{NAMES.aside}"
    assert f"mv -f {FOLDER}/ceph.sources {aside}" in step.commands
    assert isinstance(step.commands[0], Upload), "at no moment is there none"
    assert compare.steps(FREE, node(pve_enterprise=PVE))[0].subject == "package repositories", "before packages come"


def test_afterwards_nothing_is_left_to_do_and_taken_out_it_is_as_it_was():
    first = only(node(pve_enterprise=PVE))
    after = converged()
    after.values["suite"] = "trixie"
    after.sources = {f"{FOLDER}/pve_enterprise.sources{NAMES.aside}": PVE.splitlines()}
    after.files[NAMES.repositories] = _file(ours(first))
    after.sources[NAMES.repositories] = ours(first).splitlines()
    assert only(after).commands == ()
    for desired in (WANTED, REMOVED):
        (gone,) = repositories.removal(desired, after)
        assert gone.action == "delete"
        assert f"mv {FOLDER}/pve_enterprise.sources{NAMES.aside} {FOLDER}/pve_enterprise.sources" in str(
            gone.commands[0]
        )
        assert gone in compare.steps(desired, after)
    assert repositories.steps(WANTED, node(pve_enterprise=PVE)) == []


@pytest.mark.parametrize("off", ["Enabled: no\n", "Enabled: false\n", "enabled: 0\n"])
def test_what_is_switched_off_already_stays_as_it_is(off):
    assert not [one for one in only(node(pve_enterprise=PVE + off)).commands if not isinstance(one, Upload)]


def test_what_somebody_has_already_is_not_written_twice():
    step = only(node(pve_enterprise=PVE, theirs=OPEN))
    assert ours(step) == ""
    assert len(step.commands) == 1
    assert only(node(theirs=OPEN)).commands == ()


def test_a_line_of_the_old_kind_is_read_too():
    actual = node()
    actual.sources[f"{FOLDER}/pve-enterprise.list"] = ["# theirs", f"{LINE}", "#" + LINE]
    assert f"mv -f {FOLDER}/pve-enterprise.list {FOLDER}/pve-enterprise.list{NAMES.aside}" in only(actual).commands


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/etc/apt/sources.list", [LINE]),
        (f"{FOLDER}/all.sources", [*PVE.splitlines(), "", *OPEN.splitlines()]),
        (f"{FOLDER}/all.list", [LINE, "deb [arch=amd64] http://deb.example.org/debian trixie main"]),
    ],
)
def test_a_file_that_names_others_too_is_a_conflict(path, lines):
    actual = node()
    actual.sources[path] = lines
    with pytest.raises(RefusedByNode, match="beside others") as caught:
        compare.steps(FREE, actual)
    assert caught.value.kind == "conflict"


def test_a_node_with_a_subscription_keeps_what_it_pays_for():
    actual = node(pve_enterprise=PVE)
    actual.api["subscription"] = {"status": "active"}
    with pytest.raises(RefusedByNode, match="has a subscription"):
        compare.steps(FREE, actual)


def test_the_script_reads_files_for_apt_and_parse_takes_them(tmp_path: Path):
    for name, text in (("pve.sources", PVE), (f"ceph.sources{NAMES.aside}", CEPH), ("debian.sources", "URIs: x\n")):
        (tmp_path / name).write_text(text)
    text = script(FREE)
    begin, end = text.index("for f in /etc/apt/sources.list "), text.index("printf 'value\\tsuite")
    part = "plain() { cat; }\n" + text[begin:end].replace(FOLDER, str(tmp_path))
    done = subprocess.run(["/bin/sh", "-c", part], capture_output=True, text=True, check=True)
    found = parse((printed(converged()) + done.stdout).splitlines())
    assert found.sources == {
        f"{tmp_path}/pve.sources": PVE.splitlines(),
        f"{tmp_path}/ceph.sources{NAMES.aside}": CEPH.splitlines(),
    }


def _file(text: str) -> File:
    import hashlib

    return File("644 root root", hashlib.sha256(text.encode()).hexdigest(), 100)
