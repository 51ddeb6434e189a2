"""Files made to harm, or damaged: one line within seconds, whatever they unpack to."""

import gzip
import itertools
import json
import resource

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_rows import only, read
from format_rows import refused as not_read
from source_files import ROWS, jsonl, refused, rows_of, write

from pretilt.errors import UserError
from pretilt.pairs.files import read_file
from pretilt.pairs.load import load_rows
from pretilt.pairs.normalise import normalise
from pretilt.settings import AuditSettings

ASKED, GOOD, BAD = (
    {"role": r, "content": c} for r, c in (("user", "It's q?"), ("assistant", 'a "b"\n'), ("assistant", "c"))
)
ROW = {"prompt": "q", "chosen": "a", "rejected": "b"}


# ---- sizes ----------------------------------------------------------------------------------------------------------


def test_a_line_that_unpacks_to_more_than_a_row_may_hold(tmp_path):
    bomb = gzip.compress(b'{"prompt": "' + b"a" * 150_000_000 + b'"}', compresslevel=1)
    path = write(tmp_path / "a.jsonl.gz", bomb)
    del bomb
    text = refused(path, max_row_mb=1)
    assert "the line is too long" in text and "line 1" in text and "more than 1 MB" in text and "--max-row-mb" in text
    assert "more than 64 MB" in refused(path)  # the default


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", json.dumps({**ROW, "chosen": "a" * 2**21}).encode(), "the line is too long"),
        ("a.csv", b'prompt,chosen\nq,"' + (b"a" * 63 + b"\n") * 2**15 + b'"\n', "the row is too long"),
        ("a.json.gz", gzip.compress(b"[" + b" \n" * 2**24 + b"]"), "the file is too large to be held in memory"),
        ("a.parquet.gz", gzip.compress(b"PAR1" + bytes(2**25)), "the file is too large"),
    ],
)
def test_sizes_have_limits_that_an_option_raises(name, data, words, tmp_path):
    path = write(tmp_path / name, data)
    assert words in refused(path, max_row_mb=1)
    if name in ("a.jsonl", "a.csv"):
        assert len(rows_of(path, max_row_mb=4)) == 1


def test_parquet_and_arrow_rows_have_a_limit(tmp_path):
    table = pa.table({"prompt": ["q"] * 3, "chosen": ["a" * 2**21] * 3})
    pq.write_table(table, tmp_path / "a.parquet", use_dictionary=False)
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        assert "the rows are too large" in refused(tmp_path / name, max_row_mb=1)
        assert len(rows_of(tmp_path / name, max_row_mb=4)) == 3


def test_a_long_text_that_every_row_of_a_dictionary_repeats_is_read_a_few_rows_at_a_time(tmp_path):
    """A small file; 2 GB if a thousand rows were unpacked at once."""
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array(["a" * 2_000_000]))
    for store_schema in (True, False):  # read as a dictionary, and as plain texts
        pq.write_table(pa.table({"prompt": column}), tmp_path / "a.parquet", store_schema=store_schema)
        pa_before, before = pa.default_memory_pool().max_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rows = read_file(tmp_path / "a.parquet", max_row_mb=4)
        assert sum(len(row["prompt"]) for row in itertools.islice(rows, 100)) == 100 * 2_000_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB
        assert pa.default_memory_pool().max_memory() - pa_before < 300_000_000


# ---- names that stand twice, depth, values without a Python equal ---------------------------------------------------


