"""`gpuseg audience` with contacts of any type and content, and damaged outputs.

Whatever the case, nothing of a contact is in a file or a message, but as a hash.
"""

import csv
import os
import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from support.fitted_outputs import ID_KEY, ID_KEY_VARIABLE, fitted, input_rows
from support.helpers import Outcome
from support.text_files import xlsx_bytes

from fuzzing.command_line import call_command
from fuzzing.damaged_outputs import damage_output, read_output, write_output
from fuzzing.data_files import KINDS, spoilt_file
from fuzzing.mutations import mutated_bytes
from fuzzing.run_cases import Fuzzer

_OUTPUTS = ("plain", "text_ids", "hashed_ids", "hierarchy")
"""Cases of `support.fitted_outputs` whose customers have contacts."""

_OPTIONS = {
    "--email": "mail", "--phone": "tel", "--first-name": "first", "--last-name": "last",
    "--country": "land", "--zip": "code",
}  # fmt: skip
"""Options that name the columns of the contacts."""

_SECRET_COLUMNS = ("text_id", "mail", "tel", "first", "last")

_MAILS = (
    "Person.{n}.Qx@Example.com", " person.{n}.qx@example.com ", "person{n}qx", "person{n}qx@", "",
    "person{n}qx@exa,mple.com", '"person{n}qx"@example.com', "a@b.c,person{n}qx@example.com",
    "person{n}qx@example.com\nperson{n}qy@example.com", "=person{n}qx@example.com", "NA",
    "person{n}qx@gmail.com", "per.son{n}qx+tag@googlemail.com", "@person{n}qx",
    "perso\u0301n{n}qx@ä.de", "\u202eperson{n}qx@example.com", "person{n}qx@example.com\0",
    "segment", "<person{n}qx@example.com>",
)  # fmt: skip
_PHONES = (
    "+49151{n}", "0151 / {n}", "(0151) {n}", "+49 (0)151{n}", "0049151{n}", "151{n}.0", "tel:{n}",
    "+1 202 {n}", "{n}", "+{n}{n}{n}", "", "+49151{n}\n", "٠١٥١{n}", "0151{n} ext. 5", "49151{n}",
    "+49151{n};+49151{n}", "151{n}|DE", "NA",
)  # fmt: skip
_NAMES = (
    "Zoé-{n} Qx", "  o'neil{n}qx ", "", "{n}qx", "名前{n}qx", "a,{n}qx", 'a"{n}qx"', "\t{n}qx",
)  # fmt: skip
_COUNTRIES = ("de", "DE", " us", "NA", "", "Germany", "12", "ß", "d e", "GB\n")
_ZIPS = ("10{n}", "sw1a 1aa", "", "10115-1234567", "1,2", "12\n")
_CONSENTS = ("yes", "No", "1", "0", " granted ", "", "TRUE", "denied")
_HOSTILE_CONSENTS = ("maybe", "yes no", "2", "nan", "\0", "oui")

_LEAST_SIGNS = 8
"""Signs of a value that no file and no message has by chance."""


def fuzzer() -> Fuzzer:
    """Make the fuzzer."""
    return _Audiences()


class _Audiences:
    """Draws contacts, writes audiences, and looks for the contacts in all that is written."""

    seconds = 60.0

    @patch.dict(os.environ, {ID_KEY_VARIABLE: ID_KEY})
    def prepare(self, folder: Path) -> None:
        self._outputs = {name: read_output(fitted(name)) for name in _OUTPUTS}
        self._ids = {name: pq.read_table(fitted(name)).column_names[0] for name in _OUTPUTS}

    @patch.dict(os.environ, {ID_KEY_VARIABLE: ID_KEY})
    def try_case(self, draw: random.Random, folder: Path) -> None:
        name = draw.choice(_OUTPUTS)
        output = folder / "fitted"
        write_output(self._outputs[name], output)
        if draw.random() < 0.25:
            damage_output(draw, output)
        table = _contacts(draw, input_rows(name)[self._ids[name]])
        secrets = set(_secrets(table))
        customers = _write(draw, folder, table)
        options = _options(draw, self._ids[name])
        outcome = self._call(folder, output, customers, options, folder / "out")
        _check_hidden(folder, outcome, folder / "out", secrets)
        if outcome.code or draw.random() < 0.6:
            return
        earlier = folder / "out"
        if draw.random() < 0.5:
            _spoil_files(draw, earlier)
        elif draw.random() < 0.3:
            earlier = output
            damage_output(draw, output)
        changed = _contacts(draw, input_rows(name)[self._ids[name]])
        secrets |= set(_secrets(changed))
        customers = _write(draw, folder, changed)
        options = [*options, f"--previous={earlier}"]
        outcome = self._call(folder, output, customers, options, folder / "later")
        _check_hidden(folder, outcome, folder / "later", secrets)

    def _call(
        self, folder: Path, output: Path, customers: Path, options: list[str], target: Path
    ) -> Outcome:
        arguments = ["audience", str(output), f"--customers={customers}", f"--output={target}"]
        return call_command(folder, [*arguments, *options])


