"""Ranges of page numbers: parsed, merged, written again."""


def parse(text: str) -> list[tuple[int, int]]:
    """`1-3, 7` as [(1, 3), (7, 7)]."""
    ranges = []
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        first, _, last = part.partition("-")
        ranges.append((int(first), int(last or first)))
    return ranges


def merge(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same pages in as few ranges as possible, in order."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + 1:
            start, end = merged.pop()
            end = last
            merged.append((start, end))
        else:
            merged.append((first, last))
    return merged


def write(ranges: list[tuple[int, int]]) -> str:
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)


def count(ranges: list[tuple[int, int]]) -> int:
    return sum(last - first + 1 for first, last in merge(ranges))
