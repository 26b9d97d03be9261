#!/usr/bin/python3
"""How much the service takes: submissions, reads, event streams, small checks, pages over a million jobs.

usage: service.py [submit | read | streams | checks | million]…       environment: BPUHUB, BUILD, SECONDS, JOBS

Next to what the disk gives to one who commits each request by itself, measured in the same folder in the same run."""
import contextlib, http.client, json, os, shutil, socket, sqlite3, statistics, subprocess, sys, tempfile, threading, time

BPUHUB = os.environ.get("BPUHUB", "build/bpuhub")
BUILD = os.environ.get("BUILD", "build")
SECONDS = float(os.environ.get("SECONDS", "5"))
JOBS = int(os.environ.get("JOBS", "1000000"))
FIXTURE = "tests/fixtures/one_conv.json"


def row(what, value, unit, aim, note=""):
    print(f"{what:<58}{value:>10.1f} {unit:<6}{aim:<14}{note}", flush=True)


@contextlib.contextmanager
def server(data, workers, *options):
    p = subprocess.Popen([BPUHUB, "serve", "--listen", "127.0.0.1:0", "--data", data, "--workers", str(workers), "--rate", "0",
                          *options], stdout=subprocess.PIPE, stderr=open(os.path.join(data, "serve.log"), "w"), text=True)
    try:
        line = p.stdout.readline()
        if not line.startswith("listening on http://"):
            sys.exit(f"serve said {line!r}")
        yield p.pid, line.split("//")[1].strip()
    finally:
        p.terminate()
        p.wait(60)


def ask(address, method, path, body=None, headers={}):
    c = http.client.HTTPConnection(address, timeout=60)
    c.request(method, path, body, headers)
    r = c.getresponse()
    text = r.read()
    if r.status >= 400:
        sys.exit(f"{method} {path}: {r.status} {text[:300]}")
    return json.loads(text)


def load(address, connections, method, path, body=None, seconds=SECONDS):
    args = [f"{BUILD}/tests/bench/load", address, str(connections), str(seconds), method, path] + ([body] if body else [])
    rate, middle, p99, slowest, refused = map(float, subprocess.run(args, check=True, capture_output=True, text=True).stdout.split())
    if refused:
        sys.exit(f"{method} {path}: {refused:.0f} answers were not 2xx")
    return rate, middle, p99, slowest


def upload(address):
    return ask(address, "POST", "/v1/models?filename=one_conv.json", open(FIXTURE, "rb").read(),
               {"Content-Type": "application/octet-stream"})["id"]


def job(model):
    """Each is different work: nothing is answered from the cache or by another that waits."""
    return json.dumps({"model": model, "kind": "check", "march": "bayes", "labels": {"run": "@"}, "options": {"advice": "@"}})


