"""Files of about one megabyte that are built to make a reader slow: for hostile.sh.

    hostile.py FOLDER [BYTES]       writes them there; the names say what each has too much of

Everything is well formed. An algorithm that looks at all nodes for each node takes minutes on them, one that does not
takes a fraction of a second.
"""
import json
import struct
import sys
import zipfile

FOLDER, BYTES = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
SHAPE = [1, 4, 8, 8]


def graph(name, make, inputs=None, unit=80):
    """make(i) gives node i; as many as fit."""
    nodes, outputs, size, i = [], None, 0, 0
    while size < BYTES:
        node = make(i)
        size += len(json.dumps(node, separators=(",", ":"))) + 1
        nodes.append(node)
        i += 1
    write(name, nodes, [nodes[-1]["outputs"][0]], inputs)


def write(name, nodes, outputs, inputs=None):
    doc = {"format": "bpuhub.graph/1", "name": name, "inputs": inputs or [{"name": "v0", "shape": SHAPE}],
           "nodes": nodes, "outputs": outputs}
    with open(f"{FOLDER}/{name}.json", "w") as f:
        json.dump(doc, f, separators=(",", ":"))


def node(op, inputs, *outputs, **attrs):
    n = {"op": op, "inputs": inputs, "outputs": list(outputs)}
    if attrs:
        n["attrs"] = attrs
    return n


def chain(op, **attrs):
    return lambda i: node(op, [f"v{i}"], f"v{i + 1}", **attrs)


CONV = dict(in_channels=4, out_channels=4, kernel_size=3, padding=1, stride=1)


