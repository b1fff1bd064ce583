"""Who and where: the people and places that a text names, told by capitals and what stands before.

A name with a title ("Sir W. Coventry", "Mrs. Knipp", "a Dra. Costa") is a person's. For others the
words before decide: one is *with* Ana and *in* Lisbon. One is told by the last word of a name, so
that "Sir W. Coventry", "W. Coventry" and "Coventry" are one. The writer's own people ("my wife")
are found by their word.

Pure. It may take a brand for a place, and says nothing where it cannot tell.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from adapters.models.words import fold, is_stop, language_of, sentences

Kind = Literal["person", "place"]

_TITLES = (
    "Sir Lord Lady Mr Mrs Ms Miss Dr Doctor Captain Capt Col Colonel Major General Sergeant Justice"
    " Alderman Madam Madame Prince Princess Duke Duchess King Queen Bishop Father Sister Brother"
    " Aunt Uncle Cousin Professor Prof Judge Saint Commissioner Secretary Sr Sra Dom Dona Dra Tio"
    " Tia Avó Avô Prima Primo"
).split()
_CAP = r"[A-ZÀ-Þ][^\W\d_]*(?:[’'-][A-ZÀ-Þa-zà-ÿ][^\W\d_]*)*"
_SPACE = r"[ \u00a0]"
_NAME = re.compile(
    rf"(?P<before>\b[^\W\d_]+(?:[’'][^\W\d_]+)?{_SPACE})?"
    rf"(?P<title>\b(?:{'|'.join(_TITLES)})\b\.?{_SPACE}(?:of{_SPACE})?)?"
    rf"(?P<initials>(?:[A-Z][a-z]?\.{_SPACE}?)*)"
    rf"(?P<name>\b{_CAP}(?:{_SPACE}(?:(?:de|da|do|dos|das|van|von){_SPACE})?{_CAP}){{0,3}})"
)
_OF_WHERE = re.compile(rf"(?:Duke|Duchess|Prince|Princess|Earl|Bishop|King|Queen){_SPACE}$")
_KIN = re.compile(
    r"\b(?:my|our|minha|meu|a minha|o meu)\s(wife|husband|mother|father|sister|brother|daughter|son"
    r"|girlfriend|boyfriend|partner|grandmother|grandfather|grandma|grandpa|aunt|uncle|cousin|boss"
    r"|mum|mom|dad|children|kids|dog|cat|therapist|best friend|mãe|pai|irmã|irmão|mulher|marido"
    r"|filha|filho|namorada|namorado|avó|avô|tia|tio|prima|primo|chefe|filhos|cão|gato)\b",
    re.IGNORECASE,
)
_PERSON_AFTER = frozenset(
    "with and met meet saw see called call told asked visited invited married loves love thanked"
    " thank hugged phoned texted dear by says said com e vi conheci encontrei liguei".split()
)
_PLACE_AFTER = frozenset(
    "in at to from near into through across around towards toward via around outside left reached"
    " em no na para de perto até".split()
)
_SURE_PLACE = frozenset(
    "hall street park church yard lane square bridge station airport beach road avenue river"
    " palace tower court exchange temple university school college museum garden gardens house"
    " alley cathedral hospital market restaurant café lake island rua praia ponte praça parque"
    " hotel castle abbey stairs fields chapel city".split()
)
_COMMON_PLACES = _SURE_PLACE - {"exchange", "temple", "tower"}
"""What is no place by itself: there are many of them."""
_NOBODYS = frozenset(
    "i monday tuesday wednesday thursday friday saturday sunday january february march april may"
    " june july august september october november december jan feb mar apr jun jul aug sept sep oct"
    " nov dec english french dutch spanish portuguese german italian latin american european"
    " christian christmas easter lent whitsun god lord jesus christ christmas bible english"
    " gazette internet netflix google zoom slack email covid natal páscoa deus janeiro fevereiro"
    " março abril maio junho julho agosto setembro outubro novembro dezembro segunda terça quarta"
    " quinta sexta sábado domingo majesty highness act bill mass day ash lady lordship ladyship"
    " parliament journal journals excellency office navy plague court".split()
)


class Name(msgspec.Struct, frozen=True):
    """Somebody or some place, as most often written, and in how many texts."""

    text: str
    kind: Kind
    frequency: int
    where: tuple[int, ...] = ()
    """Indices of the texts that have it."""
    key: str = ""


class _Seen(msgspec.Struct):
    forms: Counter[str]
    where: set[int]
    person: float = 0.0
    place: float = 0.0
    inside: int = 0
    """How often it did not begin a sentence."""


def names_of(texts: Iterable[str]) -> list[Name]:
    """The people and places that these texts name, the most frequent first."""
    seen: dict[str, _Seen] = defaultdict(lambda: _Seen(Counter(), set()))
    lower: Counter[str] = Counter()
    kin: dict[str, set[int]] = defaultdict(set)
    for index, text in enumerate(texts):
        for found in _KIN.finditer(text):
            kin[found[1].lower()].add(index)
        portuguese = language_of(text) == "pt"
        for sentence in sentences(text):
            lower.update(fold(word) for word in re.findall(r"(?<![\w’'])[a-zà-ÿ]{3,}", sentence))
            _look(sentence, index, seen, portuguese)
    names = [
        Name(f"my {word}", "person", len(where), tuple(sorted(where)), word)
        for word, where in kin.items()
    ]
    for key, one in seen.items():
        kind = _kind(key, one, lower)
        if kind is not None:
            text = max(one.forms, key=lambda form: (one.forms[form], len(form)))
            names.append(Name(text, kind, len(one.where), tuple(sorted(one.where)), key))
    return sorted(names, key=lambda name: (-name.frequency, name.text))


def _look(sentence: str, index: int, seen: Mapping[str, _Seen], portuguese: bool) -> None:
    for found in _NAME.finditer(sentence):
        title, name = found["title"] or "", found["name"]
        begins = found.start("title" if title else "name") == 0
        parts = name.replace("\u00a0", " ").split(" ")
        if begins and not title and (is_stop(fold(parts[0])) or fold(parts[0]) in _NOBODYS):
            parts = parts[1:]  # "Then Ana": the first word has its capital from the sentence
            begins = False
        while parts and fold(parts[0]) in _NOBODYS:
            parts = parts[1:]
        if not parts or is_stop(fold(parts[-1])) or fold(parts[-1]) in _NOBODYS:
            continue
        last = fold(parts[-1])
        if title and _OF_WHERE.search(title.replace(" of ", " ")) and " of " in title:
            form, last = f"{title}{parts[0]}", f"{title}{parts[0]}".lower()
        else:
            form = f"{title}{found['initials'] or ''}{' '.join(parts)}"
        owns = form.endswith(("’s", "'s"))
        form = form[:-2] if owns else form
        if form in _TITLES or (last in _COMMON_PLACES and len(form.split()) == 1):
            continue
        one = seen[last]
        one.forms[form] += 1
        one.where.add(index)
        one.inside += not begins
        before = fold((found["before"] or "").strip())
        if title:
            one.person += 3
        elif last in _SURE_PLACE or (found["initials"] or "").startswith("St."):
            one.place += 3
        elif before in _PLACE_AFTER:
            one.place += 0.5 if before in ("to", "from", "de", "para") else 1
        elif before in _PERSON_AFTER or (portuguese and before in ("a", "o", "à", "ao")):
            one.person += 1  # in Portuguese people have an article
        one.person += 0.7 * owns  # "to Hales's": places own little


def _kind(key: str, one: _Seen, lower: Counter[str]) -> Kind | None:
    if one.inside == 0 and one.person < 3:
        return None  # it only ever began sentences: no name, for all that is known
    if lower[key] > 2 * sum(one.forms.values()) and one.person < 3 and key not in _SURE_PLACE:
        return None  # a common word that has a capital at times
    if max(one.person, one.place) < 1:
        return None
    return "person" if one.person >= one.place else "place"
