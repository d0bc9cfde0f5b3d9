"""What holds for every candidate, whatever the operator, and for the order they come in."""

from __future__ import annotations

import ast
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.repair.mutations import Candidate, candidates
from examples.repair.mutations.knowledge import Knowledge
from examples.repair.mutations.module import Module
from examples.repair.mutations.scope import Scopes
from examples.repair.mutations.variant import Site

ROOT = Path(__file__).resolve().parents[3]
SAMPLE = ROOT / "examples" / "repair" / "sample"


def read(directory: Path) -> dict[str, str]:
    return {file.relative_to(directory).as_posix(): file.read_text() for file in sorted(directory.rglob("*.py"))}


def everywhere(sources: Mapping[str, str], score: float = 1.0) -> list[tuple[str, int, float]]:
    return [(path, line, score) for path, text in sources.items() for line in range(1, text.count("\n") + 2)]


CORPORA = {
    "sample": read(SAMPLE / "roombook"),
    "programs": read(ROOT / "benchmarks" / "programs"),
    "operators": {"names.py": (ROOT / "examples" / "repair" / "mutations" / "names.py").read_text()},
}


@pytest.mark.parametrize("name", CORPORA)
def test_every_candidate_is_one_valid_edit_of_one_file(name: str) -> None:
    """A thousand candidates of real code."""
    sources = CORPORA[name]
    seen: set[tuple[str, str]] = set()
    ids: set[str] = set()
    weight = float("inf")
    for found in itertools.islice(candidates(sources, everywhere(sources)), 1000):
        before = sources[found.path]
        assert found.edit.apply(before) == found.new_source
        assert found.new_source != before
        compile(found.new_source, found.path, "exec", dont_inherit=True)
        assert (found.path, found.new_source) not in seen
        assert found.weight <= weight
        assert 1 <= found.line <= before.count("\n") + 1
        assert "\n" not in found.description
        seen.add((found.path, found.new_source))
        ids.add(found.id)
        weight = found.weight
    assert len(ids) == len(seen) == 1000


def test_all_of_a_file_can_be_tried() -> None:
    """Nothing is lost in the laziness: every operator turns up, and the end is reached."""
    sources = {"roman.py": CORPORA["programs"]["roman/roman.py"]}
    found = list(candidates(sources, everywhere(sources)))
    assert {"comparison", "off-by-one", "string", "slice", "move-statement", "augmented"} <= {c.operator for c in found}
    assert len(found) > 200


def test_no_score_no_candidate() -> None:
    sources = {"a.py": "def f(x):\n    return x < 1\n\n\ndef g(x):\n    return x > 2\n"}
    assert {found.line for found in candidates(sources, [("a.py", 2, 0.5), ("a.py", 6, 0.0)])} == {2}
    assert list(candidates(sources, [("other.py", 2, 1.0)])) == []
    assert list(candidates(sources, [])) == []


def test_the_header_of_a_block_is_its_own_line() -> None:
    """A suspicious `if` says nothing of what it guards, and a suspicious body nothing of its `if`."""
    sources = {"a.py": "def f(x):\n    if x < 1:\n        x = x * 2\n    return x\n"}
    header = [c for c in candidates(sources, [("a.py", 2, 1.0)]) if c.operator in ("comparison", "arithmetic")]
    body = [c for c in candidates(sources, [("a.py", 3, 1.0)]) if c.operator in ("comparison", "arithmetic")]
    assert {c.operator for c in header} == {"comparison"}
    assert {c.operator for c in body} == {"arithmetic"}


def test_a_statement_over_several_lines_is_found_by_any_of_them() -> None:
    source = "def f(x):\n    return sum(\n        [x + 1,\n         x + 2]\n    )\n"
    by_first = [c.id for c in candidates({"a.py": source}, [("a.py", 2, 1.0)])]
    assert [c.id for c in candidates({"a.py": source}, [("a.py", 4, 1.0)])] == by_first != []


def test_likely_edits_of_the_next_line_come_before_unlikely_ones_of_this() -> None:
    sources = {"a.py": "def f(x, y, z):\n    a = x < y + z\n    b = x < y - z\n    return a, b\n"}
    lines = [c.line for c in candidates(sources, [("a.py", 2, 1.0), ("a.py", 3, 0.9), ("a.py", 4, 0.2)])]
    assert lines[0] == 2
    assert 3 in lines[:10]
    assert 2 in lines[20:]
    assert lines.index(4) > 20


def test_a_file_that_is_not_python_has_no_candidates() -> None:
    sources = {"bad.py": "def f(:\n", "null.py": "x = '\0'\n", "mac.py": "a = 1\rb = 2\r", "good.py": "x = 1 < 2\n"}
    assert {found.path for found in candidates(sources, everywhere(sources))} == {"good.py"}


