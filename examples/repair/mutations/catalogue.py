"""Every operator with its prior: the chance that it is the one that mends a bug, before anything is known of the bug.

Where the numbers come from
---------------------------
The starting point is the pattern table of TSSB-3M (Richter and Wehrheim, MSR 2022: three million single-statement
fixes from public Python repositories), which renews for Python what ManySStuBs4J (Karampatsis and Sutton, MSR 2020)
counted for Java. Share of the fixes that match a pattern there: changed identifier 16 %, changed binary operand 12 %,
more arguments 10 %, wrong function name 9 %, function added around an expression 8 %, changed attribute 7 %, changed
numeric literal 7 %, more specific `if` 5 %, method call added 4 %, fewer arguments 3 %, changed boolean 3 %, changed
binary operator 2 %, less specific `if` 2 %, changed unary operator 1 %, swapped arguments 1 %.

That table counts repository history, where renamed functions and new arguments are maintenance and no failing test
points at them. The defect classes of the forty QuixBugs programs (Lin et al., SPLASH 2017) are the other end: one in
five a wrong comparison or condition, one in five a miscount by one, the rest wrong variables, missing or misplaced
statements, missing base cases and wrong calls. So the counts for names and calls are taken down, those for
comparisons, miscounts and whole statements up, and all are drawn closer together than either source has them. The
result is a mixture, not a measurement: only the order of magnitude of each number is meant. Halving or doubling any
one of them moves the number of QuixBugs programs whose fix is among the first 300 candidates (36) by one at most.

A prior belongs to an operator in one statement and is divided among the variants it has there (by `Variant.share`):
an operator with two variants tries both long before one with forty is through.
"""

from __future__ import annotations

from typing import NamedTuple

from .arithmetic import arithmetic, augmented, grouping, operands, sign
from .calls import arguments, awaiting, function_name, swap_arguments, unwrap_call, wrap_call
from .comparisons import comparison
from .conditions import boolean_operator, fewer_clauses, loop_condition, more_clauses, negation
from .constants import boolean, empty, number, string
from .expressions import reuse
from .guards import guard
from .names import attribute, receiver, target, variable
from .numbers import off_by_one, offset, range_bounds
from .returns import return_value
from .slices import index, partial, slices
from .statements import delete_statement, duplicate_statement, insert_statement, jump, move_statement
from .variant import Operator


class Entry(NamedTuple):
    """An operator as candidates name it, and its prior."""

    name: str
    prior: float
    operator: Operator


OPERATORS: tuple[Entry, ...] = (
    Entry("variable", 0.115, variable),
    Entry("off-by-one", 0.110, off_by_one),
    Entry("comparison", 0.100, comparison),
    Entry("wrap-call", 0.075, wrap_call),
    Entry("attribute", 0.060, attribute),
    Entry("function-name", 0.050, function_name),
    Entry("more-clauses", 0.050, more_clauses),
    Entry("operand", 0.045, operands),
    Entry("guard", 0.040, guard),
    Entry("loop-condition", 0.040, loop_condition),
    Entry("insert-statement", 0.040, insert_statement),
    Entry("number", 0.035, number),
    Entry("swap-arguments", 0.035, swap_arguments),
    Entry("arithmetic", 0.035, arithmetic),
    Entry("return-value", 0.035, return_value),
    Entry("partial-sequence", 0.035, partial),
    Entry("offset", 0.035, offset),
    Entry("duplicate-statement", 0.030, duplicate_statement),
    Entry("reuse", 0.025, reuse),
    Entry("delete-statement", 0.025, delete_statement),
    Entry("move-statement", 0.025, move_statement),
    Entry("boolean", 0.025, boolean),
    Entry("boolean-operator", 0.025, boolean_operator),
    Entry("slice", 0.025, slices),
    Entry("index", 0.025, index),
    Entry("unwrap-call", 0.025, unwrap_call),
    Entry("augmented", 0.025, augmented),
    Entry("arguments", 0.020, arguments),
    Entry("fewer-clauses", 0.020, fewer_clauses),
    Entry("negation", 0.020, negation),
    Entry("range-bounds", 0.020, range_bounds),
    Entry("empty-value", 0.020, empty),
    Entry("receiver", 0.015, receiver),
    Entry("string", 0.015, string),
    Entry("target", 0.015, target),
    Entry("grouping", 0.015, grouping),
    Entry("jump", 0.015, jump),
    Entry("sign", 0.012, sign),
    Entry("await", 0.010, awaiting),
)

HIGHEST_PRIOR = max(entry.prior for entry in OPERATORS)
