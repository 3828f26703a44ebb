"""Globs of paths: ``*``, ``?`` and ``[0-9]`` within a name, and ``**`` for folders of any depth.

A name that is ignored in a folder (see `io.listing`) matches no pattern, unless both begin with "_"
or with ".".
A pattern that is the name of something in the folder is no pattern there.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from functools import cache

_MAGIC = re.compile(r"[*?\[]")
ANY_FOLDERS = "**"

Entry = tuple[str, bool]
"""The name of an entry of a folder, and whether that is a folder itself."""

Above = tuple[tuple[int, int], ...]
"""Device and number of each folder that leads to a folder."""


def has_magic(path: str) -> bool:
    """Return whether a path has characters of globs; the URL of a web server in its path alone."""
    scheme, sign, rest = path.partition("://")
    if sign and scheme in ("http", "https"):  # there a "?" begins the query
        return bool(re.search(r"[*\[]", rest.partition("/")[2].partition("?")[0]))
    return bool(_MAGIC.search(path))


def split_glob(path: str) -> tuple[str, list[str]]:
    """Return the folder above the first name with a pattern, and the names from there on."""
    names = path.split("/")
    first = next((i for i, name in enumerate(names) if has_magic(name)), len(names) - 1)
    patterns = names[first:]
    kept = [
        name
        for i, name in enumerate(patterns)
        if [name, *patterns[:i][-1:]] != [ANY_FOLDERS, ANY_FOLDERS]
    ]
    return "/".join(names[:first]), kept


def expand(
    folder: str,
    patterns: Sequence[str],
    entries: Callable[[str], Sequence[Entry]],
    is_ignored: Callable[[str], bool],
    follow: Callable[[str, Above], Above],
) -> Iterator[str]:
    """Yield the paths of files and folders that match; a path may come several times.

    Parameters
    ----------
    folder : str
        Where the patterns begin.
    entries : callable
        Returns the entries of a folder; none if there is no such folder.
    is_ignored : callable
        Whether a name matches no pattern, unless both begin with "_" or with ".".
    follow : callable
        Takes a folder and the numbers of the folders above it; returns these and its own one, or
        raises an error if it is one of them.
    """
    waiting: list[tuple[str, int, Above]] = [(folder, 0, ())]
    done = set[tuple[str, int]]()
    while waiting:
        here, i, above = waiting.pop()
        if (here, i) in done:  # several ``**`` reach a folder in several ways
            continue
        done.add((here, i))
        pattern, is_last = patterns[i], i == len(patterns) - 1
        if pattern == ANY_FOLDERS:
            if is_last:
                yield here
                continue
            waiting.append((here, i + 1, above))
        listed = entries(here)
        is_name = any(name == pattern for name, _ in listed)
        for name, is_folder in listed:
            path = f"{here.rstrip('/')}/{name}" if here else name
            if pattern == ANY_FOLDERS:
                if is_folder and not is_ignored(name):
                    waiting.append((path, i, follow(path, above)))
            elif name == pattern or (not is_name and _matches_name(pattern, name, is_ignored)):
                if is_last:
                    yield path
                elif is_folder:
                    waiting.append((path, i + 1, above))


def matches(patterns: Sequence[str], names: Sequence[str]) -> bool:
    """Return whether names of folders and, last, a file match the patterns.

    A pattern that matches a folder matches everything in it.
    """
    reached = {0}
    for name in names:
        reached |= {i + 1 for i in reached if i < len(patterns) and patterns[i] == ANY_FOLDERS}
        if len(patterns) in reached:
            return True
        reached = {
            i if patterns[i] == ANY_FOLDERS else i + 1
            for i in reached
            if patterns[i] in (ANY_FOLDERS, name) or _compiled(patterns[i]).match(name)
        }
    return len(patterns) in reached


def _matches_name(pattern: str, name: str, is_ignored: Callable[[str], bool]) -> bool:
    if is_ignored(name) and (name[0] not in "_." or pattern[0] != name[0]):
        return False
    return _compiled(pattern).match(name) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