def test_two_columns_of_one_name_are_refused_by_name(tmp_path):
    table = pa.Table.from_arrays(
        [pa.array(["q"]), pa.array(["a"]), pa.array(["OTHER"])], ["prompt", "chosen", "chosen"]
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    frame = pd.DataFrame([["q", "a", "b"]], columns=["prompt", "chosen", "chosen"])
    numbered = pd.DataFrame([["q", "b"]], columns=[1, "1"])
    write(tmp_path / "a.csv", b"prompt,chosen,chosen\nq,a,b\n")
    for source in (tmp_path / "a.parquet", tmp_path / "a.arrow", tmp_path / "a.csv", table, frame):
        text = refused(source)
        assert text.startswith("a column name appears twice (") and "column 'chosen')" in text, source
    assert "column '1'" in refused(numbered)


@pytest.mark.parametrize("where", ['{"chosen": "a", "chosen": "b"}', '{"chosen": [{"content": "a", "content": "b"}]}'])
def test_a_key_that_stands_twice_in_a_json_object(where, tmp_path):
    assert "stands twice in one object" in refused(write(tmp_path / "a.jsonl", jsonl()[:0] + where.encode() + b"\n"))
    assert "stands twice in one object" in refused(write(tmp_path / "a.json", f"[{where}]".encode()))


@pytest.mark.parametrize("depth", [101, 600, 100_000])
def test_deep_json(depth, tmp_path):
    path = write(tmp_path / "a.jsonl", jsonl(ROWS[:1]) + b'{"prompt": ' + b"[" * depth + b"]" * depth + b"}\n")
    assert (
        "invalid JSON" in refused(path) and "line 2, row 1" in refused(path) and "more than 100 levels" in refused(path)
    )


def test_a_deep_value_that_is_read_and_one_that_is_not():
    deep = {}
    for _ in range(600):
        deep = {"inside": deep}
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": deep}}]}
    rows = [{"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}] * 3
    assert "the value is too deep (row 3, column 'chosen')" in not_read([*rows, {**rows[0], "chosen": [message]}])
    assert "the value is too deep (row 0, column 'chosen')" in not_read([{**rows[0], "chosen": [message]}])
    assert "the value is too deep (row 0, column 'tools')" in not_read({**rows[0], "tools": [deep]})
    as_text = json.dumps(message["tool_calls"])
    assert only({**rows[0], "chosen": [{**message, "tool_calls": as_text}]}).chosen  # stays the text that it is
    assert json.loads(only({**rows[0], "extra": deep}).meta)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pa.array([0, 400_000_000_000], pa.int64()).cast(pa.timestamp("s")), "row 1, column 'when'"),
        (pa.array([0, 86_400_000 * 5_000_000], pa.int64()).cast(pa.date64()), "row 1, column 'when'"),
        (pa.array([0, 3_000_000], pa.int32()).cast(pa.date32()), "row 1, column 'when'"),
        (pa.array([1, 2**62], pa.int64()).cast(pa.duration("s")), "row 1, column 'when'"),
        (pa.array([0, 1], pa.int64()).cast(pa.timestamp("s", tz="Mars/Olympus")), "column 'when'"),
        (pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"]), "row 0, column 'when'"),
        (pa.array([b"a", b"\xff"]).cast(pa.binary()).view(pa.string()), "row 1, column 'when'"),
    ],
    ids=["timestamp", "date64", "date32", "duration", "time zone", "struct", "text"],
)
def test_a_value_that_python_has_no_word_for_is_named(values, words, tmp_path):
    table = pa.table({"prompt": ["q", "r"], "when": values})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    for source in (tmp_path / "a.arrow", table):
        text = refused(source)
        assert "a value cannot be read" in text and words in text and "Remove or convert the column" in text


def test_a_date_that_a_saved_dataset_cannot_show(tmp_path):
    when = pa.array([0, 400_000_000_000], pa.int64()).cast(pa.timestamp("s"))
    datasets.Dataset(pa.table({"prompt": ["q", "r"], "when": when})).save_to_disk(tmp_path / "saved")
    assert "the rows cannot be read" in refused(tmp_path / "saved")


# ---- folders of save_to_disk ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", ["[]", "7", "null", "{}", '{"_data_files": 3}', '{"_data_files": [[]]}', '{"splits": {}}', "[" * 5000]
)
@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "dataset_dict.json"])
def test_a_saved_folder_whose_json_is_of_another_structure(name, content, tmp_path):
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    (tmp_path / "saved" / name).write_text(content)
    try:
        rows = rows_of(tmp_path / "saved")
    except UserError as error:
        assert "saved" in str(error)
    else:
        assert rows == ROWS


