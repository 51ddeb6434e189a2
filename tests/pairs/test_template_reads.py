"""What a template reads is found out from its syntax tree; what it does to this machine is bounded."""

from __future__ import annotations

import json

import pytest
from tiny_tokenizers import CHATML, LLAMA2, byte_level

from pretilt.errors import UserError
from pretilt.pairs import rendering
from pretilt.pairs.chat import TEMPLATE_REFUSED, tokenise
from pretilt.pairs.pair import Drop, Message, Pair
from pretilt.pairs.read import read_pairs
from pretilt.pairs.template_reads import template_reads

LOOP = "{% for m in messages %}"
ANY = None


@pytest.mark.parametrize(
    ("body", "keys"),
    [
        (LOOP + "{{ m.a }}{{ m['b'] }}{{ m.get('c', m.d) }}{% if 'e' in m %}{% endif %}{% endfor %}", "abcde"),
        (LOOP + "{% set n = m %}{{ n.a }}{{ n.tool.b }}{% endfor %}{{ other.c }}", ["a", "tool"]),
        ("{% set turns = messages[1:] %}{% for m in turns %}{{ m['a' ~ 'b'] }}{% endfor %}", ["ab"]),
        ("{% set ns = namespace(last=none) %}" + LOOP + "{% set ns.last = m %}{% endfor %}{{ ns.last.a }}", "a"),
        ("{% macro show(x) %}{{ x.a }}{% endmacro %}" + LOOP + "{{ show(m) }}{% endfor %}", "a"),
        (LOOP + "{{ show(x=m) }}{% endfor %}{% macro show(x) %}{{ x.a }}{% endmacro %}", "a"),
        (LOOP + "{{ loop.previtem.a }}{{ loop.nextitem['b'] }}{% endfor %}", "ab"),
        ("{{ (messages | last).a }}{{ messages[-1]['b'] }}{{ messages | map(attribute='c.d') | join }}", "abc"),
        ("{{ messages | selectattr('a', 'defined') | list | length }}", "a"),
        (LOOP + "{% if m.a is defined and m is mapping %}{% endif %}{% endfor %}", "a"),
        (LOOP + "{{ m }}{% endfor %}", ANY),
        (LOOP + "{{ m | tojson }}{% endfor %}", ANY),
        (LOOP + "{% for k, v in m.items() %}{% endfor %}{% endfor %}", ANY),
        (LOOP + "{% for k in m %}{{ m[k] }}{% endfor %}{% endfor %}", ANY),
        (LOOP + "{{ m[key] }}{% endfor %}", ANY),
        (LOOP + "{{ dict(m).a }}{% endfor %}", ANY),
        (LOOP + "{{ '%s' % m }}{% endfor %}", ANY),
        (LOOP + "{{ show(**m) }}{% endfor %}{% macro show(x) %}{{ x }}{% endmacro %}", ANY),
        ("{{ messages }}", ANY),
    ],
)
def test_keys_that_a_template_reads(body: str, keys: object) -> None:
    read = template_reads(byte_level(body)).keys
    assert read == (None if keys is ANY else {"role", "content", *keys})  # type: ignore[misc]


def test_a_key_that_only_this_template_reads_is_carried_and_others_are_named() -> None:
    template = LOOP + "{{ m.role }}: {{ m.mood }} {{ m.content }}<|im_end|>{% endfor %}"
    rows = [
        {
            "prompt": [{"role": "user", "content": f"Is {n} prime?"}],
            "chosen": [{"role": "assistant", "content": "Yes.", "mood": "sure", "stamp": 1}],
            "rejected": [{"role": "assistant", "content": "Yes.", "mood": "sour", "stamp": 2}],
        }
        for n in (7, 11)
    ]
    tokenizer = byte_level(template)
    read = read_pairs(rows, tokenizer)
    assert read.pairs["chosen"][0].as_py()[0]["extra"] == '{"mood":"sure"}'
    assert tokenizer.decode(read.tokens["rejected_ids"][0].as_py()) == "assistant: sour Yes.<|im_end|>"
    assert read.preflight["notes"][0].startswith(
        "message key 'stamp' was ignored in 4 messages: the chat template does"
    )
    with pytest.raises(UserError, match="2 identical"):
        read_pairs(rows, byte_level(CHATML))


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ 'a' * 3000000000 }}", "MemoryError"),
        ("{{ 2.0 ** 5000 }}", "OverflowError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{{ '\\ud800' }}", "surrogates"),
        ("{{ x.y.z }}", "UndefinedError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ raise_exception('no') }}", "TemplateError: no"),
    ],
)
def test_whatever_a_template_raises_drops_the_row(template: str, why: str) -> None:
    example = Pair(5, (Message("user", "hi"),), (Message("assistant", "a"),), (Message("assistant", "b"),))
    [drop] = tokenise([example], byte_level(template))
    assert isinstance(drop, Drop)
    assert (drop.row_index, drop.reason) == (5, TEMPLATE_REFUSED)
    assert why in drop.detail


def test_a_template_without_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """For one conversation a dropped row, for all of them one error; the process is gone in either case."""
    monkeypatch.setattr(rendering, "CPU_SECONDS", 0.5)
    rendering._PROCESS.stop()
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    some = LOOP + "{% if m.content == 'loop' %}" + endless + "{% endif %}{{ m.content }}<|im_end|>{% endfor %}"
    pairs = [
        Pair(i, (Message("user", text),), (Message("assistant", "a"),), (Message("assistant", "b"),))
        for i, text in enumerate(["hi", "loop", "ho"])
    ]
    first, drop, last = tokenise(pairs, byte_level(some))
    assert isinstance(drop, Drop)
    assert drop.detail == "the chat template ran past 0.5 s"
    assert not isinstance(first, Drop)
    assert not isinstance(last, Drop)
    ended = rendering._PROCESS._running
    assert ended is not None
    monkeypatch.setattr(rendering, "_ENDED_AT_FIRST", 1)
    with pytest.raises(UserError, match="chat template does not end"):
        list(tokenise(pairs, byte_level(endless)))
    assert ended.poll() is not None
    rendering._PROCESS.stop()


@pytest.mark.parametrize("name", ["chat_template", "tokenize", "padding", "max_length", "add_generation_prompt"])
def test_data_give_values_to_the_template_and_nothing_else(name: str) -> None:
    kwargs = json.dumps({name: "{% for i in range(99999) %}{% endfor %}"})
    example = Pair(
        0, (Message("user", "hi"),), (Message("assistant", "a"),), (Message("assistant", "b"),), template_kwargs=kwargs
    )
    [drop] = tokenise([example], byte_level(CHATML))
    assert isinstance(drop, Drop)
    assert f"chat_template_kwargs may not hold {name}" in drop.detail


def test_rendering_is_the_tokenizers_own() -> None:
    tokenizer = byte_level(CHATML)
    conversation = [{"role": "user", "content": "Grüße 🙂\n"}, {"role": "assistant", "content": None, "tool_calls": []}]
    renderer = rendering.TemplateRenderer(tokenizer)
    assert renderer.render(conversation, ask=True) == tokenizer.apply_chat_template(
        conversation, tokenize=False, add_generation_prompt=True
    )
    with pytest.raises(rendering.TemplateRefused, match="must alternate"):
        rendering.TemplateRenderer(byte_level(LLAMA2, bos=True)).render([{"role": "assistant", "content": "I begin"}])
