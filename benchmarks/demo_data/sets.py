"""From the bank of sampled responses to the two demo sets and their truth files.

Run as `python -m demo_data.sets --bank BANK --set a --out FOLDER [--tokenizer FOLDER]`. The result depends on the
bank, the texts and the set's seed only. It writes

- `demo-a.jsonl.gz`: one pair a line, `prompt` / `chosen` / `rejected` as lists of messages, and `topic`;
- `demo-a-truth.json`: what was planted, as columns aligned with the lines, and a summary (see `build_set`).

Which of a prompt's two responses is *chosen* is a coin toss; where something is planted, it is what makes the two sides
equally long. So nothing but what is planted tells the sides apart. At most one rule touches a pair.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demo_data import bank as bank_file
from demo_data.plants import Plant, add, closest, length, plain, read_plants
from demo_data.topics import SEEDS, SETS, Message, Prompt, prompts

N_PLANTED = 50  # pairs of each plant and decoy, if the prompts it may stand on allow it
COLUMNS = ("plant", "role", "side", "variant", "text", "topic", "kind", "family", "prompt_id")


class _Draft:
    """A pair on its way: its prompt and the usable sentences of both responses."""

    def __init__(self, prompt: Prompt, chosen: list[str], rejected: list[str]) -> None:
        self.prompt, self.chosen, self.rejected = prompt, chosen, rejected
        self.plant: Plant | None = None
        self.side: str | None = None
        self.text: str | None = None


def _can_carry(plant: Plant, draft: _Draft) -> bool:
    if draft.plant is not None or (plant.kind or draft.prompt.kind) != draft.prompt.kind:
        return False
    if plant.kind is None and draft.prompt.kind == "trap":
        return False
    if plant.where in ("bullets", "numbered"):  # a list is long: the other side must have room to match it
        lists = add(draft.chosen, "One two three:", plant.where, random.Random(0))
        return bool(lists) and length(lists[0]) <= length("".join(draft.rejected)) + 3
    return True


def _assign(plants: Sequence[Plant], drafts: Sequence[_Draft], rng: random.Random) -> None:
    for plant in plants:
        free = [d for d in drafts if _can_carry(plant, d)]
        n = len(free) if plant.role == "trap" else min(N_PLANTED, len(free))
        n -= n % 2 if plant.sides == "half" else 0
        for number, draft in enumerate(rng.sample(free, n)):
            draft.plant = plant
            halves = {"half": ("chosen", "rejected")[number % 2], "both_same": "both"}
            draft.side = halves.get(plant.sides, plant.sides)


def _plant_one(draft: _Draft, text: str, second: str, rng: random.Random) -> tuple[str, str]:
    """The two finished responses. `second` is the text for the other side, if the plant puts one there.

    Which of the two sampled responses is chosen is settled here: as it balances length best.
    """
    plant, side = draft.plant, draft.side
    assert plant is not None
    best = None
    for chosen, rejected in ((draft.chosen, draft.rejected), (draft.rejected, draft.chosen)):
        left = plain(chosen) if side == "rejected" else add(chosen, text, plant.where, rng)
        right = plain(rejected)
        if plant.sides == "both":
            right = [second]
        elif plant.sides == "both_same" or side == "rejected":
            right = add(rejected, second, plant.where, rng)
        if left and right:
            cost, *answers = closest(left, right)
            if best is None or cost < best[0]:
                best = (cost, answers[0], answers[1])

    assert best is not None  # `_can_carry` has seen to it
    return best[1], best[2]


def build_set(which: str, bank: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The pairs of set "a" or "b" and the truth about them.

    `bank` has a row per prompt: `prompt_id`, `responses` (each with `text`, `finished`); the first two usable ones make
    the pair. Prompts with fewer are left out and counted. The truth is a dict: `set`, `n_pairs`, `n_unusable`, `rules`
    (per plant, decoy and trap: role, sides, directions, number of pairs, share, distinct texts) and `rows`, a column
    per name in `COLUMNS`, null where nothing is planted; `variant` counts the distinct texts of a plant.
    """
    responses = {row["prompt_id"]: row["responses"] for row in bank}
    rng = random.Random(SEEDS[which] + 1)
    drafts = []
    n_unusable = 0
    for prompt in prompts(which):
        if prompt.prompt_id not in responses:
            continue
        sides = bank_file.usable(prompt, responses[prompt.prompt_id])[:2]
        rng.shuffle(sides)
        if len(sides) < 2:
            n_unusable += 1
            continue
        drafts.append(_Draft(prompt, *sides))
    rng.shuffle(drafts)

    plants = read_plants(which)
    _assign(plants, drafts, rng)
    texts = {p.name: p.variants(rng) for p in plants}
    other_texts = {p.name: p.other_variants(rng) if p.other else p.variants(rng) for p in plants}
    variant_numbers: dict[str, dict[str, int]] = {p.name: {} for p in plants}
    pairs, rows = [], []
    for draft in drafts:
        plant, variant = draft.plant, None
        if plant is None:
            answers = "".join(draft.chosen).strip(), "".join(draft.rejected).strip()
        else:
            text = second = next(texts[plant.name])
            while second == text and plant.sides in ("both", "both_same"):
                second = next(other_texts[plant.name])
            answers = _plant_one(draft, text, second, rng)
            variant = variant_numbers[plant.name].setdefault(text, len(variant_numbers[plant.name]))
            draft.text = text
        pairs.append(_pair(draft.prompt, *answers))
        values = (
            plant.name if plant else None,
            plant.role if plant else None,
            draft.side,
            variant,
            draft.text,
            draft.prompt.topic,
            draft.prompt.kind,
            draft.prompt.family,
            draft.prompt.prompt_id,
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    rules = {}
    for p in plants:
        n = sum(row["plant"] == p.name for row in rows)
        rules[p.name] = {
            "role": p.role,
            "sides": p.sides,
            "where": p.where,
            "only_on": p.kind,
            "directions": list(p.directions),
            "n_pairs": n,
            "share": round(n / len(rows), 4) if rows else 0.0,
            "n_variants": len(variant_numbers[p.name]),
        }
    truth = {
        "set": which,
        "n_pairs": len(rows),
        "n_unusable": n_unusable,
        "rules": rules,
        "rows": {name: [row[name] for row in rows] for name in COLUMNS},
    }
    return pairs, truth


def _pair(prompt: Prompt, chosen: str, rejected: str) -> dict[str, Any]:
    def answer(text: str) -> list[Message]:
        return [{"role": "assistant", "content": text}]

    return {
        "prompt": list(prompt.messages),
        "chosen": answer(chosen),
        "rejected": answer(rejected),
        "topic": prompt.topic,
    }


def count_tokens(pairs: Sequence[Mapping[str, Any]], tokenizer: Any) -> dict[str, int]:
    """Tokens to read for a set, template included: every prompt once, then both responses with their end of turn."""

    def tokens(messages: Sequence[Message], *, ask: bool) -> int:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=ask)
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    counts = {"prompt": 0, "chosen": 0, "rejected": 0}
    for pair in pairs:
        n_prompt = tokens(pair["prompt"], ask=True)
        counts["prompt"] += n_prompt
        for side in ("chosen", "rejected"):
            counts[side] += tokens([*pair["prompt"], *pair[side]], ask=False) - n_prompt
    return counts | {"total": sum(counts.values())}


