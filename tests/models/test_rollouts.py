"""Sampling: the right distribution, the same answer whatever the batch, stops, log-probabilities, choice of prompts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tiny_models import POSITIONS, VOCAB, causal_lm
from tiny_tokenizers import byte_level, sentencepiece_like
from tokenizers import decoders
from transformers import GenerationConfig

from pretilt.errors import UserError
from pretilt.models.language import LanguageModel, load_language_model, stop_ids
from pretilt.models.sample import LocalSampler, uniforms
from pretilt.models.sampler import Drawn
from pretilt.rollouts.prompts import Prompts, select_prompts
from pretilt.rollouts.sampling import SAMPLES, RolloutSettings, decoded, sample
from pretilt.run import Shards

STOP = (3, 50, 77)


def language_model(family: str = "llama", **changes: Any) -> LanguageModel:
    model = causal_lm(family, **changes)
    model.generation_config = GenerationConfig()
    return LanguageModel(model)


def prompts_of(sizes: list[int], seed: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB, n).astype(np.int32) for n in sizes]


def sampler(model: LanguageModel, **changes: Any) -> LocalSampler:
    return LocalSampler(model, **{"stop_ids": STOP, "max_new_tokens": 24, "batch_size": 8, **changes})


def alone(model: LanguageModel, ids: np.ndarray) -> torch.Tensor:
    """Log-probabilities (n, vocabulary) of what follows each token: one sequence, no padding, no cache."""
    with torch.no_grad():
        logits = model.model(torch.from_numpy(ids.astype(np.int64))[None], use_cache=False).logits[0]
    return torch.log_softmax(logits.double(), dim=-1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma3"])  # rotary, absolute, ALiBi, sliding window
def test_an_answer_does_not_depend_on_its_batch(family: str) -> None:
    model, prompts = language_model(family), prompts_of([3, 17, 9, 1, 30, 9])
    streams = [f"0:before:p{i}:0" for i in range(6)]
    together = sampler(model)(prompts, streams)
    single = sampler(model, batch_size=1)(prompts, streams)
    backwards = sampler(model, batch_size=4)(prompts[::-1], streams[::-1])[::-1]
    for one, two, three in zip(together, single, backwards, strict=True):
        assert one.ids.tolist() == two.ids.tolist() == three.ids.tolist()
        assert one.logprob == pytest.approx(two.logprob, abs=1e-4)
    assert len({tuple(d.ids.tolist()) for d in together}) == 6


@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
def test_greedy_is_the_most_likely_token_each_time_and_logprob_is_the_models_own(family: str) -> None:
    model, prompts = language_model(family), prompts_of([2, 11, 6])
    drawn = sampler(model, temperature=0.0)(prompts, ["a", "b", "c"])
    for prompt, one in zip(prompts, drawn, strict=True):
        ids, total = prompt.copy(), 0.0
        while len(ids) < len(prompt) + 24 and not (len(ids) > len(prompt) and ids[-1] in STOP):
            logp = alone(model, ids)[-1]
            total += float(logp.max())
            ids = np.append(ids, np.int32(logp.argmax()))
        assert one.ids.tolist() == ids[len(prompt) :].tolist()
        assert one.logprob == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_tokens_come_as_often_as_the_model_says(temperature: float) -> None:
    model, n = language_model(), 4000
    prompt = prompts_of([5])[0]
    drawn = sampler(model, max_new_tokens=1, temperature=temperature, batch_size=500)(
        [prompt] * n, list(map(str, range(n)))
    )
    logits = alone(model, prompt)[-1] / temperature
    p = torch.softmax(logits, dim=-1).numpy()
    count = np.bincount([d.ids[0] for d in drawn], minlength=VOCAB)
    common = p * n > 8
    assert common.sum() > 10
    others = n - count[common].sum(), n * (1 - p[common].sum())
    chi = ((count[common] - n * p[common]) ** 2 / (n * p[common])).sum() + (others[0] - others[1]) ** 2 / max(
        others[1], 1
    )
    freedom = common.sum()
    assert chi < freedom + 4 * np.sqrt(2 * freedom)
    for one in drawn[:50]:
        assert one.logprob == pytest.approx(np.log(p[one.ids[0]]), abs=1e-4)


def test_an_answer_ends_with_its_first_stop_token() -> None:
    model = language_model()
    drawn = sampler(model, stop_ids=tuple(range(0, VOCAB, 7)))(prompts_of([4] * 40), [str(i) for i in range(40)])
    finished = [d for d in drawn if d.finished]
    cut = [d for d in drawn if not d.finished]
    assert len(finished) > 10
    for one in finished:
        assert one.ids[-1] % 7 == 0
        assert (one.ids[:-1] % 7 != 0).all()
    assert all(d.ids.size == 24 and (d.ids % 7 != 0).all() for d in cut)
    unstopped = sampler(model, stop_ids=())(prompts_of([4] * 3), ["0", "1", "2"])
    assert [(d.ids.size, d.finished) for d in unstopped] == [(24, False)] * 3
    assert unstopped[0].ids[: drawn[0].ids.size].tolist() == drawn[0].ids.tolist()  # stopping changes nothing before it


def test_random_streams() -> None:
    a, b = uniforms("0:before:p:0", 1000), uniforms("0:after:p:0", 1000)
    assert uniforms("0:before:p:0", 10).tolist() == a[:10].tolist()
    assert a.min() >= 0
    assert a.max() < 1
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.12
    assert abs(a.mean() - 0.5) < 0.04


def test_the_models_own_sampling_habits_are_set_aside(tmp_path: Path) -> None:
    model = causal_lm()
    model.save_pretrained(tmp_path / "plain")
    model.generation_config = GenerationConfig(
        do_sample=True, top_k=1, repetition_penalty=9.0, eos_token_id=5, min_new_tokens=3, no_repeat_ngram_size=1
    )
    model.save_pretrained(tmp_path / "habits")
    texts = [
        sampler(load_language_model(tmp_path / name), stop_ids=())(prompts_of([6, 3]), ["x", "y"])
        for name in ("plain", "habits")
    ]
    assert [d.ids.tolist() for d in texts[0]] == [d.ids.tolist() for d in texts[1]]
    assert len(texts[0][0].ids) != len(set(texts[0][0].ids.tolist()))  # it does repeat itself


def test_what_a_model_cannot_do_is_said() -> None:
    model = language_model()
    with pytest.raises(UserError, match=f"reads at most {POSITIONS}"):
        sampler(model)(prompts_of([POSITIONS - 23]), ["x"])
    with pytest.raises(UserError, match=f"token id {VOCAB} is unknown"):
        sampler(model)([np.array([1, VOCAB], np.int32)], ["x"])
    with torch.no_grad():
        model.model.lm_head.weight[7] = float("nan")
    with pytest.raises(UserError, match="no finite probabilities"):
        sampler(model)(prompts_of([4]), ["x"])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"per_prompt": 0}, "'per_prompt' is not accepted.*1"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": 0.0, "per_prompt": 2}, "all the same"),
        ({"split": "test"}, "'split' is not accepted.*'heldout'"),
        ({"n_propmts": 3}, "option 'n_propmts' is not accepted.*Known options"),
    ],
)
def test_settings_out_of_range(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        RolloutSettings.like({}, **wrong)


def test_stop_ids_are_eos_and_the_end_of_turn(tmp_path: Path) -> None:
    tokenizer = byte_level()
    end, start = (tokenizer.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|im_start|>"))
    tokenizer.eos_token = "<|endoftext|>"  # which the template never prints
    model = causal_lm(vocab_size=len(tokenizer), eos_token_id=9)
    model.generation_config = GenerationConfig(eos_token_id=[9, 11])
    model.save_pretrained(tmp_path)
    ends = [[20, 21, end, 30], [20, 22, end, 30], [20, start]]
    content = [[True, True, False, False], [True, True, False, False], [True, True]]
    tokens = pa.table({"chosen_ids": ends, "chosen_content": content})
    assert stop_ids(tmp_path, None, tokenizer, tokens) == tuple(sorted({tokenizer.eos_token_id, 9, 11, end}))
    plain = pa.table({"chosen_ids": [[20, 21, 30]], "chosen_content": [[True, True, False]]})  # an ordinary token
    assert stop_ids(tmp_path, None, tokenizer, plain) == tuple(sorted({tokenizer.eos_token_id, 9, 11}))


def test_text_continues_its_prompt() -> None:
    tokenizer = byte_level()
    prompt = np.array(tokenizer("The capital of France is")["input_ids"])
    ids = np.array(tokenizer(" Köln, 你好")["input_ids"])
    assert decoded(tokenizer, prompt, ids, True) == " Köln, 你好"
    assert decoded(tokenizer, prompt, ids[:-1], False) == " Köln, 你"  # the last character was cut in half
    spaced = sentencepiece_like()  # with the real ones' decoder, which drops the first space of what it is given
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    spaced.backend_tokenizer.decoder = decoders.Sequence(steps)
    prompt, ids = (
        np.array(spaced(text, add_special_tokens=first)["input_ids"])
        for text, first in (("The capital of France is", True), ("Paris", False))
    )
    assert spaced.decode(ids.tolist()) == "Paris"
    assert decoded(spaced, prompt, ids, True) == " Paris"


def _prompts(n: int) -> Prompts:
    ids = prompts_of(list(range(2, n + 2)))
    names = [hashlib.sha256(str(i).encode()).hexdigest()[:20] for i in range(n)]
    return Prompts(names, [f"pair{i}" for i in range(n)], np.arange(n, dtype=np.int32), ids, {})


def test_the_table_of_rollouts(tmp_path: Path) -> None:
    answers = {
        "0:before:{p}:0": Drawn(np.array([40, 41, 2], np.int32), True, -3.5),
        "0:before:{p}:1": Drawn(np.array([2], np.int32), True, -1.0),
        "0:before:{p}:2": Drawn(np.array([40, 41, 42], np.int32), False, -9.0),
    }
    prompts, tokenizer = _prompts(3), byte_level()
    asked: list[str] = []

    def draw(_: Any, streams: Any) -> list[Drawn]:
        asked.extend(streams)
        return [answers[s.replace(s.split(":")[2], "{p}")] for s in streams]

    shards, seen = Shards(tmp_path, "key", (SAMPLES,)), []
    settings = RolloutSettings(per_prompt=3, prompts_per_shard=2)
    for _ in range(2):
        sample(
            prompts, draw, tokenizer, shards, settings, role="before", stop_ids=(2,),
            progress=lambda done, total: seen.append((done, total)),
        )  # fmt: skip
    assert seen == [(0, 9), (6, 9), (9, 9), (9, 9)]  # nothing is drawn twice
    assert asked == [f"0:before:{p}:{k}" for p in prompts.prompt_id for k in range(3)]
    table = pa.concat_tables([shards.read(SAMPLES, n) for n in range(2)])
    assert table["n_tokens"].to_pylist() == [2, 0, 3] * 3
    assert table["finished"].to_pylist() == [True, True, False] * 3
    assert table["text"].to_pylist()[:2] == [tokenizer.decode([40, 41]), ""]
    assert table["logprob"].to_pylist() == [-3.5, -1.0, -9.0] * 3
    assert table["ids"].to_pylist()[1] == [2]
    assert table["rollout_id"][5].as_py() == f"{prompts.prompt_id[1]}:2"


def pairs_and_tokens() -> tuple[pa.Table, pa.Table]:
    """Held out: "a" twice, with 3 and 4 ids; "b" with tools and without; "long"; "none" without ids. Train: "t"."""
    from pretilt.pairs.pair import Message, Pair
    from pretilt.schema import PAIRS

    rows = [("a", None, "heldout", 3), ("a", None, "heldout", 4), ("b", None, "heldout", 5), ("b", "[]", "heldout", 6)]
    rows += [("long", None, "heldout", 90), ("none", None, "heldout", 0), ("t", None, "train", 3)]
    fields: dict[str, Any] = {name: [None] * len(rows) for name in PAIRS.names}
    for i, (text, tools, split, _) in enumerate(rows):
        pair = Pair(i, (Message("user", text),), (Message("assistant", f"c{i}"),), (Message("assistant", f"r{i}"),))
        pair = replace(pair, tools=tools)
        for name in ("prompt", "chosen", "rejected"):
            fields[name][i] = [{"role": m.role, "content": m.content, "extra": None} for m in getattr(pair, name)]
        fields["pair_id"][i], fields["tools"][i], fields["split"][i] = f"p{i}", tools, split
        fields["row_index"][i], fields["is_chat"][i], fields["family_id"][i] = i, True, i // 2
    table = pa.table([pa.array(fields[f.name], f.type) for f in PAIRS], schema=PAIRS)
    return table, pa.table({"prompt_ids": [list(range(n)) for *_, n in rows]})


def test_distinct_prompts_are_chosen_by_seed_and_nothing_else() -> None:
    pairs, tokens = pairs_and_tokens()
    found = select_prompts(pairs, tokens, max_prompt_tokens=80)
    assert found.pair_id == ["p1", "p2", "p3"]  # the longest ids of prompt "a"; tools make another prompt; short first
    assert [x.size for x in found.ids] == [4, 5, 6]
    assert found.family_id.tolist() == [0, 1, 1]
    assert found.counts == {"pairs": 6, "distinct": 5, "too_long": 1, "empty": 1, "used": 3}
    assert select_prompts(pairs, tokens, split="train").pair_id == ["p6"]
    assert len(select_prompts(pairs, tokens, split="all", n_prompts=100)) == 5
    order = np.random.default_rng(0).permutation(len(pairs))
    for seed in range(6):
        two = select_prompts(pairs, tokens, n_prompts=2, seed=seed)
        three = select_prompts(pairs, tokens, n_prompts=3, seed=seed)
        assert set(two.prompt_id) < set(three.prompt_id)
        again = select_prompts(pairs.take(order), tokens.take(order), n_prompts=2, seed=seed)
        assert again.prompt_id == two.prompt_id
    drawn = {tuple(select_prompts(pairs, tokens, n_prompts=2, seed=s).prompt_id) for s in range(20)}
    assert len(drawn) > 2


def test_no_prompt_left_is_one_line() -> None:
    pairs, tokens = pairs_and_tokens()
    with pytest.raises(UserError, match="4 too long"):
        select_prompts(pairs, tokens, max_prompt_tokens=2)
    train = pairs.slice(6)
    with pytest.raises(UserError, match="larger --holdout"):
        select_prompts(train, tokens.slice(6))
    with pytest.raises(UserError, match="no split 'test'"):
        select_prompts(pairs, tokens, split="test")
