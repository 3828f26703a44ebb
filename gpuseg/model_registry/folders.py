"""What a folder of a registry has: models, or something else that no model may be added to."""

from gpuseg.errors import ConfigError, literal
from gpuseg.io.output.base import MANIFEST
from gpuseg.io.storage import Storage, unreachable, wrap_store_errors
from gpuseg.models.loading import MODEL
from gpuseg.models.registered_models import ALIASES
from gpuseg.validation import listed_names, nearest_known


def model_names(storage: Storage) -> list[str] | None:
    """Return the names of the models in a folder, sorted; None if there is no folder.

    Raises
    ------
    ResourceError
        If it cannot be read.
    """
    entries = _entries(storage)
    if entries is None:
        return None
    with wrap_store_errors("path", storage.url):
        try:
            return sorted(
                name
                for name, is_folder in entries.items()
                if is_folder and storage.fs.exists(f"{storage.root}/{name}/{ALIASES}")
            )
        except OSError as error:
            raise unreachable("path", storage.url, error) from None


def refuse_other_use(storage: Storage) -> None:
    """Refuse a folder for the versions of a new model if it is an output or a registry.

    Versions in an output would be lost when the output is replaced.

    Raises
    ------
    ConfigError, ResourceError
    """
    if (_entries(storage) or {}).keys() & {MANIFEST, MODEL}:
        raise ConfigError(
            "registry.is_output", "is an output folder, to which no version of a model is added",
            value=storage.shown_url, parameter="path",
            hint="give REGISTRY/NAME first, and then OUTPUT",
        )  # fmt: skip
    if names := model_names(storage):
        raise ConfigError(
            "registry.is_registry", f"is a registry, with the models {listed_names(names)}",
            value=storage.shown_url, parameter="path", hint=_name_one(storage, names),
        )  # fmt: skip


def step_to_a_model(name: str, registry: Storage, folder: Storage) -> str:
    """Return a hint for a name that no model of a registry has, given its folder if it had."""
    if inside := model_names(folder):
        return _name_one(folder, inside)
    names = model_names(registry)
    return nearest_known(name, names) if names else "add a version first"


def _name_one(registry: Storage, names: list[str]) -> str:
    """Return a hint for a path that ends at a registry."""
    return f"name the model, such as {literal(registry.shown_url.rstrip('/'))}/{names[0]}"


def _entries(storage: Storage) -> dict[str, bool] | None:
    """Return the names in a folder, and whether each is a folder; None if there is no folder."""
    with wrap_store_errors("path", storage.url):
        try:
            listed = storage.fs.ls(storage.root, detail=True)
            if len(listed) == 1 and listed[0]["name"].rstrip("/") == storage.root.rstrip("/"):
                return None  # a file, which file systems list as if it were in itself
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise unreachable("path", storage.url, error) from None
    return {
        entry["name"].rstrip("/").rpartition("/")[2]: entry["type"] == "directory"
        for entry in listed
    }
