"""Rows of messages, written short, and what the reader makes of them."""

from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise


def read(rows, **options):
    return normalise(load_rows(rows), **options)


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def texts(pair):
    return tuple([m.content for m in span] for span in (pair.prompt, pair.chosen, pair.rejected))


def whole(chosen, rejected):
    """A row of two whole conversations from texts, user first."""
    return {
        name: [(user if i % 2 == 0 else says)(t) for i, t in enumerate(side)]
        for name, side in (("chosen", chosen), ("rejected", rejected))
    }


def reasons(found):
    return [(d.row_index, d.reason) for d in found.drops]


GOOD_ROW = {"prompt": [user("q")], "chosen": [says("a")], "rejected": [says("b")]}


def nectar(*ranked):
    return {
        "prompt": "\n\nHuman: q\n\nAssistant: ",
        "answers": [{"answer": a, "model": f"m-{a}", "rank": r} for a, r in ranked],
    }
