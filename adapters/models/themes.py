"""What comes back: the themes of a time, told by words that are frequent there and rare elsewhere.

A word counts once for each entry. Its weight grows with the share of entries that have it, and with
how much larger that share is than among the entries before. Two words that mostly stand together
are one theme; tags that somebody gave are themes without further proof. Pure.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from adapters.models.words import WORD, fold, is_stop, stem
from domain.journal.events import Theme

MOST = 8
"""Themes of an insight at most."""
RELATED = 4
_NEW = 5
_BEYOND_CHANCE = 6.0
"""A log-likelihood ratio that chance brings once in seventy words."""
_POSSESSIVE = re.compile(r"[’']s?$")


class Sentence(msgspec.Struct, frozen=True):
    """A sentence, its tone (None where it has none), and the stems in it."""

    text: str
    tone: float | None
    stems: frozenset[str] = frozenset()


class Read(msgspec.Struct, frozen=True):
    """A text that was read: its sentences, and the surface form of each stem."""

    sentences: tuple[Sentence, ...]
    tags: tuple[str, ...] = ()


def stems_of(text: str, forms: dict[str, Counter[str]] | None = None) -> frozenset[str]:
    """The stems in a text that say something, pairs of neighbours among them."""
    found: set[str] = set()
    previous = before = ""
    for match in WORD.finditer(text):
        word = fold(match[0])
        if is_stop(word) or len(word) < 4 or word.endswith(("ed", "ly", "'clock", "mente")):
            previous = ""
            continue
        root = stem(word)
        found.add(root)
        shown = _POSSESSIVE.sub("", match[0])
        if forms is not None:
            forms[root][shown] += 1
        # Neighbours with nothing but a space between them.
        if previous and text[match.start() - 1 : match.start()] == " ":
            pair = f"{previous} {root}"
            found.add(pair)
            if forms is not None:
                forms[pair][f"{before} {shown}"] += 1
        before = shown
        previous = root if text[match.end() : match.end() + 1] == " " else ""
    return frozenset(found)


def themes_of(
    texts: Sequence[Read],
    before: Sequence[frozenset[str]],
    forms: dict[str, Counter[str]],
    names: Collection[str],
) -> list[Theme]:
    """The themes of these texts; ``names`` are words of people and places, which are told apart."""
    count = len(texts)
    within: Counter[str] = Counter()
    for read in texts:
        within.update(set().union(*(sentence.stems for sentence in read.sentences)) - set(names))
    earlier: Counter[str] = Counter()
    for stems in before:
        earlier.update(stems)
    least = 1 if count < 3 else max(2, math.ceil(count * 0.1))
    candidates = {
        word: frequency
        for word, frequency in within.items()
        if frequency >= least and not set(word.split(" ")) & set(names)
    }
    for word in [word for word in candidates if " " in word]:
        for part in word.split(" "):
            if within[word] * 2 >= within[part]:
                candidates.pop(part, None)  # mostly it stands in this pair
    ranked = [*_new(candidates, count, earlier, len(before)), *_constant(candidates, count)]
    tagged: Counter[str] = Counter(tag for read in texts for tag in read.tags)
    chosen = [tag for tag, uses in tagged.most_common(3) if uses >= min(2, count)]
    taken = {stem(fold(tag)) for tag in chosen}
    for word in ranked:
        if len(chosen) < MOST and not taken & {word, *word.split(" ")}:
            chosen.append(word)
            taken |= {word, *word.split(" ")}
    return [_theme(name, texts, forms, name in tagged) for name in chosen]


def _new(
    candidates: Mapping[str, int], count: int, earlier: Mapping[str, int], all_earlier: int
) -> list[str]:
    """What is there more often than before, beyond chance; the most surprising first."""
    if not all_earlier:
        return []
    surprise = {
        word: _surprise(frequency, count, earlier[word], all_earlier) * (1.5 if " " in word else 1)
        for word, frequency in candidates.items()
        if frequency * all_earlier > earlier[word] * count and frequency >= min(3, count)
    }
    found = [word for word in surprise if surprise[word] >= _BEYOND_CHANCE]
    return sorted(found, key=lambda word: (-surprise[word], word))[:_NEW]


def _constant(candidates: Mapping[str, int], count: int) -> list[str]:
    """What is there most, though not every day."""
    weight = {
        word: frequency * (0.3 + math.log(1 + count / frequency)) * (1.3 if " " in word else 1)
        for word, frequency in candidates.items()
    }
    return sorted(candidates, key=lambda word: (-weight[word], word))


def _surprise(a: int, all_a: int, b: int, all_b: int) -> float:
    """Dunning's log-likelihood ratio: how unlikely it is that both shares are the same."""

    def likelihood(hits: float, total: int, share: float) -> float:
        share = min(max(share, 1e-9), 1 - 1e-9)
        return hits * math.log(share) + (total - hits) * math.log(1 - share)

    shared = (a + b) / (all_a + all_b)
    apart = likelihood(a, all_a, a / all_a) + likelihood(b, all_b, b / all_b)
    return max(0.0, 2 * (apart - likelihood(a, all_a, shared) - likelihood(b, all_b, shared)))


def _theme(name: str, texts: Sequence[Read], forms: dict[str, Counter[str]], tagged: bool) -> Theme:
    root = " ".join(stem(fold(part)) for part in name.split(" ")) if tagged else name
    frequency = 0
    tones: list[float] = []
    beside: Counter[str] = Counter()
    everywhere: Counter[str] = Counter()
    for read in texts:
        having = [sentence for sentence in read.sentences if root in sentence.stems]
        frequency += bool(having) or (tagged and name in read.tags)
        if tagged and name in read.tags and not having:
            having = list(read.sentences)
        for sentence in read.sentences:
            everywhere.update(word for word in sentence.stems if " " not in word)
        for sentence in having:
            if sentence.tone is not None:
                tones.append(sentence.tone)
            beside.update(word for word in sentence.stems if " " not in word)
    parts = set(root.split(" "))
    related = sorted(
        (word for word in beside if word not in parts and beside[word] >= min(2, frequency)),
        key=lambda word: (-beside[word] * beside[word] / everywhere[word], word),
    )
    shown = forms[root].most_common(1)[0][0] if root in forms and not tagged else name
    return Theme(
        name=shown,
        frequency=frequency,
        sentiment=round(sum(tones) / len(tones), 2) if tones else 0.0,
        related_words=tuple(forms[word].most_common(1)[0][0] for word in related[:RELATED]),
    )


def forms() -> dict[str, Counter[str]]:
    """Where the surface forms of stems are counted."""
    return defaultdict(Counter)
