"""Rows and the files that hold them; what is read back, and the one line of an error."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretilt.errors import UserError
from pretilt.pairs.load import load_rows

ROWS = [
    {
        "prompt": [{"role": "user", "content": f"Frage {i}: größer als 你好?\n"}],
        "chosen": [{"role": "assistant", "content": f"Ja, {i}\u2028 🙂"}],
        "rejected": [{"role": "assistant", "content": f"Nein, {i}"}],
        "score_chosen": i / 3,
    }
    for i in range(7)
]
TEXT_ROWS = [{"prompt": f'say "{i}",\n', "chosen": f"a,{i}\r\nb", "rejected": f"c {i}"} for i in range(4)]


def jsonl(rows=ROWS):
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()


def write(path, data):
    path.write_bytes(data)
    return path


def rows_of(source, **options):
    return [row for _, row in load_rows(source, **options).rows]


def refused(source, **options):
    with pytest.raises(UserError) as caught:
        list(load_rows(source, **options).rows)
    text = str(caught.value)
    assert "\n" not in text
    return text


def arrow_file(rows):
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


def arrow_stream(rows):
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue().to_pybytes()


def parquet(rows):
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=3)
    return sink.getvalue().to_pybytes()