def one_by_one(folder):
    """Transactions a second of one who commits every row durably by itself, with the service's settings."""
    db = sqlite3.connect(os.path.join(folder, "single.db"), isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("CREATE TABLE jobs (n INTEGER PRIMARY KEY, model TEXT, options TEXT, labels TEXT)")
    n, start = 0, time.perf_counter()
    while time.perf_counter() - start < min(SECONDS, 3):
        db.execute("INSERT INTO jobs (model, options, labels) VALUES (?, ?, ?)", ("0" * 64, f'{{"advice":"{n}"}}', f'{{"run":"{n}"}}'))
        n += 1
    return n / (time.perf_counter() - start)


def submit(tmp):
    with server(tmp, 0) as (_, address):
        model = upload(address)
        single = one_by_one(tmp)
        rate, middle, p99, _ = load(address, 64, "POST", "/v1/jobs", job(model))
        row("durable job submissions, 64 clients", rate, "/s", ">= 8000", f"median {middle:.1f} ms, p99 {p99:.1f} ms")
        row("  the same disk, a transaction for each request", single, "/s", "", f"{rate / single:.1f} x")
        id = ask(address, "POST", "/v1/jobs", job(model).replace("@", "one"), {"Content-Type": "application/json"})["id"]
        rate, middle, p99, _ = load(address, 64, "GET", f"/v1/jobs/{id}")
        row("GET /v1/jobs/{id}, 64 clients", rate, "/s", ">= 9000", f"median {middle:.1f} ms, p99 {p99:.1f} ms")
        rate, middle, p99, _ = load(address, 64, "GET", "/healthz")
        row("  bound: GET /healthz, which asks nobody", rate, "/s", "")


def saturated(tmp):
    """Submissions by four clients while two workers have all they can do; each submission is work for them too."""
    with server(tmp, 2) as (_, address):
        model = upload(address)
        load(address, 64, "POST", "/v1/jobs", job(model), 1.5)
        rate, middle, p99, slowest = load(address, 4, "POST", "/v1/jobs", job(model))
        left = ask(address, "GET", "/v1/jobs?state=queued&limit=1")["items"]
        row("submission while two workers are saturated, p99", p99, "ms", "<= 25",
            f"median {middle:.1f}, slowest {slowest:.1f} ms, {rate:.0f}/s, " + ("jobs were left" if left else "NOT SATURATED"))


def checks(tmp):
    """Different work, submitted as fast as it is taken, until the last of it is done."""
    with server(tmp, 2) as (_, address):
        model = upload(address)
        c, start = http.client.HTTPConnection(address, timeout=60), time.perf_counter()

        def gauge(name):
            c.request("GET", "/metrics")
            return next(float(line.split()[1]) for line in c.getresponse().read().decode().splitlines() if line.startswith(name + " "))
        load(address, 16, "POST", "/v1/jobs", job(model), 1)
        while gauge("bpuhub_jobs_queued") + gauge("bpuhub_jobs_running"):
            time.sleep(0.05)
        spent, jobs = time.perf_counter() - start, gauge("bpuhub_jobs")
        c.request("GET", "/v1/jobs?state=succeeded&limit=1")
        good = json.loads(c.getresponse().read())["items"]
        row("checks of a small graph, submission to verdict", jobs / spent, "/s", ">= 500",
            f"{jobs:.0f} jobs in {spent:.1f} s" + ("" if good else ", NONE SUCCEEDED"))


def memory(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024


def streams(tmp):
    with server(tmp, 0, "--connections-per-address", "0") as (pid, address):
        model = upload(address)
        id = ask(address, "POST", "/v1/jobs", job(model).replace("@", "1"), {"Content-Type": "application/json"})["id"]
        before, open_ones = memory(pid), []
        host, port = address.split(":")
        for _ in range(2000):
            s = socket.create_connection((host, int(port)), 20)
            s.sendall(f"GET /v1/jobs/{id}/events HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            open_ones.append(s)
        for s in open_ones:
            while b"data: " not in s.recv(65536):
                pass
        extra = memory(pid) - before
        start = time.perf_counter()
        ask(address, "POST", f"/v1/jobs/{id}/cancel")
        for s in open_ones:
            tail = b""
            while not tail.endswith(b"\r\n0\r\n\r\n"):
                tail = tail[-16:] + s.recv(65536)
        row("2,000 open event streams, memory", extra / 1e6, "MB", "< 20", f"all told of the end in {(time.perf_counter() - start) * 1000:.0f} ms")


def million(tmp):
    start = time.perf_counter()
    subprocess.run([f"{BUILD}/tests/bench/seed_store", tmp, str(JOBS)], check=True)
    print(f"{JOBS} past jobs made in {time.perf_counter() - start:.0f} s; {os.path.getsize(os.path.join(tmp, 'hub.db')) / 1e6:.0f} MB", flush=True)
    pages = ["", "&state=failed", "&state=queued", "&march=bernoulli2&kind=check", "&verdict=illegal", "&project=gripper",
             "&project=gripper&state=failed", "&q=network_0042", "&q=network", "&q=nothing_of_this_name", "&q=gr",
             "&kind=visualize&march=bayes&state=failed&project=planning"]
    with server(tmp, 0) as (_, address):
        c = http.client.HTTPConnection(address, timeout=120)

        def page(path):
            start = time.perf_counter()
            c.request("GET", path)
            r = c.getresponse()
            text = r.read()
            return (time.perf_counter() - start) * 1000, r.status, text
        for p in pages:
            path = "/v1/jobs?limit=50" + p
            first, status, text = page(path)
            if status != 200:
                print(f"GET {path}: {status} {text[:120]}")
                continue
            times = sorted(page(path)[0] for _ in range(100))
            row(f"GET {path}, p99", times[98], "ms", "<= 30", f"median {times[50]:.1f}, the first {first:.1f}, {len(json.loads(text)['items'])} rows")
        cursor, deep = "", []
        for _ in range(300):
            ms, _, text = page("/v1/jobs?limit=50" + cursor)
            deep.append(ms)
            cursor = "&cursor=" + json.loads(text)["next"]
        row("  300 pages deep by cursor, p99", sorted(deep)[297], "ms", "<= 30")


def main():
    parts = {"submit": submit, "saturated": saturated, "checks": checks, "streams": streams, "million": million}
    print(f"{'figure':<58}{'value':>10} {'unit':<6}{'aim':<14}")
    for name in sys.argv[1:] or parts:
        tmp = tempfile.mkdtemp(prefix="bpuhub-bench-")
        try:
            parts[name](tmp)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)


main()
