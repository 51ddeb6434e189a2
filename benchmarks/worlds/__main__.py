"""Planted worlds: does the forecast come true where the truth is known?

    python benchmarks/worlds --out runs/worlds                              # all worlds of the small model, 3 seeds
    python benchmarks/worlds --out runs/worlds --worlds P2 P12 --seeds 0    # some of them
    python benchmarks/worlds --out runs/worlds --tables                     # the tables of what is finished

Every world is data, forecast, DPO run and rollouts by the product's own commands. Interrupt it at any moment: what is
finished is skipped, what was begun goes on. Defaults are chosen on dev-on and dev-off, the others are reported.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import bank
import plants
import small_model
import tables
import world

CONTROLS = ("P2", "P12")  # worlds that carry the controls, of their first seed
DICTIONARY = {"n_features": 512, "active": 12, "epochs": 6}
LAYER = 2


def small(out: Path) -> world.Subject:
    """The small model, trained if need be, with a dictionary fitted on its own answers."""
    from tiltmeter import pipeline

    model, dictionary = out / "small" / "model", out / "small" / "dictionary"
    small_model.train(model)
    if not (dictionary / "card.json").exists():
        asked = bank.questions(3000, 1000)
        texts = bank.answers(model, asked, 1000, out / "banks" / "small-1000.json")
        corpus = out / "small" / "corpus.jsonl"
        with corpus.open("w") as f:
            for (question, _), two in zip(asked, texts, strict=True):
                for text in filter(None, two):
                    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
                    f.write(json.dumps({"messages": messages}) + "\n")
        pipeline.fit(str(corpus), model=str(model), layer=LAYER, out=dictionary, **DICTIONARY)
    return world.Subject(
        "small", model, dictionary, LAYER, n_pairs=2000, reference_prompts=400, per_prompt=6,
        max_new_tokens=bank.LONGEST,
        training={"learning_rate": 1e-4, "num_train_epochs": 1, "per_device_train_batch_size": 16, "beta": 0.1},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", nargs="*", choices=sorted(plants.WORLDS), default=list(plants.WORLDS))
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--tables", action="store_true", help="only print the tables of what is finished")
    arguments = parser.parse_args()
    if not arguments.tables:
        subject = small(arguments.out)
        for seed in arguments.seeds:
            for name in arguments.worlds:
                start = time.monotonic()
                folder = arguments.out / subject.name / f"{name}-{seed}"
                controls = name in CONTROLS and seed == arguments.seeds[0]
                world.run_world(plants.WORLDS[name], subject, seed, folder, arguments.out / "banks", controls=controls)
                print(f"{name}, seed {seed}: {time.monotonic() - start:.0f} s", flush=True)
    print(tables.text(arguments.out))


if __name__ == "__main__":
    main()
