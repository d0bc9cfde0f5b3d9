"""In which order things are built, given what each of them needs."""


def build_order(needs: dict[str, list[str]]) -> list[str]:
    """Everything, each after what it needs; otherwise in alphabetical order. Raises ValueError for a circle."""
    order: list[str] = []
    done: set[str] = set()
    started: set[str] = set()

    def build(name: str) -> None:
        if name in started:
            raise ValueError(f"{name} needs itself")
        started.add(name)
        for other in sorted(needs.get(name, [])):
            build(other)
        started.discard(name)
        done.add(name)
        order.append(name)

    for name in sorted(needs):
        if name not in done:
            build(name)
    return order


def levels(needs: dict[str, list[str]]) -> dict[str, int]:
    """How many things must be built one after the other before each."""
    found: dict[str, int] = {}
    for name in build_order(needs):
        found[name] = max((found[other] + 1 for other in needs.get(name, [])), default=0)
    return found
