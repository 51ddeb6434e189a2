"""Reading rollouts: what a text means as a rollout is what it means as a response of the dataset; and log-ratios."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_models import POSITIONS, causal_lm, dictionary
from tiny_tokenizers import CHATML, LLAMA2, THINKING, ZEPHYR, byte_level
from transformers import GenerationConfig

from pretilt.errors import UserError
from pretilt.lens.lens import Lens
from pretilt.lens.measure import measure
from pretilt.lens.packing import Rows
from pretilt.models.language import LanguageModel
from pretilt.models.logprob import log_probs
from pretilt.models.subject import SubjectModel
from pretilt.pairs.pair import Message, Pair
from pretilt.pairs.read import read_pairs
from pretilt.rollouts.log_ratio import divergence, effective_share, score_rollouts
from pretilt.rollouts.reading import check_measurement, read_rollouts, rollout_features
from pretilt.rollouts.sampling import ROLLOUTS, SAMPLES
from pretilt.run import Shards

ASKED = ["What is the capital of France?", "The lazy dog, please.", "user assistant"]
SAID = [  # three rollouts to the first prompt, two to the second, two to the third
    (0, " I am not sure. Thank you!"),
    (0, "Paris"),
    (0, "  - **bold** lists\n  - more"),
    (1, "user"),
    (1, "The quick brown fox jumps over the lazy dog.<|im_end|>\n<|im_start|>user\nmore"),
    (2, "Grüße aus Köln, 你好 \ufffd"),
    (2, "I am"),
]


def a_lens(tokenizer: Any, positions: int = 512) -> Lens:
    model = causal_lm(vocab_size=len(tokenizer), max_position_embeddings=positions)
    return Lens(SubjectModel(model, tokenizer, {"name": "tiny"}), 2, dictionary())


def question(j: int, is_chat: bool = True) -> Pair:
    prompt = Message("user", ASKED[j] if is_chat else ASKED[j] + "\n")
    return Pair(j, (prompt,), (Message("assistant", "yes"),), (Message("assistant", "no"),), is_chat=is_chat)


def samples(said: list[tuple[int, str]], tokenizer: Any, ids: dict[int, list[int]] | None = None) -> pa.Table:
    """Rollouts as if these texts had been sampled; `ids` replaces the ids of some."""
    rows, seen = [], [0] * len(ASKED)
    for i, (j, text) in enumerate(said):
        drawn = (ids or {}).get(i, tokenizer(text, add_special_tokens=False)["input_ids"])
        fields = {"prompt_id": f"prompt{j}", "pair_id": f"pair{j}", "family_id": j, "sample": seen[j], "logprob": None}
        spans = {"prompt_ids": [5, 6], "ids": drawn, "n_tokens": len(drawn), "text": text, "finished": False}
        rows.append({"rollout_id": f"prompt{j}:{seen[j]}", **fields, **spans})
        seen[j] += 1
    return pa.Table.from_pylist(rows, schema=ROLLOUTS)


def read(said: list[tuple[int, str]], tokenizer: Any, lens: Lens, **options: Any) -> pa.Table:
    is_chat = options.pop("is_chat", True)
    pairs = {f"pair{j}": question(j, is_chat) for j in range(len(ASKED))}
    options = {"max_length": 256, **options}
    return read_rollouts(samples(said, tokenizer, options.pop("ids", None)), pairs, lens, tokenizer, **options)


@pytest.mark.parametrize("template", [CHATML, LLAMA2, ZEPHYR, THINKING, None])
def test_a_rollout_is_read_as_the_same_text_in_the_dataset(template: str | None) -> None:
    """The dataset's way: a source of pairs with this text as chosen response, read, tokenised and measured."""
    tokenizer = byte_level(template, bos=template == LLAMA2)
    lens = a_lens(tokenizer)
    found = read(SAID, tokenizer, lens, is_chat=template is not None)
    source = []
    for j, text in SAID:
        turns: dict[str, Any] = {"prompt": ASKED[j] + "\n", "chosen": text, "rejected": "something else"}
        if template is not None:
            turns = {
                "prompt": [{"role": "user", "content": ASKED[j]}],
                "chosen": [{"role": "assistant", "content": text}],
                "rejected": [{"role": "assistant", "content": "something else"}],
            }
        source.append(turns)
    whole = read_pairs(source, tokenizer, max_length=256, holdout=0)
    expected = measure(lens, Rows.from_table(whole.tokens)).spans["chosen"]
    assert len(whole.pairs) == len(SAID)
    assert found["status"].to_pylist() == ["read"] * len(SAID)
    assert found["n_tokens"].to_pylist() == expected.n_tokens.tolist()
    features = rollout_features(found, lens.n_features)
    assert features.fire_count.indptr.tolist() == expected.indptr.tolist()
    assert features.fire_count.indices.tolist() == expected.feature_id.tolist()
    assert features.fire_count.data.tolist() == expected.fire_count.tolist()
    np.testing.assert_allclose(features.act_max.data, expected.act_max, rtol=1e-4)
    assert features.fire_count.sum() > 100


