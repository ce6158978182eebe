"""Makes and reads the files by which the Go reader and writer are held to the Python package `safetensors`.

    make.py write FOLDER      floats.safetensors, integers.safetensors and what they hold, floats.json, integers.json
    make.py read FILE JSON    what Python reads in FILE

Needs safetensors (0.8 made the frozen files) and numpy. go.safetensors is written by
`go test ./internal/safetensors -run Interop -update`, and go.json by `make.py read go.safetensors go.json`.
"""

import json
import os
import struct
import sys

import numpy as np
from safetensors import TensorSpec, deserialize, safe_open, serialize

# As the format spells a dtype -> as the Python writer does, and how numpy views its bytes. numpy has no bfloat16.
DTYPES = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "u1"),
    "BOOL": ("bool", "?"),
}


def values(dtype, raw):
    """Elements as exact text: hexadecimal floats, decimal integers."""
    a = np.frombuffer(raw, DTYPES[dtype][1])
    if dtype == "BF16":
        a = (a.astype("<u4") << 16).view("<f4")
    if dtype == "BOOL":
        return [str(int(v)) for v in a]
    return [float(v).hex() if a.dtype.kind == "f" else str(int(v)) for v in a]


def read(path):
    with open(path, "rb") as f:
        content = f.read()
    tensors = {}
    with safe_open(path, framework="np") as f:
        for name, t in deserialize(content):
            dtype, raw = t["dtype"], bytes(t["data"])
            if dtype != "BF16":  # the way most people read a file must agree
                a = f.get_tensor(name)
                assert a.tobytes() == raw and list(a.shape) == list(t["shape"]), name
            tensors[name] = {"dtype": dtype, "shape": list(t["shape"]), "values": values(dtype, raw)}
        metadata = f.metadata() or {}
    return {"metadata": metadata, "tensors": tensors}


def dump(content, path):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(content, f, ensure_ascii=False, sort_keys=True, indent=1)
        f.write("\n")


def write(folder, stem, tensors, metadata):
    """tensors: name -> (dtype, shape, bytes)."""
    keep, specs = [], {}
    for name, (dtype, shape, raw) in tensors.items():
        a = np.frombuffer(raw, np.uint8)
        keep.append(a)
        specs[name] = TensorSpec(
            dtype=DTYPES[dtype][0], shape=list(shape), data_ptr=a.ctypes.data, data_len=a.nbytes
        )
    # The Python writer orders metadata at random. Try until it is sorted, so that the file can be made again.
    order = ",".join(f"{json.dumps(k, ensure_ascii=False)}:{json.dumps(v, ensure_ascii=False)}" for k, v in sorted(metadata.items()))
    while True:
        content = bytes(serialize(specs, metadata))
        if order.encode() in content:
            break
    path = os.path.join(folder, stem + ".safetensors")
    with open(path, "wb") as f:
        f.write(content)
    expected = {
        "metadata": metadata,
        "tensors": {
            n: {"dtype": d, "shape": list(s), "values": values(d, raw)} for n, (d, s, raw) in tensors.items()
        },
    }
    assert read(path) == expected, path
    dump(expected, os.path.join(folder, stem + ".json"))


def floats():
    pack = lambda code, *v: struct.pack(f"<{len(v)}{code}", *v)
    ramp = np.arange(3 * 5 * 7).reshape(3, 5, 7)
    # Bits: zeros, ones, largest and smallest normal, largest and smallest subnormal, infinities, a NaN of each sign.
    f64 = [0, 1 << 63, 0x3FF0 << 48, 0x400921FB54442D18, 0x7FEFFFFFFFFFFFFF, 1 << 52, (1 << 52) - 1, 1,
           0x7FF0 << 48, 0xFFF0 << 48, 0x7FF8 << 48, 0xFFF8000000000001]
    f32 = [0, 1 << 31, 0x3F800000, 0x40490FDB, 0x7F7FFFFF, 0x00800000, 0x007FFFFF, 1, 0x7F800000, 0xFF800000,
           0x7FC00000, 0xFFC00001]
    f16 = [0, 0x8000, 0x3C00, 0x4248, 0x7BFF, 0x0400, 0x03FF, 1, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x8001, 0xFBFF]
    bf16 = [0, 0x8000, 0x3F80, 0x4049, 0x7F7F, 0x0080, 0x007F, 1, 0x7F80, 0xFF80, 0x7FC0, 0xFFC1, 0x8001, 0xFF7F]
    return {
        "f64 special": ("F64", (12,), pack("Q", *f64)),
        "f32 special": ("F32", (3, 4), pack("I", *f32)),
        "f16 special": ("F16", (7, 2), pack("H", *f16)),
        "bf16 special": ("BF16", (2, 1, 7), pack("H", *bf16)),
        "f64 odd": ("F64", (3, 5, 7), np.sin(ramp).astype("<f8").tobytes()),
        "f32 odd": ("F32", (3, 5, 7), np.cos(ramp).astype("<f4").tobytes()),
        "f16 odd": ("F16", (3, 5, 7), np.exp(ramp / 10 - 5).astype("<f2").tobytes()),
        "bf16 odd": ("BF16", (3, 5, 7), (np.exp(ramp - 50).astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()),
        "f64 scalar": ("F64", (), pack("d", 0.1)),
        "f32 scalar": ("F32", (), pack("f", 0.1)),
        "f16 scalar": ("F16", (), pack("e", 0.1)),
        "bf16 scalar": ("BF16", (), pack("H", 0x3DCD)),
        "f64 empty": ("F64", (0,), b""),
        "f32 empty": ("F32", (4, 0, 2), b""),
        "f16 empty": ("F16", (0, 3), b""),
        "bf16 empty": ("BF16", (1, 0), b""),
        "": ("F32", (1,), pack("f", 1)),
        "вес/権重.🌊é": ("F32", (1, 1), pack("f", 2)),
        'quote" back\\slash / tab\t <&> \x01': ("F16", (1,), pack("e", 3)),
    }


def integers():
    out = {"mask": ("BOOL", (2, 2), bytes([1, 0, 0, 1]))}
    for dtype in ("I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8"):
        width = np.dtype(DTYPES[dtype][1]).itemsize
        top = 1 << (8 * width - 1)
        # All are exact in float64; in float32 too, but for the last of 32 bits and more.
        v = [0, 1, 77, top, top + top // 2]
        if dtype[0] == "I":
            v = [0, 1, -1, 77, -top, top // 2]
        if width > 2:
            v.append((1 << 24) + 1)
        out[dtype.lower()] = (dtype, (len(v),), np.array(v, DTYPES[dtype][1]).tobytes())
    out["inexact i64"] = ("I64", (3,), np.array([1, 2, -(2**53) - 1], "<i8").tobytes())
    out["inexact u64"] = ("U64", (1,), np.array([2**64 - 1], "<u8").tobytes())
    return out


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "write":
        write(sys.argv[2], "floats", floats(), {"format": "np", "λ → 🌊": 'ünïcode "quoted"'})
        write(sys.argv[2], "integers", integers(), {"step": "1000"})
    elif len(sys.argv) == 4 and sys.argv[1] == "read":
        dump(read(sys.argv[2]), sys.argv[3])
    else:
        sys.exit(__doc__)
