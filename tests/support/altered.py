"""A run that somebody has changed by hand and made to look as if its own stages had written it so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pretilt.run import file_hash


def record_anew(folder: Path, **facts: Any) -> None:
    """Write the hashes of the files as they are now, and `facts`, into run.json. A file that is gone is forgotten."""
    manifest = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del manifest["sha256"]
    for stage in manifest["stages"].values():
        stage["files"] = {name: file_hash(folder / name) for name in stage["files"] if (folder / name).exists()}
    (folder / "run.json").write_text(json.dumps({**manifest, **facts}), encoding="utf-8")
