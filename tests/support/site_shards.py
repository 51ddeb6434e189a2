"""Shards of the viewer, read back."""

from __future__ import annotations

import json
from typing import Any


def read_shard(text: str) -> tuple[str, Any]:
    """(name, value) of a shard."""
    inner = text.removeprefix("pretiltShard(").rstrip().removesuffix(");")
    name, _, value = inner.partition(",")
    return json.loads(name), json.loads(value)
