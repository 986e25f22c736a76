"""Requantise: a model file's Q4_1 tensors rewritten as Q8_0, which the engine reads a third faster.

The weights stay what they were; only their packing changes (docs/decisions/embedded-weights.md has the figures).
"""

import importlib.util
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gguf import GGUFReader, GGUFWriter

Progress = Callable[[str, int, int], None]


def can_requantise() -> bool:
    """Whether the package that reads and writes model files is installed; nothing is imported."""
    return importlib.util.find_spec("gguf") is not None


def requantise(source: Path, target: Path, progress: Progress) -> Path:
    """Write ``target`` with every Q4_1 tensor of ``source`` as Q8_0; the file appears whole or not at all.

    Args:
        source: A GGUF file.
        target: Where the copy goes.
        progress: Told the stage and the bytes done and in all.

    Raises:
        OSError: The copy cannot be written.
    """
    from gguf import GGUFReader, GGUFWriter

    handle, name = tempfile.mkstemp(prefix="requantise-", dir=target.parent)
    os.close(handle)
    try:
        reader = GGUFReader(source)
        writer = GGUFWriter(name, reader.fields["general.architecture"].contents())
        _copy_fields(reader, writer)
        _copy_tensors(reader, writer, lambda done: progress("converting", done, source.stat().st_size))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target


def _copy_fields(reader: "GGUFReader", writer: "GGUFWriter") -> None:
    from gguf import GGUFValueType, LlamaFileType

    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue  # the writer writes these itself
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        value: Any = field.contents()
        if field.name == "general.file_type":
            value = int(LlamaFileType.MOSTLY_Q8_0)
        writer.add_key_value(field.name, value, kind, inner)


def _copy_tensors(reader: "GGUFReader", writer: "GGUFWriter", on_bytes: Callable[[int], None]) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    done = 0
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == GGMLQuantizationType.Q4_1:
            data, kind = quantize(dequantize(data, kind), GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
        done += int(tensor.n_bytes)
        on_bytes(done)
