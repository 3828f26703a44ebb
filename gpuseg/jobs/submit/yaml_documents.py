"""Write and read the documents of a manifest as YAML that each reader takes the same way."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[./_-][A-Za-z0-9]+)*")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"}
"""Texts that some readers take for something else."""


def to_yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Return documents of texts, numbers, booleans, lists and mappings as YAML.

    All texts but plain words are in quotes: versions of YAML differ in what is a number.
    """
    import yaml

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent(dumper: Dumper, text: str) -> Any:
        is_plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        style = "|" if "\n" in text else None if is_plain else '"'
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)

    Dumper.add_representer(str, represent)
    options: dict[str, Any] = {"width": 1000, "allow_unicode": True, "sort_keys": False}
    text: str = yaml.dump_all(documents, Dumper=Dumper, explicit_start=True, **options)
    return text


def from_yaml(text: str) -> list[dict[str, Any]]:
    """Return the documents of a text that `to_yaml` wrote."""
    import yaml

    return [*yaml.safe_load_all(text)]
