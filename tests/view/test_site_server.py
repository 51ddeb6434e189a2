"""`pretilt view`: who is answered, and what is written."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from browser import Tags
from pydantic import TypeAdapter
from viewer_server import ask

import pretilt
from pretilt.concepts.curation import CURATION_FILE, curation
from pretilt.errors import UserError
from pretilt.events import Events
from pretilt.run import Run
from pretilt.schema import PAIRS_FILE
from pretilt.view.site import contract
from pretilt.view.site import server as server_module
from pretilt.view.site.server import HEADERS, Viewer, viewer

# --- who is answered --------------------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_alone_and_every_answer_is_closed(server: Viewer) -> None:
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 32
    for path in ("", "viewer.js", "data/index.js", "api/plan", "nothing"):
        _, headers, _ = ask(server, path)
        assert HEADERS.items() <= headers.items(), path
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
    page = ask(server, "")[2].decode()
    assert not any(tag in ("style", "script") and "src" not in attrs for tag, attrs in Tags(page).tags)


def test_without_the_token_nothing_is_told(server: Viewer) -> None:
    for token in ("", "x", server.token[:-1], server.token + "x", "../" + server.token, "%C3%A9"):
        status, _, body = ask(server, "data/index.js", token=token)
        assert status == 404 and b"pairs" not in body, token


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Host": "127.0.0.1.evil.example:80"},
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"},
        {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    ],
)  # fmt: skip
def test_another_origin_is_refused_whatever_it_asks(server: Viewer, headers: dict[str, str]) -> None:
    for path, body in (("data/index.js", None), ("api/plan", {"items": []}), ("api/curation", {})):
        status, _, answer = ask(server, path, body, **headers)
        assert status == 403 and b"this machine alone" in answer


@pytest.mark.parametrize(
    "path",
    [
        "../run.json", "data/../../run.json", "data/%2e%2e/x.js", "data/x.js", "data/pairs-9999.js",
        "data/u-00.js/../x",
        "data/rows-pattern-999.js", "data/rows-nowhere-000.js", "api/nothing", "viewer.py", "data//etc/passwd.js",
    ],
)  # fmt: skip
def test_no_file_but_its_own_is_served(server: Viewer, path: str) -> None:
    assert ask(server, path)[0] == 404


def test_lists_do_not_wait_for_a_map_and_it_is_drawn_once(server: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    drawn, shard = [], server.bundle.shard

    def slow(name: str) -> bytes:
        if name == "likeness":
            drawn.append(name)
            begun.set()
            assert go_on.wait(20)
        return shard(name)

    monkeypatch.setattr(server.bundle, "shard", slow)
    answers: list[bytes] = []
    asking = [threading.Thread(target=lambda: answers.append(ask(server, "data/likeness.js")[2])) for _ in range(2)]
    for thread in asking:
        thread.start()
    assert begun.wait(20)
    assert ask(server, "data/u-0000.js")[0] == 200
    go_on.set()
    for thread in asking:
        thread.join(20)
    assert len(answers) == 2 and answers[0] == answers[1] and b"n_alone" in answers[0] and drawn == ["likeness"]


def test_a_call_that_is_no_json_is_one_line(server: Viewer) -> None:
    assert ask(server, "api/plan", b"{", method="POST")[0] == 400
    assert ask(server, "api/plan", b"[" * 100_000, method="POST")[0] == 400
    assert ask(server, "api/plan", {}, Content_Type="text/plain")[0] == 415
    assert ask(server, "api/plan", b"x", Content_Length=str(10**9))[0] == 413
    for body in (None, [], 3, {"items": [{"suppress": "pattern:blod"}]}, {"items": [{"hug": "pattern:bold"}]}):
        status, _, answer = (
            ask(server, "api/plan", body, method="POST") if body is not None else (409, {}, b'{"error": ""}')
        )
        assert status == 409 and "error" in json.loads(answer)
    assert ask(server, "api/what-if", {"items": [{"suppress": "pattern:bold", "method": "hug"}]})[0] == 409
    assert ask(server, "", method="DELETE")[0] == 501


def test_the_server_gives_what_the_folder_holds(server: Viewer, site: Path) -> None:
    for name in ("index", "overview", "rows-pattern-000", "u-0000", "pairs-0001", "fired-0000"):
        assert ask(server, f"data/{name}.js")[2] == (site / "data" / f"{name}.js").read_bytes(), name


def test_a_second_viewer_is_refused_and_the_run_stays_free_for_commands(server: Viewer, tmp_path: Path) -> None:
    refusals: list[str] = []

    def second() -> None:
        try:
            with viewer(server.run, tmp_path / "plan.yaml", events=Events()):
                pass
        except UserError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=second)  # a thread is to the lock what a process is
    thread.start()
    thread.join()
    assert len(refusals) == 1 and "`pretilt view`" in refusals[0]
    assert not (server.run.path / "run.lock").exists()


def test_a_step_that_finishes_meanwhile_is_there_when_the_page_is_loaded_anew(server: Viewer) -> None:
    before = json.loads(ask(server, "data/index.js")[2].partition(b",")[2].rstrip()[:-2])
    pretilt.forecast(server.run.path, draws=10)
    after = json.loads(ask(server, "data/index.js")[2].partition(b",")[2].rstrip()[:-2])
    assert (before["has"]["forecast"], after["has"]["forecast"]) == (False, True)
    assert ask(server, "data/forecast.js")[0] == 200


def test_a_run_that_nobody_can_write_is_shown(viewer_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_can_write", lambda folder: False)
    with viewer(viewer_run, tmp_path / "plan.yaml", events=Events()) as server:
        assert server.shard("index").startswith(b"pretiltShard(")
        assert not (viewer_run.path / "view").exists()


def test_a_port_that_is_taken_is_a_line(server: Viewer, viewer_run_folder: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=rf"port {server.server_port} cannot be used.*Leave --port out"),
        viewer(Run(viewer_run_folder), tmp_path / "p.yaml", port=server.server_port, events=Events()),
    ):
        pass
    assert not (viewer_run_folder / "view").exists()


# --- what is written --------------------------------------------------------------------------------------------------


def test_a_plan_is_saved_as_shape_reads_it_and_only_over_what_was_read(server: Viewer) -> None:
    bold = {"suppress": "pattern:bold", "method": "offset", "strength": 1.5, "note": "disliked"}
    items = [bold, {"keep": "pattern:apology"}]
    status, _, body = ask(server, "api/plan", {"items": items})
    assert status == 200 and "pretilt shape" in json.loads(body)["next"]
    shaped = pretilt.shape(server.run.path, server.plans.path)
    assert [item["decision"] for item in shaped.report["items"]] == ["suppress", "keep"]
    assert json.loads(ask(server, "api/plan")[2])["items"][0]["strength"] == 1.5

    server.plans.path.write_text("items:\n- keep: concept:1\n")
    status, _, body = ask(server, "api/plan", {"items": items})
    assert status == 409 and "changed meanwhile" in json.loads(body)["error"]
    assert "concept:1" in server.plans.path.read_text()


def test_the_what_if_is_that_of_python(server: Viewer) -> None:
    items = [
        {"suppress": "pattern:bold", "method": "drop", "strength": 0.5},
        {"suppress": "source:first", "method": "weight", "strength": 1.0},
    ]
    answer = json.loads(ask(server, "api/what-if", {"items": items})[2])
    table = pretilt.what_if(server.run)({"items": items})
    assert answer["concepts"]["concept_id"] == table["concept_id"].to_pylist()
    assert answer["concepts"]["shaped"] == pytest.approx(table["shaped"].to_pylist(), abs=1e-5)
    assert answer["coverage"]["touched"] >= 100 and answer["coverage"]["dropped"] > 10
    assert answer["text"].startswith("pairs: ") and answer["items"][0]["touched"] == answer["coverage"]["dropped"]
    assert list(Path(server.run.path, "shape").glob("*")) == [], "nothing is written"


def test_methods_are_compared_as_shape_compares_them(server: Viewer) -> None:
    items = [{"suppress": "pattern:bold", "method": "offset", "strength": 1.0}, {"protect": "pattern:apology"}]
    methods = json.loads(ask(server, "api/compare", {"items": items, "number": 1})[2])["methods"]
    report = pretilt.shape(server.run.path, {"items": items}, compare=True).report
    expected = {entry["method"]: entry for entry in report["items"][0]["compared"]}
    assert {entry["method"] for entry in methods} == expected.keys() >= {"drop", "weight", "offset", "rewrite"}
    for entry in methods:
        assert entry["reached"] == pytest.approx(expected[entry["method"]]["reached"], abs=1e-4), entry
        assert bool(entry["refusal"]) == bool(expected[entry["method"]]["refusal"])
    for number in (2, 3, "x"):
        status, _, answer = ask(server, "api/compare", {"items": items, "number": number})
        assert status == 409 and "Mark a concept" in json.loads(answer)["error"]


def test_a_pasted_pair_is_read_by_the_patterns(server: Viewer) -> None:
    table = server.bundle.tables.concepts
    name = dict(zip(table["concept_id"].to_pylist(), table["pattern"].to_pylist(), strict=True))
    body = {"prompt": "Hi", "chosen": "Some **bold** and **more**.", "rejected": "I am sorry. Some **bold**."}
    rows = {name[row["concept_id"]]: row for row in json.loads(ask(server, "api/ask", body)[2])["patterns"]}
    assert (rows["bold"]["chosen"], rows["bold"]["rejected"], rows["bold"]["u"]) == (2, 1, 0)
    assert (rows["apology"]["chosen"], rows["apology"]["u"]) == (0, -1)
    alone = json.loads(ask(server, "api/ask", {"chosen": "Yes."})[2])["patterns"]
    assert "empty" not in {name[row["concept_id"]] for row in alone} and not any(row["rejected"] for row in alone)
    assert json.loads(ask(server, "api/ask", {"prompt": "x"})[2])["patterns"] == []
    for wrong in ({}, [], {"prompt": ""}, {"chosen": 3}, {"chosen": "x" * 200_001}):
        status, _, answer = ask(server, "api/ask", wrong)
        assert status == 409 and json.loads(answer)["error"], str(wrong)[:40]


def test_the_pairs_that_teach_the_same_as_a_pasted_one(server: Viewer) -> None:
    """Bold and an apology: pairs with bold in chosen or "I am sorry" in rejected, those with both first."""
    pairs = server.run.table(PAIRS_FILE).to_pylist()
    answer = json.loads(ask(server, "api/ask", {"chosen": "a **b**", "rejected": "I am sorry."})[2])
    TypeAdapter(contract.CALLS["ask"]).validate_python(answer)
    assert len(answer["same"]) == 12
    for row in answer["same"]:
        pair = pairs[row["pair"]]
        assert pair["split"] == "train" and row["patterns"] >= 1
        assert "**" in pair["chosen"][0]["content"] or pair["rejected"][0]["content"].startswith("I am sorry")
    weights = [row["weight"] for row in answer["same"]]
    assert weights == sorted(weights, reverse=True) and weights[-1] > 0
    turned = json.loads(ask(server, "api/ask", {"chosen": "I am sorry.", "rejected": "a **b**"})[2])
    assert turned["contrary"] == [{**row, "weight": -row["weight"]} for row in answer["same"]]
    nothing = json.loads(ask(server, "api/ask", {"chosen": "zzz", "rejected": "zzz"})[2])
    assert nothing["same"] == nothing["contrary"] == []


def test_without_a_lens_nothing_is_read_through_one(server: Viewer) -> None:
    status, _, answer = ask(server, "api/read", {"prompt": "Hi", "chosen": "Yes."})
    assert status == 409 and "made without a lens" in json.loads(answer)["error"]


def test_names_are_kept_in_the_run_and_a_run_that_is_written_is_left_alone(server: Viewer) -> None:
    assert ask(server, "api/curation", {"names": {"2": "my name"}})[0] == 200
    assert curation(server.run)["names"] == {"2": "my name"}
    assert b"my name" in ask(server, "data/curation.js")[2]
    assert ask(server, "api/curation", {"names": {"99999": "x"}})[0] == 409
    assert json.loads((server.run.path / CURATION_FILE).read_text())["names"] == {"2": "my name"}
