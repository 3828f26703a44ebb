"""Lines of JSON for `gpuseg score --stdin`: changed as trees, as text and as bytes."""

import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
from support.fitted_outputs import CASES, fitted, new_rows
from support.json_rows import as_json

import gpuseg
from fuzzing.command_line import call_command
from fuzzing.damaged_outputs import damage_output, read_output, write_output
from fuzzing.mutations import HOSTILE_TEXTS, mutated_bytes, mutated_tree
from fuzzing.run_cases import Fuzzer

_OUTPUTS = ("all_steps", "hierarchy", "dbscan", "text_ids", "one_hot_of_all")
"""Cases of `support.fitted_outputs` whose models score."""

_BLANK = b" \t\r\n"

_VALUES = (
    *(b"1e999", b"-1e999", b"9" * 400, b"9" * 5000, b"-0", b"1E+2", b"0.1e-400", b"NaN"),
    *(b"Infinity", b"01", b"1.", b".5", b"+1", b"0x1", b"True", b"'a'", b'"\\ud800"', b'"\\u0000"'),
    *(b'"\xff"', b'"\t"', b"{}", b"[]", b"[[[[1]]]]", b"[" * 2000 + b"]" * 2000, b"null", b"true"),
    *(b'""', b'"1"', b'{"a": 1, "a": 2}', b"[1, 2, 3, 4]", b"[1, null, 3, 4]", b'["a"]'),
)  # fmt: skip

Change = Callable[[random.Random, dict[str, Any]], bytes]


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _JsonLines()


class _JsonLines:
    """Scores lines of which some are rows whose answers are known."""

    seconds = 60.0

    def prepare(self, folder: Path) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._segments: dict[str, list[int]] = {}
        for name in _OUTPUTS:
            table = new_rows(name)
            self._rows[name] = as_json(table)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of categories that the fit has not seen
                columns = gpuseg.load_model(fitted(name)).score(table).columns()
            self._segments[name] = pa.array(columns["segment"]).to_pylist()

    def try_case(self, draw: random.Random, folder: Path) -> None:
        name = draw.choice(_OUTPUTS)
        lines, known = self._lines(draw, name)
        ending = draw.choice((b"\n", b"\n", b"\r\n"))
        content = ending.join(lines) + draw.choice((b"", ending))
        content = draw.choice((b"", b"", b"\xef\xbb\xbf")) + content
        source, output = folder / "lines", fitted(name)
        source.write_bytes(content)
        if is_damaged := draw.random() < 0.1:
            output = folder / "fitted"
            write_output(read_output(fitted(name)), output)
            damage_output(draw, output)
        id_column = CASES[name].id
        options = draw.choice(([], [], ["--id="], [f"--id={CASES[name].features[0]}"]))
        if draw.random() < 0.3 and not name.startswith("dbscan"):
            options = [*options, "--confidence"]
        outcome = call_command(folder, ["score", str(output), "--stdin", *options], source)
        if is_damaged and not outcome.out:
            return
        written = _checked(outcome.out, content, outcome.code)
        for number, row in known.items():
            answer = written[number]
            if is_damaged:
                continue
            assert answer.get("segment") == self._segments[name][row], (number, answer)
            if "--id" not in "".join(options):
                assert answer["id"] == self._rows[name][row][id_column], answer

    def _lines(self, draw: random.Random, name: str) -> tuple[list[bytes], dict[int, int]]:
        """Return lines, and by their numbers the rows whose answers are known."""
        rows, lines = self._rows[name], list[bytes]()
        known: dict[int, int] = {}
        hostile = draw.choice((0.0, 0.1, 0.5, 1.0))
        for _ in range(draw.choice((0, 1, 3, 20))):
            row = draw.randrange(len(rows))
            if draw.random() < hostile:
                lines += draw.choice(_CHANGES)(draw, rows[row]).split(b"\n")
            else:
                lines.append(_unusual_text(draw, rows[row]))
                known[len(lines)] = row
        return lines, known


def _checked(output: str, content: bytes, code: int) -> dict[int, dict[str, Any]]:
    """Check that each line that is not blank has one answer; return these by their numbers."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    numbers = [i for i, line in enumerate(content.split(b"\n"), 1) if line.strip(_BLANK)]
    answers = [
        json.loads(line, parse_constant=_refuse_constant, parse_int=_whole_number)
        for line in output.split("\n")[:-1]
    ]
    assert len(answers) == len(numbers), f"{len(answers)} answers to {len(numbers)} lines"
    failed = {number for number, answer in zip(numbers, answers, strict=True) if "error" in answer}
    by_number = dict(zip(numbers, answers, strict=True))
    assert all(by_number[number]["error"]["line"] == number for number in failed)
    assert code == (3 if failed else 0), f"exit code {code} with {len(failed)} failures"
    return by_number


def _whole_number(digits: str) -> int | str:
    """Read a whole number; ids, which are written as they were, may have any number of digits."""
    return int(digits) if len(digits) < 1000 else digits


def _refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def _unusual_text(draw: random.Random, row: dict[str, Any]) -> bytes:
    """Write a row in another of the forms that JSON allows."""
    items = list(row.items())
    draw.shuffle(items)
    if draw.random() < 0.3:
        texts = [text for text in HOSTILE_TEXTS if "\ud800" not in text and text not in row]
        items.insert(0, (draw.choice(texts), draw.choice((None, 1, "x", {"a": {}}, [[]]))))
    spaces = draw.choice(((", ", ": "), (",", ":"), (" ,\t", "\t: ")))
    text = json.dumps(dict(items), ensure_ascii=draw.random() < 0.5, separators=spaces)
    return (draw.choice(("", " ", "\t")) + text + draw.choice(("", " ", "\r"))).encode()


def _other_tree(draw: random.Random, row: dict[str, Any]) -> bytes:
    tree = mutated_tree(draw, row)
    return json.dumps(tree, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def _other_bytes(draw: random.Random, row: dict[str, Any]) -> bytes:
    return mutated_bytes(draw, json.dumps(row).encode())


def _other_value(draw: random.Random, row: dict[str, Any]) -> bytes:
    """Put the text of a value in the place of another one; some are no JSON."""
    key, mark = draw.choice(list(row)), "a mark for the value"
    text = json.dumps({**row, key: mark}).encode()
    return text.replace(json.dumps(mark).encode(), draw.choice(_VALUES))


def _repeated_key(draw: random.Random, row: dict[str, Any]) -> bytes:
    first, second = (json.dumps(row)[1:-1] for _ in range(2))
    return f"{{{first}, {second}}}".encode()


def _other_text(draw: random.Random, row: dict[str, Any]) -> bytes:
    text = json.dumps(row)
    return draw.choice((
        text.encode("utf-16"), text.encode("utf-8-sig"), text.encode() * 2, text.encode() + b",",
        b"[" + text.encode() + b"]", b"", b" \t", b"{}", b"null", b"\0", b"{" * 100_000,
        b'{"a":' * 100_000, b"[" * 100_000, json.dumps(text).encode(), b"\r\r", b"\x0c",
        b"\xc2\x85",
    ))  # fmt: skip


_CHANGES: tuple[Change, ...] = (
    *(_other_tree, _other_tree, _other_tree, _other_value, _other_value, _other_bytes),
    *(_repeated_key, _other_text),
)
