"""Personal data: columns that are refused as features, and ids written as keyed hashes."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.errors import raises
from support.helpers import customers, cut, manifest_of, read_parts, run, write_files

import gpuseg
from gpuseg.errors import DataError
from gpuseg.io.parquet.ids import hash_ids
from gpuseg.io.privacy.pii import are_card_numbers, personal, personal_values
from gpuseg.io.privacy.pseudonyms import Key, pseudonyms

SECRET = "not to be found in any file of ours"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_files(tmp_path / "in", cut(customers(600), 250))


@pytest.mark.parametrize("name", [
    "email", "E-Mail", "customer_email", "emailAddress", "cust_email_addr", "user.mail",
    "Email1", "contactEmail", "customeremail", "courriel", "correo_electronico", "correo",
    "eposta", "e_posta", "メールアドレス", "邮箱", "email_address_2", "EMAIL_ADDR", "mail_address",
    "phone", "Phone No", "home_phone", "mobile", "tel", "telephone", "phone_number",
    "phoneNumber", "mobile_no", "cell", "cellphone", "MSISDN", "fax_no", "telefonnummer",
    "Telefon", "handynummer", "téléphone", "teléfono", "móvil", "cellulare", "telemovel",
    "telefoonnummer", "numer_telefonu", "cep_telefonu", "電話番号", "手机号码", "whatsapp_number",
    "CardNumber", "card_number", "credit_card", "creditCardNo", "cc_num", "pan", "iban",
    "IBAN_No", "account_number", "bank_account", "acct_no", "kontonummer", "Kreditkartennummer",
    "carte_bancaire", "tarjeta_de_credito", "rekeningnummer", "numer_konta", "卡号", "cvv",
    "first_name", "FullName", "surname", "name", "customer_name", "customerName", "LastName",
    "lname", "fname", "user_name", "username", "vorname", "Nachname", "nom", "prénom",
    "apellidos", "cognome", "sobrenome", "achternaam", "imię", "nazwisko", "soyad", "氏名", "姓名",
    "namae", "xingming", "ssn", "SSN_NO", "social_security_number", "passport_no",
    "passportNumber", "national_id", "tax_id", "nino", "drivers_license", "steuer_id",
    "personalausweis", "dni", "codice_fiscale", "cpf", "bsn", "pesel", "tckn", "aadhaar",
    "身份证号", "マイナンバー", "dob", "DOB", "date_of_birth", "birth_date", "birthday",
    "Geburtsdatum",
    "date_de_naissance", "fecha_nacimiento", "data_di_nascita", "geboortedatum",
    "data_urodzenia", "dogum_tarihi", "生年月日", "address", "address1", "address_line_1", "street",
    "home_address", "billing_address", "shippingAddress", "zip", "zip_code", "postcode",
    "postal_code", "PLZ", "Straße", "code_postal", "calle", "indirizzo", "endereço", "straat",
    "ulica", "住所", "地址", "lat", "lon", "latitude", "Longitude", "gps", "ip_addr", "ip",
    "ip_address", "ipAddress", "client_ip", "mac_address", "imei", "device_id", "cookie_id",
    "password", "passwort",
])  # fmt: skip
def test_names_of_personal_columns(name: str) -> None:
    assert personal(name) is not None


@pytest.mark.parametrize("name", [
    "orders", "emails_opened", "email_clicks", "phone_calls", "mobile_sessions", "share_mobile",
    "spend_phone", "telemetry", "company", "names", "cards", "pan_orders", "panel",
    "product_name", "days_since_email", "card_payments", "accounts", "emails_sent",
    "phone_orders", "address_changes", "avg_email_open_rate", "age", "postcode_density",
    "recency", "frequency", "monetary", "spend", "tenure_days", "gender", "country", "city",
    "region", "segment_id", "score", "income", "household_size", "n_children",
    "last_login_days", "logins", "login_count", "latency", "longest_streak", "ipod_sales",
    "zipped_files", "card_share", "email_rate", "has_email", "is_mobile", "phone_share",
    "num_phones", "calls_total", "visits", "street_count", "dob_missing_rate",
    "birth_month_share", "mailings_received", "telco_spend", "cellular_plan_price",
    "named_items", "address_count", "max_basket", "avg_price", "items", "products",
    "discount_rate", "returns_rate", "sessions", "page_views", "clicks", "churn_risk", "nps",
    "rating", "store_id", "channel", "plan", "tier", "ipo_share", "vintage", "canceled",
    "cap_rate", "via_app", "ad_clicks", "via_store", "login_days", "basket_value", "f1", "x",
    "y", "a", "b", "c", "id", "customer_id", "user_id", "account_age", "iban_count",
    "last_login", "new_phone", "via", "cap", "ad", "sin",
])  # fmt: skip
def test_names_of_other_columns(name: str) -> None:
    assert personal(name) is None


def with_check_digit(number: int) -> int:
    digits = [int(d) for d in str(number)]
    total = sum(sum(divmod(2 * d, 10)) for d in digits[::-2]) + sum(digits[-2::-2])
    return number * 10 + -total % 10


def test_card_numbers_are_detected_by_their_digits() -> None:
    rng = np.random.default_rng(0)
    others = rng.integers(4 * 10**15, 5 * 10**15, 500)
    cards = [with_check_digit(int(n)) for n in others // 10]
    assert with_check_digit(453201511283036) == 4532015112830366
    assert are_card_numbers(pa.array(cards))
    assert are_card_numbers(pa.array([*cards, None]))
    assert not are_card_numbers(pa.array(others))
    assert not are_card_numbers(pa.array([0, 18, 26]))
    assert not are_card_numbers(pa.array([], pa.int64()))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.uint64])
def test_extreme_numbers_are_no_card_numbers(kind: Any) -> None:
    is_float = np.issubdtype(kind, np.floating)
    largest = np.finfo(kind).max if is_float else np.iinfo(kind).max
    for value in [largest, *([np.inf, np.nan] if is_float else [])]:
        assert not are_card_numbers(pa.array(np.full(20, value, kind)))


def test_a_sample_that_is_not_utf8_is_a_damaged_file(tmp_path: Path) -> None:
    stored = pa.array([b"M\xfcller"] * 60, pa.binary())
    text = pa.Array.from_buffers(pa.string(), 60, stored.buffers())
    source = write_files(tmp_path / "in", [customers(60).append_column("city", text)])
    with raises("file.damaged", DataError):
        run(source, tmp_path / "out", prepare={"categorical": {"city": "onehot"}})


CARDS = [with_check_digit(400_000_000_000_000 + 7919 * i) for i in range(200)]

FORMS: dict[str, pa.Array] = {
    "int64": pa.array(CARDS),
    "uint64": pa.array(CARDS, pa.uint64()),
    "float64": pa.array([float(card) for card in CARDS]),
    "decimal": pa.array([Decimal(card) for card in CARDS]),
    "decimal with places": pa.array([Decimal(f"{card}.00") for card in CARDS]),
    "text": pa.array([str(card) for card in CARDS]),
    "blanks": pa.array([" ".join(re.findall("....", str(card))) for card in CARDS]),
    "dashes": pa.array(["-".join(re.findall("....", str(card))) for card in CARDS]),
    "dots": pa.array([".".join(re.findall("....", str(card))) for card in CARDS]),
    "dictionary": pa.array([str(card) for card in CARDS]).dictionary_encode(),
    "large text": pa.array([f" {card} " for card in CARDS], pa.large_string()),
    "with nulls": pa.array([None, *(str(card) for card in CARDS)]),
}


@pytest.mark.parametrize("form", FORMS)
def test_card_numbers_in_all_forms(form: str) -> None:
    assert personal_values(FORMS[form]) == "a card or account number"


@pytest.mark.parametrize(("values", "kind"), [
    (["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"], "a card or account number"),
    (["DE88 3704 0044 0532 0130 00", "GB28NWBK60161331926819"], None),
    (["a@example.org", "first.last+tag@sub.example.co.uk"], "an e-mail address"),
    (["+49 30 1234567", "0044 (20) 7946-0958"], "a telephone number"),
    (["gold", "silver"], None),
    (["12", "+5"], None),
    (["", " "], None),
    ([], None),
    ([b"\xff"], None),
    ([1.5e12, 2e12], None),
    ([float("nan"), float("inf")], None),
    ([True, False], None),
])  # fmt: skip
def test_values_of_personal_columns(values: list[Any], kind: str | None) -> None:
    assert personal_values(pa.array(values)) == kind


@pytest.mark.parametrize("how", ["name", "values"])
def test_a_column_is_allowed_by_name(tmp_path: Path, how: str) -> None:
    table = customers(200)
    name = "zip" if how == "name" else "reference"
    source = write_files(tmp_path / "in", [table.append_column(name, pa.array(CARDS))])
    with raises("feature.personal_data", parameter="features"):
        run(source, tmp_path / "out", input={"features": None})
    run(source, tmp_path / "out", input={"features": None, "allow_personal": [name]})
    assert name in manifest_of(tmp_path / "out")["features"]


@pytest.mark.parametrize("how", ["name", "digits"])
def test_personal_columns_are_refused(tmp_path: Path, how: str) -> None:
    table = customers(200)
    cards = [with_check_digit(400_000_000_000_000 + i) for i in range(200)]
    name = "mobile" if how == "name" else "reference"
    source = write_files(tmp_path / "in", [table.append_column(name, pa.array(cards))])
    with raises("feature.personal_data", parameter="features") as error:
        run(source, tmp_path / "out", input={"features": None})
    what = "a telephone number" if how == "name" else "a card or account number"
    assert name in error.value.problem and what in error.value.problem
    run(source, tmp_path / "out")  # where it is no feature


def expected_hashes(ids: list[Any]) -> list[str | None]:
    return [
        None
        if i is None
        else hmac.new(SECRET.encode(), str(i).encode(), hashlib.sha256).hexdigest()
        for i in ids
    ]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "dask"])
def test_ids_are_written_as_keyed_hashes(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    run(source, tmp_path / "plain")
    where = {"cluster": cluster, **({"n_workers": 2} if cluster == "dask" else {})}
    run(source, tmp_path / "out", input={"id_hash_key_env": "GPUSEG_TEST_KEY"}, runtime=where)
    plain, hashed = read_parts(tmp_path / "plain"), read_parts(tmp_path / "out")
    assert hashed["customer"].to_pylist() == expected_hashes(plain["customer"].to_pylist())
    assert hashed["segment"].equals(plain["segment"])
    written = b"".join(
        path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert SECRET.encode() not in written


def test_features_are_written_with_keyed_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    lines = pa.table({
        "who": pa.array(["a", "b", "c", "a"] * 20), "paid": np.arange(1.0, 81.0),
        "at": pa.array(np.datetime64("2025-01-01") + np.arange(80)),
    })  # fmt: skip
    pq.write_table(lines, tmp_path / "lines.parquet")
    gpuseg.run({
        "transactions": {"path": str(tmp_path / "lines.parquet"), "customer": "who", "time": "at",
                         "amount": "paid", "id_hash_key_env": "GPUSEG_TEST_KEY"},
        "segment": {"n_clusters": 2}, "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    for folder in (tmp_path / "out", tmp_path / "out" / "_features"):
        table = pa.concat_tables([pq.read_table(file) for file in sorted(folder.glob("part-*"))])
        assert sorted(table[0].to_pylist()) == sorted(
            str(h) for h in expected_hashes(["a", "b", "c"])
        )
    assert manifest_of(tmp_path / "out")["job"]["transactions"]["id_hash_key_env"]


@pytest.mark.parametrize(("secret", "code"), [
    (None, "id_hash_key.not_set"),
    ("short", "id_hash_key.too_short"),
])  # fmt: skip
def test_keys_that_will_not_do(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None, code: str
) -> None:
    monkeypatch.delenv("GPUSEG_TEST_KEY", raising=False)
    if secret is not None:
        monkeypatch.setenv("GPUSEG_TEST_KEY", secret)
    with raises(code, value="GPUSEG_TEST_KEY"):
        run(source, tmp_path / "out", input={"id_hash_key_env": "GPUSEG_TEST_KEY"})
    with raises("id_hash_key_env.no_id", gpuseg.ConfigError):
        run(source, tmp_path / "out", input={"id": None, "id_hash_key_env": "GPUSEG_TEST_KEY"})


def test_the_order_of_rows_tells_nothing_of_the_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in the order of a public hash of the ids would undo the keyed one."""
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    ids = [f"customer {i}" for i in range(300)]
    lines = pa.table({"who": ids, "paid": np.arange(1.0, 301.0),
                      "at": pa.array(np.datetime64("2025-01-01") + np.arange(300))})  # fmt: skip
    pq.write_table(lines, tmp_path / "lines.parquet")
    gpuseg.run({
        "transactions": {"path": str(tmp_path / "lines.parquet"), "customer": "who", "time": "at",
                         "amount": "paid", "id_hash_key_env": "GPUSEG_TEST_KEY"},
        "segment": {"n_clusters": 2}, "output": {"path": str(tmp_path / "out")},
    })  # fmt: skip
    files = sorted((tmp_path / "out" / "_features").glob("part-*"))
    actual = pa.concat_tables([pq.read_table(file) for file in files])["customer_id"].to_pylist()
    guess = expected_hashes([ids[i] for i in np.argsort(hash_ids(pa.array(ids)))])
    assert sorted(actual) == sorted(str(item) for item in guess)
    assert sum(a == b for a, b in zip(actual, guess, strict=True)) < 10


