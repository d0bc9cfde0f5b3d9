"""Days of the Gregorian calendar, by hand."""

MONTH_DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]


def is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 and year % 400 == 0)


def days_in(year: int, month: int) -> int:
    if month == 2 and is_leap(year):
        return 29
    return MONTH_DAYS[month - 1]


def day_of_year(year: int, month: int, day: int) -> int:
    """1 for the first of January."""
    return sum(days_in(year, earlier) for earlier in range(1, month)) + day


def days_between(first: tuple[int, int, int], second: tuple[int, int, int]) -> int:
    """How many days from the first date to the second; the second is not earlier."""
    total = day_of_year(*second) - day_of_year(*first)
    for year in range(first[0], second[0]):
        total += 366 if is_leap(year) else 365
    return total
