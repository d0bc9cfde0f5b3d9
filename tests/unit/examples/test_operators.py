"""Every mutation operator, by what it makes of a marked statement: all of it, best first."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

import pytest

from examples.repair.mutations.catalogue import OPERATORS
from examples.repair.mutations.knowledge import Knowledge
from examples.repair.mutations.module import Module
from examples.repair.mutations.scope import Scopes
from examples.repair.mutations.variant import Site

MARK = "  # here"


@dataclass(frozen=True)
class Case:
    """An operator, a program with one marked statement, and the lines that the operator puts in its place."""

    operator: str
    program: str
    expected: list[str]

    @property
    def source(self) -> str:
        return textwrap.dedent(self.program).lstrip("\n")


CASES = [
    Case(
        "comparison",
        """
        def f(a, b):
            return a < b  # here
        """,
        [
            "    return a <= b",
            "    return a > b",
            "    return a >= b",
            "    return a != b",
            "    return a == b",
        ],
    ),
    Case(
        "comparison",
        """
        def f(a, b):
            return 0 <= a  in b  # here
        """,
        [
            "    return 0 < a  in b",
            "    return 0 >= a  in b",
            "    return 0 > a  in b",
            "    return 0 != a  in b",
            "    return 0 == a  in b",
            "    return 0 <= a  not in b",
        ],
    ),
    Case(
        "comparison",
        """
        def f(a, b):
            return (a) is not (b)  # here
        """,
        [
            "    return (a) is (b)",
            "    return (a) != (b)",
        ],
    ),
    Case(
        "off-by-one",
        """
        def f(xs, n):
            return xs[n + 1]  # here
        """,
        [
            "    return xs[n]",
            "    return xs[n + 2]",
        ],
    ),
    Case(
        "off-by-one",
        """
        def f(n):
            for i in range(n):  # here
                print(i)
        """,
        [
            "    for i in range(n + 1):",
            "    for i in range(n - 1):",
        ],
    ),
    Case(
        "off-by-one",
        """
        def f(x):
            return x * 360  # here
        """,
        [
            "    return x * 360 + 1",
            "    return x * 360 - 1",
            "    return (x + 1) * 360",
            "    return (x - 1) * 360",
            "    return x * 361",
            "    return x * 359",
        ],
    ),
    Case(
        "off-by-one",
        """
        def f(xs):
            return len(xs)  # here
        """,
        [
            "    return len(xs) + 1",
            "    return len(xs) - 1",
        ],
    ),
    Case(
        "range-bounds",
        """
        def f(n):
            for i in range(n):  # here
                print(i)
        """,
        [
            "    for i in range(1, n):",
            "    for i in range(1, n + 1):",
            "    for i in reversed(range(n)):",
        ],
    ),
    Case(
        "range-bounds",
        """
        def f(a, b):
            return list(range(a, b))  # here
        """,
        [
            "    return list(range(b))",
            "    return list(range(a + 1, b + 1))",
            "    return list(range(a - 1, b - 1))",
        ],
    ),
    Case(
        "offset",
        """
        def f(xs, k):
            n = len(xs)
            if k < n:  # here
                return k
        """,
        [
            "    if k - n < n:",
            "    if k + n < n:",
            "    if k * 2 < n:",
            "    if k // 2 < n:",
            "    if k ** 2 < n:",
            "    if k < n - k:",
            "    if k < n + k:",
            "    if k < n * 2:",
            "    if k < n // 2:",
            "    if k < n ** 2:",
        ],
    ),
    Case(
        "arithmetic",
        """
        def f(a, b):
            return a - b  # here
        """,
        [
            "    return a + b",
            "    return a * b",
            "    return a // b",
        ],
    ),
    Case(
        "arithmetic",
        """
        def f(a, b):
            return f'{a}' + 'x'  # here
        """,
        [],
    ),
    Case(
        "grouping",
        """
        def f(a, b, c):
            return a + b * c  # here
        """,
        [
            "    return (a + b) * c",
        ],
    ),
    Case(
        "grouping",
        """
        def f(a, b, c):
            return (a + b) * c  # here
        """,
        [
            "    return a + b * c",
        ],
    ),
    Case(
        "operand",
        """
        def f(a, b):
            return a // (b + 1)  # here
        """,
        [
            "    return a",
            "    return b + 1",
            "    return (b + 1) // a",
            "    return a // b",
            "    return a // 1",
            "    return a // (1 + b)",
        ],
    ),
    Case(
        "sign",
        """
        def f(a, b):
            return -a  # here
        """,
        [
            "    return a",
        ],
    ),
    Case(
        "sign",
        """
        def f(a, b):
            a = b  # here
        """,
        [
            "    a = -b",
        ],
    ),
    Case(
        "augmented",
        """
        def f(a, b):
            a += b  # here
        """,
        [
            "    a -= b",
            "    a = b",
            "    a *= b",
        ],
    ),
    Case(
        "augmented",
        """
        def f(a, b):
            a = b + 1  # here
        """,
        [
            "    a += b + 1",
            "    a -= b + 1",
        ],
    ),
    Case(
        "negation",
        """
        def f(a, b):
            if a and not b:  # here
                return 1
        """,
        [
            "    if a and b:",
            "    if not (a and not b):",
            "    if not a and not b:",
        ],
    ),
    Case(
        "negation",
        """
        def f(a, b):
            return [x for x in a if x]  # here
        """,
        [
            "    return [x for x in a if not x]",
        ],
    ),
    Case(
        "boolean-operator",
        """
        def f(a, b, c):
            return a and b and c  # here
        """,
        [
            "    return a or b and c",
            "    return a and b or c",
        ],
    ),
    Case(
        "fewer-clauses",
        """
        def f(a, b, c):
            return a and (b or c)  # here
        """,
        [
            "    return b or c",
            "    return a",
            "    return a and c",
            "    return a and b",
        ],
    ),
    Case(
        "more-clauses",
        """
        def f(xs, n):
            if n == 0:  # here
                return 1
            return n < len(xs)
        """,
        [
            "    if n == 0 and n < len(xs):",
            "    if n == 0 or n < len(xs):",
            "    if n < len(xs) or n == 0:",
            "    if n == 0 and not xs:",
            "    if n == 0 or not xs:",
            "    if not xs or n == 0:",
            "    if n == 0 and xs:",
            "    if n == 0 or xs:",
            "    if xs or n == 0:",
            "    if n == 0 and not n:",
            "    if n == 0 or not n:",
            "    if not n or n == 0:",
            "    if n == 0 and n:",
            "    if n == 0 or n:",
            "    if n or n == 0:",
        ],
    ),
    Case(
        "loop-condition",
        """
        def f(queue):
            queue = list(queue)
            while True:  # here
                queue.pop()
        """,
        [
            "    while queue:",
        ],
    ),
    Case(
        "loop-condition",
        """
        def f(a):
            if a:  # here
                return 1
        """,
        [
            "    if True:",
            "    if False:",
        ],
    ),
    Case(
        "variable",
        """
        def f(start, end):
            return start * 2  # here
        """,
        [
            "    return end * 2",
        ],
    ),
    Case(
        "variable",
        """
        def f(xs, n):
            total = 0
            for x in xs:
                total += x
            return total / n  # here
        """,
        [
            "    return xs / n",
            "    return n / n",
            "    return x / n",
            "    return total / xs",
            "    return total / total",
            "    return total / x",
        ],
    ),
    Case(
        "target",
        """
        def f(a):
            low = a - 1
            high = a - 1  # here
            return low - high
        """,
        [
            "    a = a - 1",
            "    low = a - 1",
        ],
    ),
    Case(
        "attribute",
        """
        class Span:
            start: int
            end: int
            name: str

            def width(self, other):
                return self.start  # here
        """,
        [
            "        return self.end",
            "        return self.name",
        ],
    ),
    Case(
        "receiver",
        """
        class Box:
            def __init__(self, size):
                self.size = size

            def grow(self, size):
                return self.size  # here
        """,
        [
            "        return self",
            "        return size",
        ],
    ),
    Case(
        "swap-arguments",
        """
        def f(a, b, c):
            return f(a, (b), c)  # here
        """,
        [
            "    return f((b), a, c)",
            "    return f(a, c, (b))",
            "    return f(c, (b), a)",
        ],
    ),
    Case(
        "swap-arguments",
        """
        def f(a, b):
            return b, a  # here
        """,
        [
            "    return a, b",
        ],
    ),
    Case(
        "swap-arguments",
        """
        def f(m, i, j):
            return m[i][j]  # here
        """,
        [
            "    return m[j][i]",
        ],
    ),
    Case(
        "arguments",
        """
        def g(a, b=1, *, deep=False):
            return a

        def f(b):
            return g(1, 2)  # here
        """,
        [
            "    return g(1)",
            "    return g(2)",
            "    return g(1, 2, deep=True)",
        ],
    ),
    Case(
        "function-name",
        """
        def f(a, b):
            return min(a, b)  # here
        """,
        [
            "    return max(a, b)",
        ],
    ),
    Case(
        "function-name",
        """
        def f(xs):
            return xs.pop()  # here
        """,
        [
            "    return xs.popleft()",
            "    return xs.pop(0)",
        ],
    ),
    Case(
        "wrap-call",
        """
        def f(xs):
            for x in xs:  # here
                print(x)
        """,
        [
            "    for x in sorted(xs):",
            "    for x in set(xs):",
            "    for x in reversed(xs):",
            "    for x in list(xs):",
            "    for x in xs.copy():",
            "    for x in xs.items():",
        ],
    ),
    Case(
        "wrap-call",
        """
        def f(best, x):
            best = x  # here
            return best
        """,
        [
            "    best = abs(x)",
            "    best = int(x)",
            "    best = len(x)",
            "    best = str(x)",
            "    best = sorted(x)",
            "    best = list(x)",
            "    best = max(best, x)",
            "    best = min(best, x)",
            "    best = max(0, x)",
        ],
    ),
    Case(
        "unwrap-call",
        """
        def f(a, b):
            return max(a, b)  # here
        """,
        [
            "    return a",
            "    return b",
        ],
    ),
    Case(
        "unwrap-call",
        """
        def f(text):
            return text.strip()  # here
        """,
        [
            "    return text",
        ],
    ),
    Case(
        "await",
        """
        async def g(x):
            return x

        async def f(x):
            return g(x)  # here
        """,
        [
            "    return await g(x)",
        ],
    ),
    Case(
        "slice",
        """
        def f(xs, n):
            return xs[1:n]  # here
        """,
        [
            "    return xs[:n]",
            "    return xs[1:]",
            "    return xs[n:1]",
            "    return xs[1:n:-1]",
        ],
    ),
    Case(
        "index",
        """
        def f(xs, i):
            return xs[0]  # here
        """,
        [
            "    return xs[-1]",
            "    return xs",
        ],
    ),
    Case(
        "index",
        """
        def f(xs, i):
            return xs[i]  # here
        """,
        [
            "    return xs[-i]",
            "    return xs",
        ],
    ),
    Case(
        "partial-sequence",
        """
        def f(xs, n):
            n = int(n)
            return sorted(xs)  # here
        """,
        [
            "    return sorted(xs[1:])",
            "    return sorted(xs[:-1])",
            "    return sorted(xs[0])",
            "    return sorted(xs[-1])",
            "    return sorted(xs[::-1])",
            "    return sorted(xs[n:])",
            "    return sorted(xs[:n])",
        ],
    ),
    Case(
        "boolean",
        """
        def f(a, b):
            return g(a, deep=True)  # here
        """,
        [
            "    return g(a, deep=False)",
        ],
    ),
    Case(
        "number",
        """
        LIMIT = 50

        def f(a):
            b = 7
            return a * 10  # here
        """,
        [
            "    return a * 7",
            "    return a * 50",
            "    return a * 100",
            "    return a * 1",
        ],
    ),
    Case(
        "string",
        """
        KEYS = ['start', 'stop', 'two words']

        def f(d):
            return d["star"]  # here
        """,
        [
            '    return d["start"]',
            '    return d["stop"]',
        ],
    ),
    Case(
        "empty-value",
        """
        def f(a):
            a = []  # here
            return a
        """,
        [
            "    a = [[]]",
            "    a = {}",
            "    a = None",
            "    a = set()",
        ],
    ),
    Case(
        "empty-value",
        """
        def f(a):
            return [[a]]  # here
        """,
        [
            "    return []",
            "    return [a]",
            "    return [[]]",
        ],
    ),
    Case(
        "return-value",
        """
        def f(a):
            if a:
                return 5
            return a  # here
        """,
        [
            "    return 5",
            "    return None",
            "    return 0",
            "    return 1",
            "    return []",
            "    return True",
            "    return False",
            "    return -1",
            '    return ""',
            "    return [[]]",
            "    return not a",
            "    return [a]",
        ],
    ),
    Case(
        "reuse",
        """
        def f(a, b):
            low = a.size - 1
            high = b.size + 1  # here
            return low
        """,
        [
            "    high = a.size - 1",
            "    high = a.size",
            "    high = a.size + 1",
            "    high = a.size - 1 + 1",
        ],
    ),
    Case(
        "guard",
        """
        def f(xs):
            return sorted(xs)  # here
        """,
        [
            "    if not xs:\n        return []",
            "    if not xs:\n        return 0",
            "    if not xs:\n        return None",
            "    if not xs:\n        return xs",
            "    if not xs:\n        return 1",
            "    if not xs:\n        return False",
            "    if not xs:\n        return True",
        ],
    ),
    Case(
        "guard",
        """
        def f(xs):
            seen = []
            for x in xs:
                seen.append(x)  # here
            return seen
        """,
        [
            "        if not x:\n            continue",
            "        if x in seen:\n            continue",
        ],
    ),
    Case(
        "delete-statement",
        """
        def f(a):
            a = a + 1  # here
            return a
        """,
        [
            "",
        ],
    ),
    Case(
        "delete-statement",
        """
        def f(a):
            for x in a:
                print(x)  # here
        """,
        [
            "        pass",
        ],
    ),
    Case(
        "delete-statement",
        """
        def f(a):
            if a:  # here
                a = 1
                print(a)
            return a
        """,
        [
            "",
            "    a = 1\n    print(a)",
        ],
    ),
    Case(
        "duplicate-statement",
        """
        def f(xs):
            n = 0
            for x in xs:
                n += 1  # here
            return n
        """,
        [
            "        n = 0",
            "        return n",
            "        n += 1",
        ],
    ),
    Case(
        "insert-statement",
        """
        def f(xs, ys):
            for x in xs:
                ys.append(x)  # here
            return ys
        """,
        [
            "        ys.append(xs)",
            "        ys.append(ys)",
            "        xs.append(x)",
            "        xs = ys",
            "        xs = x",
            "        ys = xs",
            "        ys = x",
            "        x = xs",
            "        x = ys",
        ],
    ),
    Case(
        "move-statement",
        """
        def f(xs):
            n = 0
            for x in xs:
                print(x)
                n += x  # here
            return n
        """,
        [
            "    n += x",
        ],
    ),
    Case(
        "move-statement",
        """
        def f(xs):
            for x in xs:
                n = 0  # here
                n += x
            return n
        """,
        [
            "    n = 0\n    for x in xs:",
            "        n += x\n        n = 0",
        ],
    ),
    Case(
        "move-statement",
        """
        def f(xs):
            n = 0
            for x in xs:
                print(x)
            n += 1  # here
            return n
        """,
        [
            "        n += 1",
        ],
    ),
    Case(
        "jump",
        """
        def f(xs):
            for x in xs:
                if x:
                    break  # here
        """,
        [
            "            continue",
            "            return",
        ],
    ),
    Case(
        "jump",
        """
        def f(xs):
            for x in xs:
                return x  # here
        """,
        [
            "        continue",
            "        break",
        ],
    ),
]


def mutants(operator: str, source: str) -> list[str]:
    """The valid programs that an operator makes of the marked statement, in its order."""
    module = Module("m.py", source)
    line = next(n for n, text in enumerate(source.splitlines(), 1) if text.endswith(MARK))
    statement = next(s for s in ast.walk(module.tree) if isinstance(s, ast.stmt) and s.lineno == line)
    apply = next(entry.operator for entry in OPERATORS if entry.name == operator)
    made = []
    for variant in apply(Site(module, statement, Scopes(module), Knowledge([module]))):
        mutant = variant.edit.apply(source)
        try:
            ast.parse(mutant)
        except SyntaxError:
            continue
        if mutant != source and mutant not in made:
            made.append(mutant)
    return made


def changed_lines(before: str, after: str) -> str:
    """The lines of `after` that are not in the common beginning and end of both; the mark left out."""
    old, new = before.splitlines(), after.splitlines()
    same = range(min(len(old), len(new)))
    first = next((n for n in same if old[n] != new[n]), len(same))
    rest = range(len(same) - first)
    last = next((n for n in rest if old[-1 - n] != new[-1 - n]), len(rest))
    return "\n".join(new[first : len(new) - last]).replace(MARK, "")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.operator)
def test_operator(case: Case) -> None:
    assert [changed_lines(case.source, mutant) for mutant in mutants(case.operator, case.source)] == case.expected


def test_every_operator_has_a_case() -> None:
    assert {case.operator for case in CASES} == {entry.name for entry in OPERATORS}


def test_names_are_unique_and_priors_are_chances() -> None:
    assert len({entry.name for entry in OPERATORS}) == len(OPERATORS)
    assert all(0.0 < entry.prior < 0.2 for entry in OPERATORS)


def test_comments_and_formatting_outside_of_the_edit_stay() -> None:
    source = "def f(a,b):\n    return  a  <  ( b )   # why\n\n\n\nX = {  'k':1 }\n"
    module = Module("m.py", source)
    site = Site(module, module.tree.body[0].body[0], Scopes(module), Knowledge([module]))  # type: ignore[attr-defined]
    comparison = next(entry.operator for entry in OPERATORS if entry.name == "comparison")
    assert next(comparison(site)).edit.apply(source) == source.replace("<", "<=")


def test_characters_beyond_ascii_do_not_shift_the_edit() -> None:
    source = 'def f(größe):\n    """Ähnlich."""\n    return "→" + größe if größe < 3 else größe  # here\n'
    assert changed_lines(source, mutants("comparison", source)[0]).endswith("if größe <= 3 else größe")


def test_an_operand_over_two_lines_keeps_its_brackets() -> None:
    source = "def f(a, b):\n    return (a +\n            b) * 2  # here\n"
    module = Module("m.py", source)
    site = Site(module, module.tree.body[0].body[0], Scopes(module), Knowledge([module]))  # type: ignore[attr-defined]
    operands = next(entry.operator for entry in OPERATORS if entry.name == "operand")
    made = [variant.edit.apply(source) for variant in operands(site)]
    assert "def f(a, b):\n    return (a +\n            b)  # here\n" in made
    for text in made:
        ast.parse(text)


@pytest.mark.parametrize(
    "line",
    [
        "raise ValueError(f'{a} is not {b + 1}')",
        "x: dict[str, int]",
        "import os.path",
        "'a docstring in the middle'",
        "global a",
    ],
)
def test_what_no_edit_improves_is_left_alone(line: str) -> None:
    source = f"def f(b):\n    {line}{MARK}\n    return a\n"
    kept = {"delete-statement", "duplicate-statement", "insert-statement", "move-statement", "guard"}
    for entry in OPERATORS:
        if entry.name not in kept:
            assert mutants(entry.name, source) == [], entry.name
