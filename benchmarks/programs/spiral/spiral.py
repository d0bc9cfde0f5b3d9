"""A matrix read in a spiral, clockwise from the top left corner."""


def spiral(matrix: list[list[int]]) -> list[int]:
    found: list[int] = []
    if not matrix:
        return found
    top, bottom = 0, len(matrix) - 1
    left, right = 0, len(matrix[0]) - 1
    while top <= bottom and left <= right:
        for column in range(left, right + 1):
            found.append(matrix[top][column])
        top += 1
        for row in range(top, bottom + 1):
            found.append(matrix[row][right])
        right -= 1
        if top <= bottom:
            for column in range(right, left - 1, -1):
                found.append(matrix[bottom][column])
            bottom -= 1
        if left <= right:
            for row in range(bottom, top, -1):
                found.append(matrix[row][left])
            left += 1
    return found


def square(size: int) -> list[list[int]]:
    """The numbers from 1 on, row by row."""
    return [[row * size + column + 1 for column in range(size)] for row in range(size)]
