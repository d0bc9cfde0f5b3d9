"""The Collatz problem: halve what is even, triple and add one to what is odd, until one is reached."""


def step(number: int) -> int:
    if number % 2 == 1:
        return number // 2
    return 3 * number + 1


def steps(number: int) -> int:
    """How many steps it takes from a number down to 1."""
    if number < 1:
        raise ValueError("only positive numbers reach 1")
    count = 0
    while number != 1:
        number = step(number)
        count += 1
    return count


def slowest(limit: int) -> int:
    """The number up to a limit that takes the most steps; the smallest of several."""
    best, most = 1, 0
    for number in range(2, limit + 1):
        taken = steps(number)
        if taken > most:
            best, most = number, taken
    return best
