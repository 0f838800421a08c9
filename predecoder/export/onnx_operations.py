"""Operations written down as nodes of an ONNX graph.

The operators are those of the standard's opset 20, with float32 and uint8 tensors; nothing is left to shape
inference but the number of shots. In int8, a convolution for which there are scales gets a pair of
QuantizeLinear and DequantizeLinear (QDQ) on its input and on its weights, symmetric as TensorRT wants it: one
scale for the input, one for each output channel of the weights.

Shape legend as in `predecoder.export.operations`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from predecoder.export.graphs import Graph

if TYPE_CHECKING:
    import onnx

__all__ = ["IR_VERSION", "LARGEST", "OPSET", "onnx_model", "weight_scales"]

OPSET, IR_VERSION = 20, 9
"""The first opset with Gelu, and the version of the file format that it came with."""
LARGEST = 127
"""Of int8 numbers, of either sign."""


def onnx_model(graph: Graph, *, scales: Mapping[str, float] | None = None) -> onnx.ModelProto:
    """Write a graph down.

    Args:
        scales: what one unit of int8 stands for, of the input of every convolution to quantize, by name.
    """
    from onnx import TensorProto, checker, helper

    ops = OnnxOperations(scales or {})
    values = graph.define(ops, graph.input)
    for output, value in zip(graph.outputs, values, strict=True):
        ops.rename(value, output.name)
    types = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}
    model = helper.make_model(
        helper.make_graph(
            ops.nodes,
            "predecoder",
            [helper.make_tensor_value_info(graph.input, TensorProto.UINT8, ["batch", graph.num_detectors])],
            [
                helper.make_tensor_value_info(one.name, types[one.dtype], ["batch", one.elements])
                for one in graph.outputs
            ],
            ops.initializers,
        ),
        producer_name="qecpipe",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    checker.check_model(model, full_check=True)
    return model


def weight_scales(weight: np.ndarray) -> np.ndarray:
    """What one unit of int8 stands for in the weights of every output channel: float32 `(o,)`."""
    largest = np.abs(weight).max(axis=(1, 2, 3, 4))
    return np.maximum(largest, np.finfo(np.float32).tiny) / np.float32(LARGEST)


class OnnxOperations:
    """`Operations` on names of values.

    Attributes:
        nodes: in an order in which they can be run.
        initializers: the constants.
    """

    def __init__(self, scales: Mapping[str, float]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._scales = scales
        self._names: set[str] = set()
        self._count: Counter[str] = Counter()

    def rename(self, value: str, name: str) -> None:
        """Give the value of the node that makes it a name."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for at, one in enumerate(names):
                    if one == value:
                        names[at] = name

    def constant(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        if name not in self._names:
            self._names.add(name)
            self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def bits(self, x: str) -> str:
        from onnx import TensorProto

        return self._node("Cast", x, to=TensorProto.FLOAT)

    def bytes(self, x: str) -> str:
        from onnx import TensorProto

        return self._node("Cast", x, to=TensorProto.UINT8)

    def take(self, x_BN: str, name: str, index: np.ndarray, *, zero: bool = False) -> str:
        if zero:
            x_BN = self._node("Pad", x_BN, self.constant("one_behind", np.array([0, 0, 0, 1], np.int64)))
        taken = self._node("Gather", x_BN, self.constant(name, index.ravel()), axis=1)
        if index.ndim == 1:
            return taken
        shape = self.constant(f"{name}.shape", np.array([-1, *index.shape], np.int64))
        return self._node("Reshape", taken, shape)

    def convolution(
        self, x_BCTij: str, name: str, weight: np.ndarray, bias: np.ndarray | None, *, groups: int = 1
    ) -> str:
        kernel = self.constant(f"{name}.weight", weight)
        if name in self._scales:
            x_BCTij = self._quantized(x_BCTij, f"{name}.input", np.float32(self._scales[name]))
            kernel = self._quantized(kernel, f"{name}.weight", weight_scales(weight))
        given = [x_BCTij, kernel] if bias is None else [x_BCTij, kernel, self.constant(f"{name}.bias", bias)]
        size = weight.shape[-1]
        return self._node("Conv", *given, kernel_shape=[size] * 3, pads=[size // 2] * 6, group=groups)

    def gelu(self, x: str) -> str:
        return self._node("Gelu", x, approximate="tanh")

    def relu(self, x: str) -> str:
        return self._node("Relu", x)

    def flat(self, x: str) -> str:
        return self._node("Flatten", x, axis=1)

    def add(self, x: str, y: str) -> str:
        return self._node("Add", x, y)

    def subtract(self, x: str, y: str) -> str:
        return self._node("Sub", x, y)

    def multiply(self, x: str, y: str) -> str:
        return self._node("Mul", x, y)

    def floor(self, x: str) -> str:
        return self._node("Floor", x)

    def above(self, x: str, bound: str) -> str:
        return self.bits(self._node("Greater", x, bound))

    def below(self, x: str, bound: str) -> str:
        return self.bits(self._node("Less", x, bound))

    def largest(self, x: str, *, keep: bool = False) -> str:
        return self._node("ReduceMax", x, self._second_axis(), keepdims=int(keep))

    def total(self, x_BKN: str) -> str:
        return self._node("ReduceSum", x_BKN, self._second_axis(), keepdims=0)

    def joined(self, x_BN: str, y_BK: str) -> str:
        return self._node("Concat", x_BN, y_BK, axis=1)

    def _second_axis(self) -> str:
        return self.constant("second_axis", np.array([1], np.int64))

    def _quantized(self, x: str, name: str, scale: np.ndarray | np.float32) -> str:
        """Round to int8 and back, with one scale or one for each of the first axis."""
        zeros = np.zeros(np.shape(scale), np.int8)
        unit = [self.constant(f"{name}.scale", np.asarray(scale)), self.constant(f"{name}.zero", zeros)]
        axis = {"axis": 0} if zeros.ndim else {}
        return self._node("DequantizeLinear", self._node("QuantizeLinear", x, *unit, **axis), *unit, **axis)

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = f"{operator}_{self._count[operator]}"
        self._count[operator] += 1
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name
