"""What somebody who is root on a guest does with the logins of a consumer there."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from tests.lab.cli import Cli

ATTACKER, VICTIM = "public-ai", "monitoring"  # whose canaries log in at the same servers
PSQL = "docker exec -i postgres-postgres-1 psql -qXAt -v ON_ERROR_STOP=1 -U postgres"
LOGIN = "{ read -r user; read -r word; } < /run/secrets/%s_main_login"
SQL = (
    f"{LOGIN % 'postgres'}; PGPASSWORD=$word exec psql -qXAt -v ON_ERROR_STOP=1 "
    '"host=$POSTGRES_HOST dbname=$POSTGRES_DATABASE user=$user sslmode=verify-full sslrootcert=/run/secrets/ca.pem"'
)
KEYS = (
    f'{LOGIN % "redis"}; {{ echo "AUTH $user $word"; cat; }} | timeout 20 valkey-cli --no-raw -h "$REDIS_HOST" --tls '
    '--sni "$REDIS_HOST" --cacert /run/secrets/ca.pem 2>&1'
)


@dataclass(frozen=True)
class Consumer:
    """The canary of a guest, which has a database and keys."""

    hub: Cli
    guest: str

    @property
    def role(self) -> str:
        """What it is called at its providers."""
        return f"canary_{self.guest}_main".replace("-", "_")

    def sql(self, text: str) -> str:
        """What its database answers to it. Fails when that refuses."""
        return self.hub.on(self.guest, f"docker exec -i canary-canary-1 sh -c '{SQL}'", text)

    def refused(self, text: str) -> str:
        """What its database says when it refuses that. Fails when it does not."""
        ended = self._run(text)
        assert ended.returncode != 0, f"it may: {text}"
        return ended.stderr

    def keys(self, commands: str) -> list[str]:
        """What Valkey answers to it, a line for each."""
        told = self.hub.on(self.guest, f"docker exec -i canary-valkey-1 sh -c '{KEYS}'", f"{commands}\n").splitlines()
        assert told[0] == "OK", told
        return told[1:]

    def _run(self, text: str) -> subprocess.CompletedProcess[str]:
        config = str(self.hub.directory / "ssh" / "config")
        argv = ["ssh", "-F", config, "-T", self.guest, "--", f"docker exec -i canary-canary-1 sh -c '{SQL}'"]
        return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=120, check=False)


def superuser(hub: Cli, text: str, database: str = "postgres", guest: str = "db") -> str:
    """What PostgreSQL answers to somebody in its container."""
    return hub.on(guest, f"{PSQL} {database}", text)


def differing(hub: Cli) -> set[str]:
    """The subjects of the plan."""
    code, plan = hub.plan()
    assert plan["unknown"] == []
    assert (code == 3) == bool(plan["changes"])
    return {change["subject"] for change in plan["changes"]}
