"""Places and options of stores, as the libraries of the table formats name them."""

from collections.abc import Mapping
from typing import Any

from gpuseg.errors import ConfigError
from gpuseg.io.storage import Storage

_NAMES = {
    "key": ("AWS_ACCESS_KEY_ID", "s3.access-key-id"),
    "secret": ("AWS_SECRET_ACCESS_KEY", "s3.secret-access-key"),
    "token": ("AWS_SESSION_TOKEN", "s3.session-token"),
    "endpoint_url": ("AWS_ENDPOINT_URL", "s3.endpoint"),
    "region_name": ("AWS_REGION", "s3.region"),
}
"""The names that `deltalake` and `pyiceberg` have for the options of s3fs."""


def delta_options(storage: Storage) -> tuple[str, None, dict[str, str]]:
    """Return the arguments of `deltalake.DeltaTable`: URL, version and options."""
    options = _renamed(storage, {key: name for key, (name, _) in _NAMES.items()})
    if options.get("AWS_ENDPOINT_URL", "").startswith("http://"):
        options["AWS_ALLOW_HTTP"] = "true"
    return _url(storage), None, options


def iceberg_options(storage: Storage) -> dict[str, str]:
    """Return the properties of a FileIO of `pyiceberg`."""
    return _renamed(storage, {key: name for key, (_, name) in _NAMES.items()})


def _url(storage: Storage) -> str:
    return storage.root if storage.is_local else str(storage.fs.unstrip_protocol(storage.root))


def _renamed(storage: Storage, names: Mapping[str, str]) -> dict[str, str]:
    """Return the options of s3fs under other names.

    Raises
    ------
    ConfigError
        For an option, or an option of another store, without such a name.
    """
    if storage.is_local:
        return {}
    options: dict[str, Any] = dict(storage.fs.storage_options)
    for nested in ("client_kwargs", "config_kwargs"):
        options |= options.pop(nested, None) or {}
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise ConfigError(
            "table.unknown_option",
            f"the option {unknown[0]!r} of {storage.fs.protocol} is not known to the library of "
            "the table's format",
            hint="set it in the environment, as the library documents, and leave it out here",
        )
    return {names[name]: str(value) for name, value in options.items() if value is not None}
