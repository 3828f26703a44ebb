"""The command audience: files of hashed contacts for advertising platforms."""

from typing import Annotated

import typer

from gpuseg.audience import MINIMUM
from gpuseg.cli.options import AsJson, Overwrite
from gpuseg.cli.show import print_json, print_text, show_published
from gpuseg.redaction import redacted

_NAMES = {
    "output": "OUTPUT",
    "customers": "--customers",
    "id": "--id",
    "segment": "--segment",
    "format": "--format",
    "default_region": "--default-region",
    "previous": "--previous",
    "minimum": "--minimum",
    "output_path": "--output",
    "overwrite": "overwrite",
}
"""The options by the names of the parameters that they set."""


def _column(name: str, help: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, metavar="COLUMN", help=help)
    return option


def audience(
    output: Annotated[
        str, typer.Argument(metavar="OUTPUT", help="Path or URL of a run's output folder.")
    ],
    customers: Annotated[
        str, typer.Option(metavar="TABLE", help="Table of contacts: Parquet, CSV or Excel.")
    ],
    segment: Annotated[
        list[str],
        typer.Option(
            "--segment",
            metavar="SEGMENT",
            help="Number, name, or COLUMN=NUMBER of a level, as in segment_4=2; repeatable.",
        ),
    ],
    format: Annotated[str, typer.Option(help="google, meta or csv.")],
    consent: Annotated[str, _column("--consent", "Column of the consent of each customer.")],
    target: Annotated[
        str, typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the files.")
    ],
    id: Annotated[
        str | None, _column("--id", "Column of the ids; by default as in the output.")
    ] = None,
    email: Annotated[str | None, _column("--email", "Column of e-mail addresses.")] = None,
    phone: Annotated[str | None, _column("--phone", "Column of telephone numbers.")] = None,
    first_name: Annotated[str | None, _column("--first-name", "Column of first names.")] = None,
    last_name: Annotated[str | None, _column("--last-name", "Column of last names.")] = None,
    country: Annotated[
        str | None, _column("--country", "Column of countries, two letters each.")
    ] = None,
    zip: Annotated[str | None, _column("--zip", "Column of postcodes.")] = None,
    default_region: Annotated[
        str | None,
        typer.Option(metavar="DE", help="Country of telephone numbers without a code."),
    ] = None,
    consent_yes: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="A value that means consent; repeatable."),
    ] = None,
    consent_no: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="A value that means refusal; repeatable."),
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="An earlier audience or output: writes who is to be removed."
        ),
    ] = None,
    minimum: Annotated[
        int, typer.Option(metavar="N", help="Refuse a segment with fewer customers.")
    ] = MINIMUM,
    plain_address: Annotated[
        bool,
        typer.Option("--plain-address", help="Write countries and postcodes as Google reads them."),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write hashed contacts of segments for Google, Meta or others, of who consents."""
    from gpuseg.audience.consent import ConsentRule
    from gpuseg.audience.level_segment import LevelSegment
    from gpuseg.audience.platforms import PLATFORMS, ContactKey
    from gpuseg.audience.write import AudienceRequest, write_audience
    from gpuseg.errors import parameter_names
    from gpuseg.formatting import count

    named = {
        ContactKey.EMAIL: email, ContactKey.PHONE: phone, ContactKey.FIRST_NAME: first_name,
        ContactKey.LAST_NAME: last_name, ContactKey.COUNTRY: country, ContactKey.ZIP: zip,
    }  # fmt: skip
    with parameter_names(_NAMES):
        result = write_audience(
            AudienceRequest(
                output=output,
                customers=customers,
                id=id,
                segments=segment,
                platform=format,
                keys={key: column for key, column in named.items() if column is not None},
                consent=consent,
                target=target,
                consent_rule=ConsentRule.of(consent_yes or (), consent_no or ()),
                default_region=default_region,
                previous=previous,
                minimum=minimum,
                plain_address=plain_address,
                overwrite=overwrite,
            )
        )
    path = redacted(result.path)
    phone_header = PLATFORMS[format].headers[ContactKey.PHONE]
    region_step = "" if default_region else "; --default-region reads numbers without a code"

    def show() -> None:
        if as_json:
            print_json(result.record.to_json())
            return
        for one in result.record.audience.segments:
            number = LevelSegment(one.segment, one.column).shown
            named = f"{number} ({one.name})" if one.name else number
            print_text(
                f"segment {named}: {count(one.rows, 'row')} of {count(one.customers, 'customer')}; "
                f"{one.without_contact:,} without contact, {one.without_consent:,} without "
                f"consent, {one.without_key:,} without a usable key"
            )
            for key, counts in one.keys.items():
                if counts.invalid:
                    step = region_step if key == phone_header else ""
                    print_text(f"  {key}: {count(counts.invalid, 'invalid value')}{step}")
            if one.leavers_file is not None:
                print_text(
                    f"  {one.leavers:,} to be removed: {one.leavers_file}; "
                    f"{one.leavers_without_contact:,} who left have no contact"
                )
        print_text(f"audience   {path}")

    show_published(show, path)
