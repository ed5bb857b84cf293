"""Starts LiteLLM. It takes its secrets from its environment only: they are set here, inside its own process."""

import os
import sys
from pathlib import Path
from urllib.parse import quote

SECRETS = Path("/run/secrets")


def secret(name: str) -> str:
    return (SECRETS / name).read_text().strip()


def database() -> str:
    """The database's address in Prisma's words: `sslcert` is whom to trust, `strict` looks at the name as well."""
    user, password = secret("postgres_main_login").splitlines()
    place = "{DATABASE_HOST}:{DATABASE_PORT}/{DATABASE_NAME}".format_map(os.environ)
    trust = f"sslmode=require&sslaccept=strict&sslcert={SECRETS / 'ca.pem'}"
    return f"postgresql://{quote(user)}:{quote(password)}@{place}?{trust}"


os.environ.update(
    DATABASE_URL=database(),
    LITELLM_MASTER_KEY=f"sk-{secret('reconcile')}",
    LITELLM_SALT_KEY=secret("salt"),
)
EVERYWHERE = "0.0.0.0"  # noqa: S104  of its container
sys.argv = ["litellm", "--config", "/etc/litellm/config.yaml", "--host", EVERYWHERE, "--port", "4000"]

from litellm import run_server  # noqa: E402  it reads its environment when it is imported

try:
    run_server()
except SystemExit as end:
    # It has answered all that was under way; Python would wait for its query engine, while nobody is answered.
    os._exit(end.code if isinstance(end.code, int) else 1)
