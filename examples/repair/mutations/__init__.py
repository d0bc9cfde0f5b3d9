"""Mutation operators: every small edit that might mend a bug, most promising first.

    candidates(sources, ranking) -> iterator of Candidate

    order.py        the generator: suspicion x prior x share, lazily, deduplicated, compiled
    catalogue.py    the operators and their priors, with the source of the numbers
    candidate.py    Candidate: one edit, its identity and description
    module.py       a parsed file addressed by character offsets; Edit
    scope.py        names visible at a place and what they are used for
    knowledge.py    classes and signatures of the whole project
    variant.py      the operator interface; fitting a replacement into an expression
    comparisons.py numbers.py arithmetic.py conditions.py names.py calls.py slices.py constants.py
    expressions.py returns.py guards.py statements.py
                    one file per family of operators

An operator is a function from a Site (one statement) to Variants; adding one is a function and a line in the
catalogue.
"""

from .candidate import Candidate
from .catalogue import OPERATORS
from .module import Edit
from .order import candidates

__all__ = ["OPERATORS", "Candidate", "Edit", "candidates"]
