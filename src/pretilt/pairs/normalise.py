"""Rows of any known format become pairs of messages, and a list of the rows that could not, each with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from pretilt.errors import UserError
from pretilt.pairs.cells import Cells
from pretilt.pairs.facts import read_fact, read_meta, read_template_kwargs, read_tools
from pretilt.pairs.formats import IMPLICIT_TEXT, Format, recognise
from pretilt.pairs.join import Unjoined, join
from pretilt.pairs.load import LoadedRows
from pretilt.pairs.messages import Place, Seen, image_error
from pretilt.pairs.pair import COMMON_READS, Drop, NormalisedPairs, Pair, TemplateReads, assign_pair_ids
from pretilt.pairs.ranked import Reading, Response, choose

TURNS = ("drop", "last")
K_WISE = ("best-worst", "best-random", "all")


def normalise(
    loaded: LoadedRows,
    *,
    columns: Mapping[str, str] | None = None,
    turns: Literal["drop", "last"] = "drop",
    k_wise: Literal["best-worst", "best-random", "all"] = "best-worst",
    seed: int = 0,
    reads: TemplateReads = COMMON_READS,
) -> NormalisedPairs:
    """Read every row into pairs; ids are assigned, order is the source's.

    `columns` maps canonical names to the source's columns, where the names do not tell. `turns="last"` accepts rows
    whose responses go on over several turns of the user, if everything before the last response is the same on both
    sides (up to white space; the chosen side's is kept). `k_wise`: which two of several ranked answers make a pair.
    `reads`: what the chat template can read of a message (`template_reads`); all else is left out, and counted.

    Every row gives at least one pair or exactly one drop. Contents are kept to the letter: only the separators of
    Human/Assistant transcripts are removed. Raises UserError, with row and column, for values of the wrong type, and
    for formats that are unknown, ambiguous, unpaired (KTO) or hold images.
    """
    if turns not in TURNS:
        raise UserError(f"turns is '{turns}'", why=f"choices: {', '.join(TURNS)}")
    if k_wise not in K_WISE:
        raise UserError(f"k_wise is '{k_wise}'", why=f"choices: {', '.join(K_WISE)}")

    table_format = recognise(loaded.sample, dict(columns or {}), k_wise, loaded.file)
    pairs: list[Pair] = []
    drops: list[Drop] = []
    remark_counts = Seen(reads)
    n_rows = 0

    for index, row in loaded.rows:
        n_rows += 1
        cells = Cells(row, index, loaded.file, table_format.columns, remark_counts, padded=loaded.padded)
        row_pairs = _pairs_of(cells, table_format, turns, k_wise, seed)
        if isinstance(row_pairs, Drop):
            drops.append(row_pairs)
        else:
            pairs += row_pairs

    return NormalisedPairs(
        assign_pair_ids(pairs),
        drops,
        table_format.name,
        table_format.notes + _remarks(remark_counts, table_format),
        n_rows,
    )


def _pairs_of(cells: Cells, table_format: Format, turns: str, k_wise: str, seed: int) -> list[Pair] | Drop:
    for name in ("images", "image"):
        if cells.row.get(name):
            raise image_error(Place(cells.file, cells.index, name))

    reading = table_format.read(cells)
    if reading.drop:
        return Drop(cells.index, *reading.drop)

    left_out: Counter[str] = Counter()
    chosen = choose(reading.responses, k_wise, seed, cells.index, left_out)
    if isinstance(chosen, tuple):
        return Drop(cells.index, *chosen)

    facts = _Facts(cells, reading)
    pairs, failed = [], []
    for better, worse in chosen:
        if table_format.is_chat:
            joined = join(reading.context, better.messages, worse.messages, turns, cells.remark_counts)
        else:
            joined = join(reading.context, better.messages, worse.messages, "drop", cells.remark_counts)
        if isinstance(joined, Unjoined):
            failed.append(joined)
            continue
        pairs.append(
            Pair(
                cells.index,
                joined.prompt,
                joined.chosen,
                joined.rejected,
                is_chat=table_format.is_chat,
                **facts.for_pair(better, worse),
            )
        )

    if not pairs:
        return Drop(cells.index, failed[0].reason, failed[0].detail)
    for reason, count in (left_out + Counter(f.reason for f in failed)).items():
        cells.remark_counts[f"K-wise: {reason}"] += count
    return pairs


class _Facts:
    """The fields that all pairs of one row share, and those of each."""

    def __init__(self, cells: Cells, reading: Reading) -> None:
        self.cells, self.reading = cells, reading
        self.shared: dict[str, Any] = {
            "tools": read_tools(cells, reading.tools),
            "template_kwargs": read_template_kwargs(cells),
            "source": read_fact(cells, "source"),
        }
        self.per_side = {
            n: read_fact(cells, n) for n in ("chosen_model", "rejected_model", "chosen_score", "rejected_score")
        }

        row = cells.row
        if "messages" in row and row["messages"] == row.get("chosen"):
            cells.used.add("messages")  # a copy of chosen for supervised training, as in H4's UltraFeedback
        self.meta = None if reading.ranks_to_meta else read_meta(cells, {})

    def for_pair(self, better: Response, worse: Response) -> dict[str, Any]:
        per_side = dict(self.per_side)
        for side, response in (("chosen", better), ("rejected", worse)):
            per_side[f"{side}_model"] = response.model or per_side[f"{side}_model"]
            per_side[f"{side}_score"] = response.score if response.score is not None else per_side[f"{side}_score"]
        meta = self.meta
        if self.reading.ranks_to_meta:
            meta = read_meta(self.cells, {"chosen_rank": better.rank, "rejected_rank": worse.rank})
        return {**self.shared, **per_side, "meta": meta}


def _remarks(remark_counts: Counter[str], table_format: Format) -> list[str]:
    """Notes for the pre-flight on rows and messages that were read specially, with their counts."""
    descriptions = {
        "prompt column unlike the conversation": "rows whose prompt column is not in the conversation, which was read",
        "responses that begin with their prompt": "rows whose responses begin with the prompt: TRL trains on it twice",
        "content parts": "messages in parts, which the chat template does not read: the texts of the parts were "
        "joined. Stock TRL would train on what the template makes of the list",
        "padded values": "tool calls, schemas or template arguments hold nulls, which Arrow fills in for the keys of "
        "other rows: left out. Stock TRL prints them where the template prints the object: its tokens on this file are "
        "others. If the nulls are meant, give the file as JSON Lines",
        "answers without a rank": "answers without a rank or rating; they took no part",
    }

    remarks = []

    for what, count in remark_counts.items():
        if what.startswith("message key"):
            remarks.append(f"{what} was ignored in {count:,} messages: the chat template does not read it")
        elif what.startswith("K-wise: "):
            remarks.append(f"K-wise rows: {count:,} answers or combinations left out ({what.removeprefix('K-wise: ')})")
        else:
            remarks.append(f"{count:,} {descriptions[what]}")

    if table_format.name == IMPLICIT_TEXT:
        remarks.append("prompts are the characters that both texts share, as TRL cuts them, which may be within a word")
    return remarks
