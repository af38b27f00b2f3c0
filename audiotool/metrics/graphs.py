"""Networks that come inside other packages, run by onnxruntime on the processor."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from audiotool.cores import core_count
from audiotool.errors import DependencyError


class Graph:
    """A network with one output, run by onnxruntime on the processor.

    Args:
        content: the bytes of an ONNX file.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        # Worker processes share the cores; the variable has the share of this one.
        asked = os.environ.get("OMP_NUM_THREADS", "")
        options.intra_op_num_threads = int(asked) if asked.isdigit() else core_count()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._inputs = [item.name for item in self._session.get_inputs()]

    @classmethod
    def cut(cls, model: Any, start: str, end: str) -> Graph:
        """Return the part of an `onnx.ModelProto` between two tensors, for inputs of any size."""
        import onnx

        inferred = onnx.shape_inference.infer_shapes(model)
        part = onnx.utils.Extractor(inferred).extract_model([start], [end])
        for value in (*part.graph.input, *part.graph.output):
            for n, size in enumerate(value.type.tensor_type.shape.dim):
                size.dim_param = f"{value.name} {n}"
        del part.graph.value_info[:]
        return cls(part.SerializeToString())

    def __call__(self, *inputs: NDArray[Any]) -> NDArray[Any]:
        """Return the output for inputs in the order of the network's."""
        found: NDArray[Any] = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))[0]
        return found


def graph_of_package(package: str, place: str) -> Path:
    """Return the path of a file inside an installed package, which is not imported.

    Raises:
        DependencyError: the package has no such file.
    """
    found = importlib.util.find_spec(package)
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        path = Path(folder) / place
        if path.is_file():
            return path
    raise DependencyError(f"the installed {package} has no {place}: another version of it is needed")
