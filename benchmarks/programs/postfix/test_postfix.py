import pytest
from postfix import evaluate, to_infix


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("42", 42),
        ("3 4 +", 7),
        ("10 4 -", 6),
        ("2 3 4 * +", 14),
        ("20 3 /", 6),
        ("5 1 2 + 4 * + 3 -", 14),
    ],
)
def test_evaluate(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize("expression", ["", "1 2", "+", "1 +"])
def test_not_an_expression(expression):
    with pytest.raises(ValueError, match=r"operands|nothing"):
        evaluate(expression)


def test_to_infix():
    assert to_infix("2 3 4 * +") == "(2 + (3 * 4))"
    assert to_infix("10 4 -") == "(10 - 4)"
