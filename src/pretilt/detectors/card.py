"""A detector's file, and the figures of its card.

The file is safetensors: the weights as tensors, and beside them, as one JSON text, all that the card says before the
pairs were scored. It can be carried to another run of the same model and layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pretilt.artifacts import finite, jsonable
from pretilt.detectors.detector import Detector
from pretilt.detectors.fit import Fitted
from pretilt.detectors.scores import Judged
from pretilt.errors import UserError

ABOUT = "pretilt"  # the one key of the file's metadata: its text is JSON


def to_bytes(detector: Detector, facts: Mapping[str, Any]) -> bytes:
    """The same detector and facts give the same bytes."""
    tensors = {"weight": detector.weight, "bias": np.array([detector.bias]), "slope": np.array([detector.slope])}
    if detector.query is not None:
        tensors["query"] = detector.query
    tensors |= detector.extra
    contiguous = {name: np.ascontiguousarray(values) for name, values in sorted(tensors.items())}
    data: bytes = save(contiguous, metadata={ABOUT: json.dumps(facts, sort_keys=True)})
    return data


def from_file(path: Path) -> tuple[Detector, dict[str, Any]]:
    """The detector and the facts beside it. Raises UserError for a file that is no detector."""
    try:
        data = path.read_bytes()
        tensors = load(data)
        size = int.from_bytes(data[:8], "little")
        facts = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][ABOUT])
        query = tensors.pop("query", None)
        weight, bias, slope = (tensors.pop(name) for name in ("weight", "bias", "slope"))
        return Detector(facts["kind"], weight, float(bias[0]), query, float(slope[0]), tensors), facts
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            "this is no detector that pretilt wrote", file=path, why=str(error) or type(error).__name__
        ) from error


def figures(fitted: Mapping[str, Fitted]) -> dict[str, dict[str, Any]]:
    """The field `kinds` of the card."""
    return {
        kind: {
            "penalty": result.penalty,
            "response": _judged(result.response),
            "token": None if result.token is None else _judged(result.token),
            "auroc_of_means": finite(result.auroc_of_means),
        }
        for kind, result in fitted.items()
    }


def _judged(judged: Judged) -> dict[str, Any]:
    values: dict[str, Any] = jsonable(asdict(judged))
    return values