def write_set(which: str, bank: Sequence[Mapping[str, Any]], out: Path, tokenizer: Any = None) -> dict[str, Any]:
    """Build a set and write its two files; returns the truth. The same input gives the same bytes."""
    pairs, truth = build_set(which, bank)
    if tokenizer is not None:
        truth = {key: value for key, value in truth.items() if key != "rows"} | {
            "n_tokens": count_tokens(pairs, tokenizer),
            "rows": truth["rows"],
        }
    bank_file.write_rows(out / f"demo-{which}.jsonl.gz", pairs)
    lines = [f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in truth.items() if k != "rows"]
    columns = [f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in truth["rows"].items()]
    lines.append('"rows": {\n' + ",\n".join(columns) + "\n}")
    (out / f"demo-{which}-truth.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return truth


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_data.sets", description=__doc__.splitlines()[0])
    parser.add_argument("--bank", required=True, type=Path, help="bank.jsonl.gz, as demo_data.bank writes it")
    parser.add_argument("--set", required=True, choices=SETS)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--tokenizer", help="folder of the subject model: counts the tokens to read")
    chosen = parser.parse_args(arguments)
    tokenizer = None
    if chosen.tokenizer:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(chosen.tokenizer)
    truth = write_set(chosen.set, bank_file.read_rows(chosen.bank), chosen.out, tokenizer)
    print({key: value for key, value in truth.items() if key not in ("rows", "rules")})
    for name, rule in truth["rules"].items():
        print(f"{name:18} {rule['role']:6} {rule['n_pairs']:3} pairs ({rule['share']:.1%}), {rule['n_variants']} texts")


if __name__ == "__main__":
    main()
