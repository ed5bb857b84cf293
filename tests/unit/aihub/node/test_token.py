"""The token's way into its file."""

from __future__ import annotations

import json
import stat

import pytest
from aihub.errors import TaskFailed
from aihub.node import token

from tests.unit.aihub.hubs import small

VALUE = "12345678-1234-1234-1234-123456789abc"


def test_the_value_goes_into_its_file_and_nowhere_else(shell, state, capsys):
    seen = shell((0, json.dumps({"value": VALUE})), (0, "{}"))
    assert token.renew(small(), state) == "renewed"
    assert state.token.read_text() == f"hub-my-hub@pve!hub={VALUE}\n"
    assert stat.S_IMODE(state.token.stat().st_mode) == 0o600
    assert VALUE not in str(seen)
    assert VALUE not in "".join(capsys.readouterr())


def test_where_a_value_cannot_be_renewed_the_token_is_made_anew(shell, state):
    seen = shell((255, ""), (255, ""), (0, json.dumps({"value": VALUE})), (0, "{}"))
    assert token.renew(small(), state) == "made"
    assert [command[1] for command in seen] == ["set", "delete", "create", "set"]
    assert state.token.read_text() == f"hub-my-hub@pve!hub={VALUE}\n"


def test_an_answer_without_value_is_an_error_that_does_not_repeat_it(shell, state):
    shell((0, "not json: 12345678-secret"))
    with pytest.raises(TaskFailed) as caught:
        token.renew(small(), state)
    assert "secret" not in str(caught.value)
    assert not state.token.exists()
