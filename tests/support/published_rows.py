"""One row of every format, as published or documented, and the spans a person would write down for it.

TRL_READS: rows that TRL 1.16 reads correctly, so that its own functions say what is expected. HAND_WRITTEN: the others.
"""

import json


def user(text):
    return {"role": "user", "content": text}


def says(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


ASKED, GOOD, BAD = user("What color is the sky?"), says("It is blue."), says("It is green.")
EARLIER = [user("Hi"), says("Hello! How can I help?")]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

TRL_READS = {
    "TRL conversational": {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "explicit multi-turn": {"prompt": [system("Be brief."), *EARLIER, ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "TRL implicit": {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "implicit multi-turn": {"chosen": [*EARLIER, ASKED, GOOD], "rejected": [*EARLIER, ASKED, BAD]},
    "implicit with system": {
        "chosen": [system("Be brief."), *EARLIER, ASKED, GOOD],
        "rejected": [system("Be brief."), *EARLIER, ASKED, BAD],
    },
    "trl-lib UltraFeedback": {
        "chosen": [ASKED, GOOD],
        "rejected": [ASKED, BAD],
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    },
    "UltraFeedback": {"prompt": "What color is the sky?", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "from/value": {
        "prompt": [{"from": "user", "value": "What color is the sky?"}],
        "chosen": [{"from": "assistant", "value": "It is blue."}],
        "rejected": [{"from": "assistant", "value": "It is green."}],
    },
    "agent's turns": {
        "chosen": [ASKED, says("Let me look."), {"role": "tool", "content": "blue"}, GOOD],
        "rejected": [ASKED, says("I guess."), {"role": "tool", "content": "?"}, BAD],
    },
}

BROAD = ([ASKED], [GOOD], [BAD])
HAND_WRITTEN = {
    "list prompt with full conversations": (
        {"prompt": [ASKED], "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        BROAD,
    ),
    "system turn in the prompt column alone": (
        {"prompt": [system("Be brief."), ASKED], "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
        ([system("Be brief."), ASKED], [GOOD], [BAD]),
    ),
    "metadata in shared turns": (
        {
            "chosen": [{**ASKED, "timestamp": 1, "hash": "a"}, {**GOOD, "redacted": False}],
            "rejected": [{**ASKED, "timestamp": 2, "hash": "b"}, BAD],
        },
        BROAD,
    ),
    "keys filled with null": (
        {
            "chosen": [{**ASKED, "tool_calls": None, "name": None}, GOOD],
            "rejected": [ASKED, {**BAD, "tool_calls": None}],
        },
        BROAD,
    ),
    "Sequence of objects": (
        {
            "chosen": {"role": ["user", "assistant"], "content": [ASKED["content"], GOOD["content"]]},
            "rejected": {"role": ["user", "assistant"], "content": [ASKED["content"], BAD["content"]]},
        },
        BROAD,
    ),
    "H4 UltraFeedback": (
        {
            "prompt": "What color is the sky?",
            "prompt_id": "ab12",
            "chosen": [ASKED, GOOD],
            "rejected": [ASKED, BAD],
            "messages": [ASKED, GOOD],
            "score_chosen": 8.5,
            "score_rejected": 4.0,
        },
        BROAD,
    ),
    "Tulu 3": (
        {"id": "x1", "prompt": "Hi", "chosen": [*EARLIER, ASKED, GOOD], "rejected": [*EARLIER, ASKED, BAD]},
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "Snorkel": (
        {
            "prompt_id": "1",
            "prompt": "What color is the sky?",
            "chosen": [ASKED, GOOD],
            "rejected": [ASKED, BAD],
            "all_generated_responses": ["It is blue.", "Pink.", "It is green."],
            "all_rm_scores": [3.0, 1.0, -2.0],
        },
        BROAD,
    ),
    "HH": (
        {
            "chosen": "\n\nHuman: Hi\n\nAssistant: Hello! How can I help?\n\nHuman: What color is the sky?"
            "\n\nAssistant: It is blue.",
            "rejected": "\n\nHuman: Hi\n\nAssistant: Hello! How can I help?\n\nHuman: What color is the sky?"
            "\n\nAssistant: It is green.",
        },
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "HH with the prompt apart": (
        {
            "prompt": "\n\nHuman: What color is the sky?\n\nAssistant:",
            "chosen": " It is blue.",
            "rejected": " It is green.",
        },
        BROAD,
    ),
    "HelpSteer3": (
        {
            "domain": "general",
            "language": "english",
            "context": [*EARLIER, ASKED],
            "response1": "It is green.",
            "response2": "It is blue.",
            "overall_preference": 2,
            "individual_preference": [{"score": 2}],
        },
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "Argilla UltraFeedback": (
        {
            "source": "sharegpt",
            "instruction": "What color is the sky?",
            "chosen_response": "It is blue.",
            "rejected_response": "It is green.",
            "chosen_avg_rating": 4.75,
            "rejected_avg_rating": 2.0,
            "chosen_model": "gpt-4",
        },
        BROAD,
    ),
    "distilabel orca": (
        {
            "system": "Be brief.",
            "input": "What color is the sky?",
            "chosen": "It is blue.",
            "rejected": "It is green.",
            "status": "unchanged",
            "chosen_score": 9.0,
            "in_gsm8k_train": False,
        },
        ([system("Be brief."), ASKED], [GOOD], [BAD]),
    ),
    "Intel orca": (
        {"system": "", "question": "What color is the sky?", "chosen": "It is blue.", "rejected": "It is green."},
        BROAD,
    ),
    "texts with a system column": (
        {"system": "Be brief.", "prompt": ASKED["content"], "chosen": "It is blue.", "rejected": "It is green."},
        ([system("Be brief."), ASKED], [GOOD], [BAD]),
    ),
    "Capybara, conversations": (
        {
            "source": "Airoboros",
            "conversation": [
                {"input": "Hi", "output": "Hello! How can I help?"},
                {"input": "What color is the sky?", "output": "It is blue."},
            ],
            "prompt": "What color is the sky?",
            "chosen": [*EARLIER, ASKED, GOOD],
            "rejected": [*EARLIER, ASKED, BAD],
            "rating_chosen": 5,
            "rating_rejected": 2,
            "chosen_model": "a",
            "rejected_model": "b",
        },
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "Capybara, texts": (
        {
            "conversation": [
                {"input": "Hi", "output": "Hello! How can I help?"},
                {"input": "What color is the sky?", "output": "It is blue."},
            ],
            "chosen": "It is blue.",
            "rejected": "It is green.",
        },
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "LLaMA-Factory alpaca": (
        {
            "instruction": "Answer the question.",
            "input": "What color is the sky?",
            "history": [["Hi", "Hello! How can I help?"]],
            "system": "Be brief.",
            "chosen": "It is blue.",
            "rejected": "It is green.",
        },
        (
            [system("Be brief."), *EARLIER, user("Answer the question.\nWhat color is the sky?")],
            [GOOD],
            [BAD],
        ),
    ),
    "LLaMA-Factory alpaca without input": (
        {"instruction": "What color is the sky?", "input": "", "chosen": "It is blue.", "rejected": "It is green."},
        BROAD,
    ),
    "LLaMA-Factory sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello! How can I help?"},
                {"from": "human", "value": "What color is the sky?"},
            ],
            "system": "Be brief.",
            "chosen": {"from": "gpt", "value": "It is blue."},
            "rejected": {"from": "gpt", "value": "It is green."},
        },
        ([system("Be brief."), *EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "older sharegpt": (
        {
            "conversations": [{"from": "human", "value": "What color is the sky?"}],
            "chosen": "It is blue.",
            "rejected": "It is green.",
        },
        BROAD,
    ),
    "axolotl chat_template": (
        {"messages": [*EARLIER, ASKED], "chosen": GOOD, "rejected": BAD},
        ([*EARLIER, ASKED], [GOOD], [BAD]),
    ),
    "Oumi": ({"messages": [ASKED], "chosen": [GOOD], "rejected": [BAD]}, BROAD),
    "RL2": ({"context": [ASKED], "chosen_response": "It is blue.", "rejected_response": "It is green."}, BROAD),
    "NeMo-RL texts": (
        {"prompt": ASKED["content"], "chosen_response": "It is blue.", "rejected_response": "It is green."},
        BROAD,
    ),
    "NeMo-RL ranked": (
        {
            "context": [ASKED],
            "completions": [{"rank": 1, "completion": [BAD]}, {"rank": 0, "completion": [GOOD]}],
        },
        BROAD,
    ),
    "OpenAI": (
        {
            "input": {"messages": [ASKED], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [GOOD],
            "non_preferred_output": [BAD],
        },
        BROAD,
    ),
    "distilabel FormatTextGenerationDPO": (
        {
            "instruction": "What color is the sky?",
            "generations": ["It is green.", "It is blue."],
            "ratings": [1, 5],
            "generation_models": ["a", "b"],
            "prompt": "What color is the sky?",
            "prompt_id": "ff",
            "chosen": [ASKED, GOOD],
            "chosen_model": "b",
            "chosen_rating": 5,
            "rejected": [ASKED, BAD],
            "rejected_model": "a",
            "rejected_rating": 1,
        },
        BROAD,
    ),
    "distilabel before formatting": (
        {
            "instruction": "What color is the sky?",
            "generations": ["It is green.", "Dunno.", "It is blue."],
            "ratings": [1, None, 5],
            "generation_models": ["a", "c", "b"],
        },
        BROAD,
    ),
    "Nectar": (
        {
            "prompt": "\n\nHuman: What color is the sky?\n\nAssistant: ",
            "answers": [
                {"answer": "Grey.", "model": "m2", "rank": 2.0},
                {"answer": "It is green.", "model": "m3", "rank": 3.0},
                {"answer": "It is blue.", "model": "m1", "rank": 1.0},
            ],
            "turns": 1,
            "num_responses": 3,
            "source": ["lmsys-chat-1m"],
            "good_natured": True,
        },
        BROAD,
    ),
    "cells of JSON text, as in CSV": (
        {"chosen": json.dumps([ASKED, GOOD]), "rejected": json.dumps([ASKED, BAD]), "score_chosen": "8.5"},
        BROAD,
    ),
    "text prompt, message responses": ({"prompt": ASKED["content"], "chosen": [GOOD], "rejected": [BAD]}, BROAD),
    "message prompt, text responses": ({"prompt": [ASKED], "chosen": "It is blue.", "rejected": "It is green."}, BROAD),
}
