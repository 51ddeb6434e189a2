"""Rows as people publish them, through the reader: the trainer's own tokens, and what of them is content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_tokenizers import CHATML, LLAMA2, byte_level, sentencepiece_like
from trainer_tokens import prepared_by_trainer

from pretilt.errors import UserError
from pretilt.pairs.chat import TEMPLATE_REFUSED
from pretilt.pairs.read import read_pairs
from pretilt.pairs.rendering import TemplateRenderer

TURN = "{% for m in messages %}<|im_start|>{{ m.role }}\n"
ASK = "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
REASONING = TURN + "{% if m.get('reasoning') %}<think>{{ m.get('reasoning') }}</think>{% endif %}{{ m.content }}" + ASK
CALLS = (
    TURN + "{{ m.content or '' }}{% for c in m.tool_calls or [] %}<tool_call>{{ c.function.name }} "
    "{{ c.function.arguments | tojson }}</tool_call>{% endfor %}" + ASK
)
PARTS = (
    TURN + "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}\n{% endfor %}"
    "{% endif %}" + ASK
)


def row(prompt: Any, chosen: Any, rejected: Any, **more: Any) -> dict[str, Any]:
    """Texts become one message; a dict is the assistant's message without its role."""

    def messages(value: Any, role: str) -> list[dict[str, Any]]:
        return [{"role": role, **(value if isinstance(value, dict) else {"content": value})}]

    return {
        "prompt": messages(prompt, "user"),
        "chosen": messages(chosen, "assistant"),
        "rejected": messages(rejected, "assistant"),
        **more,
    }


def call(name: str, arguments: Any) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


def parts(*texts: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text} for text in texts]}


def content_of(read: Any, tokenizer: Any, number: int, span: str) -> str:
    ids, mask = (read.tokens[f"{span}_{kind}"][number].as_py() for kind in ("ids", "content"))
    return str(tokenizer.decode([token for token, is_content in zip(ids, mask, strict=True) if is_content]))


PUBLISHED = {
    "reasoning": (
        REASONING,
        [
            row(
                "Is 7 prime?",
                {"content": "Yes.", "reasoning": "No divisor."},
                {"content": "No.", "reasoning": "A guess."},
            ),
            row(
                "Is 11 prime?", {"content": "Yes.", "reasoning": "No divisor."}, {"content": "Yes.", "reasoning": "Hm."}
            ),
        ],
        ("Is 7 prime?", "No divisor.Yes.", "A guess.No."),
    ),
    "an argument that is null": (
        CALLS,
        [row(f"Book room {n}", call("book", {"room": n, "until": None}), "No.") for n in (1, 2)],
        ("Book room 1", "bookroom1untilnull", "No."),
    ),
    "arguments that are numbers": (
        CALLS,
        [row(f"Wake me at {n}", call("alarm", {"hour": n}), call("alarm", {"hour": n + 12})) for n in (6, 7)],
        ("Wake me at 6", "alarmhour6", "alarmhour18"),
    ),
    "parts": (
        PARTS,
        [row(parts("Look.", f"What is {n}?"), parts("A number.", f"It is {n}."), parts("Dunno")) for n in (1, 2)],
        ("Look.What is 1?", "A number.It is 1.", "Dunno"),
    ),
}


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_rows_have_the_trainers_tokens(kind: str, tmp_path: Path) -> None:
    template, rows, content = PUBLISHED[kind]
    tokenizer = byte_level(template)
    read = read_pairs(rows, tokenizer, holdout=0)
    trainers = prepared_by_trainer([{**r, "pair_id": str(i)} for i, r in enumerate(rows)], tokenizer, 1024, tmp_path)

    assert read.tokens.num_rows == len(rows)
    for i in range(len(rows)):
        ours = {span: read.tokens[f"{span}_ids"][i].as_py() for span in ("prompt", "chosen", "rejected")}
        assert ours == trainers[str(i)]
    assert tuple(content_of(read, tokenizer, 0, span) for span in ("prompt", "chosen", "rejected")) == content


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (6, "6"),
        (-0.5, "-0.5"),
        (1e100, "1e+100"),
        (True, "true"),
        (None, "null"),
        ([], "[]"),
        ({}, "{}"),
        ("", ""),
        ("six", "six"),
        ([1, [False, "two"]], "1falsetwo"),
        ({"at": {"hour": 6, "zone": None}}, "athour6zonenull"),
    ],
)
def test_every_value_of_a_call_is_content(value: Any, printed: str) -> None:
    """Whatever its type and however deep; brackets, commas and quotes that the template writes are not."""
    tokenizer = byte_level(CALLS)
    read = read_pairs([row("Wake me", call("alarm", {"when": value}), "No.")], tokenizer, holdout=0)
    text = content_of(read, tokenizer, 0, "chosen").replace(" ", "")  # " true" may be one token
    assert text == "alarmwhen" + printed
    assert read.preflight["chat_template_trouble"] == {}