# ---- options and their file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7: 3", "'7' is read as int"),
        ("2020-01-01: 3", "is read as date"),
        ("null: 3", "'None' is read as NoneType"),
        ("? [a]\n: 3", "not valid YAML"),
        ("limit: 2001-99-99", "not valid YAML"),
        ("limit: " + "[" * 300, "more than 100 levels"),
        ("limit: " + "9" * 5000, "not valid YAML"),
        ("limit: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("limit: !!int ''", "not valid YAML"),
        ("[1, 2]", "not a mapping"),
        ("seed: " + "9" * 40, "seed"),
        ("groups: " + "9" * 40, "groups"),
        ("resolution: .inf", "resolution"),
        ("columns: {1: a}", "columns"),
    ],
)
def test_a_configuration_that_is_none(text, words, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        AuditSettings.load(path)
    assert words in str(caught.value) and "run.yaml" in str(caught.value)


def test_a_limit_of_forty_digits_reads_all_rows(tmp_path):
    assert AuditSettings(limit=10**40).limit == 10**40
    assert rows_of(ROWS, limit=10**40) == ROWS


@pytest.mark.parametrize("name", ["a\0b.jsonl", "\udc80.jsonl", "\ud800", "x" * 5000, "/proc/self/mem", "/dev/null"])
def test_names_that_no_file_can_have(name):
    assert refused(name)


def test_a_file_name_that_is_no_unicode(tmp_path):
    path = write(tmp_path / "p\udcff.jsonl", jsonl())
    loaded = load_rows(path)
    assert json.dumps(loaded.info, ensure_ascii=False).encode()  # a lone surrogate would raise
    assert loaded.description.encode()


# ---- cells that hold the text of lists ------------------------------------------------------------------------------


def test_csv_of_python_and_numpy_lists_is_read_as_the_lists(tmp_path):
    row = {"prompt": "It's q?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}
    datasets.Dataset.from_list([row] * 2).to_csv(tmp_path / "datasets.csv")
    pd.DataFrame([row] * 2).to_csv(tmp_path / "pandas.csv", index=False)
    arrays = [{k: np.array(v, dtype=object) if isinstance(v, list) else v for k, v in row.items()}] * 2
    pd.DataFrame(arrays).to_csv(tmp_path / "numpy.csv", index=False)
    assert "}\n {" in (tmp_path / "numpy.csv").read_text()  # NumPy writes no commas
    wrapped = [{k: repr(v) if isinstance(v, np.ndarray) else v for k, v in r.items()} for r in arrays]
    pd.DataFrame(wrapped).to_csv(tmp_path / "repr.csv", index=False)
    expected = normalise(load_rows([row] * 2)).pairs
    for name in ("datasets", "pandas", "numpy", "repr"):
        assert normalise(load_rows(tmp_path / f"{name}.csv")).pairs == expected, name


def test_numpy_lists_of_texts_and_numbers_are_not_joined():
    row = {
        "instruction": "q",
        "generations": "['a' \"b's\"\n 'c']",
        "ratings": "[np.float64(1.0), nan, 3.5]",
        "generation_models": "array(['x', 'y', 'z'], dtype='<U1')",
    }
    pair = only(row)
    assert (pair.chosen[0].content, pair.rejected[0].content) == ("c", "a")
    assert (pair.chosen_score, pair.rejected_model) == (3.5, "x")


@pytest.mark.parametrize(
    "cell",
    [
        "[{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'",
        "[{'role': 'user', 'content': open('x')}]",
        "[{'role': 'user', 'content': 'a' 'b'}]",
        "[{'role': 'user', 'content': 'a', 'content': 'b'}]",
        "[{'role': 'user', 'content': " + "[" * 5000 + "]" * 5000 + "}]",
        "[{'role': 'user', 'when': Timestamp('2020-01-01'), 'content': 'a'}]",
    ],
)
def test_cells_that_look_like_messages_and_are_none(cell):
    text = not_read({"prompt": "q", "chosen": cell, "rejected": "b"})
    assert "the cells look like lists of messages and cannot be read as such (row 0, column 'chosen')" in text
    assert "JSON Lines or Parquet" in text


def test_texts_that_begin_with_a_bracket_stay_texts():
    rows = [{"prompt": "q", "chosen": f"[{i}, 'a']", "rejected": "{'code': [1 2]}"} for i in range(3)]
    assert read(rows).pairs[0].chosen[0].content == "[0, 'a']"


def test_a_flipped_bit_in_an_offset_does_not_end_the_process(tmp_path):
    table = pa.table({"prompt": ["first", "second", "third"]})
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    data = (tmp_path / "a.arrow").read_bytes()
    offsets = np.array([0, 5, 11, 16], dtype=np.int32).tobytes()
    assert data.count(offsets) == 1
    write(tmp_path / "a.arrow", data.replace(offsets, np.array([0, 5, 2**30, 16], dtype=np.int32).tobytes()))
    assert "a value cannot be read" in refused(tmp_path / "a.arrow")


def test_objects_of_lists_that_do_not_fit_together():
    row = {
        "prompt": "q",
        "chosen": {"role": ["user", "assistant"], "content": ["It's q?", "a"]},
        "rejected": [ASKED, BAD],
    }
    assert only(row).chosen[0].content == "a"
    assert "differ in length" in not_read({**row, "chosen": {"role": ["user", "assistant"], "content": ["q"]}})
    assert "differ in length" in not_read({**row, "chosen": {"role": ["user"], "content": "q"}})
