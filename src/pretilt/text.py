"""Dataset text is hostile: hide what may harm, show what is invisible, cut what is long.

The screen is a word list. It misses harm that is put politely and fires on harmless text about harm; it decides only
what is collapsed until somebody asks for it, never what is counted.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

_SLUR = re.compile(
    r"\b(?:n[i1]gg\w*|f[a4]gg?(?:ot)?s?|k[i1]kes?|sp[i1]cs?|ch[i1]nks?|tr[a4]nn(?:y|ies)|ret[a4]rd\w*|c[u*]nts?"
    r"|wetb[a4]cks?|g[o0]{2}ks?|d[y1]kes?)\b",
    re.IGNORECASE,
)
_WORD = re.compile(
    r"kill(?:s|ed|er|ers|ing)?|murder\w*|suicid\w*|strangl\w*|tortur\w*|overdos\w*|anorexi\w*|bulimi\w*|bomb\w*"
    r"|explosives?|grenade\w*|gun(?:s|man|shot)?|shoot(?:ing|er|ers)?|stab(?:bed|bing)?|poison\w*|behead\w*|massacre\w*"
    r"|genocid\w*|terroris\w*|assassinat\w*|kidnap\w*|traffick\w*|assault\w*|abus(?:e|ed|er|ing|ive)|molest\w*|lynch\w*"
    r"|rap(?:e|ed|es|ing|ist|ists)|pa?edophil\w*|incest\w*|porn\w*|nude\w*|naked|orgasm\w*|escorts?|penis\w*|vagina\w*"
    r"|sex(?:ual|ually|y|ting)?|masturbat\w*|blowjobs?|dildo\w*|prostitut\w*|cocaine|heroin|meth(?:amphetamine)?s?"
    r"|fentanyl|opioids?|lsd|steal(?:s|ing)?|shoplift\w*|burglar\w*|robb(?:ed|ery|ing)|launder\w*|counterfeit\w*"
    r"|ransomware|malware|phishing|keylogg\w*|nazis?|hitler|fuck\w*|motherfuck\w*|shit(?:ty|head)?|bitch\w*"
    r"|bastards?|assholes?|dickheads?|cocks?|whor(?:e|es|ing)|sluts?"
)
_PHRASE = re.compile(
    r"self[- ]harm|(?:hang|cut|cutting) (?:my|your|him|her)self|groom(?:ed|ing) (?:a|kids|minors|children)\b|blow job"
    r"|ecstasy pill|hack(?:ed|ing)? into|white power|ethnic cleansing|racial slur"
)

# Unseen characters that change what is read: C0 and C1 controls, bidi controls, zero-width, tags, and
# surrogates, which no terminal can be sent. Not tab and newline.
INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def counted(n: int, noun: str, many: str = "") -> str:
    """ "1 pair", "2,000 pairs"; `many` is the plural where it is not the noun with an s."""
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


@lru_cache(maxsize=100_000)
def _is_harmful_word(word: str) -> bool:
    return bool(_WORD.fullmatch(word) or _SLUR.fullmatch(word))


def is_harmful(*texts: str) -> bool:
    """True if any text holds a word or phrase of the list, in any case."""
    for text in map(str.lower, texts):
        if any(map(_is_harmful_word, set(re.findall(r"\w(?:[\w*]*\w)?", text)))) or _PHRASE.search(text):
            return True
    return False


def mask_slurs(label: str) -> str:
    """A label (name of a concept or group, phrase) with slurs reduced to their first letter.

    Labels are not collapsed like running text: a concept named "kill, murder" must be readable to be audited.
    """
    return _SLUR.sub(lambda match: match[0][0] + "•" * (len(match[0]) - 1), label)


def visible(text: str) -> str:
    """Text with invisible and bidirectional control characters (and terminal escapes) spelled out, `‹U+202E›`."""
    return INVISIBLE.sub(lambda match: f"‹U+{ord(match[0]):04X}›", text.replace("\r\n", "\n"))


def shown_json(value: Any) -> str:
    """The value as indented JSON that may be printed to a terminal: what is invisible is escaped, not changed."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return INVISIBLE.sub(lambda match: json.dumps(match[0])[1:-1].replace("\x7f", "\\u007f"), text)


def one_line(text: str) -> str:
    """Text on one line, its white space collapsed, safe to print to a terminal."""
    return visible(" ".join(text.split()))


def snippet(text: str, width: int, *, around: int = 0) -> str:
    """About `width` characters of the text on one line, from a little before character `around`, cut at words."""
    flat = " ".join(text.split())
    if len(flat) <= width:
        return visible(flat)
    around = len(" ".join(text[:around].split()))
    start = max(0, min(around - width // 3, len(flat) - width))
    if start > 0:
        space = flat.find(" ", start, start + 20)
        start = space + 1 if space >= 0 else start
    end = start + width - 2
    if end < len(flat):
        space = flat.rfind(" ", start + width // 2, end)
        end = space if space >= 0 else end
    return ("…" if start else "") + visible(flat[start:end].strip()) + ("…" if end < len(flat) else "")
