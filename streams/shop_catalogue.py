"""The items of a made-up shop: their readable names, kinds and variants, and what people look at next."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DEPARTMENTS: tuple[tuple[str, ...], ...] = (
    ("running-shoes", "sport-socks", "running-shorts", "running-shirt", "sports-watch", "water-bottle"),
    ("tent", "sleeping-bag", "camping-mat", "camping-stove", "headlamp", "hiking-backpack"),
    ("hiking-boots", "wool-socks", "rain-jacket", "fleece-jacket", "trekking-poles", "thermos"),
    ("road-bike", "bike-helmet", "bike-lights", "bike-lock", "cycling-gloves", "bike-pump"),
    ("headphones", "phone-case", "power-bank", "bluetooth-speaker", "charging-cable", "smart-watch"),
    ("laptop", "laptop-sleeve", "wireless-mouse", "keyboard", "monitor-stand", "webcam"),
    ("espresso-machine", "coffee-grinder", "milk-jug", "coffee-cups", "kettle", "coffee-beans"),
    ("frying-pan", "chef-knife", "cutting-board", "cooking-pot", "apron", "spice-rack"),
    ("armchair", "floor-lamp", "cushion", "throw-blanket", "side-table", "rug"),
    ("desk", "desk-lamp", "office-chair", "notebook", "fountain-pen", "pen-holder"),
)
COLOURS = ("black", "white", "red", "blue", "green", "grey", "navy", "yellow", "pink", "orange")
STYLES = ("", "classic-", "light-", "compact-", "kids-", "pro-", "retro-", "slim-", "soft-", "urban-")

KINDS = tuple(kind for department in DEPARTMENTS for kind in department)

Rows = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items by row: names, kind and variant; and which kinds people look at next after each kind."""

    item_ids: tuple[str, ...]
    kind: Rows  # int64 (n_items,)
    variant: Rows  # int64 (n_items,)
    row_of: Rows  # int64 (n_kinds, n_variants), the item's row, -1 where there is none
    next_kinds: Rows  # int64 (n_kinds, 4)
    next_chances: Floats = field(default_factory=lambda: np.array([0.55, 0.25, 0.12, 0.08]))

    @property
    def n_kinds(self) -> int:
        """The number of different kinds of item."""
        return int(self.row_of.shape[0])


def make_catalogue(n_items: int, rng: np.random.Generator, n_new_items: int = 0) -> Catalogue:
    """``n_items`` items named as in ``red-running-shoes``; every kind has about as many variants.

    Those to appear later come behind them, in further variants.
    """
    if n_items < 2:
        raise ValueError(f"a catalogue needs at least 2 items, got {n_items}")
    n_kinds = min(len(KINDS), max(1, n_items // 4))
    n_variants = -(-(n_items + n_new_items) // n_kinds)
    rows = np.arange(n_items + n_new_items)
    kind, variant = rows % n_kinds, rows // n_kinds
    row_of = np.full((n_kinds, n_variants), -1, dtype=np.int64)
    row_of[kind, variant] = rows
    names = tuple(_name(int(k), int(v)) for k, v in zip(kind, variant, strict=True))
    return Catalogue(names, kind, variant, row_of, _next_kinds(n_kinds, rng))


def _name(kind: int, variant: int) -> str:
    number, variant = divmod(variant, len(COLOURS) * len(STYLES))
    style, colour = divmod(variant, len(COLOURS))
    return f"{STYLES[style]}{COLOURS[colour]}-{KINDS[kind]}" + (f"-{number + 1}" if number else "")


def _next_kinds(n_kinds: int, rng: np.random.Generator) -> Rows:
    """Three kinds of the same department and one of another, for every kind."""
    size = len(DEPARTMENTS[0])
    following = np.empty((n_kinds, 4), dtype=np.int64)
    for kind in range(n_kinds):
        first = kind // size * size
        department = np.arange(first, min(first + size, n_kinds))
        near = department[np.argsort((department - kind - 1) % size)][:3]
        following[kind] = rng.integers(n_kinds)
        following[kind, : len(near)] = near
    return following
