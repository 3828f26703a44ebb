"""A backend: its device and its kernels as one object."""

from gpuseg.backends.protocols import BinKernels, CentroidKernels, ColumnKernels, Device, RunKernels


class Backend:
    """The methods of a device, and of kernels for columns, centroids, runs and bins, composed.

    `backends.protocols` documents the methods.

    Attributes
    ----------
    name : str
    device : Device
    columns : ColumnKernels
    centroids : CentroidKernels
    runs : RunKernels
    bins : BinKernels
    """

    def __init__(
        self,
        name: str,
        device: Device,
        columns: ColumnKernels,
        centroids: CentroidKernels,
        runs: RunKernels,
        bins: BinKernels,
    ) -> None:
        self.name = name
        self.device, self.columns, self.centroids = device, columns, centroids
        self.runs, self.bins = runs, bins

        self.fits = device.fits
        self.block_rows = device.block_rows
        self.to_device = device.to_device
        self.from_foreign = device.from_foreign
        self.to_host = device.to_host

        self.summarize = columns.summarize
        self.digest = columns.digest
        self.prepare = columns.prepare
        self.gram = columns.gram
        self.power_sums = columns.power_sums
        self.key_histogram = columns.key_histogram

        self.slack_rounding = centroids.slack_rounding
        self.pack = centroids.pack
        self.bounds_budget = centroids.bounds_budget
        self.bounds_bytes_per_row = centroids.bounds_bytes_per_row
        self.new_bounds = centroids.new_bounds
        self.reset_slack = centroids.reset_slack
        self.lloyd = centroids.lloyd
        self.nearest = centroids.nearest
        self.assign = centroids.assign
        self.distance_sums = centroids.distance_sums
        self.squared_distances = centroids.squared_distances
        self.runner_up = centroids.runner_up

        self.plus_plus = runs.plus_plus
        self.choose_in_cells = runs.choose_in_cells
        self.iterate = runs.iterate
        self.sum_assignments = runs.sum_assignments

        self.bin_rows = bins.bin_rows
        self.count_bins = bins.count_bins
