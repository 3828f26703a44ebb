"""The record of the lines' quality as a table for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from gpuseg.formatting import printable


def quality_table(transactions: Mapping[str, Any]) -> Table:
    """Return the table of what was found, what was done, and what that cost."""
    quality = transactions["quality"]
    table = Table(
        title=f"{quality['lines']:,} lines, {quality['customers']:,} customers, "
        f"as of {transactions['snapshot']}",
        title_justify="left",
    )
    table.add_column("found")
    table.add_column("lines", justify="right")
    table.add_column("done")
    table.add_column("customers", justify="right")
    for step in quality["steps"]:
        made = step["finding"] == "purchases"
        customers = step["customers"]
        sign = "" if made or not customers else "−"
        table.add_row(
            step["finding"],
            f"{step['lines']:,}",
            step["action"],
            "" if customers is None else f"{sign}{customers:,}",
        )
    for join in transactions.get("joins", []):
        table.add_row(
            f"no row in {printable(join['path'])}",
            "",
            "nulls in " + ", ".join(map(printable, join["columns"])),
            f"{join['customers_without']:,}",
        )
        strangers = join["rows_of_no_customer"] + join["rows_without_id"]
        if strangers:
            what = f"rows of nobody in {printable(join['path'])}"
            table.add_row(what, f"{strangers:,}", "left out", "")
    return table
