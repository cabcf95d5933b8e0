"""Numbers, times and names as people read them."""

import pytest

from igcam_batch.words import amount_in_words, isolated, percentage, setting_in_words, time_in_words


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (amount_in_words(1, "row"), "1 row"),
        (amount_in_words(0, "row"), "0 rows"),
        (amount_in_words(12345, "row"), "12,345 rows"),
        (amount_in_words(1, "class", "classes"), "1 class"),
        (amount_in_words(2, "class", "classes"), "2 classes"),
        (amount_in_words(0.5, "CPU"), "0.5 CPUs"),
        (amount_in_words(1.0, "GPU"), "1 GPU"),
    ],
)
def test_a_thing_is_one_and_things_are_many(said: str, expected: str) -> None:
    assert said == expected


def test_no_line_breaks_between_a_number_and_its_percent_sign() -> None:
    assert percentage(0.1234) == "12\u00a0%"
    assert percentage(0.1234, 1) == "12.3\u00a0%"
    assert percentage(None) == percentage(float("nan")) == "–"


def test_a_time_is_said_to_the_minute_in_utc() -> None:
    assert time_in_words("2026-11-28T02:01:40+00:00") == "2026-11-28 02:01 UTC"
    assert time_in_words("2026-11-28T02:01:40+02:00") == "2026-11-28 00:01 UTC"
    assert time_in_words("a while ago") == "a while ago"


def test_a_setting_reads_as_no_programming_language_does() -> None:
    values = (None, True, False, ["grad-cam", "cam"], "imagenet", 0.15)
    said = ["default", "yes", "no", "grad-cam, cam", "imagenet", "0.15"]
    assert [setting_in_words(value) for value in values] == said


def test_a_name_is_isolated_where_it_could_turn_what_stands_around_it() -> None:
    assert isolated("naïve café 7 %") == "naïve café 7 %"
    assert isolated("שלום") == "\u2068שלום\u2069"
    assert isolated("a\u202egnp.exe") == "\u2068a\u202egnp.exe\u2069"
    assert isolated("שלום\u2069 out\u2066") == "\u2068שלום out\u2069"  # it cannot end what isolates it
