"""What models answered, kept in one SQLite file: a run that was interrupted or is repeated asks nothing twice.

The key of an answer is the hash of the model, the messages, the sampling parameters and the versions of prompt and
schema; neither the host nor the API key is part of it, so the same file serves a laptop and a cluster.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pretilt.errors import UserError
from pretilt.labels.prompts import PROMPT_VERSION, SCHEMA_VERSION, Messages
from pretilt.run import content_hash

CACHE = "label-answers.sqlite"
_RAW_CAP = 200_000  # characters of a raw response that are kept


def answer_key(model: str, messages: Messages, sampling: Mapping[str, Any]) -> str:
    versions = {"prompt": PROMPT_VERSION, "schema": SCHEMA_VERSION}
    return content_hash({"model": model, "messages": messages, "sampling": dict(sampling), "versions": versions})


class AnswerCache:
    """Answers by key, and for every endpoint the form of structured output it took. Each write is on disk at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

        try:
            self._db = sqlite3.connect(path, timeout=30)
            self._db.text_factory = lambda text: text.decode("utf-8", "replace")  # damaged text fails its hash alone
            self._db.execute(
                "create table if not exists answers (key text primary key, model text, content text, raw text, "
                "usage text, seconds real, asked_at real)"
            )
            self._db.execute("create table if not exists sums (key text primary key, sha256 text)")
            self._db.execute("create table if not exists endpoints (endpoint text primary key, rung integer)")
            self._db.commit()
        except sqlite3.Error as error:
            raise UserError(
                "the cache of label answers cannot be read", file=path, why=str(error), fix="Remove the file"
            ) from error

    def get(self, key: str) -> str | None:
        """The stored text of an answer, or None where there is none or its hash no longer fits."""
        row = self._read("select content, sha256 from answers left join sums using (key) where key = ?", key)
        if row is None or not isinstance(row[0], str) or row[1] not in (None, content_hash(row[0])):
            return None
        return row[0]

    def put(self, key: str, model: str, content: str, raw: str, usage: Mapping[str, Any], seconds: float) -> None:
        values = (key, model, content, raw[:_RAW_CAP], json.dumps(dict(usage)), round(seconds, 3), time.time())
        self._write("insert or replace into sums values (?, ?)", (key, content_hash(content)))
        self._write("insert or replace into answers values (?, ?, ?, ?, ?, ?, ?)", values)

    def rung(self, endpoint: str) -> int | None:
        row = self._read("select rung from endpoints where endpoint = ?", endpoint)
        return row[0] if row is not None and isinstance(row[0], int) else None

    def set_rung(self, endpoint: str, rung: int) -> None:
        self._write("insert or replace into endpoints values (?, ?)", (endpoint, rung))

    def _read(self, statement: str, key: str) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._db.execute(statement, (key,)).fetchone()
        except sqlite3.Error as error:
            raise UserError(
                "the cache of label answers cannot be read", file=self._path, why=str(error), fix="Remove the file"
            ) from error
        return row

    def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            with self._db:
                self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise UserError(
                "the cache of label answers cannot be written",
                file=self._path,
                why=str(error),
                fix="Give the same command again: what was answered is kept",
            ) from error

    def close(self) -> None:
        self._db.close()
