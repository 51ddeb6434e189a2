"""Planted worlds: does the forecast come true where the truth is known?

    python benchmarks/worlds --out runs/worlds                              # all worlds of the small model, 3 seeds
    python benchmarks/worlds --out runs/worlds --worlds P2 P12 --seeds 1    # some of them
    python benchmarks/worlds --out runs/worlds --worlds dev-on dev-off --seeds 0
    python benchmarks/worlds --out runs/worlds --subject smollm2 --seeds 0  # SmolLM2-135M: an hour each on two cores
    python benchmarks/worlds --out runs/worlds --subject demo --seeds 0     # the bundled planted set A, the same way
    python benchmarks/worlds --out runs/worlds --subject real --source hh.jsonl --pairs 500 --seeds 0
    python benchmarks/worlds --out runs/worlds --tables                     # the tables of what is finished
    python benchmarks/worlds --out runs/worlds --tables --store             # and into docs/results/worlds.md

Every world is data, forecast, DPO run and rollouts by the product's own commands. Interrupt it at any moment: what is
finished is skipped, what was begun goes on. Defaults are chosen on dev-on and dev-off of seed 0; the others are
reported, of other seeds, since worlds of one seed share their pairs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import bank
import grammar
import plants
import small_model
import smollm2
import tables
import world

CONTROLS = ("P2", "P12", "S2")  # worlds that carry the controls, of their first seed
DICTIONARY = {"features": 512, "active": 12, "epochs": 6}
LAYER = 2
WORLDS = {"small": plants.WORLDS, "smollm2": smollm2.WORLDS, "demo": smollm2.DEMO, "real": smollm2.REAL}
TRAITS = {
    "small": plants.Traits(grammar.NAMES, grammar.traits_of), "smollm2": smollm2.TRAITS, "demo": smollm2.DEMO_TRAITS,
    "real": smollm2.TRAITS,
}  # fmt: skip


def small(out: Path) -> world.Subject:
    """The small model, trained if need be, with a dictionary fitted on its own answers."""
    from pretilt import api

    model, dictionary = out / "small" / "model", out / "small" / "dictionary"
    small_model.train(model)
    corpus = out / "small" / "corpus.jsonl"
    if not corpus.exists():
        asked = bank.questions(3000, 1000)
        texts = bank.answers(model, asked, 1000, out / "banks" / "small-1000.json")
        conversations = [
            [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
            for (question, _), two in zip(asked, texts, strict=True)
            for text in filter(None, two)
        ]
        _write_corpus(corpus, conversations)

    def fit(text: Path, folder: Path) -> None:
        if not (folder / "card.json").exists():
            api.fit(str(text), model=str(model), layer=LAYER, out=folder, **DICTIONARY)

    def refit(pairs: Path, folder: Path) -> None:
        rows = [json.loads(line) for file in (corpus, pairs) for line in file.read_text().splitlines()]
        both = [row["messages"] if "messages" in row else row["prompt"] + row[name] for row in rows
                for name in ("chosen", "rejected")[: 1 if "messages" in row else 2]]  # fmt: skip
        text = folder.with_name("corpus.jsonl")
        _write_corpus(text, both)
        fit(text, folder)

    fit(corpus, dictionary)

    def questions(seed: int) -> list[plants.Question]:
        asked = bank.questions(2000, seed)
        two = bank.answers(model, asked, seed, out / "banks" / f"small-{seed}.json")
        return [
            plants.Question([{"role": "user", "content": text}], topic, (first, second))
            for (text, topic), (first, second) in zip(asked, two, strict=True)
        ]

    return world.Subject(
        "small", {"model": str(model), "dictionary": str(dictionary), "layer": LAYER}, TRAITS["small"], questions,
        reference_prompts=400, per_prompt=6,
        rollouts={"max_new_tokens": bank.LONGEST, "batch_size": 128, "prompts_per_shard": 128},
        training={"learning_rate": 1e-4, "num_train_epochs": 1, "per_device_train_batch_size": 16, "beta": 0.1},
        refit=refit,
    )  # fmt: skip


def _write_corpus(path: Path, conversations: list[list[dict[str, str]]]) -> None:
    path.write_text("".join(json.dumps({"messages": one}) + "\n" for one in conversations))


def smol(name: str, pairs: int, prompts: int, answers: int, source: Path | None) -> world.Subject:
    """The bundled model through the bundled dictionary; of real pairs the first ones, cut at 256 tokens."""
    return world.Subject(
        name, {}, TRAITS[name], lambda seed: smollm2.questions(pairs, seed),
        reference_prompts=prompts, per_prompt=answers, rollouts=smollm2.ROLLOUTS,
        training={"learning_rate": 1e-5, "num_train_epochs": 1, "per_device_train_batch_size": 4,  # little padding
                  "gradient_accumulation_steps": 2, "beta": 0.1, "regime_pairs": 128},
        source=source, planted=smollm2.demo_rows if name == "demo" else None,
        audit={} if source is None else {"limit": pairs, "max_length": 256},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--subject", choices=sorted(WORLDS), default="small")
    parser.add_argument("--worlds", nargs="*", metavar="WORLD", help="by default all that are reported")
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--source", type=Path, help="the file of real pairs")
    parser.add_argument("--pairs", type=int, default=1000, help="of SmolLM2's worlds; on a GPU all 1,900")
    parser.add_argument(
        "--prompts", type=int, default=300, help="with rollouts for the covariance, of SmolLM2's worlds"
    )
    parser.add_argument(
        "--answers", type=int, default=4, help="to each held-out prompt, before and after, of SmolLM2's worlds"
    )
    parser.add_argument(
        "--no-controls", action="store_true", help=f"of {', '.join(CONTROLS)}: several hours with SmolLM2"
    )
    parser.add_argument("--tables", action="store_true", help="only print the tables of what is finished")
    parser.add_argument("--store", action="store_true", help="keep the tables for the documentation")
    given = parser.parse_args()
    known = WORLDS[given.subject]
    if unknown := sorted(set(given.worlds or ()) - set(known)):
        parser.error(f"there is no world {', '.join(unknown)}; there are {', '.join(known)}")
    if not given.tables and (given.subject == "real") != (given.source is not None):
        parser.error("--subject real and --source FILE go together")
    if not given.tables:
        run(given, known)
    printed = tables.tables_of(given.out, known, given.subject, TRAITS[given.subject])
    print("\n\n".join(map(str, printed)) or "No world is finished.")
    if given.store:
        tables.keep(printed, given.subject)


def run(given: Any, known: dict[str, plants.World]) -> None:
    """All worlds that were asked for, seed by seed."""
    if given.subject == "small":
        subject = small(given.out)
    else:
        subject = smol(given.subject, given.pairs, given.prompts, given.answers, given.source)
    for seed in given.seeds:
        for name in given.worlds or [one.name for one in known.values() if not one.development]:
            start = time.monotonic()
            folder = given.out / subject.name / f"{name}-{seed}"
            controls = name in CONTROLS and seed == given.seeds[0] and not given.no_controls
            world.run_world(known[name], subject, seed, folder, controls=controls)
            print(f"{name}, seed {seed}: {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
