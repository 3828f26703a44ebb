"""Telephone numbers in E.164: "+", the code of the country, and the number without a prefix.

The package phonenumbers knows the rules of every country. It reads a number in 30 µs, so most
numbers, which are plain by these rules, are read by Arrow; the others go through the package once
for each distinct text.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gpuseg import arrow_compute as pc
from gpuseg.arrow import from_numpy, to_numpy
from gpuseg.audience.normalize import TEXT
from gpuseg.errors import ConfigError, ResourceError, install_extra

_SEPARATORS = r"[\s().\-/]+"
_PLUS = r"\A\+[\d\s().\-/]+\z"
_TRUNK_IN_BRACKETS = r"\(\s*0\s*\)"
_NATIONAL = r"\A[\d\s().\-/]+\z"


def check_region(region: str) -> None:
    """Refuse a region that has no telephone numbers.

    Raises
    ------
    ConfigError, ResourceError
    """
    if region not in _library().SUPPORTED_REGIONS:
        raise ConfigError(
            "audience.unknown_region", "no region with telephone numbers", value=region,
            rule="must be two letters of ISO 3166, such as DE or US", parameter="default_region",
        )  # fmt: skip


def e164(text: pa.Array, regions: pa.Array) -> pa.Array:
    """Return telephone numbers in E.164; null for what is none.

    Parameters
    ----------
    text : array of text (n,)
    regions : array of text (n,)
        Countries in which numbers without a code are; null if that is not known.

    Raises
    ------
    ResourceError
        If the package phonenumbers is not installed.
    """
    library = _library()
    known = pa.array(sorted(library.SUPPORTED_REGIONS), TEXT)
    regions = pc.if_else(pc.is_in(regions, value_set=known), regions, pa.scalar(None, TEXT))
    trimmed = pc.utf8_trim_whitespace(text)
    digits = pc.replace_substring_regex(trimmed, _SEPARATORS, "")
    has_plus = _flags(pc.match_substring_regex(trimmed, _PLUS))
    has_plus &= ~_flags(pc.match_substring_regex(trimmed, _TRUNK_IN_BRACKETS))
    is_national = _flags(pc.match_substring_regex(trimmed, _NATIONAL)) & _flags(regions.is_valid())
    read = [
        *_of_codes(library, digits, np.flatnonzero(has_plus)),
        *_of_regions(library, digits, regions, np.flatnonzero(is_national)),
    ]
    is_left = _flags(trimmed.is_valid())
    for rows, _ in read:
        is_left[rows] = False
    left = np.flatnonzero(is_left)
    read.append((left, _by_library(library, _take(trimmed, left), _take(regions, left))))
    place = np.full(len(text), -1, np.int64)
    rows = np.concatenate([rows for rows, _ in read])
    place[rows] = np.arange(len(rows))
    numbers = pa.concat_arrays([numbers for _, numbers in read])
    return numbers.take(pa.array(place, mask=place < 0))


_Rows = NDArray[np.int64]


def _of_codes(library: Any, digits: pa.Array, rows: _Rows) -> list[tuple[_Rows, pa.Array]]:
    """Return rows and numbers, by codes of countries, of those that are plain after the "+"."""
    if not len(rows):
        return []
    given = _take(digits, rows)
    codes = sorted(library.COUNTRY_CODE_TO_REGION_CODE, reverse=True)
    pattern = rf"\A\+(?P<code>{'|'.join(map(str, codes))})(?P<rest>[1-9]\d+)\z"
    parts = pc.extract_regex(given, pattern)
    code, rest = pc.struct_field(parts, "code"), pc.struct_field(parts, "rest")
    numbers = []
    for one in pc.unique(code).drop_null().to_pylist():
        region = library.region_code_for_country_code(int(one))
        here = np.flatnonzero(_flags(pc.equal(code, one)))
        plain = here[_are_plain(library, _take(rest, here), int(one), region)]
        numbers.append((rows[plain], _take(given, plain)))
    return numbers


def _of_regions(
    library: Any, digits: pa.Array, regions: pa.Array, rows: _Rows
) -> list[tuple[_Rows, pa.Array]]:
    """Return rows and numbers, by regions, of those that are plain after the national prefix."""
    numbers = []
    given, of_rows = _take(digits, rows), _take(regions, rows)
    for region in pc.unique(of_rows).to_pylist():
        metadata = _metadata(library, 0, region)
        prefix, code = metadata.national_prefix or "", metadata.country_code
        if metadata.national_prefix_for_parsing not in (None, prefix) or metadata.leading_digits:
            continue
        here = np.flatnonzero(_flags(pc.equal(of_rows, region)))
        dialled = _take(given, here)
        pattern = rf"\A(?:{prefix})?(?P<rest>[1-9]\d+)\z"
        rest = pc.struct_field(pc.extract_regex(dialled, pattern), "rest")
        is_plain = _are_plain(library, rest, code, region)
        if abroad := metadata.international_prefix:
            is_plain &= ~_flags(pc.match_substring_regex(dialled, rf"\A(?:{abroad})"))
        if prefix != str(code):  # it may be the code without its "+"
            is_plain &= ~_flags(pc.starts_with(dialled, str(code)))
        plain = np.flatnonzero(is_plain)
        joined = pc.binary_join_element_wise(
            pa.scalar(f"+{code}", TEXT), _take(rest, plain), pa.scalar("", TEXT)
        )
        numbers.append((rows[here[plain]], joined))
    return numbers


def _are_plain(library: Any, rest: pa.Array, code: int, region: str) -> NDArray[np.bool_]:
    """Return which digits after a code are a number of that country, without any prefix."""
    metadata = _metadata(library, code, region)
    pattern = metadata.general_desc.national_number_pattern
    are_plain = _flags(pc.match_substring_regex(rest, rf"\A(?:{pattern})\z"))
    # Other lengths are for calls within a town; those of a code are those of its main region.
    main = _metadata(library, code, library.region_code_for_country_code(code))
    lengths = pa.array(main.general_desc.possible_length, pa.int64())
    are_plain &= _flags(pc.is_in(pc.binary_length(rest), value_set=lengths))
    if prefix := metadata.national_prefix_for_parsing:
        are_plain &= ~_flags(pc.match_substring_regex(rest, rf"\A(?:{prefix})"))
    return are_plain


def _metadata(library: Any, code: int, region: str) -> Any:
    if region == library.REGION_CODE_FOR_NON_GEO_ENTITY:
        return library.PhoneMetadata.metadata_for_nongeo_region(code, None)
    return library.PhoneMetadata.metadata_for_region(region, None)


def _by_library(library: Any, text: pa.Array, regions: pa.Array) -> pa.Array:
    """Return numbers in E.164 as the package reads them, each distinct text once."""
    named = pc.fill_null(regions, "")
    joined = pc.binary_join_element_wise(named, text, pa.scalar("|", TEXT)).dictionary_encode()
    distinct = [
        _read(library, *reversed(one.split("|", 1))) for one in joined.dictionary.to_pylist()
    ]
    return pa.array(distinct, TEXT).take(joined.indices)


def _read(library: Any, text: str, region: str) -> str | None:
    try:
        number = library.parse(text, region or None)
    except library.NumberParseException:
        return None
    if library.is_possible_number_with_reason(number) != library.ValidationResult.IS_POSSIBLE:
        return None
    return str(library.format_number(number, library.PhoneNumberFormat.E164))


def _flags(values: pa.Array) -> NDArray[np.bool_]:
    flags: NDArray[np.bool_] = to_numpy(pc.fill_null(values, False)).copy()
    return flags


def _take(values: pa.Array, rows: _Rows) -> pa.Array:
    return values.take(from_numpy(rows))


def _library() -> Any:
    try:
        import phonenumbers
    except ImportError as error:
        raise ResourceError(
            "audience.no_phonenumbers",
            f"the package that reads telephone numbers cannot be loaded ({error})",
            hint=f"{install_extra('audience')}, or leave out the column of telephone numbers",
        ) from None
    return phonenumbers
