"""The tone of a text, by a lexicon: how bright or dark it is, and which mood that comes to.

VADER scores English sentence by sentence; a lexicon of our own adds Portuguese and some old words.
The tone of a text is the mean over its sentences that have one, so that a long text is not
brighter than a short one.

Thresholds of ``infer``, on that mean (-1 to 1)::

    0.80 and more        ecstatic
    0.15 to 0.80         happy
    -0.15 to 0.15        neutral
    below -0.15          anxious, angry or sad, by which words of these there are most; sad if none

A text without any word of the lexicon tells no mood.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from vaderSentiment.vaderSentiment import (  # type: ignore[import-untyped]  # it has no types
    SentimentIntensityAnalyzer,
)

from adapters.models.words import WORD, language_of, plain, sentences, words
from domain.journal.events import Mood
from domain.journal.languages import Language

ECSTATIC, HAPPY, DARK = 0.80, 0.15, -0.15
LONGEST = 40
"""Words that are scored together."""
MOST = 200
"""Sentences of one text that are looked at: what an entry has at most, more or less."""

_PORTUGUESE = {
    3.2: "maravilhoso maravilhosa maravilha fantástico fantástica incrível euforia eufórico"
    " eufórica radiante inesquecível perfeito perfeita extraordinário extraordinária",
    2.4: "feliz felizes alegre alegria adoro adorei amor amo amei ótimo ótima óptimo óptima"
    " excelente lindo linda contente contentes felicidade orgulho orgulhoso orgulhosa grato grata"
    " gratidão sucesso vitória celebrar celebrámos celebramos festa paz divertido divertida rimos",
    1.5: "calmo calma tranquilo tranquila agradável gosto gostei esperança sorriso sorri sorrir"
    " descanso abraço bonito bonita gentil consegui conseguimos melhor simpático simpática",
    -1.5: "cansado cansada cansaço difícil problema problemas saudade saudades chato aborrecido"
    " aborrecida preocupado preocupada preocupação dúvida dúvidas stress atraso perdi falhei doente"
    " sozinho sozinha",
    -2.4: "triste tristeza chorei chorar choro medo ansioso ansiosa ansiedade nervoso nervosa"
    " zangado zangada raiva irritado irritada furioso furiosa dor dores culpa frustrado frustrada"
    " frustração mágoa discussão discutimos angústia",
    -3.2: "horrível terrível péssimo péssima desespero desesperado desesperada morreu morte ódio"
    " odeio pânico tragédia luto pesadelo",
}
_OLD = {
    1.8: "mightily merry overjoyed contentment praised handsomely",
    -1.8: "plague melancholy vexes vexation afeard ominously grieved sickly discontented troubles"
    " snarling",
}
_MOODS: dict[Mood, frozenset[str]] = {
    "anxious": frozenset(
        (
            "afraid anxious anxiety worry worried worries worrying nervous fear fears feared"
            " fearful frightened scared panic panicked tense stress stressed stressful overwhelmed"
            " uneasy dread dreading doubt doubts restless deadline apprehensive afeard insecure"
            " troubled uncertain medo ansioso ansiosa ansiedade nervoso nervosa preocupado"
            " preocupada preocupação pânico stress angústia inquieto inquieta receio"
        ).split()
    ),
    "angry": frozenset(
        (
            "angry anger furious fury rage mad annoyed annoying irritated irritating outraged hate"
            " hated hates resent resentment vexed vexation quarrel quarrelled argument argued shout"
            " shouted yelled unfair insulted insult betrayed rude zangado zangada raiva irritado"
            " irritada furioso furiosa ódio odeio discussão discutimos injusto injusta gritei"
        ).split()
    ),
    "sad": frozenset(
        (
            "sad sadness cry cried crying tears lonely alone loss lost grief grieve grieved mourn"
            " mourning died death dead miss missed missing hopeless miserable depressed empty"
            " heartbroken sorrow sorry unhappy disappointed gloomy melancholy triste tristeza"
            " chorei chorar choro saudade saudades luto morreu morte sozinho sozinha perdi"
        ).split()
    ),
}


_TURNS = {"não": "not", "nunca": "never", "nem": "not", "sem": "without", "muito": "very"}
_TURNS |= {"muita": "very", "tão": "so", "mas": "but", "pouco": "slightly"}
"""Portuguese words that turn or strengthen what follows, as VADER knows them."""


@cache
def _analyser(language: Language) -> SentimentIntensityAnalyzer:
    analyser = SentimentIntensityAnalyzer()
    if language == "pt":  # English words that mean something else there: "no", "mate"
        analyser.lexicon = {}
    for scored in (_PORTUGUESE,) if language == "pt" else (_PORTUGUESE, _OLD):
        for score, listed in scored.items():
            analyser.lexicon.update(dict.fromkeys(listed.split(), score))
    return analyser


def tone_of(sentence: str, language: Language) -> float | None:
    """From -1 to 1; None where no word of it is in the lexicon.

    Long sentences are scored in parts: VADER takes time with the square of their length, and comes
    to one end or the other of its scale where much is added up.
    """
    said = sentence.split()
    if len(said) > LONGEST:
        starts = range(0, len(said), LONGEST)
        parts = [tone_of(" ".join(said[at : at + LONGEST]), language) for at in starts]
        return _mean(parts)
    analyser = _analyser(language)
    if not any(word in analyser.lexicon for word in words(sentence)):
        return None
    if language == "pt":
        sentence = WORD.sub(lambda word: _TURNS.get(word[0].lower(), word[0]), sentence)
    return float(analyser.polarity_scores(sentence)["compound"])


def tone(text: str) -> float | None:
    """The mean over the sentences that have a tone; None where none has."""
    language = language_of(text)
    return _mean([tone_of(each, language) for each in sentences(plain(text))[:MOST]])


def _mean(scores: Sequence[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def infer(text: str) -> Mood | None:
    """The mood that the text tells: ``domain.journal.entry.Infer``."""
    found = tone(text)
    if found is None:
        return None
    if found >= ECSTATIC:
        return "ecstatic"
    if found >= HAPPY:
        return "happy"
    if found > DARK:
        return "neutral"
    said = words(text)
    counted: dict[Mood, int] = {
        mood: sum(word in listed for word in said) for mood, listed in _MOODS.items()
    }
    most = max(counted.values())
    if most == 0 or counted["sad"] == most:
        return "sad"
    return "angry" if counted["angry"] == most else "anxious"
