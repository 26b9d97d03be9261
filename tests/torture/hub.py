"""A `bpuhub serve` that tests may kill, on a disk that fails when it is told to (fault.c)."""
import hashlib, http.client, json, mmap, os, shutil, signal, sqlite3, struct, subprocess, tempfile, time

BUILD = os.environ.get("BUILD", "build")
BPUHUB = os.environ.get("BPUHUB", f"{BUILD}/bpuhub")
FAULT_LIBRARY = os.path.abspath(f"{BUILD}/tests/torture/libfault.so")
MODES = {"none": 0, "full": 1, "broken": 2, "short": 3, "read-only": 4, "unreadable": 5}


class Fault:
    """The control file of fault.c."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as f:
            f.write(bytes(4096))
        self.file = open(path, "r+b")
        self.map = mmap.mmap(self.file.fileno(), 4096)

    def set(self, mode, permille=1000):
        self.map[4:8] = struct.pack("=I", permille)
        self.map[0:4] = struct.pack("=I", MODES[mode])

    def hits(self):
        return struct.unpack("=Q", self.map[8:16])[0]


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body
        try:
            self.json = json.loads(body) if "json" in headers.get("Content-Type", "") else None
        except ValueError:
            self.json = None

    def __getitem__(self, key):
        return (self.json or {}).get(key)


class Hub:
    """One data directory and, at most times, a daemon on it."""

    def __init__(self, *options, preload=True):
        self.base = os.path.realpath(tempfile.mkdtemp(prefix="bpuhub-torture-"))
        self.data = os.path.join(self.base, "data")
        os.mkdir(self.data)
        self.fault = Fault(os.path.join(self.base, "fault"))
        self.options, self.preload = options, preload
        self.log = open(os.path.join(self.base, "log"), "ab")
        self.process, self.address = None, None

    def environment(self):
        env = dict(os.environ)
        if self.preload:
            env["LD_PRELOAD"] = FAULT_LIBRARY
            env["BPUHUB_FAULT_CONTROL"], env["BPUHUB_FAULT_DIR"] = self.fault.path, self.data
            # A sanitizer's library wants to be first.
            env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        return env

    def start(self):
        """True when it listens; False when it ended instead, with its reason in the log."""
        self.process = subprocess.Popen([BPUHUB, "serve", "--listen", "127.0.0.1:0", "--data", self.data, *self.options],
                                        stdout=subprocess.PIPE, stderr=self.log, text=True, env=self.environment())
        line = self.process.stdout.readline()
        if not line.startswith("listening on http://"):
            self.process.wait()
            self.process.stdout.close()
            self.process = None
            return False
        self.address = line.split("//")[1].strip()
        return True

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process = None

    def stop(self, seconds=30):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(seconds)
        self.process.stdout.close()
        self.process = None
        return code

    def close(self, keep=False):
        self.fault.set("none")
        if self.process:
            self.kill()
        self.log.close()
        if not keep:
            shutil.rmtree(self.base, ignore_errors=True)

    def log_text(self):
        with open(os.path.join(self.base, "log"), errors="replace") as f:
            return f.read()

    def request(self, method, path, body=None, headers={}, timeout=40):
        """Raises OSError or http.client.HTTPException when there is no answer."""
        c = http.client.HTTPConnection(self.address, timeout=timeout)
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            return Answer(r.status, r.headers, r.read())
        finally:
            c.close()

    def upload(self, path):
        with open(path, "rb") as f:
            return self.request("POST", "/v1/models?filename=" + os.path.basename(path), f.read(),
                                {"Content-Type": "application/octet-stream"})

    def submit(self, job, key=None, wait=None):
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Idempotency-Key"] = key
        if wait:
            headers["Prefer"] = f"wait={wait}"
        return self.request("POST", "/v1/jobs", json.dumps(job), headers)

    def wait(self, job, seconds=30):
        end = time.monotonic() + seconds
        while True:
            a = self.request("GET", f"/v1/jobs/{job}", headers={"Prefer": "wait=5"})
            if a.status != 200 or a["state"] in ("succeeded", "failed", "cancelled") or time.monotonic() > end:
                return a

    def database(self):
        """The database, read by another SQLite than the program's statements."""
        return sqlite3.connect(os.path.join(self.data, "hub.db"), timeout=30, isolation_level=None)

    def integrity(self):
        with self.database() as db:
            found = [r[0] for r in db.execute("PRAGMA integrity_check")]
            found += [str(r) for r in db.execute("PRAGMA foreign_key_check")]
        return [] if found == ["ok"] else found

    def fsck(self, *options):
        p = subprocess.run([BPUHUB, "fsck", "--data", self.data, *options], capture_output=True, text=True)
        return p.returncode, p.stdout + p.stderr


def sha256_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                found += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return found
