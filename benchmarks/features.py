"""Features from transaction lines: gpuseg against pandas, on a part, and Spark SQL on two threads.

All read the same Parquet files, compute the same seventeen features of every customer, and write
them. Customers, orders and spend of all together are compared. Whole processes are timed, imports
included, in turn, after a warm-up.

    python benchmarks/features.py                    50,000,000 lines of 2,000,000 customers
    python benchmarks/features.py --quick            a tenth of them
    python benchmarks/features.py --spark            Spark, too: scripts/setup bench,spark

pandas takes a tenth of the files, which is what its memory has room for; gpuseg is timed on that
part, too. Writes features.json to benchmarks/results.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from end_to_end import can_run_spark
from measure import interleaved, save, summary

LINES, CUSTOMERS, PART = 50_000_000, 2_000_000, 10
REPEATS = 3
SNAPSHOT = "2026-01-01"


def gpuseg(data: str, out: str) -> None:
    """Build the features as a job of gpuseg does."""
    from gpuseg.jobs.run_features import run_features

    roles = {"customer": "customer_id", "time": "time", "order": "order_id"}
    roles |= {name: name for name in ("product", "category", "quantity", "price")}
    run_features({
        "transactions": {"path": data, **roles, "snapshot": SNAPSHOT},
        "output": {"path": out, "overwrite": True},
    })  # fmt: skip
    _print_totals(out)


def with_pandas(data: str, out: str) -> None:
    """Build them as one would in pandas."""
    import pandas as pd

    lines = pd.read_parquet(data)
    snapshot, day = pd.Timestamp(SNAPSHOT), pd.Timedelta(days=1)
    lines = lines[lines.customer_id.notna() & (lines.price > 0)]
    lines["amount"] = lines.quantity * lines.price
    back = lines[lines.quantity < 0].groupby("customer_id").amount.sum()
    lines = lines[lines.quantity > 0]
    age, hour = (snapshot - lines.time) / day, lines.time.dt.hour
    for name, rows in {
        "spend_30d": age <= 30, "spend_90d": age <= 90, "spend_365d": age <= 365,
        "before": (age > 90) & (age <= 180), "weekend": lines.time.dt.day_of_week >= 5,
        "night": (hour >= 22) | (hour < 6),
    }.items():  # fmt: skip
        lines[name] = lines.amount.where(rows, 0.0)
    groups = lines.groupby("customer_id")
    result = groups[["amount", "quantity", "spend_30d", "spend_90d", "spend_365d", "before",
                     "weekend", "night"]].sum()  # fmt: skip
    result["recency_days"] = (snapshot - groups.time.max()) / day
    result["tenure_days"] = (snapshot - groups.time.min()) / day
    result["products"] = groups["product"].nunique()
    starts = lines.groupby(["customer_id", "order_id"]).time.min().reset_index()
    starts = starts.sort_values(["customer_id", "time"])
    result["orders"] = starts.groupby("customer_id").size()
    gaps = (starts.groupby("customer_id").time.diff() / day).groupby(starts.customer_id)
    result["gap_mean_days"], result["gap_std_days"] = gaps.mean(), gaps.std(ddof=0)
    shelves = lines.groupby(["customer_id", "category"], observed=True).amount.sum()
    result["top_category_share"] = shelves.groupby("customer_id").max()
    result = result.rename(columns={"amount": "spend", "quantity": "items"})
    result["return_share"] = (-back).reindex(result.index, fill_value=0.0)
    for name in ("return_share", "top_category_share", "weekend", "night"):
        result[name] /= result.spend
    both = result.spend_90d + result.before
    result["spend_trend"] = ((result.spend_90d - result.before) / both).fillna(0.0)
    result["avg_order_value"] = result.spend / result.orders
    Path(out).mkdir(parents=True, exist_ok=True)
    result.drop(columns="before").reset_index().to_parquet(f"{out}/part-0.parquet")
    _print_totals(out)


SQL = f"""
with lines as (
  select *, quantity * price as amount,
         (unix_timestamp(timestamp '{SNAPSHOT}') - unix_timestamp(time)) / 86400.0 as age
  from given where customer_id is not null and price > 0
), bought as (select * from lines where quantity > 0),
orders as (
  select customer_id, min(unix_timestamp(time)) as at from bought group by customer_id, order_id
), gaps as (
  select customer_id,
         (at - lag(at) over (partition by customer_id order by at)) / 86400.0 as gap from orders
), of_orders as (
  select customer_id, count(*) as orders, avg(gap) as gap_mean_days,
         stddev_pop(gap) as gap_std_days from gaps group by customer_id
), shelves as (
  select customer_id, max(amount) as top from (
    select customer_id, category, sum(amount) as amount from bought group by customer_id, category
  ) group by customer_id
), returned as (
  select customer_id, -sum(amount) as amount from lines where quantity < 0 group by customer_id
), sums as (
  select customer_id, min(age) as recency_days, max(age) as tenure_days, sum(amount) as spend,
         sum(quantity) as items, count(distinct product) as products,
         sum(if(age <= 30, amount, 0)) as spend_30d, sum(if(age <= 90, amount, 0)) as spend_90d,
         sum(if(age <= 365, amount, 0)) as spend_365d,
         sum(if(age > 90 and age <= 180, amount, 0)) as before,
         sum(if(dayofweek(time) in (1, 7), amount, 0)) as weekend,
         sum(if(hour(time) >= 22 or hour(time) < 6, amount, 0)) as night
  from bought group by customer_id
)
select sums.*, orders, gap_mean_days, gap_std_days, top / spend as top_category_share,
       coalesce(returned.amount, 0) / spend as return_share, spend / orders as avg_order_value,
       if(spend_90d + before > 0, (spend_90d - before) / (spend_90d + before), 0) as spend_trend
