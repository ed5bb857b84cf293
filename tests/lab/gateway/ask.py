"""ask.py WHERE MODEL REQUESTS CLIENTS [SECONDS]: asks for one word each time, in a consumer's container; prints JSON.

WHERE is `gateway`, with the consumer's key as it is at that moment, or the address of an engine. With SECONDS it goes
on for so long, or until SIGTERM. What is measured is a whole answer, the time to the first event of one that is
streamed, and the longest time in which nobody got an answer.
"""

import http.client
import itertools
import json
import signal
import ssl
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

SECRETS = Path("/run/secrets")
QUESTION = [{"role": "user", "content": "Say a word."}]


def read(name):
    return (SECRETS / f"openai_chat_{name}").read_text().strip()


def ask(link, where, base, model, *, stream):
    """Seconds to the first event and to the end, and which model says that it answered. Raises OSError."""
    headers = {"Content-Type": "application/json"}
    if where == "gateway":
        headers["Authorization"] = f"Bearer {read('api_key')}"
    body = {"model": model, "messages": QUESTION, "max_tokens": 1, "temperature": 0, "stream": stream}
    begun = time.monotonic()
    link.request("POST", f"{base}/chat/completions", json.dumps(body), headers)
    answer = link.getresponse()
    first = answer.readline() if stream else b""
    at = time.monotonic() - begun
    content = first + answer.read()
    if answer.status != 200:
        raise OSError(f"{answer.status}: {content[:300].decode(errors='replace')}")
    who = "" if stream else json.loads(content)["model"]
    return at, time.monotonic() - begun, who


def client(found, where, url, model, number, until, ended):
    link = None
    while (number > 0) if until is None else (time.monotonic() < until and not ended.is_set()):
        number -= 1
        try:
            if link is None:
                trust = ssl.create_default_context(cafile=SECRETS / "ca.pem")
                link = http.client.HTTPSConnection(url.hostname, url.port, timeout=300, context=trust)
            _, took, who = ask(link, where, url.path, model, stream=False)
            first, _, _ = ask(link, where, url.path, model, stream=True)
            found.append((took, first, who, time.monotonic()))
        except (OSError, http.client.HTTPException, ValueError) as error:
            found.append(f"{type(error).__name__}: {error}")
            link = None
            time.sleep(0.2)


def main():
    where, model, requests, clients, *seconds = sys.argv[1:]
    url = urlsplit(read("url") if where == "gateway" else where)
    until = time.monotonic() + float(*seconds) if seconds else None
    found, ended = [], threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    share = int(requests) // int(clients)
    threads = [
        threading.Thread(target=client, args=(found, where, url, model, share, until, ended))
        for _ in range(int(clients))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = [one for one in found if not isinstance(one, str)]
    failures = [one for one in found if isinstance(one, str)]
    times = sorted(one[3] for one in good)
    gap = max((after - before for before, after in itertools.pairwise(times)), default=0)
    print(json.dumps({"gap": gap, "whole": [one[0] for one in good], "first": [one[1] for one in good],
                      "who": sorted({one[2] for one in good}), "failures": failures}))  # fmt: skip


main()
