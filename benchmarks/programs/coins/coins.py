"""Paying with as few coins as possible."""


def fewest(amount: int, coins: list[int]) -> int | None:
    """How many coins an amount takes at least; None where it cannot be paid."""
    best: list[int | None] = [1] + [None] * amount
    for part in range(1, amount + 1):
        for coin in coins:
            if coin > part:
                continue
            rest = best[part - coin]
            if rest is None:
                continue
            if best[part] is None or rest + 1 < best[part]:
                best[part] = rest + 1
    return best[amount]


def ways(amount: int, coins: list[int]) -> int:
    """In how many ways an amount can be paid, order left aside."""
    counts = [1] + [0] * amount
    for coin in coins:
        for part in range(coin, amount + 1):
            counts[part] += counts[part - coin]
    return counts[amount]
