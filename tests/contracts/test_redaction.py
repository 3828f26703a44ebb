"""Logins, tokens and options are hidden; what is no secret stays as it is."""

import time

import pytest

from gpuseg.errors import DataError
from gpuseg.redaction import redacted, secrets_of, without

SECRETS = [
    "https://user:SECRET@host/path",
    "https://SECRET@host/path",
    "'ftp://user:a/SECRET@b@host/x' cannot be read",
    "https://host/x.parquet?sig=SECRET&se=SECRET",
    "'https://host/x?X-Amz-Signature=SECRET': no such file",
    "simplecache::https://user:SECRET@host/x?SECRET=1",
    "https://user:SECRET@host/x?SECRET, https://user:SECRET@host/y?SECRET",
    "https://user:SECRET@host/x,https://user:SECRET@host/y",
    "abfs://container:SECRET@host/x",
    "https://user:one SECRET@host/x",
    "https://user:SECRET?SECRET@host/x",
    "https://user:SECRET://SECRET@host/x",
    "https://host/x#access_token=SECRET",
    "https://host/a folder/x?sig=SECRET",
]

NO_SECRETS = [
    "data/customers", "s3://bucket/key=1/a@b.parquet", "tcp://host:8786/a@b", "memory://x",
    "abfs://container@account.dfs.core.windows.net/x", "did you mean 's3://bucket/x'?", "a@b?c",
    "s3://bucket/a#b.csv", "'tcp://host:8786': who is a@b?",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_hidden(text: str) -> None:
    assert "SECRET" not in redacted(text)
    assert "host" in redacted(text)
    assert redacted(redacted(text)) == redacted(text)
    for error in (
        DataError("a.b", text),
        DataError("a.b", value=text),
        DataError("a.b", hint=text),
    ):
        assert "SECRET" not in str(error) + repr(error)


@pytest.mark.parametrize(
    "text",
    ["://a:" * 40_000, "s://?" + "." * 200_000 + "a", "://u@" * 40_000, "s://" + " #" * 99_999],
)
def test_long_texts_take_no_quadratic_time(text: str) -> None:
    started = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - started < 20  # a quadratic search takes minutes


@pytest.mark.parametrize("text", NO_SECRETS)
def test_other_texts_stay(text: str) -> None:
    assert redacted(text) == text


def test_secrets_among_options() -> None:
    options = {
        "key": "AKIA-1", "password": 12345, "region": "eu", "anon": False,
        "client_kwargs": {"endpoint_url": "http://host", "aws_session_token": "T-2-3"},
    }  # fmt: skip
    assert secrets_of(options) == {"AKIA-1", "12345", "T-2-3"}
    assert without(secrets_of(options), "AKIA-1 at eu: 12345") == "(not shown) at eu: (not shown)"
