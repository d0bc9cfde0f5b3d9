"""A histogram of numbers in buckets of equal width."""


def histogram(values: list[float], buckets: int) -> list[int]:
    """How many values fall into each bucket; the largest value belongs to the last one."""
    if not values:
        return [0] * buckets
    low, high = min(values), max(values)
    width = (high - low) / buckets
    counts = [0] * buckets
    for value in values:
        index = buckets - 1 if value == high else int((value - high) / width)
        counts[index] += 1
    return counts


def bars(counts: list[int], width: int = 20) -> list[str]:
    """Lines of stars, the longest as wide as asked for."""
    most = max(counts, default=0)
    return ["*" * round(count * width / most) if most else "" for count in counts]


def mode(counts: list[int]) -> int:
    """The first bucket that holds the most."""
    return counts.index(max(counts))
