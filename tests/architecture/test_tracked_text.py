"""What must stand in no tracked file: the host names of package registries, and paths of somebody's machine."""

from __future__ import annotations

import re

import pytest

from tests.architecture.tree import name_of, tracked_files

# In pieces, so that this file does not contain what it forbids.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("registry", "yarnpkg", "com"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("deb", "debian", "org"),
        ("repo1", "maven", "org"),
        ("crates", "io"),
    )
)
MACHINE_PATHS = ("/" + "root/", "/" + "home/[a-z_][a-z0-9_-]*/", "/" + "Users/[a-z]", "/" + "work/", "/" + "opt/wheels")
FORBIDDEN = re.compile(
    "|".join([*(re.escape(host) for host in REGISTRY_HOSTS), *(rf"(?<![\w./~-]){path}" for path in MACHINE_PATHS)])
)


def test_no_registry_hosts_and_no_machine_paths() -> None:
    found = []
    for path in tracked_files():
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            if match := FORBIDDEN.search(line):
                found.append(f"{name_of(path)}:{number}: {match.group()}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text", [f"https://files.{REGISTRY_HOSTS[1]}/x", "at /" + "root/.cache", 'p = "/' + 'work/main"']
)
def test_the_pattern_bites(text: str) -> None:
    assert FORBIDDEN.search(text)


@pytest.mark.parametrize("text", ["/workspace/a.py", "~/work/here", "the root/branch", "git.example.org/work/x"])
def test_the_pattern_spares_other_text(text: str) -> None:
    assert not FORBIDDEN.search(text)
