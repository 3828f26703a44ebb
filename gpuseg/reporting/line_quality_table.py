"""The terminal table of the quality of transaction lines."""

from rich.table import Table

from gpuseg.formatting import count
from gpuseg.manifest import Transactions
from gpuseg.reporting.cells import cell


def quality_table(transactions: Transactions) -> Table:
    """Build the table of findings in the lines, actions taken, and customers left out."""
    quality = transactions.quality
    table = Table(
        title=cell(
            f"{count(quality.lines, 'line')}, {count(quality.customers, 'customer')}, "
            f"as of {transactions.snapshot}"
        ),
        title_justify="left",
    )
    table.add_column("found")
    table.add_column("lines", justify="right")
    table.add_column("action")
    table.add_column("customers", justify="right")
    for step in quality.steps:
        sign = "" if step.is_purchases or not step.customers else "−"
        customers = "" if step.customers is None else f"{sign}{step.customers:,}"
        table.add_row(cell(step.finding), f"{step.lines:,}", cell(step.action), customers)
    for join in transactions.joins:
        table.add_row(
            cell(f"no row in {join.path}"),
            "",
            cell(f"nulls in {', '.join(join.columns)}"),
            f"{join.customers_without:,}",
        )
        unmatched = join.rows_of_no_customer + join.rows_without_id
        if unmatched:
            table.add_row(cell(f"unmatched rows in {join.path}"), f"{unmatched:,}", "left out", "")
    return table