def test_no_message_quotes_a_first_line_of_ids(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text file without a header has ids where the names of columns should be."""
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    hashed = {"id_hash_key_env": "GPUSEG_TEST_KEY"}
    (tmp_path / "new.csv").write_text("jo@example.org,1,2\nann@example.org,3,4\n")
    run(source, tmp_path / "out", input=hashed)
    with raises("column.missing", DataError) as scored:
        gpuseg.score(tmp_path / "out", tmp_path / "new.csv", tmp_path / "scored")
    with raises("id.missing_column", DataError) as fitted:
        run(tmp_path / "new.csv", tmp_path / "fitted", input=hashed)
    for caught in (scored, fitted):
        assert "jo@" not in str(caught.value)
        assert "the first line of the file must be a header; it has 3 fields" in str(caught.value)
    (tmp_path / "new.csv").write_text("jo@example.org,1,jo@example.org\nann@example.org,3,4\n")
    with raises("file.duplicate_column", DataError) as twice:
        gpuseg.score(tmp_path / "out", tmp_path / "new.csv", tmp_path / "scored")
    assert "jo@" not in str(twice.value)
    assert "columns 1 and 3 have the same name" in str(twice.value)


@pytest.mark.parametrize("kind", ["time", "damaged"])
def test_messages_quote_no_value_where_ids_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """An id may be in the wrong column, and libraries quote what they cannot read."""
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    source = tmp_path / "in"
    source.mkdir()
    if kind == "time":
        at = pa.array([0, 253370764800], pa.int64()).cast(pa.timestamp("s"))
        table = pa.table({"who": ["a", "b"], "paid": [1.0, 2.0], "at": at})
        pq.write_table(table, source / "lines.parquet")
    else:
        text = "who,paid,at\na,1,2025-01-01\nb,1,253370764800\n"
        (source / "lines.csv.gz").write_bytes(gzip.compress(text.encode())[:-9])
    for hashed in (False, True):
        key = {"id_hash_key_env": "GPUSEG_TEST_KEY"} if hashed else {}
        with pytest.raises(gpuseg.DataError) as caught:
            gpuseg.run({
                "transactions": {"path": str(source), "customer": "who", "time": "at",
                                 "amount": "paid", **key},
                "segment": {"n_clusters": 2}, "output": {"path": str(tmp_path / "out")},
            })  # fmt: skip
        error = caught.value
        assert error.has_value == (kind == "time" and not hashed)
        assert bool(error.reason) == (kind == "damaged" and not hashed)
        assert not (hashed and "253370764800" in str(error))


@pytest.mark.parametrize("secret", [None, "", "another secret, of good length"])
def test_a_worker_with_another_key_is_refused(
    monkeypatch: pytest.MonkeyPatch, secret: str | None
) -> None:
    monkeypatch.setenv("GPUSEG_TEST_KEY", SECRET)
    key = Key.from_env("GPUSEG_TEST_KEY", "input.id_hash_key_env")
    assert pseudonyms(pa.array(["a", None]), key).to_pylist() == expected_hashes(["a", None])
    uuids = pa.array([bytes(16)], pa.binary(16))
    expected = hmac.digest(SECRET.encode(), bytes(16), "sha256").hex()
    assert pseudonyms(uuids, key).to_pylist() == [expected]
    if secret is None:
        monkeypatch.delenv("GPUSEG_TEST_KEY")
    else:
        monkeypatch.setenv("GPUSEG_TEST_KEY", secret)
    with raises("id_hash_key.differs_on_worker"):
        pseudonyms(pa.array(["a"]), key)