def _options(draw: random.Random, id: str) -> list[str]:
    platform = draw.choice(("google", "meta", "csv"))
    options = [f"--format={platform}", "--consent=consent"]
    options += [f"--segment={draw.choice(('0', '1', '1', '2', '-1', 'x') * 2 + ('1',) * 20)}"]
    options += [f"--segment={number}" for number in range(draw.choice((0, 0, 2)))]
    options += ["--segment=segment_3=1"] if draw.random() < 0.1 else []
    options += [f"--minimum={draw.choice((1, 1, 1, 5, 100))}"]
    options += [f"--id={id}"] if draw.random() < 0.3 else []
    share = draw.choice((0.3, 1.0, 1.0))
    named = [option for option in _OPTIONS if draw.random() < share]
    if draw.random() < 0.9:
        named = [*{"--email": 0, **dict.fromkeys(named)}]
    options += [f"{option}={_OPTIONS[option]}" for option in named]
    options += ["--plain-address"] if draw.random() < 0.8 else []
    region = draw.choice(("DE",) * 9 + ("US", "XX"))
    options += [f"--default-region={region}"] * (draw.random() < 0.6)
    if draw.random() < 0.2:
        options += ["--consent-yes=yes", f"--consent-no={draw.choice(('no', 'maybe', '', '0'))}"]
    return [*options, *["--json"] * draw.randrange(2)]


def _contacts(draw: random.Random, ids: pa.ChunkedArray) -> pa.Table:
    """Return contacts, some with columns of other types, some without customers."""
    some = [value for value in ids.to_pylist() if draw.random() < 0.9]
    draw.shuffle(some)
    hostile = draw.choice((0.0, 0.2, 1.0))
    drawn = {
        "mail": _texts(draw, _MAILS, hostile, len(some)),
        "tel": _texts(draw, _PHONES, hostile, len(some)),
        "first": _texts(draw, _NAMES, hostile, len(some)),
        "last": _texts(draw, _NAMES, hostile, len(some)),
        "land": _texts(draw, _COUNTRIES, hostile, len(some)),
        "code": _texts(draw, _ZIPS, hostile, len(some)),
        "consent": [draw.choice(_CONSENTS) for _ in some],
    }
    if draw.random() < 0.1 and some:
        drawn["consent"][draw.randrange(len(some))] = draw.choice(_HOSTILE_CONSENTS)
    columns: dict[str, Any] = {ids_name(ids): pa.array(some, ids.type), **drawn}
    for name in draw.sample([*columns], draw.choice((0, 0, 1, 2))):
        columns[name] = _of_other_type(draw, columns[name])
    table = pa.table(columns)
    if draw.random() < 0.05:
        table = pa.concat_tables([table, table.slice(0, 1)])
    if draw.random() < 0.05:
        table = table.drop_columns([draw.choice(table.column_names)])
    return table


def _texts(
    draw: random.Random, patterns: tuple[str, ...], hostile: float, n: int
) -> list[str | None]:
    """Return texts of patterns; `{n}` is a number of eight digits that is there once."""
    drawn = [draw.choice(patterns) if draw.random() < hostile else patterns[0] for _ in range(n)]
    texts = [pattern.format(n=draw.randrange(10**7, 10**8)) for pattern in drawn]
    return [None if draw.random() < 0.02 else text for text in texts]