def graph_json():
    graph("chain", chain("torch.nn.ReLU"))
    graph("identities", chain("torch.nn.Identity"))
    graph("convolutions", chain("torch.nn.Conv2d", **CONV))
    graph("illegal", chain("torch.nn.Conv2d", in_channels=4, out_channels=4, kernel_size=33, padding=16, stride=1))
    graph("illegal_dilation", chain("torch.nn.Conv2d", in_channels=4, out_channels=4, kernel_size=3, padding=40,
                                    dilation=40))
    graph("batch_norms", lambda i: node("torch.nn.Conv2d" if i % 2 == 0 else "torch.nn.BatchNorm2d", [f"v{i}"],
                                        f"v{i + 1}", **(CONV if i % 2 == 0 else {"num_features": 4})))
    graph("quantize_pairs", lambda i: node("torch.quantization.DeQuantStub" if i % 2 else "torch.quantization.QuantStub",
                                           [f"v{i}"], f"v{i + 1}", **({} if i % 2 else {"scale": 0.5})))
    graph("unknown_operators", lambda i: node(f"torch.nn.Conv2e{i}", [f"v{i}"], f"v{i + 1}"))
    graph("unknown_operator", chain("torch.nn.Covn2d"))
    graph("all_read_the_first", lambda i: node("torch.add", ["v0", f"v{i}"], f"v{i + 1}"))
    graph("all_read_the_last_but_many", lambda i: node("torch.add", [f"v{max(0, i - 500)}", f"v{i}"], f"v{i + 1}"))
    graph("identities_read", lambda i: node("torch.nn.Identity", [f"v{i}"], f"v{i + 1}") if i % 2 == 0 else
          node("torch.quantization.QuantStub", [f"v{i}"], f"v{i + 1}", scale=0.5))
    graph("squeeze_and_excite", lambda i: node(["torch.mean", "torch.sigmoid", "torch.mul"][i % 3],
                                               [f"v{i}"] if i % 3 < 2 else [f"v{i - 2}", f"v{i}"], f"v{i + 1}",
                                               **({"dim": [2, 3], "keepdim": True} if i % 3 == 0 else {})))

    # Crossing edges, for the drawing: rows in which every node reads two of the row before, and no rows at all.
    for width in (50, 1000):
        graph(f"rows_of_{width}", lambda i, w=width: node(
            "torch.add", [f"r{i - w + (i * 7919 + k * 104729) % w - i % w}" if i >= w else "v0" for k in (0, 1)], f"r{i}"))
    graph("tangle", lambda i: node("torch.add", [f"v{(i + 1) * 7919 % (i + 1)}", f"v{i * 104729 % (i + 1)}"], f"v{i + 1}"))
    graph("binary_tree", lambda i: node("torch.nn.ReLU", [f"v{i // 2}"], f"v{i + 1}"))
    star = [node("torch.nn.ReLU", ["v0"], f"v{i + 1}") for i in range(BYTES // 60)]
    write("many_readers", star, [n["outputs"][0] for n in star])
    write("many_readers_and_cat", star[:len(star) * 4 // 5] +
          [node("torch.cat", [n["outputs"][0] for n in star[:len(star) * 4 // 5]], "y", dim=1)], ["y"])
    write("many_outputs_of_one", [node("torch.split", ["v0"], *[f"o{i}" for i in range(BYTES // 20)],
                                       split_size_or_sections=1, dim=1)], [f"o{i}" for i in range(BYTES // 20)],
          [{"name": "v0", "shape": [1, BYTES // 20, 1, 1]}])
    inputs = [{"name": f"x{i}", "shape": SHAPE} for i in range(BYTES // 60)]
    write("many_inputs", [node("torch.cat", [x["name"] for x in inputs], "y", dim=1)], ["y"], inputs)
    backward = [node("torch.nn.ReLU", [f"v{i}"], f"v{i + 1}") for i in range(BYTES // 65)]
    write("backward", backward[::-1], [backward[-1]["outputs"][0]])
    folded = [node("torch.nn.Identity", [f"v{i}"], f"v{i + 1}") for i in range(BYTES // 130)]
    write("identities_then_readers", folded + [node("torch.nn.Conv2d", [n["outputs"][0]], f"y{i}", **CONV)
                                               for i, n in enumerate(folded)], [f"y{i}" for i in range(len(folded))])
    scopes = [dict(node("torch.nn.ReLU", [f"v{i}"], f"v{i + 1}"), origin={"scope": f"a.b{i}.c"})
              for i in range(BYTES // 100)]
    write("scopes", scopes, [scopes[-1]["outputs"][0]])
    deep = [dict(node("torch.nn.ReLU", [f"v{i}"], f"v{i + 1}"), origin={"scope": ".".join("abcdefgh" * 50)})
            for i in range(BYTES // 900)]
    write("deep_scopes", deep, [deep[-1]["outputs"][0]])


# ── ONNX, by hand: varints and lengths ──

def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    if isinstance(data, int):
        return varint(number << 3) + varint(data)
    if isinstance(data, str):
        data = data.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def onnx_node(op, inputs, outputs, name=""):
    return field(1, b"".join(field(1, x) for x in inputs) + b"".join(field(2, x) for x in outputs) +
                 (field(3, name) if name else b"") + field(4, op))


def onnx_value(number, name, shape):
    dims = b"".join(field(1, field(1, d)) for d in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def onnx_tensor(name, dtype, dims, raw):
    return field(5, b"".join(field(1, d) for d in dims) + field(2, dtype) + field(8, name) + field(9, raw))


def onnx(name, body, outputs):
    g = body + field(2, "g") + onnx_value(11, "v0", SHAPE) + b"".join(onnx_value(12, o, SHAPE) for o in outputs)
    with open(f"{FOLDER}/{name}.onnx", "wb") as f:
        f.write(field(1, 8) + field(7, g) + field(8, field(2, 13)))


def onnx_files():
    scale = onnx_tensor("s", 1, [], struct.pack("<f", 0.5)) + onnx_tensor("z", 3, [], b"\0")
    count = 8 * BYTES // 36
    # What looks through folded nodes is cheap at each step: only longer chains show it.
    onnx("quantize_pairs", scale + onnx_node("Relu", ["v0"], ["q0"]) +
         b"".join(onnx_node("DequantizeLinear" if i % 2 else "QuantizeLinear", [f"q{i}", "s", "z"], [f"q{i + 1}"])
                  for i in range(count)), [f"q{count}"])
    count = BYTES // 36
    onnx("identities", b"".join(onnx_node("Identity", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)), [f"v{count}"])
    onnx("one_name", b"".join(onnx_node("Relu", [f"v{i}"], [f"v{i + 1}"], "n") for i in range(count)), [f"v{count}"])
    onnx("numbered_names", b"".join(onnx_node("Relu", [f"v{i}"], [f"v{i + 1}"], "n" if i % 2 else f"n.{i}")
                                    for i in range(count)), [f"v{count}"])
    onnx("unknown_operators", b"".join(onnx_node(f"Conw{i}", [f"v{i}"], [f"v{i + 1}"]) for i in range(count)),
         [f"v{count}"])
    onnx("many_outputs", b"".join(onnx_node("Relu", ["v0"], [f"y{i}"]) for i in range(BYTES // 50)),
         [f"y{i}" for i in range(BYTES // 50)])
    onnx("backward", b"".join(onnx_node("Relu", [f"v{i}"], [f"v{i + 1}"]) for i in reversed(range(count))), [f"v{count}"])
    onnx("squares", b"".join(onnx_node("Mul", [f"v{i}", f"v{i}"], [f"v{i + 1}"]) for i in range(count)), [f"v{count}"])
    # The beginning of LayerNorm over and over: what puts operators together starts at each of them.
    parts = ["ReduceMean", "Sub", "Mul", "ReduceMean", "Sqrt", "Div"]
    onnx("parts", b"".join(
        onnx_node(parts[i % 6], [f"v{i}"] + ([f"v{i - 1 if i else 0}"] if parts[i % 6] in ("Sub", "Mul", "Div") else []),
                  [f"v{i + 1}"]) for i in range(count)), [f"v{count}"])
    onnx("erf", b"".join(onnx_node("Erf" if i % 2 else "Mul", [f"v{i}"] + ([] if i % 2 else ["v0"]), [f"v{i + 1}"])
                         for i in range(count)), [f"v{count}"])
    onnx("constants", onnx_tensor("c0", 1, [1], struct.pack("<f", 1)) +
         b"".join(onnx_node("Add", [f"c{i}", "c0"], [f"c{i + 1}"]) for i in range(count)) +
         onnx_node("Add", ["v0", f"c{count}"], ["y"]), ["y"])
    onnx("many_tensors", b"".join(onnx_tensor(f"c{i}", 1, [1], struct.pack("<f", 1)) +
                                  onnx_node("Add", [f"v{i}", f"c{i}"], [f"v{i + 1}"]) for i in range(BYTES // 60)),
         [f"v{BYTES // 60}"])


# ── TorchScript and torch.export: a small archive of the fixtures with another program ──

def archive(source, name, change):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(f"{FOLDER}/{name}", "w") as new:
        for entry in old.namelist():
            data = change(entry, old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry), data)


def torchscript(name, line):
    def change(entry, data):
        if entry.endswith(".debug_pkl"):
            return None
        if not entry.endswith("/code/__torch__.py"):
            return data
        body, size = [], 0
        while size < BYTES:
            body.append(line(len(body)))
            size += len(body[-1]) + 1
        text = data.decode()
        head = text[:text.index("  def forward(")] + "  def forward(self: __torch__.Moves,\n    v0: Tensor) -> Tensor:\n"
        return (head + "\n".join(body) + f"\n    return v{len(body)}\n").encode()
    archive("tests/fixtures/torchscript/moves.pt", f"{name}.pt", change)


def torchscript_files():
    torchscript("chain", lambda i: f"    v{i + 1} = torch.relu(v{i})")
    torchscript("nested", lambda i: f"    v{i + 1} = " + "torch.relu(" * 40 + f"v{i}" + ")" * 40)
    torchscript("unknown_operators", lambda i: f"    v{i + 1} = torch.relv{i}(v{i})")
    torchscript("lists", lambda i: f"    v{i + 1} = torch.slice(torch.cat([" + f"v{i}, " * 200 + f"v{i}]), 0, 0, 1)")
    torchscript("quantize_pairs", lambda i: f"    v{i + 1} = torch.dequantize(torch.quantize_per_tensor(v{i}, 0.5, 0, 12))")
    torchscript("squares", lambda i: f"    v{i + 1} = torch.mul(v{i}, v{i})")


def pt2(name, make):
    def change(entry, data):
        if not entry.endswith("/models/model.json"):
            return data
        doc = json.loads(data)
        g = doc["graph_module"]["graph"]
        meta, name, nodes, size = g["tensor_values"]["x"], "x", [], 0
        while size < BYTES:
            nodes.append(make(len(nodes), name))
            name = f"t{len(nodes)}"
            g["tensor_values"][name] = meta
            size += len(json.dumps(nodes[-1])) + len(json.dumps(meta))
        g["nodes"], g["outputs"] = nodes, [{"as_tensor": {"name": name}}]
        signature = doc["graph_module"]["signature"]
        signature["output_specs"] = [{"user_output": {"arg": {"as_tensor": {"name": name}}}}]
        return json.dumps(doc).encode()
    archive("tests/fixtures/pt2/arithmetic.pt2", f"{name}.pt2", change)


def pt2_node(target, i, *inputs):
    return {"target": target, "inputs": [{"name": name, "arg": {"as_tensor": {"name": x}}, "kind": 1} for name, x in inputs],
            "metadata": {}, "name": f"t{i + 1}", "outputs": [{"as_tensor": {"name": f"t{i + 1}"}}]}


def pt2_files():
    pt2("chain", lambda i, x: pt2_node("torch.ops.aten.relu.default", i, ("self", x)))
    pt2("squares", lambda i, x: pt2_node("torch.ops.aten.mul.Tensor", i, ("self", x), ("other", x)))
    pt2("unknown_operators", lambda i, x: pt2_node(f"torch.ops.aten.relv{i}.default", i, ("self", x)))


graph_json()
onnx_files()
torchscript_files()
pt2_files()
