"""A segmentation as a folder of MLflow; `gpuseg.mlflow` makes it."""

from pathlib import Path

from gpuseg.exports.export_format import ExportedFiles, ExportFormat, ExportOptions, Layout
from gpuseg.mlflow.save import save_model
from gpuseg.models.described_model import DescribedModel
from gpuseg.runtime.temporary_folder import temporary_folder

_MARK = "MLmodel"
"""The file that describes a model of MLflow."""


def mlflow_files(source: DescribedModel, options: ExportOptions) -> ExportedFiles:
    """Return the files of the folder.

    Raises
    ------
    ResourceError
        When MLflow cannot be imported.
    """
    with temporary_folder() as folder:
        target = Path(folder) / "model"
        save_model(source, target)
        paths = sorted(path for path in target.rglob("*") if path.is_file())
        return {path.relative_to(target).as_posix(): path.read_bytes() for path in paths}


FORMAT = ExportFormat("mlflow", Layout.FOLDER, mlflow_files, mark=_MARK)
