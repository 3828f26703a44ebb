"""Formats of audience files: their columns, and how each value is written before it is hashed.

Google Customer Match and Meta Custom Audiences compare hashes, so a value that is written in
another way than theirs is a customer who is never found.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import pyarrow as pa

from gpuseg.audience import normalize
from gpuseg.errors import ConfigError


class ContactKey(StrEnum):
    """What a platform finds a person by."""

    EMAIL = "email"
    PHONE = "phone"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    COUNTRY = "country"
    ZIP = "zip"


ADDRESS = (ContactKey.FIRST_NAME, ContactKey.LAST_NAME, ContactKey.COUNTRY, ContactKey.ZIP)
"""Keys that only together tell a person, if at all."""

ACCOUNT = (ContactKey.EMAIL, ContactKey.PHONE)
"""Keys of which one tells a person."""

Normalizer = Callable[[pa.Array, pa.Array], pa.Array]
"""From the texts of a key and the countries of the rows to normal texts; null is no such key."""


@dataclass(frozen=True)
class Platform:
    """The format of one platform.

    Attributes
    ----------
    name : str
    headers : mapping of ContactKey to str
        Names of the columns, in their order.
    normalizers : mapping of ContactKey to Normalizer
        But for telephone numbers, which are in E.164.
    plain : frozenset of ContactKey
        Keys that the platform reads only as they are, without a hash.
    has_plus : bool
        Whether telephone numbers begin with "+".
    finds_addresses : bool
        Whether the four keys of an address together tell a person.
    has_segment : bool
        Whether there is a column of the segment.
    """

    name: str
    headers: Mapping[ContactKey, str]
    normalizers: Mapping[ContactKey, Normalizer]
    plain: frozenset[ContactKey] = field(default=frozenset())
    has_plus: bool = True
    finds_addresses: bool = False
    has_segment: bool = False

    def written_keys(
        self, named: Sequence[ContactKey], allows_plain: bool
    ) -> tuple[ContactKey, ...]:
        """Return the keys of the columns of the file, of those that the contacts have.

        Parameters
        ----------
        named : sequence of ContactKey
        allows_plain : bool
            Whether keys may be written without a hash.

        Raises
        ------
        ConfigError
            For a part of an address, and an address that may not be written.
        """
        if not set(ACCOUNT) & set(named) and not (
            self.finds_addresses and set(ADDRESS) <= {*named}
        ):
            raise ConfigError(
                "audience.no_key", "no column tells the platform who a customer is",
                hint="name a column with --email or --phone",
            )  # fmt: skip
        keys = tuple(key for key in self.headers if key in named)
        if not self.plain:
            return keys
        parts = [key for key in ADDRESS if key in named]
        if not {*parts} - {
            ContactKey.COUNTRY
        }:  # the country alone tells how telephone numbers are read
            return tuple(key for key in keys if key in ACCOUNT)
        if missing := [key for key in ADDRESS if key not in parts]:
            raise ConfigError(
                "audience.part_of_address",
                f"{self.name} compares addresses by first name, last name, country and postcode, "
                f"and there is no column of {missing[0].replace('_', ' ')}",
                hint="name all four columns, or none of the names and postcodes",
            )
        if not allows_plain:
            raise ConfigError(
                "audience.plain_address",
                f"{self.name} reads country and postcode only without a hash",
                rule="nothing is written without a hash unless you say so",
                hint="pass --plain-address, or leave out the columns of the address",
            )
        return keys


GOOGLE = Platform(
    "google",
    {
        ContactKey.EMAIL: "Email", ContactKey.PHONE: "Phone", ContactKey.FIRST_NAME: "First Name",
        ContactKey.LAST_NAME: "Last Name", ContactKey.COUNTRY: "Country", ContactKey.ZIP: "Zip",
    },
    {
        ContactKey.EMAIL: normalize.google_email, ContactKey.FIRST_NAME: normalize.spaced_name,
        ContactKey.LAST_NAME: normalize.spaced_name, ContactKey.COUNTRY: normalize.upper_country,
        ContactKey.ZIP: normalize.plain_zip,
    },
    frozenset({ContactKey.COUNTRY, ContactKey.ZIP}),
    finds_addresses=True,
)  # fmt: skip

META = Platform(
    "meta",
    {
        ContactKey.EMAIL: "email", ContactKey.PHONE: "phone", ContactKey.FIRST_NAME: "fn",
        ContactKey.LAST_NAME: "ln", ContactKey.ZIP: "zip", ContactKey.COUNTRY: "country",
    },
    {
        ContactKey.EMAIL: normalize.email, ContactKey.FIRST_NAME: normalize.bare_name,
        ContactKey.LAST_NAME: normalize.bare_name, ContactKey.COUNTRY: normalize.lower_country,
        ContactKey.ZIP: normalize.short_zip,
    },
    has_plus=False,
)  # fmt: skip

CSV = Platform(
    "csv",
    {key: f"{key}_sha256" for key in ContactKey},
    {
        ContactKey.EMAIL: normalize.email, ContactKey.FIRST_NAME: normalize.spaced_name,
        ContactKey.LAST_NAME: normalize.spaced_name, ContactKey.COUNTRY: normalize.upper_country,
        ContactKey.ZIP: normalize.short_zip,
    },
    has_segment=True,
)  # fmt: skip

PLATFORMS = {platform.name: platform for platform in (GOOGLE, META, CSV)}
