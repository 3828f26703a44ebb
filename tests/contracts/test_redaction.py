"""Logins, tokens and options are hidden; what is no secret stays as it is."""

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
]

NO_SECRETS = [
    "data/customers", "s3://bucket/key=1/a@b.parquet", "tcp://host:8786/a@b", "memory://x",
    "abfs://container@account.dfs.core.windows.net/x", "did you mean 's3://bucket/x'?", "a@b?c",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_secrets_are_hidden(text: str) -> None:
    assert "SECRET" not in redacted(text)
    assert "host" in redacted(text)
    for error in (
        DataError("a.b", text),
        DataError("a.b", value=text),
        DataError("a.b", hint=text),
    ):
        assert "SECRET" not in str(error) + repr(error)


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