from sums join of_orders using (customer_id) join shelves using (customer_id)
left join returned using (customer_id)
"""


def spark(data: str, out: str) -> None:
    """Build them in Spark SQL, local[2]."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.driver.memory", "8g")
    builder = builder.config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.session.timeZone", "UTC")
    session = builder.config("spark.driver.host", "127.0.0.1").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    session.read.parquet(data).createOrReplaceTempView("given")
    session.sql(SQL).write.mode("overwrite").parquet(out)
    session.stop()
    _print_totals(out)


def _print_totals(out: str) -> None:
    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    table = ds.dataset(out, ignore_prefixes=["_", "."]).to_table(columns=["orders", "spend"])
    totals = {name: float(pc.sum(table[name]).as_py()) for name in table.column_names}
    print(json.dumps({"customers": table.num_rows, **totals}))


ENGINES = {"gpuseg": gpuseg, "pandas": with_pandas, "spark": spark}


def make(folder: Path, lines: int) -> tuple[Path, Path]:
    """Write the lines, and a folder with a tenth of the files; keep what is there already."""
    from gpuseg.synthetic.transactions import write_transactions

    whole, part = folder / f"lines-{lines}", folder / f"lines-{lines}-part"
    if not whole.exists():
        customers = CUSTOMERS * lines // LINES
        write_transactions(whole, lines=lines, customers=customers, files=PART)
    if not part.exists():
        part.mkdir()
        shutil.copy(min(whole.iterdir()), part)
    return whole, part


def compare(folder: Path, lines: int, repeats: int, with_spark: bool) -> None:
    """Time all engines, check that they agree, and save the results."""
    whole, part = make(folder, lines)
    tasks = {"gpuseg": ("gpuseg", whole), "gpuseg, a tenth": ("gpuseg", part),
             "pandas, a tenth": ("pandas", part)}  # fmt: skip
    if with_spark and can_run_spark():
        tasks["spark"] = ("spark", whole)
    commands = {
        name: [sys.executable, __file__, "--engine", engine, str(data), f"{folder}/out-{i}"]
        for i, (name, (engine, data)) in enumerate(tasks.items())
    }
    runs = interleaved(commands, repeats)
    table: dict[str, Any] = {name: summary(repeats) for name, repeats in runs.items()}
    for name, repeats in runs.items():
        table[name]["totals"] = json.loads(repeats[-1].output.splitlines()[-1])
    for name, other in (("gpuseg", "spark"), ("gpuseg, a tenth", "pandas, a tenth")):
        if other in table:
            ours, theirs = table[name]["totals"], table[other]["totals"]
            for key in ours:
                assert abs(ours[key] / theirs[key] - 1) < 1e-9, (key, ours, theirs)
            ratio = table[other]["median_s"] / table[name]["median_s"]
            table[other]["times_gpuseg"] = round(ratio, 2)
    print(json.dumps(table, indent=1))
    save("features", {"lines": lines, "repeats": repeats, "engines": table})


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the lines")
    parser.add_argument("--spark", action="store_true", help="Spark SQL, too")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--folder", type=Path, help="keep the lines there for other runs")
    parser.add_argument("--engine", nargs=3, metavar=("NAME", "DATA", "OUT"))
    given = parser.parse_args()
    if given.engine:
        ENGINES[given.engine[0]](*given.engine[1:])
        return
    lines = LINES // 10 if given.quick else LINES
    if given.folder:
        compare(given.folder, lines, given.repeats, given.spark)
        return
    with TemporaryDirectory(prefix="gpuseg-") as folder:
        compare(Path(folder), lines, given.repeats, given.spark)


if __name__ == "__main__":
    main()
