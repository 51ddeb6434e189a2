"""`fit`: train a dictionary for a model on a text corpus or on preference pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pretilt.artifacts import cannot_write
from pretilt.errors import UserError
from pretilt.events import Events, watching
from pretilt.lock import LOCK, working
from pretilt.result import Result
from pretilt.settings import FitSettings

if TYPE_CHECKING:
    from pretilt.models.subject import SubjectModel
    from pretilt.pairs.load import LoadedRows
    from pretilt.pairs.messages import Place

EXPANSION = 8  # features per dimension of the residual stream, unless told otherwise
HELDOUT = 0.03  # share of the sequences that the dictionary is measured on and never trained on
_OURS = ("cfg.json", "activations", "checkpoint.safetensors")  # one of them is in a folder that `fit` began


@dataclass(frozen=True, repr=False)
class FitResult(Result):
    """`path` is a SAELens folder; `card` is its card.json: what it was trained on, and how well it explains."""

    path: Path
    card: dict[str, Any]

    @property
    def headline(self) -> str:
        heldout = self.card["heldout"]
        size = f"{self.card['n_features']:,} features of layer {self.card['layer']}"
        if not heldout:
            return size
        return f"{size}; held out: explained variance {heldout['explained_variance']:.3f}, L0 {heldout['l0']:.1f}"


def fit(
    source: Any, options: FitSettings, *, model: str | Path, layer: int, out: str | Path, events: Events | None = None
) -> FitResult:
    """Train a BatchTopK dictionary on the output of block `layer`; see `pretilt.fit`.

    The chat template is applied to messages and pairs. Template and special tokens are read but not trained on.
    """
    import torch

    from pretilt.lens.fit import TrainerSettings, fit_from_text
    from pretilt.models.subject import load_model
    from pretilt.run import write_json

    _check(Path(out))
    events = watching(events)
    subject = load_model(model, device=options.device, layer=layer)
    subject.check_layer(layer)
    sequences = _sequences(
        source, subject.tokenizer, events, max_length=options.max_length, limit=options.limit, seed=options.seed
    )
    settings = TrainerSettings(
        n_features=options.features or EXPANSION * subject.d_model,
        k=options.active,
        epochs=options.epochs,
        seed=options.seed,
        device=options.device,
    )
    read = sum(len(ids) for ids, _ in sequences)
    events.say(
        f"{len(sequences):,} sequences, {read:,} tokens; {settings.n_features:,} features, {options.active} per token"
    )
    metadata = {
        "model_name": str(model),
        "hook_name": f"blocks.{layer}.hook_resid_post",
        "context_size": options.max_length,
    }
    with working(out, "fit", events.say):
        report = fit_from_text(
            sequences,
            residual_reader(subject, layer),
            settings,
            out=out,
            identity={"model": subject.identity, "layer": layer},
            metadata=metadata,
            heldout_share=HELDOUT,
            dtype=torch.float16 if options.half else torch.float32,
            progress=lambda stage, done, total: events.progress(stage, done, total, "tokens"),
        )
        card = {"model": subject.identity, "layer": layer, "n_features": settings.n_features, **report.as_json()}
        write_json(Path(out) / "card.json", card)
    return FitResult(Path(out), card)


def _check(out: Path) -> None:
    """Raise UserError, before anything is loaded, for a folder that holds something else."""
    try:
        names = {path.name for path in out.iterdir()} - {LOCK} if out.is_dir() else set()
    except OSError as error:
        raise cannot_write(error, out, "cannot write the dictionary") from error
    if names and names.isdisjoint(_OURS):
        raise UserError(
            "the folder for the dictionary holds other files", file=out, why=min(names), fix="Give --out a new folder"
        )


def residual_reader(subject: SubjectModel, layer: int) -> Callable[[list[np.ndarray]], Any]:
    """A function from token id sequences to their residual vectors, (sum of lengths, d_model), in order."""
    import torch

    def read(sequences: list[np.ndarray]) -> Any:
        longest = max(len(ids) for ids in sequences)
        batch = np.zeros((len(sequences), longest), dtype=np.int64)
        for row, ids in enumerate(sequences):
            batch[row, : len(ids)] = ids
        # Causal reading: padding on the right changes nothing before it.
        residual = subject.residual(layer, torch.from_numpy(batch).to(subject.device))
        return torch.cat([residual[row, : len(ids)] for row, ids in enumerate(sequences)]).float().cpu()

    return read


def _sequences(
    text: Any, tokenizer: Any, events: Events, *, max_length: int, limit: int | None, seed: int
) -> list[Any]:
    from pretilt.lens.corpus import pair_sequences, text_sequences
    from pretilt.pairs.load import load_rows

    if isinstance(text, str | Path) and Path(text).suffix == ".txt":
        return text_sequences(_blocks(Path(text))[:limit], tokenizer, max_tokens=max_length)
    loaded = load_rows(text, limit=limit)
    if "chosen" not in loaded.columns:
        if "text" in loaded.columns:
            return text_sequences(_texts(_cells(loaded, "text", events)), tokenizer, max_tokens=max_length)
        if "messages" in loaded.columns:
            return _conversations(_cells(loaded, "messages", events), tokenizer, max_length)
    from pretilt.pairs.read import read_pairs

    return pair_sequences(read_pairs(text, tokenizer, limit=limit, max_length=max_length, holdout=0, seed=seed).tokens)


def _blocks(path: Path) -> list[str]:
    try:
        content = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError("the text is not UTF-8", file=path, why=str(error)) from error
    except OSError as error:
        raise UserError("the text cannot be read", file=path, why=error.strerror or str(error)) from error
    return [block.strip() for block in content.split("\n\n") if block.strip()]


def _cells(loaded: LoadedRows, column: str, events: Events) -> Iterator[tuple[Place, Any]]:
    """What a column holds, with its place; rows where it is missing or empty are counted."""
    from pretilt.pairs.messages import Place

    n_empty = 0
    for row_index, row in loaded.rows:
        if row.get(column):
            yield Place(loaded.file, row_index, column, loaded.padded), row[column]
        else:
            n_empty += 1
    if n_empty:
        events.say(f"{n_empty:,} rows without {column} are left out")


def _texts(cells: Iterator[tuple[Place, Any]]) -> Iterator[str]:
    from pretilt.pairs.messages import checked_text, describe

    for place, value in cells:
        if not isinstance(value, str):
            raise place.error("wrong type", f"found {describe(value)}, expected text", "Repair or remove the row")
        yield checked_text(value, place)


def _conversations(cells: Iterator[tuple[Place, Any]], tokenizer: Any, max_length: int) -> list[Any]:
    """Conversations through the chat template; what is content is found as in pairs: the last turn is the response."""
    from pretilt.pairs.chat import PairTokens, tokenise
    from pretilt.pairs.messages import Seen, parse_messages
    from pretilt.pairs.pair import Pair

    def pairs() -> Any:
        for number, (place, messages) in enumerate(cells):
            turns = parse_messages(messages, place, Seen())
            if len(turns) > 1 and turns[-1].content:
                yield Pair(number, turns[:-1], turns[-1:], turns[-1:])

    sequences: list[tuple[np.ndarray, np.ndarray]] = []
    for tokens in tokenise(list(pairs()), tokenizer, max_length=max_length):
        if isinstance(tokens, PairTokens):
            ids: Sequence[np.ndarray] = (tokens.prompt_ids, tokens.chosen_ids)
            sequences.append((np.concatenate(ids), np.concatenate([tokens.prompt_content, tokens.chosen_content])))
    return sequences
