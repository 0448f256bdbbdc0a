"""Seeds for games that take fewer than 2**31 - 1 of them, as consoles and levels do."""

import numpy as np

SEEDS = 2**31 - 1
"""How many seeds an ALE console and a Procgen game tell apart, from 0 on."""


def game_seed(seed: int) -> int:
    """`seed` where a game can take it, else a hash of it that a game can take.

    The hash is NumPy's SeedSequence, modulo `SEEDS`: two of n episodes meet the same seed with
    probability n² / 2**32, which is one in four thousand for a thousand episodes.
    """
    if seed < SEEDS:
        return seed
    return int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]) % SEEDS
