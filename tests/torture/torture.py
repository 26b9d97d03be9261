#!/usr/bin/python3
"""kill -9 at random moments under load, on a disk that fails in turn; then everything acknowledged is counted.

   torture.py [--kills N] [--seed S] [--clients N] [--faults A,B…] [--keep]

Victims are the daemon, a worker, and the child of a job.  Clients repeat what was not acknowledged, with the same
Idempotency-Key, as a careful client does.  In the end, after one more start:

   lost       an acknowledged job or upload is not there
   stuck      a job has not ended
   given up   a job failed although nothing is wrong with it
   diverging  its artifacts differ from those of the same work on a machine where nothing was killed
   damaged    the database's integrity check, or fsck

must all be 0.  Prints TAP."""
import argparse, http.client, os, random, signal, sys, threading, time

from hub import Hub, children, sha256_of

FIXTURES = "tests/fixtures/"
# (file, kind, march, options): quick ones, and some that take long enough to be hit in the middle.
WORK = [("lenet_float.onnx", "check", "bayes"), ("lenet_float.onnx", "visualize", "bayes"),
        ("opset13.onnx", "check", "bernoulli2"), ("one_conv.json", "check", "bayes"),
        ("illegal.json", "check", "bernoulli2"), ("qdq.onnx", "check", "bayes"),
        ("lenet_qat_s8.onnx", "compile", "bayes"), ("lenet_qat_s8.onnx", "visualize", "bernoulli2")]
# Options that are in use at a time; with each kill they move on, so that some work is in the cache, some in flight and
# some new.
VARIANTS = 8
FAULTS = ["none", "full", "broken", "none", "short", "read-only", "unreadable"]


