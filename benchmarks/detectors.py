"""How well does each kind of detector do on families it did not see? Planted traits, and patterns token by token.

    python benchmarks/detectors.py --out runs/detectors --alpaca-eval alpaca-eval.jsonl    # half an hour on two cores
    python benchmarks/detectors.py --out runs/detectors --alpaca-eval alpaca-eval.jsonl --store

Everything is read at the bundled lens's layer. Planted traits: responses of demo sets A and B that hold the plant
against the others, labels per response. Patterns: tokens that a match covers against the others, in pairs of short
answers from AlpacaEval's annotations (the file that docs/results/real-pairs.md describes); links are rare there, and
those planted in A are read with them. Every figure is the mean over `--seeds` divisions of the families.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from stored import store

from pretilt.concepts.pattern_files import load_patterns
from pretilt.concepts.pattern_step import answer_text, question
from pretilt.concepts.patterns import count, covered_pieces
from pretilt.demo.step import DATA
from pretilt.detectors import fit as fitting
from pretilt.detectors.attention import fit_attention
from pretilt.detectors.detector import KINDS
from pretilt.detectors.examples import Examples, parts_of
from pretilt.detectors.linear import fit_linear
from pretilt.detectors.material import Material, material_of
from pretilt.detectors.scores import Judged, judge
from pretilt.detectors.step import read_examples
from pretilt.events import Events
from pretilt.lens.choice import choose_lens
from pretilt.lens.packing import Rows
from pretilt.lens.tokens import token_pieces
from pretilt.pairs.read import read_pairs
from pretilt.settings import AuditSettings

HERE = Path(__file__).parent / "data"
PATTERNS = ("bold", "link", "bulleted-list")
MOST_WITH, MOST_WITHOUT = 120, 60  # pairs of a pattern, and pairs without any of them
PLAIN_PAIRS = 100  # of a demo set, without any plant, beside those of each trait
BATCH_TOKENS = 1024


class Reader:
    """Pairs through the bundled model, once each."""

    def __init__(self) -> None:
        self.choice = choose_lens(AuditSettings(), Events())
        self.lens: Any = None

    def read(self, source: Path) -> tuple[pa.Table, pa.Table]:
        read = read_pairs(source, self.choice.tokenizer, holdout=0.0)
        assert read.tokens is not None
        return read.pairs, read.tokens

    def examples(self, material: Material) -> Examples:
        if self.lens is None:
            self.lens = self.choice.lens(pa.table({}))
        return read_examples(self.lens, material, BATCH_TOKENS, Events())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alpaca-eval", type=Path, help="without it the planted traits alone")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--store", action="store_true", help="keep the tables for the documentation")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    start, reader = time.monotonic(), Reader()

    figures: dict[str, Any] = {}
    if arguments.alpaca_eval:
        figures["patterns"] = patterns(reader, arguments.alpaca_eval, arguments.seeds)
    figures["traits"] = traits(reader, arguments.seeds)
    figures["seconds"] = round(time.monotonic() - start)
    (arguments.out / "detectors.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    if arguments.store:
        store_tables(figures)


def patterns(reader: Reader, source: Path, n_seeds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Pattern → kind → figures of tokens, one entry a seed."""
    chosen = {p.name: p for p in load_patterns(None) if p.name in PATTERNS}
    sets = [reader.read(source), reader.read(DATA / "demo-a.jsonl.gz")]
    shift = int(sets[0][0]["family_id"].to_numpy().max()) + 1
    second = sets[1][0]
    families = pa.array(second["family_id"].to_numpy() + shift, pa.int32())
    second = second.set_column(second.schema.get_field_index("family_id"), "family_id", families)
    pairs, tokens = pa.concat_tables([sets[0][0], second]), pa.concat_tables([sets[0][1], sets[1][1]])

    holds = {name: counts > 0 for name, counts in _counts(pairs, list(chosen.values())).items()}
    is_planted = np.arange(len(pairs)) >= len(sets[0][0])
    rng = np.random.default_rng(0)
    plain = np.flatnonzero(~np.any(list(holds.values()), axis=0) & ~is_planted)
    rows_of = {}
    for name in PATTERNS:
        allowed = holds[name] & (~is_planted | (name == "link"))
        rows_of[name] = np.concatenate(
            [rng.permutation(np.flatnonzero(allowed))[:MOST_WITH], rng.permutation(plain)[:MOST_WITHOUT]]
        )

    figures = {}
    for name, pattern in chosen.items():
        rows = np.sort(rows_of[name])
        of_pairs, of_tokens = pairs.take(pa.array(rows)), tokens.take(pa.array(rows))
        sides = Rows.from_table(of_tokens)
        labels = []
        for i, prompt in enumerate(of_pairs["prompt"].to_pylist()):
            both = [
                covered_pieces(
                    pattern,
                    token_pieces(reader.choice.tokenizer, sides.ids[i][s][sides.content[i][s]]),
                    question(prompt),
                )
                for s in (1, 2)
            ]
            labels.append((both[0], both[1]))
        label = np.array([[side.any() for side in both] for both in labels])
        examples = reader.examples(material_of(of_pairs, of_tokens, label, labels, name))
        share = float(examples.token_label.mean()) if examples.token_label is not None else 0.0
        print(f"{name}: {len(rows)} pairs, {len(examples.h):,} tokens, {share:.1%} of them covered", flush=True)
        figures[name] = _over_seeds(name, examples, n_seeds, variants=True)
    return figures


