"""Where a dictionary is to be found: asked before all work, so that nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path

from tiltmeter.errors import UserError, require_extra


def dictionary_folder(spec: str | Path) -> Path | None:
    """The local folder that `spec` names, None for a published dictionary. Loads nothing.

    Raises UserError for a file, for a folder that is not there, and where sae-lens would be needed and is missing.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(
            "a dictionary is a folder, this is a file", file=path, fix="Give the folder that holds cfg.json"
        )
    if str(spec).startswith((".", "/", "~")) or "/" not in str(spec):
        fix = "Give a folder with cfg.json and sae_weights.safetensors, or release/sae_id"
        raise UserError("there is no such dictionary", file=path, fix=fix)
    require_extra("sae", f"the published dictionary '{spec}'")
    return None
