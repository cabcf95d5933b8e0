"""What makes a group suspicious, and what makes it less so."""

import numpy as np
import pytest

from igcam_batch.report.cues.moments import Moments
from igcam_batch.report.cues.suspicion import Oddity, oddity

BOTTOM_RIGHT = 4


def looking(maps: int, corner: float, outside: float = np.nan, seed: int = 0) -> Moments:
    """Of maps that have about so much attention in the bottom right corner, and so much outside the boxes."""
    noise = np.random.default_rng(seed).normal(0, 0.02, (maps, 6))
    values = np.clip(np.array([0.3, 0.03, 0.03, 0.03, corner, outside]) + noise - noise.mean(0), 0, 1)
    return Moments.of(values)


def judged(maps: int = 50, corner: float = 0.6, outside: float = np.nan, share: float = 1.0) -> Oddity:
    return oddity(looking(maps, corner, outside), looking(200, 0.05, 0.3, seed=1), np.nan, share, maps)


def test_it_grows_with_the_effect_the_number_of_maps_and_their_share_of_the_class() -> None:
    assert judged(corner=0.3).suspicion < judged(corner=0.6).suspicion < judged(corner=0.9).suspicion
    assert judged(maps=1).suspicion == 0
    assert judged(maps=2).suspicion < judged(maps=6).suspicion < judged(maps=50).suspicion
    assert judged(share=0.25).suspicion == pytest.approx(judged().suspicion / 2)


def test_it_is_the_effect_less_two_errors_times_what_the_number_of_maps_is_worth() -> None:
    found = judged(maps=46, corner=0.6)
    effect = found.mean[BOTTOM_RIGHT] - found.usual[BOTTOM_RIGHT] - 2 * found.error[BOTTOM_RIGHT]
    assert found.suspicion == pytest.approx(effect * 45 / 50)
    assert (found.cue, found.where) == ("corner", "bottom right")


def test_what_lies_inside_the_boxes_is_not_suspicious() -> None:
    assert judged(outside=0.1).suspicion < judged(outside=0.2).suspicion < judged().suspicion


def test_a_pattern_of_its_own_in_a_class_counts_by_how_far_it_lies_from_the_rest() -> None:
    others = looking(200, 0.05)
    found = oddity(looking(50, 0.05), others, 0.8, 0.5, 50)
    assert (found.cue, found.where) == ("unusual pattern", None)
    assert found.suspicion == pytest.approx(0.4 * np.sqrt(0.5) * 49 / 54)


def test_chance_makes_no_claims() -> None:
    generator = np.random.default_rng(0)
    values = generator.dirichlet(np.full(6, 0.5), 4000)
    values[:, 5] = np.nan
    every = Moments.of(values)
    for size in (1, 2, 3, 5, 10, 40):
        own = [Moments.of(values[start : start + size]) for start in range(0, 2000, size)]
        cues = [oddity(each, every - each, np.nan, 1.0, size).cue for each in own]
        assert sum(cue != "none" for cue in cues) <= 0.01 * len(cues)