def _counts(pairs: pa.Table, some: Sequence[Any]) -> dict[str, np.ndarray]:
    questions = [question(messages) for messages in pairs["prompt"].to_pylist()]
    sides = [
        count(some, [answer_text(messages) for messages in pairs[side].to_pylist()], questions)
        for side in ("chosen", "rejected")
    ]
    return {pattern.name: sides[0][:, i] + sides[1][:, i] for i, pattern in enumerate(some)}


def traits(reader: Reader, n_seeds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Set and trait → kind → figures of responses, one entry a seed."""
    figures = {}
    for which, folder in (("a", DATA), ("b", HERE)):
        truth = json.loads((folder / f"demo-{which}-truth.json").read_text(encoding="utf-8"))
        pairs, tokens = reader.read(folder / f"demo-{which}.jsonl.gz")
        row = pairs["row_index"].to_numpy()
        plant = np.array([str(name) for name in truth["rows"]["plant"]])[row]
        side = np.array([str(name) for name in truth["rows"]["side"]])[row]
        names = [name for name, rule in truth["rules"].items() if rule["role"] == "plant" and rule["sides"] != "both"]
        plain = np.random.default_rng(0).permutation(np.flatnonzero(plant == "None"))[:PLAIN_PAIRS]
        rows = np.sort(np.concatenate([np.flatnonzero(np.isin(plant, names)), plain]))
        some = pairs.take(pa.array(rows))
        holds = np.column_stack([np.isin(side[rows], (s, "both")) for s in ("chosen", "rejected")])
        all_examples = reader.examples(material_of(some, tokens.take(pa.array(rows)), holds, None, which))
        for name in names:
            of_trait = np.isin(plant[rows], (name, "None"))
            kept = np.flatnonzero(of_trait[all_examples.pair])
            examples = all_examples.take(kept)
            examples = replace(examples, label=examples.label & (plant[rows] == name)[examples.pair])
            figures[f"{which.upper()}: {name}"] = _over_seeds(f"{which}: {name}", examples, n_seeds, variants=False)
    return figures


def _over_seeds(name: str, examples: Examples, n_seeds: int, *, variants: bool) -> dict[str, list[dict[str, float]]]:
    """Kind → figures of every seed; with `variants` also what the kinds are compared with in the documentation."""
    figures: dict[str, list[dict[str, float]]] = {}
    for seed in range(n_seeds):
        fitted, _ = fitting.fit_kinds(examples, seed=seed)
        judged = {kind: fitted[kind].token or fitted[kind].response for kind in KINDS}
        if variants:
            judged |= _variants(examples, seed)
        for kind, figure in judged.items():
            values = {"auroc": figure.auroc, "average_precision": figure.average_precision, "f1": figure.f1}
            figures.setdefault(kind, []).append(values)
        best = fitting.best_kind(fitted)
        text = ", ".join(f"{kind} {figure.auroc:.3f}/{figure.f1:.3f}" for kind, figure in judged.items())
        print(f"{name}, seed {seed}: {text}; best on validation: {best}", flush=True)
        figures.setdefault("best", []).append(figures[best][-1])
    return figures


def _variants(examples: Examples, seed: int) -> dict[str, Judged]:
    """Difference of means and linear probe from labels of responses, and attention without its slope; all judged by
    tokens."""
    part = parts_of(examples.family, seed)
    train, validation, heldout = (examples.take(np.flatnonzero(part == i)) for i in range(3))
    without_tokens = replace(train, token_label=None)

    def judged(detector: Any) -> Judged:
        scores = [detector.scores(some.h, some.starts) for some in (validation, heldout)]
        assert validation.token_label is not None and heldout.token_label is not None
        return judge(scores[0], validation.token_label, scores[1], heldout.token_label)

    def best(candidates: list[Judged]) -> Judged:
        return max(candidates, key=lambda figure: figure.validation_average_precision)

    flat = []
    for penalty in fitting.ATTENTION_PENALTIES:
        start = fit_linear(train, penalty).weight.astype(np.float64)
        flat.append(judged(fit_attention(train, penalty, start, with_slope=False)))
    return {
        "difference, labels of responses": judged(fitting.fit_difference(without_tokens)),
        "linear, labels of responses": best([judged(fit_linear(without_tokens, p)) for p in fitting.PENALTIES]),
        "attention without slope": best(flat),
    }


def store_tables(figures: dict[str, Any]) -> None:
    """AUROC / F1 of every kind, the mean over the seeds."""
    for table, kinds in (
        ("patterns", [*KINDS, "difference, labels of responses", "linear, labels of responses",
                      "attention without slope"]),
        ("traits", [*KINDS, "best"]),
    ):  # fmt: skip
        if table in figures:
            rows = [[name, *(_cell(of_kinds[kind]) for kind in kinds)] for name, of_kinds in figures[table].items()]
            store("detectors", table, ["", *kinds], rows)


def _cell(entries: list[dict[str, float]]) -> str:
    return " / ".join(f"{np.mean([entry[name] for entry in entries]):.3f}" for name in ("auroc", "f1"))


if __name__ == "__main__":
    main()
