"""Write addresses and names in the one way that a platform hashes; what is none becomes null.

All texts are of the type `TEXT`. Countries are two letters in upper case, or null.
"""

import pyarrow as pa

from gpuseg import arrow_compute as pc

TEXT = pa.large_string()
"""Text of any length in all."""

_SPACE = r"\s\pZ"
"""White space, as the members of a set: with that beyond ASCII."""

_NOT_IN_EMAIL = rf"@{_SPACE}\pC,;<>\""
"""Members of a set: an address with one of them, perhaps invisible, is hashed as somebody else."""
_EMAIL = rf"\A[^{_NOT_IN_EMAIL}]+@[^.{_NOT_IN_EMAIL}]+(?:\.[^.{_NOT_IN_EMAIL}]+)+\z"
_GMAIL = r"@g(?:oogle)?mail\.com\z"
_COUNTRY = r"\A[A-Z]{2}\z"
_ZIP = r"\A[0-9A-Za-z][0-9A-Za-z -]{0,11}\z"


def email(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return addresses in lower case without white space around them."""
    return _matching(pc.utf8_lower(pc.utf8_trim_whitespace(text)), _EMAIL)


def google_email(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return addresses as Google has them: without white space, and Gmail's in one spelling.

    Gmail delivers the same mail whatever dots are before the "@", and whatever follows a "+" there.
    """
    plain = email(pc.replace_substring_regex(text, rf"[{_SPACE}]+", ""))
    is_gmail = pc.match_substring_regex(plain, _GMAIL)
    parts = pc.extract_regex(plain, r"\A(?P<local>[^+@]*)[^@]*@(?P<domain>.*)\z")
    local = pc.replace_substring(pc.struct_field(parts, "local"), ".", "")
    one = pc.binary_join_element_wise(local, pc.struct_field(parts, "domain"), _scalar("@"))
    return _matching(pc.if_else(is_gmail, one, plain), _EMAIL)


def spaced_name(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return names in lower case, with one space between words."""
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    return _not_empty(pc.replace_substring_regex(lower, rf"[{_SPACE}]+", " "))


def bare_name(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return names in lower case, without white space and punctuation."""
    lower = pc.utf8_lower(pc.utf8_trim_whitespace(text))
    return _not_empty(pc.replace_substring_regex(lower, rf"[{_SPACE}\pP\pS]+", ""))


def upper_country(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return countries as two letters of ISO 3166 in upper case."""
    return _matching(pc.utf8_upper(pc.utf8_trim_whitespace(text)), _COUNTRY)


def lower_country(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return countries as two letters of ISO 3166 in lower case."""
    return pc.utf8_lower(upper_country(text))


def plain_zip(text: pa.Array, country: pa.Array | None = None) -> pa.Array:
    """Return postcodes without white space around them; nothing else may be in their place."""
    return _matching(pc.utf8_trim_whitespace(text), _ZIP)


def short_zip(text: pa.Array, country: pa.Array) -> pa.Array:
    """Return postcodes in lower case without white space; those of the US have five digits."""
    lower = pc.utf8_lower(pc.replace_substring_regex(plain_zip(text), r"\s+", ""))
    in_us = pc.fill_null(pc.equal(country, "US"), False)
    return pc.if_else(in_us, pc.utf8_slice_codeunits(lower, 0, 5), lower)


def _matching(text: pa.Array, pattern: str) -> pa.Array:
    """Return text that matches a pattern; the rest is null."""
    return pc.if_else(pc.match_substring_regex(text, pattern), text, _scalar(None))


def _not_empty(text: pa.Array) -> pa.Array:
    return pc.if_else(pc.equal(text, ""), _scalar(None), text)


def _scalar(value: str | None) -> pa.Scalar:
    return pa.scalar(value, TEXT)
