"""A parsed source file, addressed by character offsets: what every operator reads and edits."""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef

CLOSERS = frozenset(")]}")
KEYWORDS_BEFORE_GROUP = frozenset(keyword.kwlist) - {"True", "False", "None"}


@dataclass(frozen=True, slots=True)
class Token:
    """One significant token (no comments, no newlines) with its place in the text, in characters."""

    start: int
    end: int
    string: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace `text[start:end]` by `replacement`; everything else of the file stays as it is."""

    start: int
    end: int
    replacement: str

    def apply(self, text: str) -> str:
        return text[: self.start] + self.replacement + text[self.end :]


class Module:
    """One file: text, syntax tree, tokens, and the maps between them.

    Parsing costs one pass over the file; every lookup after that is O(log n) or O(1).
    Raises SyntaxError when the text is not Python.
    """

    def __init__(self, path: str, text: str) -> None:
        if "\r" in text.replace("\r\n", ""):
            raise SyntaxError(f"{path}: lines that end in a lone carriage return; convert them to newlines")
        self.path = path
        self.text = text
        self.tree = ast.parse(text, filename=path)
        self._line_starts = [0, *(i + 1 for i, char in enumerate(text) if char == "\n")]
        self._ascii = text.isascii()
        self.tokens = self._tokenize()
        self._token_starts = [token.start for token in self.tokens]
        self._parents: dict[ast.AST, ast.AST] = {}
        self._statements: dict[ast.AST, ast.stmt] = {}
        self._link()

    # --- places ---------------------------------------------------------------------------------------------------

    def offset(self, line: int, column_bytes: int) -> int:
        """The character offset of a 1-based line and a UTF-8 column as `ast` counts them."""
        start = self._line_starts[line - 1]
        if self._ascii:
            return start + column_bytes
        end = self._line_starts[line] if line < len(self._line_starts) else len(self.text)
        return start + len(self.text[start:end].encode()[:column_bytes].decode())

    def span(self, node: ast.expr | ast.stmt | ast.excepthandler | ast.arg | ast.keyword) -> tuple[int, int]:
        """First and one-past-last character of a node, without parentheses around it."""
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def grouped_span(self, node: ast.expr) -> tuple[int, int]:
        """Like `span`, with the grouping parentheses around the node; a call's own parentheses do not count."""
        start, end = self.span(node)
        before = bisect_left(self._token_starts, start) - 1
        after = bisect_left(self._token_starts, end)
        while self._is_group(before) and after < len(self.tokens) and self.tokens[after].string == ")":
            start, end = self.tokens[before].start, self.tokens[after].end
            before, after = before - 1, after + 1
        return start, end

    def source_of(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.text[start:end]

    def grouped_source_of(self, node: ast.expr) -> str:
        start, end = self.grouped_span(node)
        return self.text[start:end]

    def tokens_between(self, start: int, end: int) -> list[Token]:
        return self.tokens[bisect_left(self._token_starts, start) : bisect_left(self._token_starts, end)]

    def line_of(self, offset: int) -> int:
        return bisect_right(self._line_starts, offset)

    def line_span(self, first: int, last: int) -> tuple[int, int]:
        """The characters of whole lines, the last newline included."""
        end = self._line_starts[last] if last < len(self._line_starts) else len(self.text)
        return self._line_starts[first - 1], end

    def indent_of(self, statement: ast.stmt) -> str:
        start = self._line_starts[statement.lineno - 1]
        return self.text[start : self.offset(statement.lineno, statement.col_offset)]

    def owns_its_lines(self, statement: ast.stmt) -> bool:
        """Whether nothing but the statement (and a comment) stands on its lines: `a; b` and `if x: y` do not."""
        first, last = self.whole_lines(statement)
        start, end = self.line_span(first, last)
        node_start, node_end = self.span(statement)
        if decorators := getattr(statement, "decorator_list", None):
            node_start = self.span(decorators[0])[0] - 1
        outside = [t for t in self.tokens_between(start, end) if t.end <= node_start or t.start >= node_end]
        return not outside

    def whole_lines(self, statement: ast.stmt) -> tuple[int, int]:
        """First and last line of a statement, decorators included."""
        decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
        assert statement.end_lineno is not None
        return min([statement.lineno, *(d.lineno for d in decorators)]), statement.end_lineno

    # --- structure ------------------------------------------------------------------------------------------------

    def parent(self, node: ast.AST) -> ast.AST | None:
        return self._parents.get(node)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """Parents of a node, nearest first."""
        current = self._parents.get(node)
        while current is not None:
            yield current
            current = self._parents.get(current)

    def statement_of(self, node: ast.AST) -> ast.stmt:
        """The innermost statement a node belongs to; of a statement, itself."""
        return self._statements[node]

    def function_of(self, node: ast.AST) -> Function | None:
        """The innermost `def` around a node. A default value belongs to the outer function."""
        child: ast.AST = node
        for ancestor in self.ancestors(node):
            if isinstance(ancestor, ast.FunctionDef | ast.AsyncFunctionDef) and child in ancestor.body:
                return ancestor
            child = ancestor
        return None

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        """The class whose method (or body) a node stands in."""
        return next((a for a in self.ancestors(node) if isinstance(a, ast.ClassDef)), None)

    def loops_of(self, node: ast.AST) -> list[ast.For | ast.AsyncFor | ast.While]:
        """The loops of the same function that run this node again and again, innermost first."""
        loops: list[ast.For | ast.AsyncFor | ast.While] = []
        for ancestor in self.ancestors(node):
            if isinstance(ancestor, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                break
            if isinstance(ancestor, ast.For | ast.AsyncFor | ast.While):
                loops.append(ancestor)
        return loops

    def block_of(self, statement: ast.stmt) -> list[ast.stmt]:
        """The list of statements this one stands in."""
        parent = self._parents[statement]
        for field in ("body", "orelse", "finalbody"):
            block: object = getattr(parent, field, None)
            if isinstance(block, list) and statement in block:
                return block
        raise AssertionError(f"{self.path}:{statement.lineno}: a statement outside every block")

    def own_nodes(self, statement: ast.stmt) -> Iterator[ast.AST]:
        """The statement and its expressions in source order, without the statements nested in it.

        Left out is what no edit can improve: annotations, docstrings, f-strings (their inner places are
        unreliable before Python 3.12), and the message of a `raise` or `assert`.
        """
        yield statement
        skipped: list[ast.AST | None] = []
        if isinstance(statement, ast.AnnAssign):
            skipped.append(statement.annotation)
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped += [statement.returns, *statement.decorator_list]
        elif isinstance(statement, ast.Assert):
            skipped.append(statement.msg)
        elif isinstance(statement, ast.Raise | ast.Import | ast.ImportFrom | ast.Global | ast.Nonlocal):
            return
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return
        stack = [n for n in ast.iter_child_nodes(statement) if n not in skipped]
        stack.reverse()
        while stack:
            node = stack.pop()
            if isinstance(node, ast.stmt | ast.JoinedStr | ast.match_case | ast.excepthandler):
                continue
            yield node
            children = [c for c in ast.iter_child_nodes(node) if not _is_annotation(node, c)]
            stack += reversed(children)

    # --- construction ---------------------------------------------------------------------------------------------

    def _tokenize(self) -> list[Token]:
        silent = {
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        }
        found = []
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            if token.type not in silent:
                start = self._line_starts[token.start[0] - 1] + token.start[1]
                end = self._line_starts[token.end[0] - 1] + token.end[1]
                found.append(Token(start, end, token.string))
        return found

    def _link(self) -> None:
        stack: list[tuple[ast.AST, ast.stmt | None]] = [(self.tree, None)]
        while stack:
            node, statement = stack.pop()
            if isinstance(node, ast.stmt):
                statement = node
            if statement is not None:
                self._statements[node] = statement
            for child in ast.iter_child_nodes(node):
                self._parents[child] = node
                stack.append((child, statement))

    def _is_group(self, index: int) -> bool:
        """Whether the token at `index` opens a group rather than the arguments of a call or a definition."""
        if index < 0 or self.tokens[index].string != "(":
            return False
        previous = self.tokens[index - 1].string if index else ""
        if not previous or previous in KEYWORDS_BEFORE_GROUP:
            return True
        return not (previous[-1] in CLOSERS or previous.isidentifier() or previous[-1] in "\"'")


def _is_annotation(parent: ast.AST, child: ast.AST) -> bool:
    return isinstance(parent, ast.arg) and child is parent.annotation
