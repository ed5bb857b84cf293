"""The API alone, for anybody's tests: one line starts it, says how to log in, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from proxmoxer import ProxmoxAPI, ResourceException
from pvelab.fixture import pvelab  # noqa: F401  (a fixture)
from pvelab.running import TEMPLATES, TOKEN, Running, running

pytestmark = pytest.mark.slow


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