def test_windows_line_ends_stay() -> None:
    source = "def f(x):\r\n    return x < 1\r\n"
    first = next(iter(candidates({"a.py": source}, [("a.py", 2, 1.0)])))
    assert first.new_source.count("\r\n") == 2


def test_a_summary_carries_the_edit_and_not_the_file() -> None:
    source = "def f(x):\n    return x < 1\n" + "# a long file\n" * 5000
    found = next(iter(candidates({"a.py": source}, [("a.py", 2, 1.0)])))
    told = json.loads(json.dumps(found.summary()))
    edit = told["edit"]
    assert source[: edit["start"]] + edit["replacement"] + source[edit["end"] :] == found.new_source
    assert len(json.dumps(told)) < 500


def test_an_id_depends_on_path_and_result_alone() -> None:
    sources = {"a.py": "def f(x):\n    return x < 1\n"}
    high = {c.new_source: c.id for c in candidates(sources, [("a.py", 2, 1.0)])}
    low = {c.new_source: c.id for c in candidates(sources, [("a.py", 2, 0.1), ("a.py", 1, 0.9)])}
    assert all(low[text] == key for text, key in high.items())
    other = {c.id for c in candidates({"b.py": sources["a.py"]}, [("b.py", 2, 1.0)])}
    assert not other & set(high.values())


def test_the_order_is_the_same_in_every_process() -> None:
    """Sets of strings are ordered by a hash that differs between interpreters."""
    program = (
        "import sys, json, itertools, pathlib\n"
        "from examples.repair.mutations import candidates\n"
        "base = pathlib.Path(sys.argv[1])\n"
        "sources = {f.name: f.read_text() for f in sorted(base.glob('*.py'))}\n"
        "ranking = [(p, n, 1 / (1 + n % 7)) for p, t in sources.items() for n in range(20, 60)]\n"
        "print(json.dumps([c.id for c in itertools.islice(candidates(sources, ranking), 800)]))\n"
    )
    orders = set()
    for seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        ran = subprocess.run(
            [sys.executable, "-c", program, str(SAMPLE / "roombook")],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=50,
        )
        orders.add(ran.stdout)
    assert len(orders) == 1
    assert len(json.loads(orders.pop())) == 800


# --- replacing an expression never changes how its surroundings are read -------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])


def binary(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["+", "-", "*", "//", "**", "<", "==", "and", "or", "|", "in", "if a else"])
    return st.builds(lambda left, operator, right: f"({left}) {operator} ({right})", parts, operators, parts)


def unary(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    templates = ["-({})", "not ({})", "f({})", "({})[0]", "({}).x", "[{}]", "f(a, k=({}))", "a[({}):]", "lambda: ({})"]
    return st.builds(lambda template, part: template.format(part), st.sampled_from(templates), parts)


EXPRESSIONS = st.recursive(NAMES, lambda parts: binary(parts) | unary(parts), max_leaves=6).map(
    lambda text: ast.unparse(ast.parse(text, mode="eval"))
)


class Put(ast.NodeTransformer):
    """Puts another expression in the place of a node, on the tree, where no parentheses can go wrong."""

    def __init__(self, place: tuple[int, int], kind: type[ast.AST], replacement: ast.expr) -> None:
        self.place, self.kind, self.replacement = place, kind, replacement

    def visit(self, node: ast.AST) -> ast.AST:
        place = (getattr(node, "col_offset", -1), getattr(node, "end_col_offset", -1))
        if place == self.place and type(node) is self.kind:
            return self.replacement
        return self.generic_visit(node)


@given(whole=EXPRESSIONS, part=EXPRESSIONS, choice=st.integers(0, 50), extra=st.booleans())
def test_a_replacement_is_parenthesised_where_it_must_be(whole: str, part: str, choice: int, extra: bool) -> None:
    source = f"x = ({whole})\n" if extra else f"x = {whole}\n"
    module = Module("m.py", source)
    statement = module.tree.body[0]
    assert isinstance(statement, ast.Assign)
    nodes = [n for n in ast.walk(statement.value) if isinstance(n, ast.expr)]
    node = nodes[choice % len(nodes)]
    site = Site(module, statement, Scopes(module), Knowledge([module]))
    text = site.replace(node, part).edit.apply(source)
    place = (node.col_offset, node.end_col_offset or 0)
    wanted = Put(place, type(node), ast.parse(part, mode="eval").body).visit(ast.parse(source))
    assert ast.dump(ast.parse(text)) == ast.dump(wanted), text


def test_a_candidate_knows_its_line() -> None:
    source = "def f(x):\n    y = 1\n    return x < y\n"
    found: list[Candidate] = list(candidates({"a.py": source}, everywhere({"a.py": source})))
    assert {c.line for c in found if c.operator == "comparison"} == {3}
    assert next(c for c in found if c.operator == "comparison").description == "`<` → `<=` in `return x < y`"