def _of_other_type(draw: random.Random, values: Any) -> Any:
    """Return values as another type, or nulls of any type where they are none."""
    texts = [None if value is None else str(value) for value in _listed(values)]
    digits = [None if text is None else re.sub(r"\D", "", text)[:15] or "0" for text in texts]
    kind = draw.choice((*KINDS, pa.string(), pa.large_string(), pa.binary(), pa.float64()))
    t = pa.types
    try:
        if t.is_dictionary(kind) or kind == pa.binary():
            value = kind if kind == pa.binary() else pa.dictionary(kind.index_type, pa.string())
            return pa.array([text and text[:40] for text in texts], pa.string()).cast(value)
        if t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind):
            return pa.array(texts, pa.string()).cast(kind)
        if t.is_boolean(kind):
            return pa.array([text and len(text) % 2 == 0 for text in texts], pa.bool_())
        if t.is_floating(kind):
            return pa.array([text and float(text) + (draw.random() < 0.01) / 2 for text in digits],
                            pa.float64()).cast(kind)  # fmt: skip
        numbers = [text and (Decimal(text) if t.is_decimal(kind) else int(text)) for text in digits]
        return pa.array(numbers, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        try:
            return pa.nulls(len(texts), kind)
        except pa.ArrowException:
            return texts


def _listed(values: Any) -> list[Any]:
    return values.to_pylist() if isinstance(values, pa.Array) else list(values)


def _write(draw: random.Random, folder: Path, table: pa.Table) -> Path:
    """Write contacts as a file of one of the formats, whole or spoilt."""
    place = folder / f"contacts-{draw.randrange(10**6)}"
    place.mkdir()
    match draw.randrange(6):
        case 0:
            spoilt_file(draw, place, table, ".parquet")
        case 1:
            (place / "a.csv").write_bytes(_csv(draw, table))
        case 2:
            text = pa.table({name: [_printable(v) for v in _values(table[name])]
                             for name in table.column_names})  # fmt: skip
            (place / "a.xlsx").write_bytes(xlsx_bytes(text))
        case _:
            try:
                pq.write_table(table, place / "a.parquet")
            except pa.ArrowException:  # types that Parquet does not have
                (place / "a.csv").write_bytes(_csv(draw, table))
    return place


def _printable(value: Any) -> str:
    return "" if value is None else "".join(c for c in str(value) if c.isprintable())


def _csv(draw: random.Random, table: pa.Table) -> bytes:
    columns = [[str(value) for value in _values(column)] for column in table.columns]
    lines = [table.column_names, *map(list, zip(*columns, strict=True))]
    if draw.random() < 0.15:  # a file without a header
        lines = lines[1:]
    quoted = draw.random() < 0.8
    rows = [[f'"{v.replace(chr(34), chr(34) * 2)}"' if quoted else v for v in row] for row in lines]
    content = "\n".join(draw.choice((",", ",", ";", "\t")).join(row) for row in rows).encode()
    return mutated_bytes(draw, content) if draw.random() < 0.3 else content


def _spoil_files(draw: random.Random, audience: Path) -> None:
    """Change the files of an earlier audience; some have contacts without a hash."""
    path = draw.choice(sorted(path for path in audience.rglob("*") if path.is_file()))
    content = path.read_bytes()
    if path.suffix == ".csv" and draw.random() < 0.5:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        row = draw.choice(rows)
        row[draw.randrange(len(row))] = f"person{draw.randrange(10**7, 10**8)}qx@example.com"
        content = "\n".join(",".join(row) for row in rows).encode()
    else:
        content = mutated_bytes(draw, content)
    path.write_bytes(content)


def _secrets(table: pa.Table) -> Iterator[str]:
    """Yield what may be nowhere: contacts as they are, in lower case, and their digits."""
    for name in _SECRET_COLUMNS:
        if name not in table.column_names:
            continue
        for value in _values(table[name]):
            text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
            numbers = re.findall(r"[0-9]{8,}", text)
            for secret in (text.strip().lower(), *numbers):
                if len(secret) >= _LEAST_SIGNS:
                    yield secret


def _values(column: pa.ChunkedArray) -> list[Any]:
    try:
        values: list[Any] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):  # times that Python has not
        return [None] * len(column)
    return values


def _check_hidden(folder: Path, outcome: Outcome, target: Path, secrets: set[str]) -> None:
    assert not (outcome.code and target.exists()), "an output of a command that failed"
    paths = [path for path in target.rglob("*") if path.is_file()]
    written = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    texts = {name: content.decode(errors="replace") for name, content in written.items()}
    for name, shown in {**texts, "stdout": outcome.out, "stderr": outcome.err}.items():
        text = re.sub(r"\b[0-9a-f]{64}\b", "", shown.lower())
        for secret in secrets:
            assert secret not in text, f"{secret!r} is in {name}: {text[:1000]}"


def ids_name(ids: pa.ChunkedArray) -> str:
    """Return the name that the column of these ids has in the contacts."""
    return "customer" if pa.types.is_integer(ids.type) else "text_id"
