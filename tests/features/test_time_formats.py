"""Times in text and numbers: read exactly by a format, and never guessed."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import manifest_of

import gpuseg
from gpuseg.features import from_transactions
from gpuseg.features.time_format import time_formats_of
from gpuseg.features.time_values import read_times
from gpuseg.jobs.job_file import load_job

ROLES = {"customer": "who", "time": "at", "amount": "paid"}
N = 400
TIMES = [datetime(2010, 12, 1, 8, 26) + timedelta(hours=7 * i) for i in range(N)]
UNREADABLE = "transactions.unreadable_time"
EPOCH = datetime(1970, 1, 1)


def lines(at: Any) -> pa.Table:
    n = len(at)
    return pa.table({"who": [i % 5 for i in range(n)], "paid": [1.0 + i % 3 for i in range(n)],
                     "at": at})  # fmt: skip


SECONDS = [int((time - EPOCH).total_seconds()) for time in TIMES]
EXPECTED = from_transactions(lines(TIMES), **ROLES)
EXPECTED_DAYS = from_transactions(lines([time.date() for time in TIMES]), **ROLES)


def without_zeros(texts: Sequence[str]) -> list[str]:
    return [re.sub(r"\b0(\d)(?=/|:| )", r"\1", text) for text in texts]


FORMATS = [
    "%m/%d/%Y %H:%M", "%d/%m/%y %H:%M:%S", "%Y%m%d%H%M", "%m/%d/%Y %I:%M %p", "%d.%m.%Y, %H:%M",
    "%d-%b-%Y %H:%M:%S.%f", "%A, %d %B %Y %H:%M", "%Y/%m/%d %H:%M", "%Y-%j %H:%M", "%H:%M %d/%m/%Y",
    "%a %b %d %H:%M:%S %Y", "%Y年%m月%d日 %H:%M", "%d%%%m%%%Y %R",
]  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_a_format_gives_the_times_of_typed_columns(format: str) -> None:
    texts = [time.strftime(format) for time in TIMES]
    for at in (texts, [f" {text} " for text in texts], pa.array(texts).dictionary_encode(),
               pa.array(texts, pa.large_string()), [text.upper() for text in texts]):  # fmt: skip
        assert from_transactions(lines(at), **ROLES, time_format=format).equals(EXPECTED)


def test_single_digits_and_narrow_white_space() -> None:
    texts = without_zeros([f"{time:%m/%d/%Y %H:%M}" for time in TIMES])
    assert texts[0] == "12/1/2010 8:26"
    assert from_transactions(lines(texts), **ROLES, time_format="%m/%d/%Y %H:%M").equals(EXPECTED)
    texts = [f"{time:%m/%d/%Y %I:%M}\u202f{time:%p}" for time in TIMES]
    actual = from_transactions(lines(texts), **ROLES, time_format="%m/%d/%Y %I:%M %p")
    assert actual.equals(EXPECTED)


@pytest.mark.parametrize(
    "format",
    ["%d/%m/%Y %H:%M", "%m/%d/%y", "%Y-%m-%d %H:%M:%S.%f", "%d %B %Y", "%b %d, %Y %I:%M %p",
     "%Y-%m-%dT%H:%M:%S%z"],
)  # fmt: skip
def test_what_fits_is_what_python_reads(format: str) -> None:
    rng = random.Random(0)
    texts = []
    for _ in range(2000):
        time = datetime(rng.randint(1, 9999), 1, 1) + timedelta(seconds=rng.randrange(31 * 10**6))
        text = list(time.replace(tzinfo=UTC).strftime(format))
        for _ in range(rng.randint(0, 2)):
            place = rng.randrange(len(text))
            text[place : place + 1] = rng.choice(["", *"0123456789/-:+AMZ"])
            text = text or ["0"]
        texts.append("".join(text))
    read = read_times(pa.array(texts), format)
    for i, text in enumerate(texts):
        try:
            time = datetime.strptime(text, format)
        except ValueError:
            assert not read.fits[i], text
            continue
        if time.tzinfo is not None:
            assert read.has_offset[i]
            time = (time - time.utcoffset()).replace(tzinfo=None)  # type: ignore[operator]
        assert read.fits[i], text
        assert EPOCH + timedelta(microseconds=int(read.micros[i])) == time, text


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("%d/%m/%Y", "31/02/2010"), ("%d/%m/%Y", "1/2/2010 8:26"), ("%d/%m/%Y", "1/2/10"),
        ("%d/%m/%Y", "1/2/2010x"), ("%d/%m/%Y", "+1/2/2010"), ("%d/%m/%Y", "1/2/2010\n3"),
        ("%d%m%Y", "1122010"), ("%Y-%j", "2010-366"), ("%Y-%j", "2010-0"),
        ("%d/%m/%Y", "٣/٤/2010"), ("%H:%M %d/%m/%Y", "24:00 1/2/2010"), ("%d/%m/%Y", "0/1/2010"),
        ("%d %B %Y", "1 Dez 2010"),
        ("%I:%M %p %d/%m/%Y", "13:00 PM 1/2/2010"), ("iso8601", "2010-12/01"),
        ("iso8601", "2010-12-01T08:26+25:00"), ("epoch_s", "1e9"), ("epoch_s", "12,5"),
    ],
)  # fmt: skip
def test_text_that_a_format_does_not_fit(format: str, text: str) -> None:
    assert not read_times(pa.array([text]), format).fits[0]
    with raises(UNREADABLE, gpuseg.DataError, value=text):
        from_transactions(lines([text] * 9), **ROLES, time_format=format)


def test_two_digits_of_a_year_are_from_1969_to_2068() -> None:
    texts = pa.array(["1/1/69", "1/1/99", "1/1/00", "1/1/68"])
    years = read_times(texts, "%d/%m/%y").micros.view("M8[us]").astype("M8[Y]").astype(int) + 1970
    assert years.tolist() == [1969, 1999, 2000, 2068]


@pytest.mark.parametrize(
    ("format", "factor"),
    [("epoch_s", 1), ("epoch_ms", 10**3), ("epoch_us", 10**6), ("epoch_ns", 10**9)],
)
def test_numbers_since_1970(format: str, factor: int) -> None:
    numbers = [second * factor for second in SECONDS]
    columns: list[Any] = [
        pa.array(numbers), pa.array(numbers, pa.uint64()), pa.array(map(str, numbers)),
        pa.array(numbers).dictionary_encode(), pa.array([float(number) for number in numbers]),
        pa.array([Decimal(number) for number in numbers], pa.decimal128(22, 2)),
        [f"{number}.0" for number in numbers],
    ]  # fmt: skip
    for at in columns:
        assert from_transactions(lines(at), **ROLES, time_format=format).equals(EXPECTED)


@pytest.mark.parametrize("format", ["epoch_s", "epoch_ms"])
def test_decimals_and_signs_of_numbers_since_1970(format: str) -> None:
    texts = pa.array(["1.5", "-1.25", "0.0000019", "+0", "-0001"])
    factor = 10**6 if format == "epoch_s" else 10**3
    read = read_times(texts, format)
    exact = [Decimal(text) * factor for text in texts.to_pylist()]
    assert read.fits.all()
    assert read.micros.tolist() == [int(number) for number in exact]
    nanoseconds = ["1500", "-1500", "-999"]
    for kind in (pa.string(), pa.int64()):
        column = pa.array(nanoseconds).cast(kind)
        assert read_times(column, "epoch_ns").micros.tolist() == [1, -1, 0]
    floats = read_times(pa.array([1.5, -1.25, np.nan, np.inf]), format)
    assert floats.fits.tolist() == [True, True, False, False]
    assert floats.micros[:2].tolist() == [int(1.5 * factor), int(-1.25 * factor)]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.int32(), pa.int64(), pa.uint32(), pa.float64(), pa.decimal128(20, 3)]
)
def test_dates_of_eight_digits(kind: pa.DataType) -> None:
    at = pa.array([f"{time:%Y%m%d}" for time in TIMES]).cast(kind)
    with raises(UNREADABLE) as caught:
        from_transactions(lines(at), **ROLES)
    assert 'time_format = "%Y%m%d"' in str(caught.value)
    assert from_transactions(lines(at), **ROLES, time_format="%Y%m%d").equals(EXPECTED_DAYS)


def test_leading_zeros_that_numbers_lost() -> None:
    at = pa.array([int(f"{time:%d%m%Y}") for time in TIMES])
    assert from_transactions(lines(at), **ROLES, time_format="%d%m%Y").equals(EXPECTED_DAYS)


@pytest.mark.parametrize(
    "write",
    [
        lambda t: f"{t:%Y-%m-%dT%H:%M}", lambda t: f"{t:%Y/%m/%d %H:%M}",
        lambda t: f"{t.year}-{t.month}-{t.day} {t.hour}:{t:%M}", lambda t: f"{t:%Y.%m.%d %H:%M:%S}",
        lambda t: f"{t:%Y-%m-%d %H:%M:%S}.0000000", lambda t: f"{t:%Y-%m-%d %H:%M:%S}.000000000",
        lambda t: f"{t:%Y-%m-%dT%H:%M:%S}Z", lambda t: f"{t:%Y-%m-%dT%H:%M:%S}.1234567Z"[:19] + "Z",
        lambda t: f"{t + timedelta(hours=2):%Y-%m-%d %H:%M:%S}+02:00",
        lambda t: f"{t - timedelta(hours=t.hour):%Y-%m-%dT%H:%M:%S}.000-{t.hour:02}00",
        lambda t: f"{t:%Y-%m-%d %H:%M:%S} UTC", lambda t: f"{t:%Y-%m-%d %H:%M:%S}.000000000+00",
    ],
)  # fmt: skip
def test_text_that_needs_no_format(write: Any) -> None:
    texts = [write(time) for time in TIMES]
    assert from_transactions(lines(texts), **ROLES).equals(EXPECTED)
    assert from_transactions(lines(texts), **ROLES, time_format="iso8601").equals(EXPECTED)


@pytest.mark.parametrize("digits", [1, 3, 7, 9, 12])
@pytest.mark.parametrize("zone", ["", "Z", "+02:00"])
def test_decimals_of_a_second_after_the_sixth_are_cut(digits: int, zone: str) -> None:
    def built(fraction: str) -> pa.Table:
        texts = [f"{time:%Y-%m-%d %H:%M:%S}.{fraction}{zone}" for time in TIMES]
        return from_transactions(lines(texts), **ROLES)

    assert built("123456789012"[:digits]).equals(built("123456"[:digits]))


@pytest.mark.parametrize("time_format", [None, ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S"]])
@pytest.mark.parametrize("rows_of_offset", [range(1), range(0, N, 2)])
def test_times_with_and_without_an_offset_are_not_mixed(
    tmp_path: Path, time_format: list[str] | None, rows_of_offset: range
) -> None:
    texts = [f"{t:%Y-%m-%dT%H:%M:%S}{'Z' * (i in rows_of_offset)}" for i, t in enumerate(TIMES)]
    with raises("transactions.mixed_offsets"):
        from_transactions(lines(texts), **ROLES, time_format=time_format)
    rest = [i for i in range(N) if i not in rows_of_offset]
    for name, rows in (("a", rest), ("b", rows_of_offset)):
        pa.csv.write_csv(lines([texts[i] for i in rows]), tmp_path / f"{name}.csv")
    with raises("transactions.mixed_offsets"):
        from_transactions(tmp_path, **ROLES, time_format=time_format)


@pytest.mark.parametrize(
    ("text", "zone", "code"),
    [
        ("%Y-%m-%dT%H:%MZ", "UTC", None),
        ("%Y-%m-%dT%H:%M", None, None),
        ("%Y-%m-%dT%H:%MZ", None, "transactions.mixed_offsets"),
        ("%Y-%m-%dT%H:%M", "UTC", "transactions.mixed_offsets"),
        ("%Y-%m-%dT%H:%MZ", "Asia/Tokyo", "transactions.schemas_differ"),
        ("%Y-%m-%dT%H:%M", "Asia/Tokyo", "transactions.schemas_differ"),
        ("epoch_s", "UTC", None),
        ("epoch_s", None, "transactions.mixed_offsets"),
    ],
)
@pytest.mark.parametrize("names", ["ab", "ba"])
def test_files_of_text_and_of_times_agree_on_utc(
    tmp_path: Path, text: str, zone: str | None, code: str | None, names: str
) -> None:
    at = SECONDS if text == "epoch_s" else [time.strftime(text) for time in TIMES]
    tables = lines(at[:200]), lines(pa.array(TIMES, pa.timestamp("us", zone)))[200:]
    for name, table in zip(names, tables, strict=True):
        who = pa.array([i % 5 for i in range(200)])
        pq.write_table(table.set_column(0, "who", who), tmp_path / f"{name}.parquet")
    time_format = text if text == "epoch_s" else None
    if code is None:
        days = ["recency_days", "tenure_days"]
        actual = from_transactions(tmp_path, **ROLES, time_format=time_format)
        assert actual.select(days).equals(EXPECTED.select(days))
        return
    with raises(code):
        from_transactions(tmp_path, **ROLES, time_format=time_format)


def test_each_value_has_the_one_of_several_formats_that_fits() -> None:
    texts = [f"{t:%d.%m.%Y %H:%M}" if i % 3 else str(t) for i, t in enumerate(TIMES)]
    formats = ["iso8601", "%d.%m.%Y %H:%M"]
    for order in (formats, formats[::-1]):
        assert from_transactions(lines(texts), **ROLES, time_format=order).equals(EXPECTED)
    texts = ["5/5/2010", "6/6/2010"]
    both = ["%d/%m/%Y", "%m/%d/%Y"]
    assert from_transactions(lines(texts), **ROLES, time_format=both).num_rows == 2
    with raises("transactions.two_times", value="5/6/2010"):
        from_transactions(lines([*texts, "5/6/2010"]), **ROLES, time_format=both)


@pytest.mark.parametrize(
    "value",
    [
        *(
            5,
            [],
            [5],
            b"%Y%m%d",
            "",
            "%d/%m",
            "%Y",
            "%Y-%m-%d %q",
            "%d/%m/%Y %",
            "%Y%m%d%Y",
            "date",
        ),
        *("%Y %y %m", "%d/%m/%Y %I:%M", "%d/%m/%Y %H:%M %p", "%d/%m/%Y %M", "%Y-%j-%d", "%s", "%c"),
        *("%d/%m/%Y\n", ["%Y%m%d", "%Y%m%d"], "epoch", "%m %B %Y", "%Y%m%d %H %I %p"),
    ],
)
def test_formats_that_are_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must|has"):
        time_formats_of(value)
    with raises("time_format.invalid", gpuseg.ConfigError, parameter="time_format"):
        from_transactions(lines(["2010-12-01"]), **ROLES, time_format=value)
    with raises("job.invalid_value", parameter="transactions.time_format"):
        load_job({"transactions": {"path": "in", **ROLES, "time_format": value},
                  "segment": {"n_clusters": 2}, "output": {"path": "out"}})  # fmt: skip


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.date32()])
def test_typed_times_take_no_format(tmp_path: Path, kind: pa.DataType) -> None:
    table = lines(pa.array(TIMES).cast(kind, safe=False))
    pq.write_table(table, tmp_path / "lines.parquet")
    for source in (table, tmp_path):
        with raises("time_format.not_needed", gpuseg.ConfigError, parameter="time_format"):
            from_transactions(source, **ROLES, time_format="%Y-%m-%d")


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.time32("s"), pa.bool_()])
def test_types_without_a_date_are_refused(kind: pa.DataType) -> None:
    with raises("transactions.column_type", parameter="time"):
        from_transactions(lines(pa.nulls(3, kind)), **ROLES)


def hint_of(at: Any, time_format: Any = None) -> str:
    with raises(UNREADABLE) as caught:
        from_transactions(lines(at), **ROLES, time_format=time_format)
    return str(caught.value.hint)


HINTED = [
    "%m/%d/%Y %H:%M", "%d/%m/%y %H:%M:%S", "%Y%m%d%H%M", "%m/%d/%Y %I:%M %p", "%d.%m.%Y, %H:%M",
    "%d-%b-%Y %H:%M:%S.%f", "%A, %d %B %Y %H:%M", "%d-%m-%y", "%m.%d.%Y %H:%M", "%Y%m%d",
    "%b %d, %Y %I:%M%p", "%a, %d %b %Y %H:%M:%S %z", "%Y年%m月%d日 %H:%M",
]  # fmt: skip


@pytest.mark.parametrize("form", [list, without_zeros])
@pytest.mark.parametrize("format", HINTED)
def test_times_are_read_by_the_format_of_the_hint(format: str, form: Any) -> None:
    texts = form([time.replace(tzinfo=UTC).strftime(format) for time in TIMES])
    hint = hint_of(texts)
    advised = re.findall(r'time_format = "(.+?)"', hint)[0]
    assert advised == format
    assert "400 of 400 times" in hint
    assert from_transactions(lines(texts), **ROLES, time_format=advised).num_rows == 5


@pytest.mark.parametrize("given", [None, "%d/%m/%Y", "%Y%m%d"])
def test_both_orders_of_day_and_month_are_counted(given: str | None) -> None:
    hint = hint_of([f"{time:%m/%d/%Y}" for time in TIMES], given)
    fitting = sum(time.day <= 12 for time in TIMES)
    assert "'%m/%d/%Y' fits 400 of 400 times (2010-12-01 to 2011-03-27)" in hint
    assert f"'%d/%m/%Y' fits {fitting} (2010-01-12 to" in hint
    assert re.findall(r'time_format = "(.+?)"', hint) == ["%m/%d/%Y"]


def test_orders_that_the_values_do_not_tell_are_both_named() -> None:
    hint = hint_of([f"{1 + i % 12:02}/{1 + i % 11:02}/2011" for i in range(N)])
    assert sorted(re.findall(r'time_format = "(.+?)"', hint)) == ["%d/%m/%Y", "%m/%d/%Y"]


def test_both_orders_in_one_column_have_no_format() -> None:
    hint = hint_of([f"{t:%d/%m/%Y}" if i % 2 else f"{t:%m/%d/%Y}" for i, t in enumerate(TIMES)])
    assert "time_format" not in hint and "some with the month" in hint


def test_two_formats_of_one_column_are_both_named() -> None:
    texts = [f"{t:%d.%m.%Y}" if i % 3 else str(t) for i, t in enumerate(TIMES)]
    (advised,) = re.findall(r"time_format = \[(.+?)\]", hint_of(texts))
    formats = [format.strip('"') for format in advised.split(", ")]
    assert sorted(formats) == ["%d.%m.%Y", "iso8601"]
    assert from_transactions(lines(texts), **ROLES, time_format=formats).num_rows == 5


@pytest.mark.parametrize("text", ["?", "today", "2010-13-01", "1" + " " * 10**5 + "1"])
def test_few_times_are_to_be_fixed(text: str) -> None:
    hint = hint_of([text if i in (5, 9) else str(time) for i, time in enumerate(TIMES)])
    assert "398 of 400" in hint and "2 lines" in hint and "time_format" not in hint


@pytest.mark.parametrize(
    ("factor", "format"),
    [(1, "epoch_s"), (1000, "epoch_ms"), (10**6, "epoch_us"), (10**9, "epoch_ns")],
)
@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.string()])
def test_the_unit_of_numbers_is_shown_without_those_of_1970(
    factor: int, format: str, kind: pa.DataType
) -> None:
    hint = hint_of(pa.array([second * factor for second in SECONDS]).cast(kind, safe=False))
    unit = re.escape(repr(format)) + r" \(\w*seconds since 1970\)"
    assert re.search(unit + r" fits 400 of 400 times \(2010-12-01 to 2011-03-27\)", hint)
    assert hint.count(" fits ") == 1
    assert re.findall(r'time_format = "(.+?)"', hint) == [format]


@pytest.mark.parametrize("kind", [pa.int64(), pa.string()])
def test_digits_of_a_date_are_no_seconds(kind: pa.DataType) -> None:
    hint = hint_of(pa.array([f"{time:%Y%m%d}" for time in TIMES]).cast(kind))
    assert "'%Y%m%d' fits 400" in hint and "epoch" not in hint


@pytest.mark.parametrize("kind", [pa.float64(), pa.string()])
def test_days_of_excel_are_no_seconds(kind: pa.DataType) -> None:
    hint = hint_of(pa.array([40513.35 + i for i in range(N)]).cast(kind))
    assert "Excel" in hint and "epoch" not in hint


def test_words_for_missing_times_are_no_times_of_a_format() -> None:
    texts = [f"{t:%d.%m.%Y %H:%M}" if i % 5 else "01.01.1900 00:00" for i, t in enumerate(TIMES)]
    kept = lines(TIMES).filter(pa.array([i % 5 > 0 for i in range(N)]))
    actual = from_transactions(
        lines(texts), **ROLES, time_format="%d.%m.%Y %H:%M", null_values=["01.01.1900 00:00"]
    )
    assert actual.equals(from_transactions(kept, **ROLES))


def job(path: Path, out: Path, **keys: Any) -> dict[str, Any]:
    return {"transactions": {"path": str(path), **ROLES, **keys}, "output": {"path": str(out)},
            "segment": {"n_clusters": 2}}  # fmt: skip


def test_a_job_reads_files_of_text_and_of_times(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"{time:%m/%d/%Y %H:%M}" for time in TIMES]
    folder = tmp_path / "in"
    folder.mkdir()
    pa.csv.write_csv(lines(texts)[:200], folder / "a.csv")
    table = lines(TIMES)[200:].set_column(0, "who", pa.array([f"{i % 5}" for i in range(200)]))
    pq.write_table(table, folder / "b.parquet")
    with caplog.at_level(logging.INFO, logger="gpuseg"):
        gpuseg.run(job(folder, tmp_path / "out", time_format="%m/%d/%Y %H:%M"))
    assert (
        "transactions: times from 2010-12-01 to 2011-03-27, snapshot 2011-03-28" in caplog.messages
    )
    period = manifest_of(tmp_path / "out")["transactions"]["period"]
    assert period == ["2010-12-01", "2011-03-27"]
    built = pq.ParquetDataset(sorted((tmp_path / "out/_features").glob("*.sidecar"))).read()
    days = ["recency_days", "tenure_days"]
    assert built.sort_by("customer_id").select(days) == EXPECTED.sort_by("customer_id").select(days)


@pytest.mark.parametrize("cluster", ["local", pytest.param("dask", marks=pytest.mark.slow)])
def test_a_hint_counts_all_files_and_shows_no_value_of_hashed_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    monkeypatch.setenv("ID_KEY", "a secret that is long enough")
    texts = [f"{time:%d.%m.%Y}" for time in TIMES]
    folder = tmp_path / "in"
    folder.mkdir()
    for i in (0, 200):
        pa.csv.write_csv(lines(texts[i : i + 200]), folder / f"{i}.csv")
    with raises(UNREADABLE) as caught:
        gpuseg.run({**job(folder, tmp_path / "out", id_hash_key_env="ID_KEY"),
                    "runtime": {"cluster": cluster, "n_workers": 1}})  # fmt: skip
    assert "'%d.%m.%Y' fits 400 of 400 times" in caught.value.hint
    message = str(caught.value).replace("2011-08-31", "")
    assert "2010" not in message and "2011" not in message


def test_the_maximum_of_counted_lines_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpuseg.features.time_candidates.MAX_LINES", 150)
    at = pa.chunked_array([[f"{time:%d.%m.%Y}" for time in TIMES[i : i + 100]]
                           for i in range(0, N, 100)])  # fmt: skip
    assert "150 of 150 times in the first 150 lines" in hint_of(at)


def test_text_and_numbers_are_counted_together(tmp_path: Path) -> None:
    pa.csv.write_csv(lines([f"{time:%Y%m%d}" for time in TIMES]), tmp_path / "a.csv")
    table = lines([int(f"{time:%Y%m%d}") for time in TIMES])
    pq.write_table(
        table.set_column(0, "who", table["who"].cast(pa.string())), tmp_path / "b.parquet"
    )
    with raises(UNREADABLE) as caught:
        from_transactions(tmp_path, **ROLES)
    assert "'%Y%m%d' fits 800 of 800 times" in caught.value.hint
    assert from_transactions(tmp_path, **ROLES, time_format="%Y%m%d").num_rows == 5


def test_a_snapshot_may_be_a_time_of_numpy() -> None:
    expected = from_transactions(lines(TIMES), **ROLES, snapshot="2011-02-01")
    for unit in ("D", "ns"):
        moment: Any = np.datetime64("2011-02-01", unit)
        assert from_transactions(lines(TIMES), **ROLES, snapshot=moment).equals(expected)
