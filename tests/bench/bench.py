#!/usr/bin/python3
"""Figures of speed and memory. Each is a median over several runs in this process' life, next to its aim or a peer.

Nothing here fails a build: machines are shared and noisy. Read ratios and medians."""
import contextlib, hashlib, http.client, os, shutil, statistics, subprocess, sys, tempfile, time

BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
BUILD = os.environ.get("BUILD", "build")
ZOO = os.environ.get("ZOO", "build/zoo")
RUNS = int(os.environ.get("RUNS", "9"))


def row(what, value, unit, aim, note=""):
    print(f"{what:<58}{value:>10.1f} {unit:<6}{aim:<14}{note}", flush=True)


def run(cmd):
    """Wall milliseconds and peak memory in bytes of one process."""
    out = subprocess.run([f"{BUILD}/tests/bench/measure", *cmd], check=True, capture_output=True, text=True).stdout
    wall, peak, code = out.split()
    if code not in ("0", "1"):
        sys.exit(f"{cmd} ended with {code}")
    return float(wall), int(peak)


def check_speed():
    for name, aim in (("mobilenet_v2", 60), ("resnet50", 250)):
        path = f"{ZOO}/{name}.onnx"
        size = os.path.getsize(path)
        run([BPUHUB, "check", path, "--march", "bayes"])
        runs = [run([BPUHUB, "check", path, "--march", "bayes"]) for _ in range(RUNS)]
        wall = statistics.median(r[0] for r in runs)
        row(f"bpuhub check {name}.onnx ({size / 1e6:.0f} MB)", wall, "ms", f"<= {aim}",
            f"min {min(r[0] for r in runs):.1f}, max {max(r[0] for r in runs):.1f}")
        row("  peak memory / file size", statistics.median(r[1] for r in runs) / size, "x", "<= 2.2",
            f"{runs[0][1] / 1e6:.0f} MB")
        start = time.perf_counter()
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            while chunk := f.read(1 << 18):
                digest.update(chunk)
        row("  bound: reading and hashing the same file", (time.perf_counter() - start) * 1000, "ms", "")
    script = ("import onnx,sys; m=onnx.load(sys.argv[1]); onnx.checker.check_model(m); "
              "onnx.shape_inference.infer_shapes(m)")
    try:
        subprocess.run(["/usr/bin/python3", "-c", "import onnx"], check=True, capture_output=True)
    except subprocess.CalledProcessError:
        print("  peer: python3-onnx is not installed")
        return
    base = statistics.median(run(["/usr/bin/python3", "-c", "import onnx"])[0] for _ in range(3))
    for name in ("mobilenet_v2", "resnet50"):
        peer = [run(["/usr/bin/python3", "-c", script, f"{ZOO}/{name}.onnx"]) for _ in range(3)]
        row(f"  peer: onnx checker + shape inference, {name}", statistics.median(p[0] for p in peer), "ms", "",
            f"of which {base:.0f} ms is Python's start; {peer[0][1] / 1e6:.0f} MB")


@contextlib.contextmanager
def server(data):
    p = subprocess.Popen([BPUHUB, "serve", "--listen", "127.0.0.1:0", "--data", data], stdout=subprocess.PIPE,
                         stderr=open(os.path.join(data, "serve.log"), "w"), text=True)
    try:
        line = p.stdout.readline()
        if not line.startswith("listening on http://"):
            sys.exit(f"serve said {line!r}")
        yield line.split("//")[1].strip()
    finally:
        p.terminate()
        p.wait(20)


def request(c, method, path, body=None, headers={}):
    start = time.perf_counter()
    c.request(method, path, body, headers)
    r = c.getresponse()
    text = r.read()
    ms = (time.perf_counter() - start) * 1000
    if r.status >= 400:
        sys.exit(f"{method} {path}: {r.status} {text[:300]}")
    return ms, text


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))]


def post(url, path):
    """Milliseconds of one upload by curl, from connecting to the last byte of the answer."""
    out = subprocess.run(["curl", "-fsS", "-o", "/dev/null", "-w", "%{time_total}", "-H", "Expect:", "--data-binary",
                          "@" + path, url], check=True, capture_output=True, text=True).stdout
    return float(out) * 1000


