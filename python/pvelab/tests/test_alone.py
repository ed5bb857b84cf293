"""The API alone, for anybody's tests: one line starts it, says how to log in, and leaves nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from proxmoxer import ProxmoxAPI, ResourceException
from pvelab.fixture import pvelab  # noqa: F401  (a fixture)
from pvelab.running import TEMPLATES, TOKEN, Running, running

pytestmark = pytest.mark.slow
README = Path(__file__).parents[1] / "README.md"


def client(lab: Running, secret: str) -> ProxmoxAPI:
    user, _, name = TOKEN.partition("!")
    return ProxmoxAPI(
        lab.host, port=lab.port, user=user, token_name=name, token_value=secret, verify_ssl=str(lab.ca), timeout=20
    )


def test_a_client_makes_a_guest_with_what_the_fixture_gives(pvelab: Running) -> None:  # noqa: F811
    node = client(pvelab, pvelab.tokens[TOKEN]).nodes(pvelab.node)
    node.lxc.post(vmid=100, ostemplate=TEMPLATES[0], rootfs="local:1", hostname="web")
    assert [guest["vmid"] for guest in node.lxc.get()] == [100]
    with pytest.raises(ResourceException, match="401"):
        client(pvelab, "00000000-0000-0000-0000-000000000000").nodes.get()


def test_what_it_kept_is_gone_with_it() -> None:
    with running() as lab:
        assert lab.ca.is_file()
        folder = lab.ca.parent
    assert not folder.exists()


def test_a_state_of_ones_own_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        with running(options=["--state", str(tmp_path)]) as lab:
            assert client(lab, lab.tokens[TOKEN]).version.get()["release"]
    assert (tmp_path / "access.json").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tokens": ["nobody@pve!x"]}, "is no token of a user who is there"),
        ({"tokens": ["root@pam"]}, "is no token"),
        ({"templates": ["nowhere:vztmpl/x.tar.zst"]}, "is no volume of a storage"),
        ({"templates": ["local:vztmpl/../../x.tar.zst"]}, "is no volume of a storage"),
    ],
)
def test_what_cannot_be_preloaded_is_said(given: dict[str, list[str]], said: str) -> None:
    with pytest.raises(RuntimeError, match=said), running(**given):
        pass


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"node": {"core": 4}}', "node has no option core"),
        ('{"storages": [{"id": "local", "kind": "dir"}]}', "storages has no option kind"),
        ('{"pci": [{"adress": "0000:01:00.0"}]}', "describes no node"),
        ('{"gpus": [{"name": "RTX 5090"}]}', "describes no node"),
        ("[]", "describes no node"),
        ("{", "describes no node"),
    ],
)
def test_a_node_that_cannot_be_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "node.json").write_text(text)
    with pytest.raises(RuntimeError, match=said), running(options=["--config", str(tmp_path / "node.json")]):
        pass


def test_what_the_readme_shows_is_true(tmp_path: Path) -> None:
    """Its files, as a reader would take them."""
    shown = re.findall(r"```(?:python|json)\n(.*?)```", README.read_text(), re.DOTALL)
    for name, text in zip(("conftest.py", "test_mine.py", "node.json"), shown, strict=True):
        (tmp_path / name).write_text(text)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    with running(options=["--config", str(tmp_path / "node.json")]) as lab:
        cards = client(lab, lab.tokens[TOKEN]).nodes("pve1").hardware.pci.get()
    assert {card["device_name"] for card in cards} == {"RTX 5090 (simulated)", "RTX 5090 audio (simulated)"}