def test_parts_are_joined_for_a_template_that_prints_no_parts() -> None:
    rows = [row(parts("Look. ", "What is it?"), parts("A ", "cat"), "A dog")]
    read = read_pairs(rows, byte_level(CHATML), holdout=0)
    plain = read_pairs([row("Look. What is it?", "A cat", "A dog")], byte_level(CHATML), holdout=0)
    assert read.tokens["chosen_ids"] == plain.tokens["chosen_ids"]
    assert any("messages in parts" in note for note in read.preflight["notes"])


@pytest.mark.parametrize(
    "arguments",
    [
        {"chat_template": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"},
        {"chat_template": {"default": "x"}},
        {"tokenize": True},
        {"return_dict": True, "return_tensors": "pt"},
        {"continue_final_message": True},
    ],
)
def test_data_that_bring_a_template_or_tokenizer_options_are_dropped_by_name(arguments: dict[str, Any]) -> None:
    rows = [row("Hi", "Yes", "No"), row("Ho", "Yes", "No", chat_template_kwargs=arguments)]
    read = read_pairs(rows, byte_level(CHATML), holdout=0)
    [dropped] = read.dropped.to_pylist()
    assert (dropped["row_index"], dropped["reason"]) == (1, TEMPLATE_REFUSED)
    assert dropped["detail"].startswith(f"chat_template_kwargs may not hold {', '.join(sorted(arguments))}:")


def nested(depth: int, inside: Any = 1) -> Any:
    for _ in range(depth):
        inside = [inside]
    return inside


@pytest.mark.parametrize(
    "deep",
    [
        row("Hi", call("f", {"a": nested(600)}), "No"),
        row("Hi", "Yes", "No", tools=[{"type": "function", "function": {"name": "f", "parameters": nested(600)}}]),
        row("Hi", "Yes", "No", chat_template_kwargs={"a": nested(600)}),
        row("Hi", {"content": nested(600)}, "No"),
        row(nested(600), "Yes", "No"),
    ],
    ids=["tool call", "tools", "template arguments", "content", "prompt"],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_values_nested_600_deep_are_one_line(deep: dict[str, Any], as_file: bool, tmp_path: Path) -> None:
    source: Any = [deep]
    if as_file:
        source = tmp_path / "deep.jsonl"
        source.write_text(json.dumps(deep) + "\n")
    with pytest.raises(UserError, match="nested in more than 100 levels") as caught:
        read_pairs(source, byte_level(CALLS))
    assert "\n" not in str(caught.value)
    assert "row 0" in str(caught.value)


def test_content_of_ten_million_characters_is_read() -> None:
    """The process that renders takes it whole."""
    text = "a\n" * 5_000_000
    rendered = TemplateRenderer(byte_level(CHATML)).render([{"role": "user", "content": text}])
    assert rendered.endswith(f"<|im_start|>user\n{text}<|im_end|>\n")


@pytest.mark.parametrize("role", ["user ", "USER", "Human", "критик", "🙂", "a\nb", "tool", "developer", "x" * 300])
def test_an_odd_role_is_rendered_as_it_is_or_as_its_alias(role: str) -> None:
    aliases = {"user ": "user", "USER": "user", "Human": "user"}
    tokenizer = byte_level(CHATML)
    read = read_pairs([{**row("Hi", "Yes", "No"), "prompt": [{"role": role, "content": "Hi"}]}], tokenizer, holdout=0)
    text = tokenizer.decode(read.tokens["prompt_ids"][0].as_py())
    assert f"<|im_start|>{aliases.get(role, role)}\nHi<|im_end|>" in text


@pytest.mark.parametrize("role", ["", " ", None, 3, ["user"], {"a": 1}, "\ud800"])
def test_what_is_no_role_is_one_line(role: Any) -> None:
    rows = [{**row("Hi", "Yes", "No"), "prompt": [{"role": role, "content": "Hi"}]}]
    with pytest.raises(UserError) as caught:
        read_pairs(rows, byte_level(CHATML), holdout=0)
    assert "\n" not in str(caught.value)


def test_a_role_that_the_template_does_not_take_drops_the_row() -> None:
    good = row("Hi", "Yes", "No")
    rows = [good, {**good, "prompt": [{"role": "critic", "content": "Hi"}]}]
    read = read_pairs(rows, sentencepiece_like(LLAMA2), holdout=0)
    [dropped] = read.dropped.to_pylist()
    assert (dropped["row_index"], dropped["reason"]) == (1, TEMPLATE_REFUSED)
    assert "must alternate" in dropped["detail"]
