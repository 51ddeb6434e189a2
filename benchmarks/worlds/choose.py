"""Which form of the score and which rung is the default: every one of them on the development worlds.

python benchmarks/worlds/choose.py --out runs/worlds        # needs dev-on and dev-off, finished
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tiltmeter.forecast.baselines import length_only, prevalence_only
from tiltmeter.forecast.covariance import from_rollouts
from tiltmeter.forecast.judge import Judgement, judge
from tiltmeter.forecast.ladder import Ladder
from tiltmeter.forecast.observed import realised
from tiltmeter.forecast.preference import BradleyTerry, fit_preference
from tiltmeter.forecast.samples import PairDeltas, Rollouts
from tiltmeter.forecast.scores import SCORE_FORMS
from tiltmeter.pipeline.concept_scores import concept_bank, pair_deltas, rollouts_of
from tiltmeter.pipeline.result import open_run
from tiltmeter.settings import AuditSettings

TIMES = (1.0, 4.0, 16.0)


def candidates(pairs: PairDeltas, reference: Rollouts) -> Iterator[tuple[str, np.ndarray]]:
    """(name, forecast) of every rung."""
    model = BradleyTerry(pairs)
    base = from_rollouts(reference)
    variance = base.variances()
    inverse = np.divide(1.0, variance, out=np.zeros_like(variance), where=variance > 0)
    ladder = Ladder(model, fit_preference(model), base, reference)
    yield from ladder.predict().shift.items()
    scaled = Ladder(model, ladder.preference, base, reference, metric=inverse)
    yield "one_step, kernel 1/variance", scaled.predict().shift["one_step"]
    for time in TIMES:
        timed = Ladder(model, ladder.preference, base, time=time, metric=inverse)
        yield f"timed {time:g}, kernel 1/variance", timed.predict().shift["timed"]


def judged(run: Path, form: str, kind: str) -> Iterator[tuple[str, Judgement]]:
    """Every rung on the concepts of one kind ("community", "shift_max", "shift_freq")."""
    opened = open_run(run).run
    settings = AuditSettings(**opened.manifest["settings"])
    whole = concept_bank(opened)
    bank = whole.take(np.array([one == kind for one in whole.kind]))
    pairs, _ = pair_deltas(opened, settings, bank, form)  # type: ignore[arg-type]
    reference, before, after = (
        rollouts_of(opened, role, bank, form)  # type: ignore[arg-type]
        for role in ("reference", "before", "after")
    )
    seen = realised(before, after)
    drift = float(after.average(after.nuisance).mean() - before.average(before.nuisance).mean())
    nulls = {
        "length": length_only(reference, reference.nuisance[:, 0], drift),
        "prevalence": prevalence_only(reference),
    }
    for name, forecast in candidates(pairs, reference):
        yield name, judge(forecast, seen, nulls=nulls, prevalence=prevalence_only(reference), permutations=99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--worlds", nargs="*", default=["small/dev-on-0", "small/dev-off-0"])
    arguments = parser.parse_args()
    print("| world | concepts | form | rung | R² | rel_y | R²/rel_y | ρ | sign | beyond nulls | standardised |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in arguments.worlds:
        sets = [("community", form) for form in SCORE_FORMS] + [("shift_max", "presence"), ("shift_freq", "presence")]
        for kind, form in sets:
            for rung, one in judged(arguments.out / name / "run", form, kind):
                figures = (
                    one.overall.r2, one.overall.rel_y, one.overall.of_ceiling, one.spearman, one.sign_accuracy,
                    one.beyond_nulls.r2 if one.beyond_nulls else np.nan,
                    one.standardised.r2 if one.standardised else np.nan,
                )  # fmt: skip
                told = " | ".join(f"{value:.2f}" for value in figures)
                print(f"| {name} | {kind} ({one.overall.n}) | {form} | {rung} | {told} |", flush=True)


if __name__ == "__main__":
    main()
