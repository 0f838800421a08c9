"""A warm model as bytes: what another process needs of it to decode, without the error model itself."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from decoder_service.streaming.model import StreamModel
from global_decoders.windows import CutKey, LayeredDem, WindowGraph, WindowGraphs, WindowSizes

__all__ = ["SerializedModel"]


class SerializedModel(msgspec.Struct, frozen=True):
    """The skeleton of the layers and the graph of every window of a `StreamModel`.

    Attributes:
        layers: a skeleton.
        sizes: of the windows.
        decoder: the windows' decoder.
        reach, ahead: of its graphs.
        id, slack: of the model.
        graphs: the distinct ones.
        windows: which of them each window has.
    """

    layers: LayeredDem
    sizes: WindowSizes
    decoder: str
    reach: int
    ahead: int
    id: str
    slack: int
    graphs: list[WindowGraph]
    windows: list[tuple[CutKey, int]]

    @classmethod
    def of(cls, model: StreamModel) -> SerializedModel:
        """Of a model whose windows' graphs are built; those with erased rounds are left out."""
        graphs = {id(graph): graph for graph in model.graphs.by_key.values()}
        number = {key: k for k, key in enumerate(graphs)}
        return cls(
            layers=model.layers.skeleton(),
            sizes=model.sizes,
            decoder=model.graphs.inner,
            reach=model.graphs.reach,
            ahead=model.graphs.ahead,
            id=model.id,
            slack=model.slack,
            graphs=[*graphs.values()],
            windows=[(key, number[id(graph)]) for key, graph in model.graphs.by_key.items()],
        )

    def build(self) -> StreamModel:
        """The model again, with the same answers."""
        stored = {key: self.graphs[k] for key, k in self.windows}
        graphs = WindowGraphs(
            inner=self.decoder,
            reach=self.reach,
            ahead=self.ahead,
            stored=(stored, len(self.layers.positions)),
        )
        return StreamModel(self.layers, self.sizes, graphs, self.id, known_slack=self.slack)

    def encode(self) -> bytes:
        """MessagePack."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, data: bytes) -> SerializedModel:
        """Raises msgspec.ValidationError for anything else."""
        return _DECODER.decode(data)


def plain(value: Any) -> Any:
    """What msgspec writes in place of an array; `array_of` reads it."""
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    raise NotImplementedError(f"{type(value).__name__} cannot be serialized")


def array_of(kind: type, value: Any) -> Any:
    """What msgspec makes of a value of this type, which it does not know."""
    if kind is not np.ndarray:
        raise NotImplementedError(f"{kind.__name__} cannot be serialized")
    dtype, shape, data = value
    return np.frombuffer(data, dtype=dtype).reshape(shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=plain)
_DECODER = msgspec.msgpack.Decoder(SerializedModel, dec_hook=array_of)
