"""Array files without NumPy, for run.sh.

    arrays.py write FILE.npy DTYPE 2x3 [LIST]        LIST: numbers, or START:STEP (counted up); default 0:1
    arrays.py show FILE.npz                          one line per array: name dtype shape first four elements
    arrays.py same FILE.npz[:KEY] FILE.npz[:KEY] [TOLERANCE]   exit 1 and say why if they differ
"""
import ast
import struct
import sys
import zipfile

CODES = {"f4": "f", "f8": "d", "i1": "b", "u1": "B", "i2": "h", "i4": "i", "i8": "q", "u4": "I", "b1": "?"}


def write(path, dtype, shape, values="0:1"):
    dims = tuple(int(x) for x in shape.split("x")) if shape != "scalar" else ()
    n = 1
    for x in dims:
        n *= x
    if ":" in values:
        start, step = (float(x) for x in values.split(":"))
        values = [start + i * step for i in range(n)]
    else:
        values = [float(x) for x in values.split(",")]
    if "f" not in dtype:
        values = [int(x) for x in values]
    kind = ("|" if dtype[1] == "1" else "<") + dtype
    head = "{'descr': '%s', 'fortran_order': False, 'shape': %r, }" % (kind, dims)
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode())
        f.write(struct.pack("<%d%s" % (n, CODES[dtype]), *values))


def parse(data):
    assert data[:8] == b"\x93NUMPY\1\0", "not an .npy of version 1.0"
    (length,) = struct.unpack("<H", data[8:10])
    assert (10 + length) % 64 == 0, "elements are not aligned"
    head = ast.literal_eval(data[10:10 + length].decode())
    assert head["fortran_order"] is False
    n = 1
    for x in head["shape"]:
        n *= x
    return head["descr"][1:], head["shape"], struct.unpack("<%d%s" % (n, CODES[head["descr"][1:]]), data[10 + length:])


def load(name):
    path, _, key = name.partition(":")
    if path.endswith(".npy"):
        return {"": parse(open(path, "rb").read())}
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None
        found = {i.filename[:-4]: parse(z.read(i)) for i in z.infolist()}
    return {key: found[key]} if key else found


def show(name):
    for key, (dtype, shape, values) in load(name).items():
        print(key, dtype, "x".join(map(str, shape)) or "scalar", " ".join("%g" % v for v in values[:4]))


def same(a, b, tolerance="0"):
    (x,), (y,) = load(a).values(), load(b).values()
    if x[:2] != y[:2]:
        sys.exit("%s %s is not %s %s" % (x[:2] + y[:2]))
    worst = max(abs(p - q) for p, q in zip(x[2], y[2]))
    if not worst <= float(tolerance):
        sys.exit("they differ by %g" % worst)


if __name__ == "__main__":
    {"write": write, "show": show, "same": same}[sys.argv[1]](*sys.argv[2:])
