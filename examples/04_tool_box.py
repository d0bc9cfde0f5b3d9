"""A shell program as a tool: typed arguments in, typed results out, a time limit on the program, no shell to be seen.

Run it with ``python examples/04_tool_box.py``. What the program prints also streams to whoever watches the call. An
agent sees the JSON Schema that `schema` gives, and never the shell.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from box_agent import Box, Context, skill
from schemas.box import Resources
from schemas.errors import SkillFailed

POEM = """\
I have measured out my life
with coffee spoons;
I know the voices dying
"""


@dataclass
class Count:
    lines: int
    words: int


class TextTools(Box, files={"poem.txt": POEM}, resources=Resources(memory_bytes=512 * 2**20, pids=32)):
    """Counts and searches with the programs every system has."""

    @skill
    def count(self, path: str) -> Count:
        """Lines and words of a file in the box."""
        done = self.run(f"wc -l -w < {shlex.quote(path)}", timeout_s=10).check()
        lines, words = done.output.split()
        return Count(int(lines), int(words))

    @skill
    def search(self, word: str, path: str, context: Context) -> Iterator[str]:
        """Lines with ``word``, one at a time."""
        found = self.run(f"grep -n -e {shlex.quote(word)} {shlex.quote(path)}", timeout_s=10)
        lines = found.output.splitlines()
        for number, line in enumerate(lines, 1):
            context.progress(number / len(lines))
            yield line


print(TextTools().schema()["count"]["input"])
with TextTools().spawn() as tools:
    print(tools.count("poem.txt"))
    for line in tools.search("coffee", "poem.txt"):
        print(line)
    try:
        tools.count("a file; rm -r .")
    except SkillFailed as error:
        print("refused:", error.details["type"])
