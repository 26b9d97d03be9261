#!/usr/bin/python3
"""Golden programs: what the compiler makes of six small networks, as `bpuhub disasm` prints it.

    tests/golden/disasm.py [--update] [NAME...]      BPUHUB=binary (default build/bpuhub)

tests/golden/NAME.disasm is the text without the tool's version, behind a head of comments that says what to look at.
--update writes the text anew and keeps the head: read the difference before committing it."""
import base64, difflib, json, os, re, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
BPUHUB = os.environ.get("BPUHUB", os.path.join(HERE, "../../build/bpuhub"))


class Net:
    """A float network as graph JSON; weights are a fixed sequence of numbers."""

    def __init__(self, name, shape):
        self.graph = {"format": "bpuhub.graph/1", "name": name, "inputs": [{"name": "x", "shape": shape, "dtype": "float32"}],
                      "nodes": [], "outputs": [], "tensors": {}}

    def node(self, name, op, inputs, params=None, **attrs):
        node = {"name": name, "op": op, "inputs": inputs, "outputs": [name + ".y"], "attrs": attrs}
        if params:
            node["params"] = params
        self.graph["nodes"].append(node)
        return name + ".y"

    def numbers(self, name, *shape):
        n, seed, out = 1, 7919 * len(name), []
        for s in shape:
            n *= s
        for _ in range(n):
            seed = (seed * 1103515245 + 12345) % 2**31
            out.append(seed / 2**31 - .5)
        self.graph["tensors"][name] = {"shape": list(shape), "dtype": "float32",
                                       "data": base64.b64encode(struct.pack(f"<{n}f", *out)).decode()}
        return name

    def conv(self, name, x, i, o, k, stride=1):
        return self.node(name, "torch.nn.Conv2d", [x], {"weight": self.numbers(name + ".w", o, i, k, k),
                                                        "bias": self.numbers(name + ".b", o)},
                         in_channels=i, out_channels=o, kernel_size=[k, k], stride=[stride] * 2, padding=[k // 2] * 2,
                         dilation=[1, 1], groups=1, bias=True)

    def linear(self, name, x, i, o):
        return self.node(name, "torch.nn.Linear", [x], {"weight": self.numbers(name + ".w", o, i),
                                                        "bias": self.numbers(name + ".b", o)},
                         in_features=i, out_features=o, bias=True)

    def relu(self, name, x):
        return self.node(name, "torch.nn.ReLU", [x])

    def pool(self, name, x, k=2, stride=2):
        return self.node(name, "torch.nn.MaxPool2d", [x], kernel_size=[k, k], stride=[stride] * 2, padding=[(k - 1) // 2] * 2,
                         dilation=[1, 1])

    def end(self, y):
        self.graph["outputs"] = [y]
        return self.graph


def bands():
    n = Net("bands", [1, 3, 96, 512])
    x = n.relu("relu0", n.conv("conv0", "x", 3, 16, 3))
    return n.end(n.pool("pool", n.relu("relu1", n.conv("conv1", x, 16, 16, 3))))


def residual():
    n = Net("residual", [1, 16, 32, 32])
    x = n.relu("relu0", n.conv("conv0", "x", 16, 32, 3, 2))
    y = n.conv("conv2", n.relu("relu1", n.conv("conv1", x, 32, 32, 3)), 32, 32, 3)
    return n.end(n.relu("relu2", n.node("add", "torch.add", [y, x])))


def concat():
    n = Net("concat", [1, 8, 32, 32])
    x = n.relu("stem_relu", n.conv("stem", "x", 8, 16, 3))
    parts = [n.conv("left", x, 16, 32, 1), n.conv("middle", x, 16, 32, 3), n.pool("pooled", x, 3, 1)]
    return n.end(n.conv("last", n.node("join", "torch.cat", parts, dim=1), 80, 16, 1))


def cores():
    n = Net("cores", [1, 32, 64, 64])
    return n.end(n.relu("relu1", n.conv("conv1", n.relu("relu0", n.conv("conv0", "x", 32, 64, 3)), 64, 64, 3)))


def attention():
    n = Net("attention", [1, 4, 16, 32])
    q, k = n.conv("q", "x", 4, 4, 1), n.conv("k", "x", 4, 4, 1)
    v = n.conv("v", "x", 4, 4, 1)
    scores = n.node("scores", "torch.matmul", [q, n.node("turn", "torch.transpose", [k], dim0=2, dim1=3)])
    return n.end(n.node("mix", "torch.matmul", [n.node("softmax", "torch.nn.Softmax", [scores], dim=3), v]))


CASES = { # network or file, options of compile
    "bands_ring": (bands, "--march bernoulli2 -O 2"),
    "residual": (residual, "--march bayes -O 2"),
    "concat_in_place": (concat, "--march bayes -O 2"),
    "attention": (attention, "--march bayes -O 2"),
    "two_cores": (cores, "--march bayes -O 2 --cores 2"),
    "lenet_int8": ("lenet_qat_s8.onnx", "--march bayes -O 2"),
    "lenet_int8_O0": ("lenet_qat_s8.onnx", "--march bayes -O 0"),
}


def made(name, tmp):
    network, options = CASES[name]
    path, bpu = os.path.join(tmp, "net.json"), os.path.join(tmp, "net.bpu")
    if callable(network):
        with open(path, "w") as f:
            json.dump(network(), f)
    else:
        path = os.path.join(HERE, "../fixtures", network)
    subprocess.run([BPUHUB, "compile", path, *options.split(), "-o", bpu], check=True, capture_output=True, text=True, timeout=60)
    text = subprocess.run([BPUHUB, "disasm", bpu], check=True, capture_output=True, text=True, timeout=60).stdout
    return re.sub(r"by bpuhub \S+$", "by bpuhub", text, count=1, flags=re.M)


def main():
    words = sys.argv[1:]
    update, names = "--update" in words, [w for w in words if w != "--update"]
    passed = failed = 0
    for name in names or CASES:
        path = os.path.join(HERE, name + ".disasm")
        with tempfile.TemporaryDirectory() as tmp:
            try:
                text = made(name, tmp)
            except subprocess.CalledProcessError as e:
                failed += 1
                print(f"not ok golden {name}.disasm: exit {e.returncode}: {e.stderr.strip()} {(e.stdout or '')[:400]}")
                continue
        head, old = "", ""
        if os.path.exists(path):
            with open(path) as f:
                lines = f.readlines()
            split = next((i for i, l in enumerate(lines) if not l.startswith("#")), len(lines))
            head, old = "".join(lines[:split]), "".join(lines[split:])
        if update:
            with open(path, "w") as f:
                f.write((head or f"# {name}: {CASES[name][1]}\n") + text)
            old = text
        if old == text:
            passed += 1
            print(f"ok golden {name}.disasm")
        else:
            failed += 1
            print(f"not ok golden {name}.disasm" + ("" if old else ": there is no golden file; make it with --update"))
            sys.stdout.writelines(list(difflib.unified_diff(old.splitlines(True), text.splitlines(True), path, "made"))[:40])
    print(f"disasm: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


main()
