"""The commands of registries of models: add, list, promote and path."""

from typing import TYPE_CHECKING, Annotated

import typer

from gpuseg.cli.options import AsJson
from gpuseg.cli.show import print_json, print_table, print_text, show_published
from gpuseg.redaction import redacted

if TYPE_CHECKING:
    from gpuseg.model_registry.registry import ModelRegistry

models = typer.Typer(
    name="models",
    help="Keep versions of models in a folder, and say which one is in use.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[
    str,
    typer.Argument(
        metavar="REGISTRY/NAME", help="Name of the model, below the path or URL of a registry."
    ),
]
_ALIAS = "Alias of the version, such as champion or challenger."


@models.command()
def add(
    model: Model,
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Path or URL of a run's output folder.")
    ],
    alias: Annotated[
        str | None, typer.Option("--alias", help=f"{_ALIAS} By default it has none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Copy the model of an output to a registry, as a new version."""
    registry, name = _registry_of(model)
    number = registry.add(name, output, alias=alias)
    path = redacted(registry.path(name, number))

    def show() -> None:
        if as_json:
            print_json({"name": name, "version": number, "path": path, "alias": alias})
            return
        print_text(f"version    {number}{f' ({alias})' if alias else ''}")
        print_text(f"path       {path}")

    show_published(show, path)


@models.command("list")
def list_(
    place: Annotated[
        str,
        typer.Argument(metavar="REGISTRY[/NAME]", help="A registry, or one of its models."),
    ],
    as_json: AsJson = False,
) -> None:
    """Print the models of a registry, or the versions, aliases and history of one model."""
    from gpuseg.model_registry.registry import ModelRegistry
    from gpuseg.model_registry.tables import (
        history_lines,
        models_table,
        record_as_values,
        versions_table,
    )
    from gpuseg.models.registered_models import read_registered

    record = read_registered(place)
    if record is not None:
        name = place.rstrip("/").rpartition("/")[2]
        if as_json:
            print_json(record_as_values(name, redacted(place), record))
            return
        print_table(versions_table(record))
        for line in history_lines(record):
            print_text(line)
        return
    registry = ModelRegistry(place)
    records = {name: registry.describe(name) for name in registry.names()}
    if as_json:
        listed = [
            record_as_values(name, redacted(registry.folder(name)), each)
            for name, each in records.items()
        ]
        print_json({"models": listed})
        return
    if not records:
        print_text(f"no models in {redacted(place)}")
        return
    print_table(models_table(records))


@models.command()
def promote(
    model: Model,
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="Number of a version, or another alias of it.")
    ],
    alias: Annotated[str, typer.Option("--alias", help=_ALIAS)] = "champion",
    as_json: AsJson = False,
) -> None:
    """Let an alias stand for a version, in one step."""
    registry, name = _registry_of(model)
    change = registry.promote(name, version, alias=alias)

    def show() -> None:
        if as_json:
            print_json({"name": name, **change.model_dump(mode="json")})
            return
        before = "new" if change.before is None else f"version {change.before} before"
        print_text(f"{alias}  version {change.version} ({before})")

    show_published(show, redacted(registry.url))


@models.command()
def path(
    model: Annotated[
        str,
        typer.Argument(
            metavar="REGISTRY/NAME[@ALIAS|:VERSION]",
            help="A version of a model; without alias and number it is the champion.",
        ),
    ],
) -> None:
    """Print the folder of a version; every command that takes a model takes it."""
    from gpuseg.models.registered_models import CHAMPION, ModelReference

    reference = ModelReference.parse(model) or ModelReference(model, CHAMPION)
    registry, name = _registry_of(reference.folder)
    print_text(registry.path(name, reference.selected))


def _registry_of(model: str) -> "tuple[ModelRegistry, str]":
    """Return the registry of a model, and the name of the model in it."""
    from gpuseg.model_registry.registry import ModelRegistry

    folder, slash, name = model.rstrip("/").rpartition("/")
    return ModelRegistry(f"{folder}{slash}" or "."), name
