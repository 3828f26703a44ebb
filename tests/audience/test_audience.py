"""Files of hashed contacts: what is written, what is never written, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.fitted_outputs import fitted, input_rows, job_labels
from support.helpers import call, manifest_of, write_files

import gpuseg
from gpuseg.audience.consent import ConsentRule
from gpuseg.audience.platforms import ContactKey
from gpuseg.audience.write import AudienceRequest, AudienceResult, write_audience
from gpuseg.errors import ConfigError, GpusegError

CASE = "plain"
CONSENTS = (True, None, False, True, True)
"""Consent of the customers in turn; the third fifth refuses, the second has never been asked."""

EMAIL, PHONE = {ContactKey.EMAIL: "mail"}, {ContactKey.PHONE: "tel"}
ADDRESS = {
    ContactKey.FIRST_NAME: "first", ContactKey.LAST_NAME: "last",
    ContactKey.COUNTRY: "land", ContactKey.ZIP: "code",
}  # fmt: skip


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def contacts(name: str = CASE, **columns: Any) -> pa.Table:
    """Contacts of the customers of a case; `columns` replace some."""
    ids = job_labels(name).ids
    n = len(ids)
    table = {
        "id": ids,
        "mail": [f" Person.{i}@Example.com" for i in range(n)],
        "tel": [f"030 / 123 {i:04d}" for i in range(n)],
        "first": [f"Zoë  {i}" for i in range(n)],
        "last": [f"O'Neil-{i}" for i in range(n)],
        "land": ["de"] * n,
        "code": [f"{10000 + i}" for i in range(n)],
        "consent": [CONSENTS[i % 5] for i in range(n)],
    }
    return pa.table({**table, **columns})


def chosen(segment: int, name: str = CASE) -> list[int]:
    """Rows of the customers of a segment who consent."""
    labels = job_labels(name).segment
    return [i for i, label in enumerate(labels) if label == segment and CONSENTS[i % 5]]


def write(
    folder: Path, table: pa.Table | str | Path, name: str = CASE, **fields: Any
) -> AudienceResult:
    """Write an audience of segment 1 to ``folder/out``."""
    path = table
    if isinstance(table, pa.Table):
        path = folder / "contacts.parquet"
        pq.write_table(table, path)
    values = {
        "output": str(fitted(name)), "customers": str(path), "id": "id", "segments": ["1"],
        "platform": "csv", "keys": EMAIL, "consent": "consent", "target": str(folder / "out"),
        "minimum": 10,
    }  # fmt: skip
    return write_audience(AudienceRequest(**{**values, **fields}))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def refused(folder: Path, table: pa.Table | str | Path, code: str, **fields: Any) -> GpusegError:
    with pytest.raises(GpusegError) as caught:
        write(folder, table, **fields)
    assert caught.value.code == code
    assert not (folder / "out").exists()
    return caught.value


def test_only_hashes_of_who_consents_are_written(tmp_path: Path) -> None:
    result = write(tmp_path, contacts(), keys={**EMAIL, **PHONE, **ADDRESS})
    rows = rows_of(tmp_path / "out" / "segment-1.csv")
    assert {row["email_sha256"] for row in rows} == {
        hashed(f"person.{i}@example.com") for i in chosen(1)
    }
    assert {row["segment"] for row in rows} == {"1"}
    assert rows == sorted(rows, key=lambda row: row["email_sha256"])
    written = b"".join(p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file())
    for i in chosen(1):
        for text in (
            f"erson.{i}@",
            f"0301234{i:04d}",
            f"123{i:04d}",
            "Zo",
            "Neil",
            f"{10000 + i},",
        ):
            assert text.encode() not in written
    summary = result.record.audience.segments[0]
    n_members = int((job_labels(CASE).segment == 1).sum())
    assert (summary.customers, summary.rows) == (n_members, len(chosen(1)))
    assert summary.without_consent == n_members - len(chosen(1))


@pytest.mark.parametrize(
    ("platform", "keys", "columns"),
    [
        ("google", {**EMAIL, **PHONE}, ["Email", "Phone"]),
        ("google", {**EMAIL, **PHONE, **ADDRESS},
         ["Email", "Phone", "First Name", "Last Name", "Country", "Zip"]),
        ("google", {**EMAIL, ContactKey.COUNTRY: "land"}, ["Email"]),
        ("meta", {**EMAIL, **PHONE, **ADDRESS}, ["email", "phone", "fn", "ln", "zip", "country"]),
        ("csv", PHONE, ["segment", "phone_sha256"]),
    ],
)  # fmt: skip
def test_columns_are_those_of_the_platform(
    tmp_path: Path, platform: str, keys: dict[ContactKey, str], columns: list[str]
) -> None:
    write(
        tmp_path, contacts(), platform=platform, keys=keys, plain_address=True, default_region="DE"
    )
    file = tmp_path / "out" / "segment-1.csv"
    assert file.read_text().splitlines()[0] == ",".join(columns)
    assert len(rows_of(file)) == len(chosen(1))


@pytest.mark.parametrize(
    ("platform", "key", "given", "written"),
    [
        ("google", ContactKey.EMAIL, " Jo.Do e+shop@GMail.com ", "jodoe@gmail.com"),
        ("google", ContactKey.EMAIL, "jo.doe@googlemail.com", "jodoe@googlemail.com"),
        ("google", ContactKey.EMAIL, "User.Name+NYC@Example.com", "user.name+nyc@example.com"),
        ("google", ContactKey.EMAIL, "a@gmail.com.example.org", "a@gmail.com.example.org"),
        ("google", ContactKey.EMAIL, "jo\u00a0e@x.org\u2003", "joe@x.org"),
        ("meta", ContactKey.FIRST_NAME, "Zoë\u00a0X", "zoëx"),
        ("csv", ContactKey.FIRST_NAME, "Zoë\u00a0\u2003X", "zoë x"),
        ("meta", ContactKey.EMAIL, " Jo.Doe+shop@GMail.com ", "jo.doe+shop@gmail.com"),
        ("google", ContactKey.PHONE, "(0)30 / 901820", "+4930901820"),
        ("meta", ContactKey.PHONE, "030-901820", "4930901820"),
        ("csv", ContactKey.PHONE, "+1 (650) 253-0000", "+16502530000"),
        ("csv", ContactKey.PHONE, "0039 02 1234567", "+39021234567"),
        ("meta", ContactKey.FIRST_NAME, " Anne-Marie  É. ", "annemarieé"),
        ("csv", ContactKey.FIRST_NAME, " Anne-Marie  É. ", "anne-marie é."),
        ("meta", ContactKey.COUNTRY, " DE ", "de"),
        ("meta", ContactKey.ZIP, " SW1A 1AA", "sw1a1aa"),
    ],
)
def test_keys_are_written_as_the_platform_hashes_them(
    tmp_path: Path, platform: str, key: ContactKey, given: str, written: str
) -> None:
    keys = {ContactKey.EMAIL: "mail", key: "given"}
    table = contacts(given=[given] * len(job_labels(CASE).ids))
    if key is ContactKey.EMAIL:
        keys = {ContactKey.PHONE: "tel", key: "given"}
    write(tmp_path, table, platform=platform, keys=keys, default_region="DE", minimum=1)
    rows = pa_csv.read_csv(tmp_path / "out" / "segment-1.csv").to_pylist()
    column = {"google": {"email": "Email", "phone": "Phone"}, "meta": {"first_name": "fn"}}.get(
        platform, {}
    ).get(key, str(key) if platform == "meta" else f"{key}_sha256")
    assert {row[column] for row in rows} == {hashed(written)}


def test_us_postcodes_have_five_digits_for_meta(tmp_path: Path) -> None:
    n = len(job_labels(CASE).ids)
    table = contacts(code=["94043-1351"] * n, land=["us"] * n)
    write(tmp_path, table, platform="meta", keys={**EMAIL, **ADDRESS})
    assert {row["zip"] for row in rows_of(tmp_path / "out" / "segment-1.csv")} == {hashed("94043")}


def test_unusable_keys_are_counted_by_reason(tmp_path: Path) -> None:
    mails = [f"p{i}@example.com" for i in range(len(job_labels(CASE).ids))]
    tels: list[str | None] = [None] * len(mails)
    no_mail, wrong, by_phone, same, other, hidden = chosen(1)[:6]
    mails[no_mail], mails[wrong], mails[by_phone] = "", "no address", hashed("p@example.com")
    mails[hidden] = "p\u200b@example.com"
    tels[by_phone], mails[same] = "+49 30 901820", mails[other]
    table = contacts(mail=mails, tel=pa.array(tels, pa.string()))
    summary = write(tmp_path, table, keys={**EMAIL, **PHONE}).record.audience.segments[0]
    n = len(chosen(1))
    assert summary.keys["email_sha256"].to_json() == {"usable": n - 4, "missing": 1, "invalid": 3}
    assert summary.keys["phone_sha256"].to_json() == {"usable": 1, "missing": n - 1, "invalid": 0}
    assert (summary.without_key, summary.same_keys, summary.rows) == (3, 1, n - 4)


def test_segments_are_named_by_number_or_name(tmp_path: Path) -> None:
    names = {s["segment"]: s["name"] for s in manifest_of(fitted(CASE))["segments"]}
    result = write(tmp_path, contacts(), segments=[names[2].upper(), "segment=2", "0"])
    assert [s.segment for s in result.record.audience.segments] == [2, 0]
    assert {p.name for p in (tmp_path / "out").glob("*.csv")} == {"segment-2.csv", "segment-0.csv"}


def test_a_segment_of_a_coarser_level(tmp_path: Path) -> None:
    level = job_labels("hierarchy").levels["segment_3"]
    fields = {"name": "hierarchy", "segments": ["segment_3=1", "1"], "minimum": 1}
    result = write(tmp_path, contacts("hierarchy"), **fields)
    rows = rows_of(tmp_path / "out" / "segment_3-1.csv")
    members = [i for i, label in enumerate(level) if label == 1]
    stay = [i for i in members if CONSENTS[i % 5]]
    assert {row["email_sha256"] for row in rows} == {
        hashed(f"person.{i}@example.com") for i in stay
    }
    assert {row["segment_3"] for row in rows} == {"1"}
    coarse, fine = result.record.audience.segments
    assert (coarse.column, coarse.segment, coarse.customers) == ("segment_3", 1, len(members))
    assert (fine.column, fine.rows) == ("segment", len(chosen(1, "hierarchy")))
    (tmp_path / "out").rename(tmp_path / "before")
    consents = contacts("hierarchy")["consent"].to_pylist()
    consents[stay[0]] = False
    for before in (tmp_path / "before", tmp_path / "before" / "segment_3-1.csv"):
        fields |= {"previous": str(before), "segments": ["segment_3=1"], "overwrite": True}
        write(tmp_path, contacts("hierarchy", consent=consents), **fields)
        left = rows_of(tmp_path / "out" / "segment_3-1-leavers.csv")
        assert [row["email_sha256"] for row in left] == [hashed(f"person.{stay[0]}@example.com")]


@pytest.mark.parametrize("text", ["segment_3=3", "segment_4=0", "segment_3=-1", "segment_3=x"])
def test_levels_that_do_not_exist(tmp_path: Path, text: str) -> None:
    fields = {"name": "hierarchy", "segments": [text]}
    error = refused(tmp_path, contacts("hierarchy"), "audience.unknown_segment", **fields)
    assert "segment_3=0 to 2 or segment_5=0 to 4" in str(error)


def test_an_earlier_output_has_the_level(tmp_path: Path) -> None:
    fields = {"name": "hierarchy", "segments": ["segment_3=1"], "minimum": 1}
    code = "audience.previous_without_level"
    refused(tmp_path, contacts("hierarchy"), code, **fields, previous=str(fitted(CASE)))
    same = str(fitted("hierarchy"))
    summary = write(tmp_path, contacts("hierarchy"), **fields, previous=same).record.audience
    assert summary.segments[0].leavers == summary.segments[0].without_consent


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".xlsx"])
def test_contacts_of_every_format(tmp_path: Path, suffix: str) -> None:
    table = contacts(consent=["Yes", "", "NO", "granted", "1"] * (len(contacts()) // 5))
    path = tmp_path / f"contacts{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    elif suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        book.active.append(table.column_names)
        for row in table.to_pylist():
            book.active.append(list(row.values()))
        book.save(path)
    write(tmp_path, path, keys={**EMAIL, **PHONE}, default_region="DE")
    rows = rows_of(tmp_path / "out" / "segment-1.csv")
    assert {row["phone_sha256"] for row in rows} == {hashed(f"+4930123{i:04d}") for i in chosen(1)}


@pytest.mark.parametrize("name", ["hashed_ids", "text_ids", "dbscan"])
def test_ids_of_every_kind(tmp_path: Path, name: str) -> None:
    table = contacts(name)
    if name == "hashed_ids":  # the contacts have the ids themselves, as pandas may write them
        table = contacts(name, id=pa.array(range(len(table)), pa.float64()))
    result = write(tmp_path, table, name)
    assert result.record.audience.segments[0].rows == len(chosen(1, name))


def test_customers_that_a_model_has_scored(tmp_path: Path) -> None:
    write_files(tmp_path / "in", [input_rows(CASE)])
    gpuseg.score(fitted(CASE), tmp_path / "in", tmp_path / "scored")
    fields = {"output": str(tmp_path / "scored"), "previous": str(fitted(CASE))}
    summary = write(tmp_path, contacts(), **fields).record.audience.segments[0]
    assert summary.rows == len(chosen(1))
    assert summary.leavers == summary.without_consent  # then, nobody was asked


@pytest.mark.parametrize(
    ("country", "number"),
    [
        ("", "+49612345678"), (" ", "+49612345678"), ("na", "+264612345678"),
        ("NA", "+264612345678"), ("Namibia", None),
    ],
)  # fmt: skip
def test_the_default_region_is_for_customers_without_a_country(
    tmp_path: Path, country: str, number: str | None
) -> None:
    n = len(job_labels(CASE).ids)
    pa_csv.write_csv(contacts(land=[country] * n, tel=["0612345678"] * n), tmp_path / "a.csv")
    keys = {**EMAIL, **PHONE, ContactKey.COUNTRY: "land"}
    write(tmp_path, tmp_path / "a.csv", keys=keys, default_region="DE")
    written = {row["phone_sha256"] for row in rows_of(tmp_path / "out" / "segment-1.csv")}
    assert written == {hashed(number) if number else ""}


def test_an_earlier_output_may_have_another_key_of_its_ids_and_another_model(
    tmp_path: Path,
) -> None:
    """Both outputs have the same customers, in the same order."""
    before = job_labels("hashed_ids").segment
    fields = {"previous": str(fitted("hashed_ids"))}
    with pytest.warns(UserWarning, match="of another model"):
        summary = write(tmp_path, contacts(), **fields).record.audience.segments[0]
    left = [i for i, label in enumerate(before) if label == 1 and i not in chosen(1)]
    assert (summary.leavers, summary.leavers_without_contact) == (len(left), 0)


def test_hashed_ids_need_their_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fitted("hashed_ids")
    monkeypatch.delenv("GPUSEG_TEST_ID_KEY")
    refused(tmp_path, contacts("hashed_ids"), "id_hash_key.not_set", name="hashed_ids")


@pytest.mark.parametrize("kind", ["folder", "file", "output"])
def test_who_left_is_listed_apart(tmp_path: Path, kind: str) -> None:
    """One withdraws consent, one has no contact any more, one has the address of one who stays."""
    keys = {**EMAIL, **PHONE}
    write(tmp_path, contacts(), keys=keys, default_region="DE")
    (tmp_path / "out").rename(tmp_path / "before")
    withdrawn, unknown, sharing, staying = chosen(1)[:4]
    mails = contacts()["mail"].to_pylist()
    consents = contacts()["consent"].to_pylist()
    consents[withdrawn] = consents[sharing] = False
    mails[sharing] = mails[staying]
    table = contacts(mail=mails, consent=consents)
    table = pa.concat_tables([table.slice(0, unknown), table.slice(unknown + 1)])
    before = {
        "folder": tmp_path / "before", "file": tmp_path / "before" / "segment-1.csv",
        "output": fitted(CASE),
    }[kind]  # fmt: skip
    result = write(tmp_path, table, keys=keys, default_region="DE", previous=str(before))
    left = {
        (row["email_sha256"], row["phone_sha256"])
        for row in rows_of(tmp_path / "out" / "segment-1-leavers.csv")
    }

    def row(i: int, with_mail: bool = True) -> tuple[str, str]:
        return hashed(f"person.{i}@example.com") if with_mail else "", hashed(f"+4930123{i:04d}")

    expected = {row(withdrawn), row(unknown), row(sharing)}
    if kind == "output":  # nothing but the contacts tells who they are; others refuse as before
        before_too = [
            i for i, label in enumerate(job_labels(CASE).segment) if label == 1 and i % 5 in (1, 2)
        ]
        expected = {row(withdrawn), row(sharing, False), *map(row, before_too)}
    assert left == expected
    summary = result.record.audience.segments[0]
    assert (summary.leavers, summary.rows) == (len(expected), len(chosen(1)) - 3)


def test_who_left_without_an_address_is_listed(tmp_path: Path) -> None:
    """Others without an address stay, and one who stays has the address of one who leaves."""
    n = len(job_labels(CASE).ids)
    left, at_the_same_address, staying = chosen(1)[:3]
    first: list[str | None] = [None] * n
    first[at_the_same_address] = first[staying] = "Ada"
    columns = {"first": pa.array(first, pa.string()), "last": ["Low"] * n, "code": ["10115"] * n}
    fields = {"keys": {**EMAIL, **ADDRESS}, "platform": "google", "plain_address": True}
    write(tmp_path, contacts(**columns), **fields)
    (tmp_path / "out").rename(tmp_path / "before")
    consents = contacts()["consent"].to_pylist()
    consents[left] = consents[at_the_same_address] = False
    table = contacts(**columns, consent=consents)
    write(tmp_path, table, **fields, previous=str(tmp_path / "before"))
    rows = rows_of(tmp_path / "out" / "segment-1-leavers.csv")
    assert {row["Email"] for row in rows} == {
        hashed(f"person.{i}@example.com") for i in (left, at_the_same_address)
    }
    assert {row["First Name"] for row in rows} == {""}


def test_a_segment_of_few_customers_is_refused(tmp_path: Path) -> None:
    n = len(chosen(1))
    refused(tmp_path, contacts(), "audience.too_few_customers", minimum=n + 1, segments=["0", "1"])
    write(tmp_path, contacts(), minimum=n)


def test_an_older_audience_is_replaced_at_once(tmp_path: Path) -> None:
    write(tmp_path, contacts(), segments=["0", "1"])
    with pytest.raises(GpusegError) as caught:
        write(tmp_path, contacts())
    assert caught.value.code == "output.exists"
    write(tmp_path, contacts(), overwrite=True)
    assert not (tmp_path / "out" / "segment-0.csv").exists()
    with pytest.raises(GpusegError) as caught:
        write(tmp_path, contacts(), overwrite=True, minimum=1000)
    assert caught.value.code == "audience.too_few_customers"
    assert (tmp_path / "out" / "segment-1.csv").exists()
    assert [p.name for p in tmp_path.iterdir() if "staging" in p.name] == []


def test_an_output_of_segments_is_never_replaced(tmp_path: Path) -> None:
    shutil.copytree(fitted(CASE), tmp_path / "out")
    with pytest.raises(GpusegError) as caught:
        write(tmp_path, contacts(), overwrite=True)
    assert caught.value.code == "output.other_kind"


@pytest.fixture
def in_memory() -> Iterator[str]:
    yield "memory://audience/out"
    fsspec.filesystem("memory").rm("/audience", recursive=True)


def test_an_object_store_keeps_no_older_file(tmp_path: Path, in_memory: str) -> None:
    write(tmp_path, contacts(), segments=["0", "1"], target=in_memory)
    write(tmp_path, contacts(), target=in_memory, overwrite=True)
    names = [path.rsplit("/", 1)[1] for path in fsspec.filesystem("memory").find("/audience/out")]
    assert sorted(names) == ["_SUCCESS", "_manifest.json", "segment-1.csv"]


def _with_consent(value: Any) -> pa.Table:
    values = ["yes"] * len(job_labels(CASE).ids)
    values[5] = value
    return contacts(consent=values)


def test_an_unknown_consent_is_refused_by_its_row(tmp_path: Path) -> None:
    error = refused(tmp_path, _with_consent("perhaps"), "audience.unknown_consent")
    assert "row 5" in str(error) and "perhaps" not in str(error)
    assert "has 1 value that" in str(error)


def test_an_id_that_occurs_twice_is_counted(tmp_path: Path) -> None:
    table = pa.concat_tables([contacts(), contacts().slice(3, 1)])
    error = refused(tmp_path, table, "audience.duplicate_id")
    assert "has 1 id a second time" in str(error)


def test_values_of_consent_are_named(tmp_path: Path) -> None:
    table = contacts(consent=["ja", "nein"] * (len(contacts()) // 2))
    rule = ConsentRule.of(["Ja"], ["Nein"])
    result = write(tmp_path, table, consent_rule=rule)
    n = sum(label == 1 and i % 2 == 0 for i, label in enumerate(job_labels(CASE).segment))
    assert result.record.audience.segments[0].rows == n


def test_a_missing_value_is_never_consent() -> None:
    with raises("audience.blank_consent", ConfigError):
        ConsentRule.of(["ja", " "], [])


def _secret(value: str = "secret@example.com") -> pa.Table:
    return contacts(mail=[value] * len(job_labels(CASE).ids))


@pytest.mark.parametrize(
    ("code", "fields", "columns"),
    [
        ("audience.unknown_segment", {"segments": ["9"]}, {}),
        ("audience.unknown_segment", {"segments": ["nobody"]}, {}),
        ("audience.unknown_segment", {"segments": ["--3"]}, {}),
        ("audience.unknown_format", {"platform": "tiktok"}, {}),
        ("audience.no_segment", {"segments": []}, {}),
        ("audience.no_key", {"keys": {}}, {}),
        ("audience.no_key", {"keys": ADDRESS, "platform": "meta"}, {}),
        (
            "audience.part_of_address",
            {"keys": {**EMAIL, ContactKey.ZIP: "code"}, "platform": "google"},
            {},
        ),
        ("audience.plain_address", {"keys": {**EMAIL, **ADDRESS}, "platform": "google"}, {}),
        ("audience.unknown_region", {"default_region": "Germany"}, {}),
        ("audience.minimum_too_small", {"minimum": 0}, {}),
        ("audience.missing_column", {"keys": {ContactKey.EMAIL: "e-mail"}}, {}),
        ("audience.missing_column", {"consent": "opt_in"}, {}),
        ("audience.not_text", {}, {"tel": [0.5] * 300}),
        ("audience.not_text", {}, {"tel": [[1]] * 300}),
        ("audience.duplicate_id", {}, {"id": [7] * 300}),
        ("audience.no_match", {}, {"id": [f"x{i}" for i in range(300)]}),
        ("manifest.missing", {"previous": "."}, {}),
        ("output.is_file", {"target": __file__}, {}),
    ],
)  # fmt: skip
def test_requests_that_are_refused(
    tmp_path: Path, code: str, fields: dict[str, Any], columns: dict[str, Any]
) -> None:
    if "tel" in columns:
        fields = {**fields, "keys": {**EMAIL, **PHONE}}
    error = refused(tmp_path, contacts(**{"mail": _secret()["mail"], **columns}), code, **fields)
    assert "secret@" not in str(error) and "'x" not in str(error)


def test_a_previous_audience_has_the_same_columns(tmp_path: Path) -> None:
    write(tmp_path, contacts())
    (tmp_path / "out").rename(tmp_path / "before")
    fields = {"keys": {**EMAIL, **PHONE}, "previous": str(tmp_path / "before")}
    refused(tmp_path, contacts(), "audience.previous_columns", **fields)
    before = str(tmp_path / "before" / "segment-1.csv")
    refused(tmp_path, contacts(), "audience.previous_of_one", previous=before, segments=["0", "1"])
    for value in ("raw@example.com", "räw@example.com", hashed("a").upper()):
        plain = tmp_path / "plain.csv"
        plain.write_text(f"segment,email_sha256\n1,{hashed('b')}\n1,{value}\n")
        error = refused(tmp_path, contacts(), "audience.previous_not_hashed", previous=str(plain))
        assert value not in str(error)
    broken = tmp_path / "broken.csv"
    broken.write_bytes(b"segment,email_sha256\n1,a,b\n")
    refused(tmp_path, contacts(), "audience.previous_unreadable", previous=str(broken))


@pytest.mark.parametrize(("platform", "header"), [("csv", "email_sha256"), ("google", "Email")])
def test_a_previous_file_is_of_the_same_segment(tmp_path: Path, platform: str, header: str) -> None:
    """A file tells its segment by a column, or by its name."""
    write(tmp_path, contacts(), segments=["0", "1"], platform=platform)
    (tmp_path / "out").rename(tmp_path / "before")
    other = tmp_path / "before" / "segment-0.csv"
    fields = {"platform": platform, "previous": str(other)}
    refused(tmp_path, contacts(), "audience.previous_of_other_segment", **fields)
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "segment-0.csv").write_bytes(other.read_bytes())
    fields["previous"] = str(tmp_path / "alone" / "segment-0.csv")
    refused(tmp_path, contacts(), "audience.previous_of_other_segment", **fields)
    leavers = other.rename(tmp_path / "alone" / "segment-1-leavers.csv")
    fields["previous"] = str(leavers)
    refused(tmp_path, contacts(), "audience.previous_of_leavers", **fields)
    leavers.rename(other)
    # Of another model, a segment may have another number.
    manifest = tmp_path / "before" / "_manifest.json"
    content = json.loads(manifest.read_text())
    content["audience"]["fit_run_id"] = "20260101T000000-abcdef"
    manifest.write_text(json.dumps(content))
    before = {row[header] for row in rows_of(other)}
    fields |= {"previous": str(other)}
    with pytest.warns(UserWarning, match="of another model"):
        write(tmp_path, contacts(), **fields)
    left = rows_of(tmp_path / "out" / "segment-1-leavers.csv")
    assert {row[header] for row in left} == before
    with pytest.warns(UserWarning, match="of another model"):
        write(tmp_path, contacts(), **fields | {"previous": str(other.parent)}, overwrite=True)


def test_a_previous_file_shows_no_value(tmp_path: Path) -> None:
    """A table of contacts without a header, named by mistake."""
    path = tmp_path / "contacts.csv"
    path.write_text("1,secret@example.com\n2,other@example.com\n")
    error = refused(tmp_path, contacts(), "audience.previous_columns", previous=str(path))
    assert "secret" not in str(error)


def test_an_audience_is_brought_up_to_date_in_place(tmp_path: Path) -> None:
    write(tmp_path, contacts())
    consents = contacts()["consent"].to_pylist()
    consents[chosen(1)[0]] = False
    fields = {"previous": str(tmp_path / "out"), "overwrite": True}
    result = write(tmp_path, contacts(consent=consents), **fields)
    assert result.record.audience.segments[0].leavers == 1


def test_damaged_contacts_show_no_line(tmp_path: Path) -> None:
    path = tmp_path / "contacts.csv"
    lines = ["id,mail,consent", *(f"{i},secret{i}@example.com,yes" for i in range(50))]
    path.write_text("\n".join([*lines, "7,secret@example.com,yes,more,and,more"]) + "\n")
    with pytest.raises(GpusegError) as caught:
        write(tmp_path, path)
    assert "secret" not in str(caught.value)


def test_contacts_without_a_header_show_no_value(tmp_path: Path) -> None:
    path = tmp_path / "contacts.csv"
    path.write_text("".join(f"{i},secret{i}@example.com,yes\n" for i in range(50)))
    error = refused(tmp_path, path, "audience.no_header")
    assert "secret" not in str(error)
    path.write_text(f"id,E-Mail,consent\n{path.read_text()}")
    assert "E-Mail" in str(refused(tmp_path, path, "audience.missing_column"))


def test_times_in_an_unknown_zone_are_no_text(tmp_path: Path) -> None:
    times = pa.array([0] * len(contacts()), pa.timestamp("ms", "Mars/Olympus"))
    error = refused(tmp_path, contacts(consent=times), "audience.not_text")
    assert "Mars/Olympus" in str(error)


def copied(folder: Path, name: str = CASE) -> tuple[Path, dict[str, Any], pa.Table]:
    """Copy an output; return it with its manifest and its rows."""
    output = Path(shutil.copytree(fitted(name), folder / "fitted"))
    manifest = manifest_of(output)
    return output, manifest, pq.read_table(output / manifest["parts"][0]["name"])


@pytest.mark.parametrize(
    "changed",
    [
        lambda rows: rows.select([]),
        lambda rows: rows.drop_columns(["segment"]),
        lambda rows: rows.append_column("segment", rows["segment"]),
        lambda rows: rows.set_column(0, "other", rows[0]).set_column(1, "segment", rows["segment"]),
        lambda rows: rows.set_column(1, "segment", [["x"] * len(rows)]),
        lambda rows: rows.set_column(0, rows.column_names[0], [[b"\xff"] * len(rows)]),
        lambda rows: rows.set_column(0, rows.column_names[0], [[[1]] * len(rows)]),
    ],
)
def test_an_output_with_other_parts_is_refused(tmp_path: Path, changed: Any) -> None:
    output, manifest, rows = copied(tmp_path)
    pq.write_table(changed(rows), output / manifest["parts"][-1]["name"])
    refused(tmp_path, contacts(), "audience.damaged_part", output=str(output))


@pytest.mark.parametrize(
    ("names", "code"),
    [(["../elsewhere.parquet"], "manifest.invalid"), ([], "audience.damaged_part")],
)
def test_parts_are_in_the_folder_of_the_output(tmp_path: Path, names: list[str], code: str) -> None:
    output, manifest, rows = copied(tmp_path)
    pq.write_table(rows, tmp_path / "elsewhere.parquet")
    manifest["parts"] = [{**manifest["parts"][0], "name": name} for name in names]
    (output / "_manifest.json").write_text(json.dumps(manifest))
    refused(tmp_path, contacts(), code, output=str(output))


def test_a_first_audience_has_no_previous_one(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    error = refused(tmp_path, contacts(), "manifest.missing", previous=nowhere)
    assert error.parameter == "previous"
    assert "for the first one, leave `previous` out" in str(error)


def test_a_named_pipe_is_no_previous_file(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    write(tmp_path, contacts(), target=str(earlier))
    (earlier / "segment-1.csv").unlink()
    os.mkfifo(earlier / "segment-1.csv")
    refused(tmp_path, contacts(), "file.not_regular", previous=str(earlier))


def test_an_audience_is_no_output_of_segments(tmp_path: Path) -> None:
    write(tmp_path, contacts())
    with pytest.raises(GpusegError) as caught:
        write(tmp_path, contacts(), output=str(tmp_path / "out"), target=str(tmp_path / "other"))
    assert caught.value.code == "manifest.of_audience"


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pq.write_table(contacts(), tmp_path / "contacts.parquet")
    arguments = [
        "audience", fitted(CASE), "--customers", tmp_path / "contacts.parquet", "--id", "id",
        "--segment", "1", "--segment", "3", "--format", "google", "--email", "mail",
        "--phone", "tel", "--default-region", "DE", "--consent", "consent", "--minimum", "10",
        "-o", tmp_path / "out",
    ]  # fmt: skip
    shown = call(capfd, *arguments)
    assert (shown.code, shown.err) == (0, "")
    assert "example.com" not in shown.out
    assert "--default-region" not in shown.out
    start = arguments.index("--default-region")
    without = [*arguments[:start], *arguments[start + 2 : -1], tmp_path / "unread"]
    assert "; --default-region reads numbers" in call(capfd, *without).out
    again = call(capfd, *arguments, "--overwrite", "--json")
    manifest = json.loads(again.out)
    assert manifest == manifest_of(tmp_path / "out")
    assert [s["segment"] for s in manifest["audience"]["segments"]] == [1, 3]
    assert call(capfd, *arguments[:-4], "-o", tmp_path / "new", "--minimum", "1000").code == 3
    for option, value in (("--output", fitted(CASE)), ("--default-region", "Germany")):
        assert option in call(capfd, *arguments, option, value).err
    assert not (tmp_path / "new").exists()
