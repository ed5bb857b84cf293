"""check.py models | chat MODEL | documents MODEL: uses the page as a person does who is signed in, and prints JSON.

Runs inside the container, where the administrator's password lies. What it makes it removes, and what an earlier run
that was killed has left.
"""

from __future__ import annotations

import json
import sys
import urllib.request
import uuid
from pathlib import Path
from typing import Any

PAGE = "http://127.0.0.1:8080"
NAME = "check of the hub"
TEXTS = {
    "garage.txt": "Rex the dog sleeps in the garage when it rains.",
    "dump.txt": "To restore the database, stop the service, then load the newest dump.",
    "urlaub.txt": "Angestellte bekommen jedes Jahr dreißig Tage bezahlten Urlaub.",
}
QUESTIONS = {
    "Where does the pet spend wet nights?": "garage.txt",
    "How do I get my data back after a crash?": "dump.txt",
    "How much vacation do workers have?": "urlaub.txt",
}


class Page:
    """The page's own API, for one who is signed in."""

    def __init__(self, email: str, password: str) -> None:
        self._token = ""
        self._token = self("POST", "/api/v1/auths/signin", {"email": email, "password": password})["token"]

    def __call__(self, method: str, path: str, body: object = None, raw: tuple[bytes, str] | None = None) -> Any:
        """What is answered; `raw` is bytes with their type instead of JSON."""
        sent, kind = raw or (None if body is None else json.dumps(body).encode(), "application/json")
        request = urllib.request.Request(PAGE + path, sent, method=method)  # noqa: S310
        request.add_header("Content-Type", kind)
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        with urllib.request.urlopen(request, timeout=170) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def upload(self, name: str, text: str) -> str:
        """The id of a file that was uploaded and read."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain'
        raw = (f"{head}\r\n\r\n{text}\r\n--{mark}--\r\n".encode(), f"multipart/form-data; boundary={mark}")
        found = self("POST", "/api/v1/files/?process=true&process_in_background=false", raw=raw)
        return str(found["id"])

    def chat(self, model: str, question: str, **more: object) -> Any:
        """The answer of a model."""
        said = [{"role": "user", "content": question}]
        body = {"model": model, "messages": said, "temperature": 0, "max_tokens": 40, **more}
        return self("POST", "/api/chat/completions", body)


def documents(page: Page, model: str) -> dict[str, Any]:
    """Which document is found for each question, and what an answer rests on."""
    _remove(page)
    shelf = page("POST", "/api/v1/knowledge/create", {"name": NAME, "description": "removed when the check ends"})["id"]
    try:
        for name, text in TEXTS.items():
            page("POST", f"/api/v1/knowledge/{shelf}/file/add", {"file_id": page.upload(name, text)})
        found = {question: _found(page, shelf, question) for question in QUESTIONS}
        first = next(iter(QUESTIONS))
        answer = page.chat(model, first, files=[{"type": "collection", "id": shelf}])
        cited = [part["name"] for source in answer.get("sources", ()) for part in source.get("metadata", ())]
        return {"found": found, "cited": cited}
    finally:
        _remove(page)


def _found(page: Page, shelf: str, question: str) -> str:
    asked = {"collection_names": [shelf], "query": question, "k": 1}
    answer = page("POST", "/api/v1/retrieval/query/collection", asked)
    text = answer["documents"][0][0]
    return next((name for name, whole in TEXTS.items() if whole in text or text in whole), text)


def _remove(page: Page) -> None:
    listed = page("GET", "/api/v1/knowledge/")
    for one in listed["items"] if isinstance(listed, dict) else listed:
        if one["name"] == NAME:
            page("DELETE", f"/api/v1/knowledge/{one['id']}/delete")
    files = page("GET", "/api/v1/files/?content=false")
    for one in files["items"] if isinstance(files, dict) else files:
        if one["filename"] in TEXTS:
            page("DELETE", f"/api/v1/files/{one['id']}")


def main() -> None:
    import os

    secrets = Path(os.environ.get("SECRETS", "/run/secrets"))
    page = Page(os.environ["WEBUI_ADMIN_EMAIL"], (secrets / "admin_password").read_text())
    what, *model = sys.argv[1:]
    if what == "models":
        found: Any = [one["id"] for one in page("GET", "/api/models")["data"]]
    elif what == "chat":
        answer = page.chat(*model, "The code of the door is 4711. What is the code of the door?")
        found = answer["choices"][0]["message"]["content"]
    else:
        found = documents(page, *model)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
