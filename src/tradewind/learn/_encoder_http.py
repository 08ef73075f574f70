"""Vectors from a server with OpenAI's embeddings call: bounded in time and size, and every answer is checked.

The standard library does it: what is left of a client is one POST, without redirects, so that a key never travels on.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tradewind.engine.models import LOOPBACK
from tradewind.errors import InputError, Transient
from tradewind.learn.encoders import Vectors, unit

KEY = "TRADEWIND_ENCODER_KEY"
BATCH = 64  # texts of a question
CHARACTERS = 2_000  # of a text
SECONDS = 60.0  # for a question, all of it
LIMIT = 64 << 20  # bytes of an answer
PIECE = 1 << 16
TRIES, WAIT = 3, 1.0


class HttpEncoder:
    """Asks ``http://HOST:PORT/PATH#MODEL``. ``pause`` waits between tries; tests replace it."""

    def __init__(self, slot: str, *, pause: Callable[[float], None] = time.sleep, seconds: float = SECONDS) -> None:
        try:
            parts = urlsplit(slot)
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            self._host = None
        if not self._host or not parts.fragment or parts.query or "@" in parts.netloc:
            raise InputError(f'An encoder\'s address looks like "http://127.0.0.1:8080/v1#MODEL", the model behind the #; got {slot!r}.')
        self.model, self.identity = parts.fragment, slot
        self._secure, self._path = parts.scheme == "https", f"{parts.path.rstrip('/')}/embeddings"
        self._pause, self._seconds, self._key = pause, seconds, os.environ.get(KEY)
        if self._key and not self._secure and self._host not in LOOPBACK:
            raise InputError(f"{KEY} would travel unencrypted to {self._host}. Use https, or a server on this machine.")

    def encode(self, texts: Sequence[str]) -> Vectors:
        """float32 [N, d], each of length one.

        Raises
        ------
        Transient
            The server did not answer in time, three times; or refuses.
        InputError
            It answers with something else than one vector of one length per text.
        """
        parts = [self._tried([text[:CHARACTERS] or " " for text in texts[at : at + BATCH]]) for at in range(0, len(texts), BATCH)]
        if len({part.shape[1] for part in parts}) > 1:
            raise InputError(f"{self.identity} answers with vectors of different lengths. Look at the server.")
        return unit(np.concatenate(parts)) if parts else np.empty((0, 0), np.float32)

    def _tried(self, texts: list[str]) -> Vectors:
        why = ""
        for number in range(TRIES):
            if number:
                self._pause(WAIT * 2 ** (number - 1))
            try:
                status, data = self._asked(texts)
            except (OSError, http.client.HTTPException) as error:
                why = f"{type(error).__name__}: {error}"
                continue
            if status == http.HTTPStatus.OK:
                return self._vectors(data, len(texts))
            why = f"status {status}"
            if status < 500 and status not in (408, 425, 429):
                break
        raise Transient(f"The encoder {self.identity} does not answer ({why}). Look at the server, then try again.")

    def _asked(self, texts: list[str]) -> tuple[int, bytes]:
        body = json.dumps({"model": self.model, "input": texts, "encoding_format": "float"}).encode()
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self._key}"} if self._key else {})}
        until = time.monotonic() + self._seconds
        host = self._host or ""
        if self._secure:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, self._port, timeout=self._seconds, context=ssl.create_default_context()
            )
        else:
            made = http.client.HTTPConnection(host, self._port, timeout=self._seconds)
        with closing(made) as connection:
            connection.request("POST", self._path, body, headers)
            with connection.getresponse() as response:
                data = b""
                while piece := response.read1(PIECE):
                    data += piece
                    if len(data) > LIMIT:
                        raise InputError(f"{self.identity} answers with more than {LIMIT >> 20} MiB. Look at the server.")
                    if time.monotonic() > until:  # a slow drip passes every time-out of a socket
                        raise TimeoutError("no whole answer in time")
                if response.length:
                    raise http.client.IncompleteRead(data)
                return response.status, data

    def _vectors(self, data: bytes, count: int) -> Vectors:
        try:
            rows: list[Any] = json.loads(data)["data"]
            ordered = sorted(rows, key=lambda row: row["index"])
            found = np.array([row["embedding"] for row in ordered], dtype=np.float32)
            right = [row["index"] for row in ordered] == list(range(count)) and found.ndim == 2 and bool(np.isfinite(found).all())
        except (ValueError, KeyError, TypeError, RecursionError):
            right = False
        if not right:
            raise InputError(f"{self.identity} does not answer with one vector per text. Look at the address and the model's name.")
        return found
