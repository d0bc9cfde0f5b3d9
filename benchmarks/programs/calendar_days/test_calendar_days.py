import pytest
from calendar_days import day_of_year, days_between, days_in, is_leap


@pytest.mark.parametrize(("year", "leap"), [(2023, False), (2024, True), (1900, False), (2000, True), (2100, False)])
def test_is_leap(year, leap):
    assert is_leap(year) is leap


def test_days_in_a_month():
    assert days_in(2023, 2) == 28
    assert days_in(2024, 2) == 29
    assert days_in(2024, 12) == 31


def test_day_of_year():
    assert day_of_year(2023, 1, 1) == 1
    assert day_of_year(2023, 12, 31) == 365
    assert day_of_year(2024, 12, 31) == 366


def test_days_between():
    assert days_between((2023, 3, 1), (2023, 3, 1)) == 0
    assert days_between((2023, 12, 31), (2024, 1, 1)) == 1
    assert days_between((2024, 1, 1), (2025, 1, 1)) == 366
