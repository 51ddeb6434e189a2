"""The doctor: is this lens fit to be believed on these pairs? It refuses to let a broken one rank or forecast.

It runs inside the audit, after the harvest and before anything is ranked, and by itself on a finished run. It shares
the activation sample that the lens' card is measured on; the rules that judge its figures are `audit/checks.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretilt.audit import checks
from pretilt.audit.checks import Check, any_red
from pretilt.concepts.pattern_step import answer_text, english_share
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lens.choice import SAMPLE_BLOCK, LensChoice, choose_lens
from pretilt.pairs.chat import reading_hash
from pretilt.run import Run, file_hash
from pretilt.schema import (
    CONCEPTS_FILE,
    DOCTOR_FILE,
    DROPPED_FILE,
    FEATURES,
    PAIRS_FILE,
    PATTERNS_FILE,
    PREFLIGHT_FILE,
    SHARD_PARTS,
    SPANS,
    TOKENS_FILE,
    VERIFICATION_REPORT,
)
from pretilt.settings import AuditSettings, settings_of
from pretilt.stats.disparity import exact_threshold, largest_failing_count

if TYPE_CHECKING:
    from pretilt.pairs.chat import PairTokens

GAP_TOKENS = (
    2048  # of the sample, on which random directions are fitted: two seconds; with twice as many the gap moves by 0.002
)
RATE_TOKENS = 1_000_000  # response tokens whose firing rates are compared; more would not move a rank correlation
MOST_READ = 2000  # pairs whose language is looked at
OUTLIER_RATIO = 6.0  # of the mean norm; the source's definition


def doctor_stage(
    run: Run, settings: AuditSettings, choice: LensChoice, version: int, events: Events, *, despite: bool = False
) -> list[Check]:
    """Examine the lens once per harvest and keep the findings in doctor.json.

    Raises UserError where a check is red, unless `despite` it is to go on or the lens is broken on purpose (baseline
    random-dictionary); everything computed until then, the findings too, stays in the run.
    """
    from pretilt.lens.reference import RATES_FILE

    names = ("seed", "baseline", "freq_threshold", "disparity")
    rates = Path(choice.dictionary_name).expanduser() / RATES_FILE
    inputs = {"firing_rates": file_hash(rates) if rates.is_file() else None}
    config = {name: getattr(settings, name) for name in names}
    reads = [name for name in ("pairs", FEATURES, "patterns") if name in run.manifest["stages"]]
    with run.stage("doctor", version=version, config=config, reads=reads, inputs=inputs) as stage:
        if not stage.done:
            # Concepts of an earlier audit may still lie in the folder: they are not this one's.
            checks_made = examine(run, choice, settings, events, ranked=False)
            stage.write_json(DOCTOR_FILE, {"checks": [check.to_dict() for check in checks_made]})
    choice.forget_sample()
    checks_made = [Check.from_dict(values) for values in run.json(DOCTOR_FILE)["checks"]]
    if not despite and settings.baseline != "random-dictionary":
        refuse("the doctor finds the lens unfit", checks_made, run.path / DOCTOR_FILE, "; what was read is kept")
    return checks_made


def examine_pairs(run: Run, choice: LensChoice) -> list[Check]:
    """The checks that need no forward pass, only what the reader found: they are made before the harvest too."""
    tokens = run.table(TOKENS_FILE)
    return [
        _truncation_check(run, run.table(PAIRS_FILE)),
        checks.special_tokens(_special_in_content(tokens, choice.tokenizer)),
        _family_check(run),
    ]


def refuse(what: str, checks_made: list[Check], file: Path, what_stays: str = "") -> None:
    """Raise UserError if a check is red."""
    red = any_red(checks_made)
    if red:
        first = red[0]
        raise UserError(
            f"{what}: {', '.join(check.name for check in red)}",
            file=file,
            why=f"{first.name} is {first.figure}, {first.threshold} ({first.meaning})",
            fix=f"{first.what_to_do}, or give --despite-doctor to go on{what_stays}",
        )


def checkup(run: Run, *, events: Events | None = None) -> list[Check]:
    """Examine a run again, with its own settings, the model and dictionary as they are on disk now.

    The controls that need training are those of the run's verification, if it has one.
    """
    events = watching(events)
    if FEATURES not in run.manifest["stages"]:
        raise UserError("the lens has not read all pairs yet", file=run.path, fix="Run `pretilt audit` again")
    settings = settings_of(run)
    return _with_verification(run, examine(run, choose_lens(settings, events), settings, events))


def _with_verification(run: Run, checks_made: list[Check]) -> list[Check]:
    """The checks with those that the run's verification has made in place of "not run"."""
    if not run.holds(VERIFICATION_REPORT):
        return checks_made
    later = {check["name"]: Check.from_dict(check) for check in run.json(VERIFICATION_REPORT)["doctor"]}
    return [later.get(check.name, check) for check in checks_made]


