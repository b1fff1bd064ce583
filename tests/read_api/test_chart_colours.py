"""The colours of charts stay apart for everybody, in light and dark.

Colours as eyes without one kind of cones see them are computed as Machado, Oliveira and Fernandes
do (2009, severity 1), and compared in Oklab (Ottosson, 2020).
"""

from __future__ import annotations

import itertools
import math
import re

import pytest

from read_api.console.writing import FILES

SIGHTS = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no long ones": (
        (0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no middle ones": (
        (0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no short ones": (
        (1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}  # fmt: skip
MOODS = ("ecstatic", "happy", "neutral", "anxious", "sad", "angry", "empty")
TYPES = ("created", "updated", "deleted", "viewed", "in", "out", "settings", "profile")
WORDS = ("empty", "few", "some", "more", "most")
LEAST = 0.11
"""In Oklab, where black and white are 1 apart; two neighbours of a rainbow of 12 are about 0.1."""

Colour = tuple[float, float, float]


def linear(value: str) -> Colour:
    parts = [int(value[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return red, green, blue


def product(rows: tuple[Colour, ...], colour: Colour) -> Colour:
    first, second, third = (sum(a * b for a, b in zip(row, colour, strict=True)) for row in rows)
    return first, second, third


def oklab(colour: Colour) -> Colour:
    seen = (min(max(colour[0], 0), 1), min(max(colour[1], 0), 1), min(max(colour[2], 0), 1))
    cones = product(
        (
            (0.4122214708, 0.5363325363, 0.0514459929),
            (0.2119034982, 0.6806995451, 0.1073969566),
            (0.0883024619, 0.2817188376, 0.6299787005),
        ),
        seen,
    )
    return product(
        (
            (0.2104542553, 0.7936177850, -0.0040720468),
            (1.9779984951, -2.4285922050, 0.4505937099),
            (0.0259040371, 0.7827717662, -0.8086757660),
        ),
        (math.cbrt(cones[0]), math.cbrt(cones[1]), math.cbrt(cones[2])),
    )


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("names", [MOODS, TYPES, WORDS])
def test_no_two_colours_look_alike(names: tuple[str, ...], dark: bool, sight: str) -> None:
    sheet = FILES["analytics.css"].content.decode()
    light, after = sheet.split(':root[data-theme="dark"]')
    found = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", after.split("}")[0] if dark else light))
    seen = {name: oklab(product(SIGHTS[sight], linear(found[name]))) for name in names}
    apart = {
        (one, other): math.dist(seen[one], seen[other])
        for one, other in itertools.combinations(names, 2)
    }
    assert {pair: far for pair, far in apart.items() if far < LEAST} == {}
