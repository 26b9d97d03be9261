#!/usr/bin/python3
"""Writes tests/fuzz/corpus/bpu: small compiled programs in the form that target_bpu.c takes.

usage: tests/fuzz/make_bpu.py     environment: BUILD, a folder made by `make`; default build

Each section stands behind its length in two bytes.  Of the constants only the first few bytes are
kept: nothing that the target does reads them.
"""
import os
import pathlib
import struct
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/fuzz/corpus/bpu"
CONSTANTS = 16
HEAD_TABLE, ENTRY, SECTIONS = 32, 56, 8

# Name of the seed, model below tests/fixtures, arguments of `bpuhub compile`.
SEEDS = [
    ("lenet_O0", "lenet_qat_s8.onnx", ["--march", "bayes", "-O", "0"]),
    ("lenet_cores", "lenet_qat_s8.onnx", ["--march", "bayes", "--cores", "2"]),
    ("lenet_raw", "lenet_qat_s8.onnx", ["--march", "bayes", "--input-layout", "bpu_raw"]),
    ("lenet_sums", "lenet_float.bpug", ["--march", "bayes"]),
    ("two_quantized", "quantized/one_input_quantized_twice.onnx", ["--march", "bayes"]),
    ("moved", "quantized/one_integers_through.onnx", ["--march", "bayes"]),
    ("small_net", "quantized/small_net.qdq.onnx", ["--march", "bayes"]),
    ("cell", "pt2/cell.pt2", ["--march", "bayes"]),
    ("dynamic", "pt2/dynamic.pt2", ["--march", "bayes"]),
]


def framed(data):
    parts = []
    for i in range(SECTIONS):
        offset, size = struct.unpack_from("<QQ", data, HEAD_TABLE + i * ENTRY + 8)
        parts.append(data[offset:offset + size])
    parts[-1] = parts[-1][:CONSTANTS]
    return b"".join(struct.pack("<H", len(p)) + p for p in parts)


def main():
    build = ROOT / os.environ.get("BUILD", "build")
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        program, maker = os.path.join(folder, "x.bpu"), os.path.join(folder, "make_bpu")
        subprocess.run(["cc", "-std=gnu17", f"-I{ROOT}", "-o", maker, str(ROOT / "tests/fuzz/make_bpu.c"),
                        str(build / "libbpuhub.a"), "-lcrypto", "-lm"], check=True)
        subprocess.run([maker, program], check=True)
        data = pathlib.Path(program).read_bytes()
        (OUT / "kinds").write_bytes(framed(data))
        (OUT / "container").write_bytes(data)  # with its head
        for name, model, args in SEEDS:
            subprocess.run([str(build / "bpuhub"), "compile", str(ROOT / "tests/fixtures" / model),
                            *args, "-o", program], check=True, stdout=subprocess.DEVNULL)
            (OUT / name).write_bytes(framed(pathlib.Path(program).read_bytes()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