class Torture:
    def __init__(self, options):
        self.options = options
        self.random = random.Random(options.seed)
        self.hub = Hub("--workers", "2", "--job-attempts", "1000")
        self.lock = threading.Lock()
        self.running = True
        self.jobs = {}       # id: (work, variant), acknowledged
        self.cancelled = set()
        self.models = {}     # file: id, acknowledged
        self.wrong = []      # answers that a client should not get
        self.refused = {}    # status: count, while the disk failed
        self.kills = {"daemon": 0, "worker": 0, "job": 0}
        self.silent = 0      # requests without an answer

    # ---- clients

    def ask(self, call):
        """The answer of a request that is repeated until there is one; None at the end."""
        while self.running:
            try:
                a = call()
            except (OSError, http.client.HTTPException):
                with self.lock:
                    self.silent += 1
                time.sleep(0.05)
                continue
            if a.status in (503, 507):
                with self.lock:
                    self.refused[a["code"]] = self.refused.get(a["code"], 0) + 1
                    if not a["code"] or not a["detail"] or (not a["hint"] and a["code"] != "draining"):
                        self.wrong.append(f"{a.status} without code, detail and hint: {a.body[:200]}")
                time.sleep(0.05)
                continue
            return a
        return None

    def client(self, number):
        rnd = random.Random(self.options.seed * 1000 + number)
        count = 0
        while self.running:
            name, kind, march = rnd.choice(WORK)
            if name not in self.models or rnd.random() < 0.05:
                a = self.ask(lambda: self.hub.upload(FIXTURES + name))
                if not a:
                    return
                if a.status not in (200, 201) or a["id"] != sha256_of(FIXTURES + name):
                    with self.lock:
                        self.wrong.append(f"upload of {name}: {a.status} {a.body[:200]}")
                    continue
                self.models[name] = a["id"]
            variant = sum(self.kills.values()) * 2 + rnd.randrange(VARIANTS)
            job = {"model": self.models[name], "kind": kind, "march": march, "project": f"p{number}",
                   "labels": {"variant": str(variant)}, "options": options_of(variant)}
            count += 1
            key = f"{self.options.seed}-{number}-{count}"
            a = self.ask(lambda: self.hub.submit(job, key))
            if not a:
                return
            if a.status != 202 or not a["id"]:
                with self.lock:
                    self.wrong.append(f"{job}: {a.status} {a.body[:300]}")
                continue
            with self.lock:
                self.jobs[a["id"]] = (name, kind, march, variant)
            if rnd.random() < 0.03:
                with self.lock:
                    self.cancelled.add(a["id"])
                self.ask(lambda: self.hub.request("POST", f"/v1/jobs/{a['id']}/cancel"))
            elif rnd.random() < 0.3:
                b = self.ask(lambda: self.hub.request("GET", f"/v1/jobs/{a['id']}", headers={"Prefer": "wait=2"}))
                if b and b.status != 200:
                    with self.lock:
                        self.wrong.append(f"GET of the acknowledged {a['id']}: {b.status} {b.body[:200]}")
            time.sleep(rnd.random() * 0.02)

    # ---- the killer

    def victim(self, kind):
        if kind == "daemon":
            return self.hub.process.pid
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            workers = children(self.hub.process.pid)
            found = workers if kind == "worker" else [c for w in workers for c in children(w)]
            if found:
                return self.random.choice(found)
            time.sleep(0.001)
        return None

    def start(self):
        """A daemon may refuse to start while the disk fails; its operator starts it again."""
        for attempt in range(200):
            if self.hub.start():
                return
            if attempt == 20:
                self.hub.fault.set("none")
            time.sleep(0.05)
        raise SystemExit("the daemon does not start: " + self.hub.log_text()[-2000:])

    def strike(self, number):
        fault = self.options.faults[number % len(self.options.faults)]
        self.hub.fault.set(fault, self.random.choice([30, 200, 1000]) if fault != "none" else 0)
        time.sleep(self.random.random() * self.options.pause)
        kind = self.random.choice(["daemon", "worker", "job"])
        pid = self.victim(kind)
        if pid is None:
            kind, pid = "daemon", self.hub.process.pid
        if kind == "daemon":
            self.hub.kill()
        else:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                return False
        self.kills[kind] += 1
        if kind == "daemon":
            self.start()
        return True

    def strike_all(self):
        done = 0
        while done < self.options.kills:
            done += self.strike(done)
            if done % 50 == 0:
                print(f"# {done} kills, {len(self.jobs)} jobs acknowledged", flush=True)

    # ---- counting

    def fetch(self, hub, job):
        return hub.request("GET", f"/v1/jobs/{job}")

    def count(self):
        """{what: [texts]}, all of which should be empty."""
        found = {"lost": [], "stuck": [], "given up": [], "diverging": []}
        hashes = {}
        end = time.monotonic() + self.options.patience
        for job, work in self.jobs.items():
            a = self.hub.wait(job, max(1, end - time.monotonic()))
            if a.status != 200:
                found["lost"].append(f"{job}: {a.status} {a.body[:200]}")
            elif a["state"] == "cancelled" and job in self.cancelled:
                pass
            elif a["state"] in ("queued", "running", "cancelled"):
                found["stuck"].append(f"{job}: {a['state']} {a['stage']} {work}")
            elif a["state"] == "failed":
                found["given up"].append(f"{job}: {a['error']} {work}")
            else:
                hashes.setdefault(work, {}).setdefault(artifacts_of(a), []).append(job)
        for name, model in self.models.items():
            if self.hub.request("GET", f"/v1/models/{model}").status != 200:
                found["lost"].append(f"the upload of {name}")
        for work, want in self.undisturbed(hashes).items():
            for got, jobs in hashes[work].items():
                if got != want:
                    found["diverging"].append(f"{work}: {jobs[:3]} have {got}, not {want}")
        self.distinct = len(hashes)
        return found

    def undisturbed(self, works):
        """The artifacts of the same work on a hub where nothing happens."""
        hub = Hub("--workers", "2", preload=False)
        if not hub.start():
            raise SystemExit(hub.log_text())
        ids, want = {}, {}
        for name in {w[0] for w in works}:
            hub.upload(FIXTURES + name)
        for work in works:
            name, kind, march, variant = work
            ids[work] = hub.submit({"model": self.models[name], "kind": kind, "march": march,
                                    "options": options_of(variant)})["id"]
        for work, job in ids.items():
            want[work] = artifacts_of(hub.wait(job, 60))
        hub.close()
        return want

    def run(self):
        print(f"# seed {self.options.seed}, {self.options.kills} kills, {self.options.clients} clients", flush=True)
        began = time.monotonic()
        self.start()
        clients = [threading.Thread(target=self.client, args=(i,)) for i in range(self.options.clients)]
        for c in clients:
            c.start()
        try:
            self.strike_all()
        finally:
            self.running = False
            self.hub.fault.set("none")
            for c in clients:
                c.join()
        self.hub.kill()
        self.start()
        found = self.count()
        ended = self.hub.stop()
        found["damaged"] = self.hub.integrity()
        code, text = self.hub.fsck()
        if code != 0:
            found["damaged"].append(text[:2000])
        print(f"# {self.kills}, {len(self.jobs)} jobs acknowledged of {self.distinct} kinds of work, "
              f"{self.hub.fault.hits()} calls failed, {self.silent} requests without an answer, "
              f"refused {self.refused}, {time.monotonic() - began:.0f} s")
        good = True
        for what, texts in list(found.items()) + [("wrong answers", self.wrong)]:
            good &= not texts
            print(f"{'ok' if not texts else 'not ok'} - {len(texts)} {what}")
            for t in texts[:5]:
                print(f"#   {t}")
        print(f"{'ok' if ended == 0 else 'not ok'} - the daemon ends with {ended}")
        print(f"{'ok' if len(self.jobs) > self.options.kills else 'not ok'} - there was work to lose")
        self.hub.close(keep=self.options.keep)
        if self.options.keep:
            print("# kept", self.hub.base)
        return good and ended == 0


def options_of(variant):
    return {"advice": str(variant)}


def artifacts_of(job):
    return tuple((f["name"], f["sha256"]) for f in job["artifacts"] or [])


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--kills", type=int, default=20)
    p.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    p.add_argument("--clients", type=int, default=4)
    p.add_argument("--faults", type=lambda t: t.split(","), default=FAULTS, help="in turn; all of " + ",".join(sorted(set(FAULTS))))
    p.add_argument("--pause", type=float, default=0.6, help="longest time between two kills, in seconds")
    p.add_argument("--patience", type=float, default=60, help="for what is left at the end, in seconds")
    p.add_argument("--keep", action="store_true", help="leave the data directory")
    sys.exit(0 if Torture(p.parse_args()).run() else 1)


main()