def examine(
    run: Run, choice: LensChoice, settings: AuditSettings, events: Events, *, ranked: bool = True
) -> list[Check]:
    """Every check, in a fixed order. `ranked`: the run's concepts, where it has them, are examined too."""
    events.say("doctor: is the lens fit for these pairs")
    tokens = run.table(TOKENS_FILE)
    pairs = run.table(PAIRS_FILE)
    ranked = ranked and run.holds(CONCEPTS_FILE)
    concepts = run.table(CONCEPTS_FILE, ["length_correlation"]) if ranked else None
    return [
        *_fidelity_checks(choice, tokens, settings),
        _loading_check(run, choice, tokens, settings),
        checks.dictionary_metadata(choice.cautions(tokens)),
        _index_check(run, choice, settings),
        _template_check(run, choice, pairs, tokens),
        _truncation_check(run, pairs),
        checks.special_tokens(_special_in_content(tokens, choice.tokenizer)),
        checks.outliers(_outlier_share(choice.sample(tokens).x)),
        _threshold_check(pairs, settings),
        _length_check(pairs, concepts),
        _family_check(run),
        _language_check(run),
        *checks.not_yet_run(),
    ]


def _fidelity_checks(choice: LensChoice, tokens: pa.Table, settings: AuditSettings) -> list[Check]:
    from pretilt.lens.fidelity import fidelity
    from pretilt.lens.reference import nominal_l0, random_explained_variance

    fidelity_here, x = choice.fidelity(tokens), choice.sample(tokens).responses
    thinned = x[:: -(-len(x) // GAP_TOKENS)]
    random = random_explained_variance(choice.dictionary, thinned, seed=settings.seed)
    explained = fidelity_here.explained_variance
    if settings.baseline == "random-dictionary":  # its own decoder is not fitted: take random directions at their best
        own_explained = explained = random
    else:
        own_explained = fidelity(choice.dictionary, thinned.split(SAMPLE_BLOCK)).explained_variance
    judged = [
        checks.explained_variance(explained),
        checks.sparsity(fidelity_here.l0, nominal_l0(choice.dictionary_name, choice.dictionary)),
        checks.random_gap(own_explained, random),
    ]
    return [checks.judged_by(check, fidelity_here.n_tokens) for check in judged]


def _loading_check(run: Run, choice: LensChoice, tokens: pa.Table, settings: AuditSettings) -> Check:
    """The dictionary read from disk once more, and both applied to the same vectors."""
    first = choice.dictionary
    again = choose_lens(settings, Events()).dictionary
    lens, recorded = choice.lens(tokens), run.manifest.get("lens") or {}
    as_recorded = recorded.get("model_identity") in (None, lens.model.identity)
    if settings.baseline != "random-dictionary":  # that one is calibrated anew, to the last digits of the machine
        as_recorded = as_recorded and recorded.get("dictionary_hash") in (None, lens.dictionary.hash)
    difference = 0.0
    if (first.n_features, first.d_model) == (again.n_features, again.d_model):
        x = choice.sample(tokens).x[:256]
        a, b = first.encode(x), again.encode(x)
        difference = float((a - b).abs().max() / a.abs().max().clamp(min=1e-30))
    return checks.loading(first.hash == again.hash, difference, as_recorded)


def _index_check(run: Run, choice: LensChoice, settings: AuditSettings) -> Check:
    """Firing rates as they lie in the run's features, against those stored beside the dictionary."""
    from pretilt.lens.reference import load_firing_rates

    reference = load_firing_rates(choice.dictionary_name)
    # A random dictionary is calibrated to the rates of the real one, feature by feature: they would agree.
    if reference is None or settings.baseline == "random-dictionary":
        return checks.index_space(None)
    same = reference.dictionary_hash == choice.dictionary.hash
    counts, n_tokens = _firing_counts(run, choice.dictionary.n_features)
    comparable = counts.size == reference.fire_count.size
    correlation = rank_correlation(counts, reference.fire_count) if comparable else float("nan")
    return checks.judged_by(checks.index_space(correlation, reference.n_tokens, same), n_tokens)


def rollout_index_check(run: Run, reading: pa.Table) -> Check:
    """Firing rates on the responses of the data against those on rollouts; `reading` of schema ROLLOUT_FEATURES."""
    n_features = run.manifest["lens"]["n_features"]
    feature, count = (pc.list_flatten(reading[name]).to_numpy() for name in ("feature_id", "fire_count"))
    rollout_counts = np.bincount(feature, weights=count, minlength=n_features)
    return checks.rollout_index_space(rank_correlation(_firing_counts(run, n_features)[0], rollout_counts))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman, ties at their mean rank; NaN where one of them is constant."""
    from scipy.stats import rankdata

    ranks = np.stack([rankdata(a), rankdata(b)])
    return float(np.corrcoef(ranks)[0, 1]) if (np.ptp(ranks, axis=1) > 0).all() else float("nan")


def _firing_counts(run: Run, n_features: int) -> tuple[np.ndarray, int]:
    """(n_features,): response tokens on which each feature fired, in the first shards; and how many those hold."""
    shards = run.shards(FEATURES, FEATURES, SHARD_PARTS)
    total, n_tokens = np.zeros(n_features), 0
    for number in range(shards.count()):
        for side in ("chosen", "rejected"):
            table = shards.read(side, number, ["n_tokens", "feature_id", "fire_count"])
            feature, count = (
                table[name].combine_chunks().flatten().to_numpy() for name in ("feature_id", "fire_count")
            )
            total += np.bincount(feature, weights=count, minlength=n_features)
            n_tokens += int(pc.sum(table["n_tokens"]).as_py() or 0)
        if n_tokens >= RATE_TOKENS:
            break
    return total, n_tokens


def _template_check(run: Run, choice: LensChoice, pairs: pa.Table, tokens: pa.Table) -> Check:
    """Some pairs through the tokenizer as it lies on disk now, token by token against what was read."""
    from pretilt.models.load import load_tokenizer
    from pretilt.pairs.chat import PairTokens, tokenise
    from pretilt.pairs.tables import pairs_from_table, tokens_from_table

    tokenizer = load_tokenizer(choice.model_name, revision=choice.revision)
    rows = pa.array(np.unique(np.linspace(0, len(pairs) - 1, checks.FEW_EXAMPLES).astype(int)))
    some = pairs.take(rows)
    stored = tokens_from_table(tokens.take(rows), some)
    now = tokenise(pairs_from_table(some), tokenizer, max_length=run.json(PREFLIGHT_FILE)["max_length"])
    different = sum(
        not (isinstance(new, PairTokens) and _same_tokens(old, new)) for old, new in zip(stored, now, strict=True)
    )
    recorded = run.manifest.get("reading")
    return checks.template(None if recorded is None else recorded == reading_hash(tokenizer), len(stored), different)


def _same_tokens(old: PairTokens, new: PairTokens) -> bool:
    names = [f"{span}_{kind}" for span in SPANS for kind in ("ids", "content")]
    return all(np.array_equal(getattr(old, name), getattr(new, name)) for name in names)


def _truncation_check(run: Run, pairs: pa.Table) -> Check:
    from pretilt.pairs.chat import TRUNCATED_AWAY

    cut = pairs.filter(pairs["truncated"])
    left = [cut[f"n_{side}_tokens"].to_numpy() for side in ("chosen", "rejected")]
    dropped = run.table(DROPPED_FILE, ["reason"])["reason"]
    lost = int(pc.sum(pc.equal(dropped, TRUNCATED_AWAY)).as_py() or 0)
    return checks.truncation(len(cut), lost, len(pairs), float(np.median(np.concatenate(left))) if len(cut) else None)


def _special_in_content(tokens: pa.Table, tokenizer: Any) -> int:
    """Content tokens whose id is special; decided from the tokenizer itself, not by the code that made the masks."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special} | set(
        tokenizer.all_special_ids
    )
    named_ids = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    special -= {tokenizer.unk_token_id} - named_ids  # an unknown character is content
    total = 0
    for span in SPANS:
        ids = tokens[f"{span}_ids"].combine_chunks().flatten().to_numpy()
        content = tokens[f"{span}_content"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        total += int(np.isin(ids[content], sorted(special)).sum())
    return total


def _outlier_share(x: Any) -> float:
    norm = x.norm(dim=1)
    return float((norm > OUTLIER_RATIO * norm.mean()).double().mean())


def _lengths(pairs: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """Content tokens of chosen and of rejected, int64, of the pairs that everything is fitted on."""
    train = pairs.filter(pc.equal(pairs["split"], "train"))
    return train["n_chosen_tokens"].to_numpy().astype(np.int64), train["n_rejected_tokens"].to_numpy().astype(np.int64)


def _threshold_check(pairs: pa.Table, settings: AuditSettings) -> Check:
    if settings.disparity == "freq":
        return checks.unbound(None, settings.freq_threshold)
    lengths = np.concatenate(_lengths(pairs))
    free = largest_failing_count(lengths, exact_threshold(settings.freq_threshold)) == 0
    return checks.unbound(float(free.mean()), settings.freq_threshold)


def _length_check(pairs: pa.Table, concepts: pa.Table | None) -> Check:
    chosen, rejected = _lengths(pairs)
    correlations = None if concepts is None else concepts["length_correlation"].to_numpy()
    return checks.length(float((chosen - rejected).mean()), float((chosen + rejected).mean() / 2), correlations)


def _family_check(run: Run) -> Check:
    families = run.json(PREFLIGHT_FILE).get("families") or {}
    return checks.families(families.get("kish_n_eff"), families.get("n_pairs"))


def _language_check(run: Run) -> Check:
    """Of pairs all over the dataset: more would say no more."""
    if not run.holds(PATTERNS_FILE):
        return checks.language(None, 0, 0)
    patterns = run.table(PATTERNS_FILE, ["language"])["language"].to_pylist()
    pairs = run.table(PAIRS_FILE, ["chosen", "rejected"])
    pairs = pairs.take(pa.array(np.unique(np.linspace(0, len(pairs) - 1, MOST_READ).astype(int))))
    texts = [answer_text(messages) for side in SPANS[1:] for messages in pairs[side].to_pylist()]
    return checks.language(english_share(texts), patterns.count("en"), len(patterns))