def http_speed(tmp):
    data = os.path.join(tmp, "http")
    os.makedirs(data)
    upload = os.path.join(tmp, "upload.onnx")
    with server(data) as address:
        url = f"http://{address}"
        path = f"{ZOO}/mobilenet_v2.onnx"
        body = open(path, "rb").read()
        times, extra = [], []
        for i in range(RUNS):
            # A changed name in the text part of the file makes new content, so that nothing is cached.
            with open(upload, "wb") as f:
                f.write(body.replace(b"pytorch", b"pyt%04d" % i, 1))
            alone = run([BPUHUB, "check", upload, "--march", "bayes"])[0]
            times.append(post(f"{url}/v1/check?march=bayes&filename=m.onnx", upload))
            extra.append(times[-1] - alone)
        row("POST /v1/check of mobilenet_v2, upload to verdict", statistics.median(times), "ms", "",
            f"min {min(times):.1f}, max {max(times):.1f}")
        row("  more than bpuhub check of the same file", statistics.median(extra), "ms", "<= 15",
            f"min {min(extra):.1f}, max {max(extra):.1f}")
        # One initializer of raw bytes: a valid ONNX head, so that the format is recognised.
        size = 200 << 20
        blob = os.urandom(1 << 20)
        rates, disk = [], []
        for i in range(5):
            head = b"\x08\x07" + b"\x12\x04" + b"b%03d" % i
            tensor = b"\x4a" + varint(size)
            graph = b"\x2a" + varint(len(tensor) + size) + tensor
            whole = head + b"\x3a" + varint(len(graph) + size) + graph + blob * 200
            start = time.perf_counter()
            with open(upload, "wb") as f:
                f.write(whole)
                f.flush()
                os.fsync(f.fileno())
            disk.append(len(whole) / (time.perf_counter() - start) / 1e6)
            rates.append(len(whole) / post(f"{url}/v1/models?filename=big.onnx", upload) / 1000)
        row("upload of 200 MiB to disk, durable", statistics.median(rates), "MB/s", ">= 250",
            f"min {min(rates):.0f}, max {max(rates):.0f}")
        row("  bound: write + fsync of the same bytes", statistics.median(disk), "MB/s", "")


def varint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def list_speed(tmp):
    data = os.path.join(tmp, "list")
    os.makedirs(data)
    jobs = int(os.environ.get("JOBS", "100000"))
    start = time.perf_counter()
    subprocess.run([f"{BUILD}/tests/bench/seed_store", data, str(jobs)], check=True)
    print(f"{jobs} past jobs made in {time.perf_counter() - start:.1f} s")
    with server(data) as address:
        c = http.client.HTTPConnection(address, timeout=60)
        pages = ["/v1/jobs?limit=50", "/v1/jobs?limit=50&state=failed", "/v1/jobs?limit=50&march=bernoulli2&kind=check",
                 "/v1/jobs?limit=50&verdict=illegal", "/v1/jobs?limit=50&project=gripper",
                 "/v1/jobs?limit=50&q=network_0042", "/v1/jobs?limit=50&q=nothing_of_this_name"]
        for page in pages:
            times = [request(c, "GET", page)[0] for _ in range(50)]
            row(f"GET {page}", statistics.median(times), "ms", "<= 20", f"p99 {percentile(times, .99):.1f}")
        cursor, deep = None, []
        import json
        for _ in range(200):
            ms, text = request(c, "GET", "/v1/jobs?limit=50" + (f"&cursor={cursor}" if cursor else ""))
            cursor = json.loads(text)["next"]
            deep.append(ms)
            if not cursor:
                break
        row(f"  {len(deep)} pages deep by cursor", statistics.median(deep), "ms", "<= 20",
            f"p99 {percentile(deep, .99):.1f}")


def draw_speed():
    for name, aim in (("densenet121", 3000), ("swin_t", 10000)):
        path = f"{ZOO}/{name}.onnx"
        if os.path.exists(path):
            runs = [run([BPUHUB, "visualize", path, "--march", "bayes", "-o", "/dev/null"])[0] for _ in range(3)]
            row(f"bpuhub visualize {name}", statistics.median(runs), "ms", f"<= {aim}")


def main():
    wanted = sys.argv[1:] or ["check", "draw", "http", "list"]
    print(f"{'figure':<58}{'median':>10} {'unit':<6}{'aim':<14}")
    tmp = tempfile.mkdtemp(prefix="bpuhub-bench-")
    try:
        if "check" in wanted:
            check_speed()
        if "draw" in wanted:
            draw_speed()
        if "http" in wanted:
            http_speed(tmp)
        if "list" in wanted:
            list_speed(tmp)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


if __name__ == "__main__":
    main()
