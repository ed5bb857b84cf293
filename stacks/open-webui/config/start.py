"""Starts Open WebUI. It takes secrets from its environment only, so they are set there inside this process: nothing
that shows a process, a container or a unit from outside has them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

SECRETS = Path(os.environ.get("SECRETS", "/run/secrets"))


def secret(name: str) -> str:
    """The value of a secret."""
    return (SECRETS / name).read_text()


def database() -> str:
    """Where its database is, and who logs in there."""
    login = ":".join(quote(secret(f"postgres_main_{part}"), safe="") for part in ("user", "password"))
    place = "{POSTGRES_HOST}:{POSTGRES_PORT}/{POSTGRES_DATABASE}".format(**os.environ)
    return f"postgresql://{login}@{place}?sslmode=verify-full&sslrootcert={SECRETS / 'ca.pem'}"


def settings() -> dict[str, str]:
    """What is secret, or where it leads."""
    url, key = secret("openai_chat_url"), secret("openai_chat_api_key")
    found = {
        "DATABASE_URL": database(),
        "OPENAI_API_BASE_URL": url,
        "OPENAI_API_KEY": key,
        "RAG_OPENAI_API_BASE_URL": url,
        "RAG_OPENAI_API_KEY": key,
        "WEBUI_ADMIN_PASSWORD": secret("admin_password"),
        "WEBUI_SECRET_KEY": secret("secret_key"),
    }
    with suppress(FileNotFoundError):  # the vector store of its zone is another one
        found |= {
            "QDRANT_URI": secret("qdrant_documents_url"),
            "QDRANT_API_KEY": secret("qdrant_documents_api_key"),
        }
    return found


def set_password(url: str, email: str, password: str) -> None:
    """The administrator's password is what the secret says, also after it was replaced."""
    import bcrypt
    import psycopg

    with psycopg.connect(url) as link:
        if link.execute("select to_regclass('auth')").fetchone() == (None,):
            return  # the first start makes the account with this password
        found = link.execute("select id, password from auth where email = %s", [email]).fetchone()
        if found and not bcrypt.checkpw(password.encode(), found[1].encode()):
            new = bcrypt.hashpw(password.encode(), bcrypt.gensalt()).decode()
            link.execute("update auth set password = %s where id = %s", [new, found[0]])


if __name__ == "__main__":
    os.environ |= settings()
    set_password(os.environ["DATABASE_URL"], os.environ["WEBUI_ADMIN_EMAIL"], os.environ["WEBUI_ADMIN_PASSWORD"])
    import uvicorn

    uvicorn.run("open_webui.main:app", host="0.0.0.0", port=8080, forwarded_allow_ips="*", ws="auto")  # noqa: S104
