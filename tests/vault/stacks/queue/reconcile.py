"""The users of tests/vault/kinds_server.py, whose passwords are replaced as `overlap` says."""

from __future__ import annotations

from tests.vault.kinds_client import Users

_users = Users("overlap")
read, diff, apply = _users.read, _users.diff, _users.apply
set_passwords, can_login = _users.set_passwords, _users.can_login
