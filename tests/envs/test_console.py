"""One console: how long it waits, and how it is switched on without reading its cartridge."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("ale_py", reason="needs the extra [atari]")

from ale_py.roms import get_rom_path

from policyscope.envs.console import boot_state, reseeded, switch_on, waited_frames


@given(st.integers(0, 2**31 - 1), st.integers(1, 60))
def test_an_episode_waits_fewer_frames_than_it_may(seed, noop_max):
    assert 0 <= waited_frames(seed, noop_max) < noop_max
    assert waited_frames(seed, 0) == 0


def test_a_console_of_another_seed_is_the_first_one_with_other_random_numbers():
    """So that a cartridge is read once, and not for every episode."""
    path = get_rom_path("ms_pacman")
    template = switch_on(path, 0, 0.25).serialize()
    for seed in (1, 2**31 - 1):
        expected = switch_on(path, seed, 0.25).serialize()
        assert reseeded(template, 0, seed) == expected
        assert boot_state(path, seed, 0.25).serialize() == expected
    assert reseeded(template, 1, 2) is None
