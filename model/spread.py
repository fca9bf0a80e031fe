"""What is recommended beside being right: how much of the catalogue, and how popular it is."""

from __future__ import annotations

from model.arrays import Int64Array


def coverage(listed: Int64Array) -> float:
    """Share of the catalogue that stands in at least one list.

    Args:
        listed: how often each item was recommended; (n_items,)
    """
    return float((listed > 0).mean()) if len(listed) else 0.0


def popularity_bias(listed: Int64Array, clicked: Int64Array, popularity: Int64Array) -> float:
    """Mean popularity of what was recommended over the mean popularity of what was clicked.

    At 1 the lists are as popular as the shoppers' own choice; above, popular items are pushed. Clicks on
    items outside the catalogue are not counted.

    Args:
        listed: how often each item was recommended; (n_items,)
        clicked: how often each was the click to foretell; (n_items,)
        popularity: clicks on each while training; (n_items,)
    """
    wished = _mean(clicked, popularity)
    return _mean(listed, popularity) / wished if wished > 0 else 0.0


def _mean(weights: Int64Array, popularity: Int64Array) -> float:
    return float(weights @ popularity) / max(int(weights.sum()), 1)
