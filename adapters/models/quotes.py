"""Which words of an entry are worth repeating: short, whole, and telling of something.

Long sentences are cut where they may be, at semicolons and at clauses, and never inside a clause.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

import msgspec

from adapters.models.tone import tone_of
from adapters.models.words import clauses, fold, plain, sentences
from domain.journal.languages import Language

SHORTEST, LONGEST = 24, 170
"""Characters of a quotation."""

_COMMA = re.compile(
    r",\s+(?=(?:and|but|where|which|who|so|then|for|he|she|I|we|they|it|that|because|when|after"
    r"|e|mas|onde|que|então|porque|quando|depois)\b)"
)
_LEADING = re.compile(
    r"^(?:(?:and|but|so|then|for|which|where|who|that|e|mas|então|que)\b[,\s]+)+", re.IGNORECASE
)
_TELLING: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), weight)
    for weight, pattern in (
        (3.0, r"\bfor the first time\b|\bnever (?:in my life|before|so)\b|\bof my life\b"),
        (3.0, r"\bever (?:I (?:was|had|saw|did)|yet)\b|\bI ever (?:was|had|saw|did|heard)\b"),
        (3.0, r"\bpela primeira vez\b|\bda minha vida\b|\bnunca (?:tinha|antes)\b"),
        (3.0, r"\bthe (?:best|biggest|greatest|worst|happiest|saddest|\w+est)\b.{0,40}\bever\b"),
        (1.5, r"\b(?:thank God|God be (?:thanked|praised)|bless(?:ed)? be God|Lord be praised)\b"),
        (2.0, r"\b(?:proud of|so proud|grateful|orgulh\w+|grat[oa] )\b"),
        (2.0, r"\b(?:married|engaged|pregnant|was born|died|buried|funeral|graduated|hired)\b"),
        (2.0, r"\b(?:promoted|resigned|moved (?:in|to|out)|retired|farewell|last leave|won)\b"),
        (1.5, r"\b(?:finished|goodbye|signed|launched|got the (?:job|place|grant|keys))\b"),
        (2.0, r"\b(?:casei|casou|nasceu|morreu|mudei|despedi|contrat\w+|ganhei|assin\w+)\b"),
        (1.5, r"\b(?:acabei|terminei|consegui)\b"),
        (0.6, r"[£$€]\s?\d|\b\d+(?:s|d)\."),
    )
)
_RESOLVES: tuple[tuple[re.Pattern[str], float], ...] = tuple(
    (re.compile(pattern), weight)
    for weight, pattern in (
        (
            3.0,
            r"\bI (?:am|was|have|do)?\s?(?:of late |now |fully )?resol\w+|\b(?:vow|promise) to\b",
        ),
        (3.0, r"\b[Mm]y(?: \w+)? resolutions? (?:to|of)\b|\bdecidi\b|\bprometi\b"),
        (2.0, r"\bI(?:(?:’|')m| am) going to\b|\bI (?:want|need|plan|ought|promised) to\b"),
        (1.0, r"\bI (?:must|should)\b(?! (?:own|confess|say|admit|not forget)| \[)"),
        (1.5, r"\bI (?:will|shall|hope to)\b|\bI(?:’|')ll\b|\bfrom (?:now on|this time)\b"),
        (2.0, r"\b(?:tenho (?:de|que)|preciso de|vou tentar|vou começar|quero)\b"),
    )
)
_HEADLESS = re.compile(
    r"(?:is|are|was|were|has|had|hath|to|of|in|by|with|from|than|or|as|on|at|about|whose|also|being"
    r"|having|nor|did|do|é|são|foi|era|de|em|com|por)\b"
)
_HOMEWARDS = re.compile(r"\b(?:to bed|to supper|home to|away home|home again)\b")
"""How the days of old diaries end, one like the other."""


class Snippet(msgspec.Struct, frozen=True):
    """Words of an entry; ``weight`` says how much they tell, ``tone`` how bright they are."""

    text: str
    weight: float
    tone: float | None


def snippets(text: str, language: Language, telling: Collection[str] = ()) -> list[Snippet]:
    """The quotable parts of a text in order; words of ``telling`` (folded) make them weightier."""
    found = []
    for sentence in sentences(plain(text)):
        for number, piece in enumerate(_pieces(sentence)):
            if number and _HEADLESS.match(piece):
                continue  # what it is about stands in what was cut off
            if SHORTEST <= len(piece) <= LONGEST:
                tone = tone_of(piece, language)
                found.append(Snippet(piece, _weight(piece, tone, telling), tone))
    return found


def resolve(text: str) -> float:
    """How much a text sounds like something that somebody means to do."""
    return sum(weight for pattern, weight in _RESOLVES if pattern.search(text))


def moment(text: str) -> float:
    """How much a text sounds like something that does not happen every day."""
    return sum(weight for pattern, weight in _TELLING if pattern.search(text))


def quoted(text: str) -> str:
    """Between quotation marks, which inner ones give way to."""
    inner = text.replace("“", "‘").replace("”", "’").replace('"', "'")
    return f"“{inner}”"


def _pieces(sentence: str) -> Iterator[str]:
    for clause in clauses(sentence):
        if len(clause) <= LONGEST:
            yield _trimmed(clause)
            continue
        held: list[list[str]] = [[]]
        for part in _COMMA.split(clause):
            if held[-1] and len(", ".join([*held[-1], part])) > LONGEST:
                held.append([])
            held[-1].append(part)
        # What was left for the end is short: it takes from before what belongs to it.
        while len(held) > 1 and len(held[-2]) > 1:
            longer = [held[-2][-1], *held[-1]]
            if len(", ".join(longer)) > LONGEST:
                break
            held[-1] = longer
            held[-2].pop()
        for parts in held:
            yield _trimmed(", ".join(parts))


def _trimmed(piece: str) -> str:
    text = _LEADING.sub("", piece.strip()).strip(" ,;:—–-")
    text = text[:-1] if text.endswith(".") and not text.endswith("..") else text
    unmatched = text.count("(") != text.count(")") or text.count("“") != text.count("”")
    return re.sub(r"[()“”\"]", "", text) if unmatched else text


def _weight(text: str, tone: float | None, telling: Collection[str]) -> float:
    folded = [fold(word) for word in re.findall(r"[^\W\d_]+(?:[’'][^\W\d_]+)*", text)]
    known = len({word for word in folded if word in telling})
    own = 0.7 if re.search(r"\b(?:I|me|my|we|us|our|eu|me|meu|minha|nós)\b", text) else 0.0
    ready = 0.5 if len(text) >= 50 else 0.0
    names = len(re.findall(r"(?<=[a-zà-ÿ,] )[A-ZÀ-Þ][a-zà-ÿ]{2,}", text))
    dull = 1.2 if _HOMEWARDS.search(text) else 0.0
    said = min(known, 4) * 0.5 + min(names, 4) * 0.3 + abs(tone or 0.0) * 1.5
    return said + own + ready + moment(text) - dull
