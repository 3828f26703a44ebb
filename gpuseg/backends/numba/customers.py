"""Customer features on the CPU."""

from gpuseg.backends.customers import CustomerFeatures, TransactionLines
from gpuseg.backends.numba.transactions import aggregate
from gpuseg.backends.protocols import ParallelMap

_CUSTOMERS_PER_TASK = 2**13


class NumbaCustomers:
    """See `backends.protocols.CustomerKernels`."""

    def aggregate(
        self,
        lines: TransactionLines,
        n_customers: int,
        snapshot: int,
        parallel_map: ParallelMap,
    ) -> CustomerFeatures:
        features = CustomerFeatures.empty(n_customers)
        starts, order = aggregate.group_by_customer(lines, n_customers, features.counts)
        grouped = TransactionLines._make(column[order] for column in lines)

        def run(first: int) -> None:
            last = min(first + _CUSTOMERS_PER_TASK, n_customers)
            aggregate.aggregate(grouped, starts, snapshot, first, last, features)

        list(parallel_map(run, range(0, n_customers, _CUSTOMERS_PER_TASK)))
        return features
