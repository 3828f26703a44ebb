"""Run scikit-learn's k-means, DBSCAN and silhouettes by gpuseg, in scripts that stay as they are.

Three ways to switch it on::

    python -m gpuseg.accel script.py        # also: -m module, -c code
    import gpuseg.accel; gpuseg.accel.install()
    %load_ext gpuseg.accel                  # in a notebook

scikit-learn's classes and functions stay; only what they call to compute is replaced. So all that
looks at them works as before: `isinstance`, `clone`, pipelines, searches and pickles, which load
without gpuseg. What gpuseg cannot do, and what is too small to gain, scikit-learn computes. The
logger "gpuseg.accel" says which, and why.

This module imports nothing heavy, and neither does `install`: scikit-learn is changed when the
script imports it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def install(
    *,
    min_saving: float | None = None,
    mini_batch: bool | None = None,
    verbose: bool | None = None,
) -> None:
    """Let gpuseg compute for scikit-learn, in this process, from now on.

    It does not matter whether scikit-learn was imported before. Called again, it changes the
    settings that are given.

    Parameters
    ----------
    min_saving : float >= 0, default 0.05
        Seconds that gpuseg must be expected to save; otherwise scikit-learn computes. With 0,
        gpuseg computes whatever it can, however small.
    mini_batch : bool, default False
        Whether `MiniBatchKMeans.fit` is replaced too, by k-means on all rows. The centers then
        differ from scikit-learn's, and have less inertia.
    verbose : bool, default False
        Whether the log goes to stderr; the environment variable `GPUSEG_ACCEL_VERBOSE` = 1 sends
        it there, too.

    Raises
    ------
    ConfigError
        For a setting outside its rule.

    Examples
    --------
    >>> import gpuseg.accel
    >>> gpuseg.accel.install()
    >>> from sklearn.cluster import KMeans
    >>> KMeans(n_clusters=2, random_state=0).fit([[0.0], [1.0], [10.0], [11.0]]).inertia_
    1.0
    >>> gpuseg.accel.uninstall()
    """
    from gpuseg.accel.import_hook import change_modules
    from gpuseg.accel.log import is_log_asked_for, show_log
    from gpuseg.accel.settings import change_settings

    change_settings(min_saving, mini_batch)
    if verbose is not None or is_log_asked_for():
        show_log(verbose is not False)
    change_modules()


def uninstall() -> None:
    """Let scikit-learn compute by itself again; fitted estimators stay as they are."""
    from gpuseg.accel.import_hook import restore_modules
    from gpuseg.accel.log import show_log
    from gpuseg.accel.settings import reset_settings

    restore_modules()
    reset_settings()
    show_log(False)


def load_ipython_extension(ipython: Any) -> None:
    """Switch it on, for ``%load_ext gpuseg.accel``."""
    install()


def unload_ipython_extension(ipython: Any) -> None:
    """Switch it off, for ``%unload_ext gpuseg.accel``."""
    uninstall()
