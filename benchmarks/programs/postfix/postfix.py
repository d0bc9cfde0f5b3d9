"""A calculator for postfix notation: `3 4 +` is 7."""

from collections.abc import Callable
from operator import add, floordiv, mul, sub

OPERATIONS: dict[str, Callable[[int, int], int]] = {"+": add, "-": sub, "*": mul, "/": floordiv}


def evaluate(expression: str) -> int:
    """The value of an expression of integers. Raises ValueError when it is not one."""
    stack: list[int] = []
    for token in expression.split():
        if token in OPERATIONS:
            if len(stack) < 2:
                raise ValueError(f"{token} needs two operands")
            first, second = stack.pop(), stack.pop()
            stack.append(OPERATIONS[token](first, second))
        else:
            stack.append(int(token))
    if len(stack) != 1:
        raise ValueError("operands are left over" if stack else "there is nothing to evaluate")
    return stack[0]


def to_infix(expression: str) -> str:
    """The same expression with brackets around every operation."""
    stack: list[str] = []
    for token in expression.split():
        if token in OPERATIONS:
            right = stack.pop()
            left = stack.pop()
            stack.append(f"({left} {token} {right})")
        else:
            stack.append(token)
    return stack.pop()
