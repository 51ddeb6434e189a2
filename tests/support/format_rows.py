"""Rows of a known format through the reader: to pairs, to the one pair, to the one line of the error."""

import pytest

from pretilt.errors import UserError
from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise


def read(rows, **options):
    return normalise(load_rows(rows if isinstance(rows, list) else [rows]), **options)


def plain(messages):
    return [m.as_dict() for m in messages]


def spans(pair):
    return plain(pair.prompt), plain(pair.chosen), plain(pair.rejected)


def only(rows, **options):
    found = read(rows, **options)
    assert not found.drops
    assert len(found.pairs) == 1
    return found.pairs[0]


def refused(rows, **options):
    with pytest.raises(UserError) as caught:
        read(rows, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text
