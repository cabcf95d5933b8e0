"""Calls that run ahead of who takes their results: in order, several at a time, and never more."""

import threading
import time

import pytest

from igcam_batch.storage.ahead import ahead


@pytest.mark.parametrize("at_once", [1, 2, 7, 100])
def test_results_come_in_the_order_of_the_items(at_once: int) -> None:
    def call(number: int) -> int:
        time.sleep(0.002 * (number % 5))
        return number

    assert list(ahead(call, range(40), at_once)) == list(range(40))
    assert list(ahead(call, [], at_once)) == []


@pytest.mark.parametrize("at_once", [2, 5])
def test_as_many_run_at_a_time_as_are_wanted_and_no_result_more_is_held(at_once: int) -> None:
    together = threading.Barrier(at_once)
    begun, taken, most = [], 0, 0

    def call(number: int) -> int:
        begun.append(number)
        together.wait(10)
        return number

    for _ in ahead(call, range(at_once * 4), at_once):
        taken += 1
        time.sleep(0.01)
        most = max(most, len(begun) - taken)
    assert taken == at_once * 4
    assert most <= at_once


def test_who_stops_taking_stops_the_calls() -> None:
    begun: list[int] = []

    def call(number: int) -> int:
        begun.append(number)
        return number

    results = ahead(call, range(1000), 4)
    next(results)
    results.close()
    there = len(begun)
    time.sleep(0.05)
    assert len(begun) == there < 10


def test_an_error_comes_where_its_result_would() -> None:
    def call(number: int) -> float:
        return 1 / (number - 2)

    results = ahead(call, range(9), 3)
    assert [next(results), next(results)] == [-0.5, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)
