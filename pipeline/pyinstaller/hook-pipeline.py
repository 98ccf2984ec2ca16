"""PyInstaller's hook for Wisp: the weights, and what is imported by its name only."""

from importlib.util import find_spec

from PyInstaller.utils.hooks import collect_data_files, copy_metadata

datas = collect_data_files("pipeline", includes=["weights/*"])
# The command loads its subcommands, and looks for those of other packages, when they are asked for.
hiddenimports = ["pipeline.cli.models", "pipeline.cli.explain", "pipeline.doctor"]
if find_spec("pillow_heif"):
    hiddenimports += ["pillow_heif", "pillow_heif.as_plugin"]
    datas += copy_metadata("pillow_heif")
# Only for making smaller variants of a model, with packages that are hundreds of megabytes.
excludedimports = ["onnx", "torch"]