def test_a_rollout_is_read_the_same_whoever_stands_beside_it() -> None:
    tokenizer = byte_level()
    lens = a_lens(tokenizer)
    together = read(SAID, tokenizer, lens)
    for i, one in enumerate(SAID):
        single = read([one], tokenizer, lens).to_pylist()[0]
        beside = together.slice(i, 1).to_pylist()[0]
        assert {**single, "rollout_id": "", "act_max": []} == {**beside, "rollout_id": "", "act_max": []}
        np.testing.assert_allclose(single["act_max"], beside["act_max"], rtol=1e-4)


def test_silence_and_what_cannot_be_read_are_rows_and_take_no_partner_along() -> None:
    tokenizer = byte_level(LLAMA2, bos=True)  # strips content
    lens = a_lens(tokenizer)
    said = [(0, ""), (0, "Paris"), (0, " \n "), (1, "a fox " * 40), (1, "short"), (1, "")]
    found = read(said, tokenizer, lens, max_length=60)
    assert found["status"].to_pylist() == ["empty", "read", "empty", "read", "read", "empty"]
    assert found["truncated"].to_pylist() == [False, False, False, True, False, False]
    assert [n > 0 for n in found["n_tokens"].to_pylist()] == [False, True, False, True, True, False]
    assert rollout_features(found, lens.n_features).fire_count.sum(axis=1)[[0, 2, 5]].tolist() == [0, 0, 0]
    whole = read([(1, "a fox " * 40)], tokenizer, lens)
    assert found["n_tokens"][3].as_py() < whole["n_tokens"][0].as_py()
    gone = read([(0, "Paris"), (1, "Paris")], tokenizer, lens, max_length=16)  # shorter than one of the prompts
    assert set(gone["status"].to_pylist()) == {"truncated away"}

    refusing = byte_level("{% for m in messages %}{% if 'fox' in m.content %}{{ raise_exception('no') }}{% endif %}"
                          "{{ m.content }}<|im_end|>{% endfor %}")  # fmt: skip
    found = read([(0, "a fox"), (0, "a dog"), (0, "a cat")], refusing, a_lens(refusing))
    assert found["status"].to_pylist() == ["chat template refused", "read", "read"]


def test_tokens_that_are_not_the_texts_own_are_told() -> None:
    tokenizer = byte_level()
    lens = a_lens(tokenizer)
    letters = [tokenizer.convert_tokens_to_ids(c) for c in "Paris"]
    found = read([(0, "Paris"), (0, "Paris")], tokenizer, lens, ids={1: letters})
    assert found["retokenised"].to_pylist() == [False, True]
    assert found["n_tokens"][0] == found["n_tokens"][1]


def test_another_measurement_is_refused() -> None:
    check_measurement("abc", "abc")
    with pytest.raises(UserError, match="not the one that read the pairs"):
        check_measurement("abc", "abd")


def test_a_rollout_too_long_for_the_lens_is_named() -> None:
    tokenizer = byte_level()
    lens = a_lens(tokenizer, positions=80)
    with pytest.raises(UserError, match=r"reads at most 80.*|rollout prompt1:1") as caught:
        read([(0, "Paris"), (1, "a"), (1, "a fox " * 60)], tokenizer, lens, max_length=None)
    assert "rollout prompt1:" in str(caught.value)


def language_model(family: str = "llama", seed: int = 0) -> LanguageModel:
    model = causal_lm(family, seed)
    model.generation_config = GenerationConfig()
    return LanguageModel(model)


def alone(model: LanguageModel, prompt: np.ndarray, response: np.ndarray, temperature: float) -> float:
    """One sequence, no padding: what the model gave to each token of the response."""
    ids = torch.from_numpy(np.concatenate([prompt, response]).astype(np.int64))
    with torch.no_grad():
        logits = model.model(ids[None], use_cache=False).logits[0].double() / temperature
    logp = torch.log_softmax(logits, dim=-1)
    return sum(float(logp[prompt.size + t - 1, token]) for t, token in enumerate(response.tolist()))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma2"])  # gemma2: capped logits, sliding window
def test_log_probs_are_those_of_each_sequence_alone(family: str) -> None:
    model, rng = language_model(family), np.random.default_rng(2)
    sizes = [(3, 7), (20, 1), (1, 30), (9, 0), (5, 7), (40, 12)]
    prompts, responses = ([rng.integers(0, 97, row[i]).astype(np.int32) for row in sizes] for i in (0, 1))
    expected = [alone(model, p, r, 0.8) for p, r in zip(prompts, responses, strict=True)]
    for batch_tokens in (1, 90, 100_000):
        found = log_probs(model, prompts, responses, temperature=0.8, batch_tokens=batch_tokens)
        assert found == pytest.approx(expected, abs=2e-3)
    assert found[3] == 0
    assert (np.delete(found, 3) < 0).all()
    seen: list[int] = []
    log_probs(model, prompts, responses, batch_tokens=90, progress=seen.append)
    assert sum(seen) == 5
    assert log_probs(model, prompts, responses, temperature=0)[0] == pytest.approx(
        alone(model, prompts[0], responses[0], 1.0), abs=2e-3
    )


