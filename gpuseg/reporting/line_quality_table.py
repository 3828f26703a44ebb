"""The terminal table of the quality of transaction lines."""

from rich.table import Table

from gpuseg.formatting import printable
from gpuseg.manifest import Transactions


def quality_table(transactions: Transactions) -> Table:
    """Build the table of findings in the lines, actions taken, and customers left out."""
    quality = transactions.quality
    table = Table(
        title=f"{quality.lines:,} lines, {quality.customers:,} customers, "
        f"as of {transactions.snapshot}",
        title_justify="left",
    )
    table.add_column("found")
    table.add_column("lines", justify="right")
    table.add_column("action")
    table.add_column("customers", justify="right")
    for step in quality.steps:
        sign = "" if step.is_purchases or not step.customers else "−"
        customers = "" if step.customers is None else f"{sign}{step.customers:,}"
        table.add_row(step.finding, f"{step.lines:,}", step.action, customers)
    for join in transactions.joins:
        table.add_row(
            f"no row in {printable(join.path)}",
            "",
            "nulls in " + ", ".join(map(printable, join.columns)),
            f"{join.customers_without:,}",
        )
        unmatched = join.rows_of_no_customer + join.rows_without_id
        if unmatched:
            table.add_row(
                f"unmatched rows in {printable(join.path)}", f"{unmatched:,}", "left out", ""
            )
    return table