def test_log_probs_of_what_a_model_cannot_read() -> None:
    model = language_model()
    with pytest.raises(UserError, match=f"at most {POSITIONS}"):
        log_probs(model, [np.ones(POSITIONS, np.int32)], [np.ones(1, np.int32)])
    with pytest.raises(UserError, match="unknown to the model"):
        log_probs(model, [np.ones(3, np.int32)], [np.array([400], np.int32)])
    with torch.no_grad():
        model.model.lm_head.weight[7] = float("nan")
    with pytest.raises(UserError, match="no finite"):
        log_probs(model, [np.ones(3, np.int32)], [np.ones(1, np.int32)])


def test_scored_shards_are_kept(tmp_path: Path) -> None:
    tokenizer = byte_level()
    model = LanguageModel(causal_lm(vocab_size=len(tokenizer)))
    table = samples(SAID, tokenizer)
    source = Shards(tmp_path / "samples", "a", (SAMPLES,))
    source.write(0, {SAMPLES: table.slice(0, 4)})
    source.write(1, {SAMPLES: table.slice(4)})
    scored = Shards(tmp_path / "scored", "b", ("logprob",))
    score_rollouts(source, model, scored, temperature=1.0)
    first = scored.path("logprob", 0).stat().st_mtime_ns
    whole = [row for n in (0, 1) for row in scored.read("logprob", n).to_pylist()]
    assert [row["rollout_id"] for row in whole] == table["rollout_id"].to_pylist()
    for row, (_, text) in zip(whole, SAID, strict=True):
        ids = np.array(tokenizer(text, add_special_tokens=False)["input_ids"])
        assert row["logprob"] == pytest.approx(alone(model, np.array([5, 6]), ids, 1.0), abs=1e-3)
    scored.path("logprob", 1).unlink()
    score_rollouts(source, model, scored, temperature=1.0)
    assert [row for n in (0, 1) for row in scored.read("logprob", n).to_pylist()] == whole
    assert scored.path("logprob", 0).stat().st_mtime_ns == first


def test_effective_share_by_hand() -> None:
    """Weights 1, 1: both count. 1, 0: one of two. 3, 1 (at 900 nats): 16 / 10 of two. One rollout: unknown."""
    log_weight = np.array([5.0, 5.0, 0.0, -800.0, 900 + math.log(3), 900.0, 7.0])
    found = effective_share(log_weight, np.array([0, 0, 1, 1, 2, 2, 3]))
    assert found[:3] == pytest.approx([1.0, 0.5, 0.8])
    assert np.isnan(found[3])


def test_divergence_by_hand() -> None:
    """Prompts of mean log ratio 2, 4 and 0; the first two are one family: sums of deviations 2 and -2."""
    own, other = np.array([-1.0, -1, -2, -5]), np.array([-2.0, -4, -6, -5])
    found = divergence(own, other, np.array([0, 0, 1, 2]), np.array([8, 8, 8, 3]), np.array([4, 6, 3, 4]))
    assert found.kl == pytest.approx(2)
    assert found.standard_error == pytest.approx(math.sqrt((4 + 4) * 2) / 3)
    assert found.kl_per_token == pytest.approx(2 / 4)
    assert (found.n_prompts, found.n_families) == (3, 2)
    assert np.isnan(divergence(own[:2], other[:2], np.zeros(2, int), np.zeros(2), np.ones(2)).standard_error)


def test_rollouts_of_one_token_find_the_exact_divergence_and_the_exact_share() -> None:
    """Two models on one prompt, one token: KL and E[w^2] can be summed over the vocabulary."""
    from pretilt.models.sample import LocalSampler

    base, trained = language_model(), language_model()
    with torch.no_grad():
        trained.model.lm_head.weight += 0.05 * torch.randn(
            trained.model.lm_head.weight.shape, generator=torch.Generator().manual_seed(4)
        )
    prompt, n = np.array([4, 9, 30], np.int32), 3000
    ids = [
        d.ids
        for d in LocalSampler(base, stop_ids=(), max_new_tokens=1, batch_size=1000)([prompt] * n, [*map(str, range(n))])
    ]
    own, other = (log_probs(model, [prompt] * n, ids, batch_tokens=100_000) for model in (base, trained))
    p, q = (np.exp([alone(m, prompt, np.array([t]), 1.0) for t in range(97)]) for m in (base, trained))
    exact = float((p * np.log(p / q)).sum())
    assert exact > 0.005
    found = divergence(own, other, np.arange(n), np.arange(n), np.ones(n))
    assert abs(found.kl - exact) < 4 * found.standard_error
    assert found.standard_error < exact
    share = effective_share(other - own, np.zeros(n, int))[0]
    assert share == pytest.approx(1 / (q**2 / p).sum(), rel=0.1)
