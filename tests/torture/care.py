#!/usr/bin/python3
"""Backup while the service works, restore, fsck of every kind of damage, retention.  Prints TAP."""
import json, os, shutil, sqlite3, subprocess, sys, threading, time, zipfile

from hub import BPUHUB, Hub, sha256_of

FIXTURES = "tests/fixtures/"
failed = 0


def check(good, what, seen=None):
    global failed
    failed += not good
    print(("ok" if good else "not ok") + " - " + what + ("" if good or seen is None else f": {seen}"), flush=True)


def run(*args):
    p = subprocess.run([BPUHUB, *args], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr


def job(model, variant, project=""):
    return {"model": model, "kind": "check", "march": "bayes", "options": {"advice": str(variant)}, "project": project}


def fill(hub, count, project=""):
    models = [hub.upload(FIXTURES + f)["id"] for f in ("one_conv.json", "illegal.json", "opset13.onnx")]
    jobs = [hub.submit(job(models[i % 3], i, project))["id"] for i in range(count)]
    for j in jobs:
        hub.wait(j)
    return models, jobs


def everything(hub, jobs):
    """What a client sees of the jobs, artifacts included."""
    seen = []
    for j in jobs:
        a = hub.request("GET", f"/v1/jobs/{j}")
        report = hub.request("GET", f"/v1/jobs/{j}/report")
        seen.append((a.status, a["state"], a["created"], [(f["name"], f["sha256"]) for f in a["artifacts"] or []],
                     report.status, report.body))
    return seen


def backups(hub):
    models, jobs = fill(hub, 30, "arm")
    data = hub.upload("tests/fixtures/data/" + sorted(f for f in os.listdir("tests/fixtures/data")
                                                      if f.endswith((".npy", ".npz")))[0])
    folder, archive = os.path.join(hub.base, "backup"), os.path.join(hub.base, "backup.zip")
    # While others write.
    stop = threading.Event()

    def write():
        i = 0
        while not stop.is_set():
            hub.submit(job(models[0], 10000 + i))
            i += 1
    writer = threading.Thread(target=write)
    writer.start()
    codes = [run("backup", "--data", hub.data, folder) for _ in range(2)] + [run("backup", archive, "--data", hub.data)]
    stop.set()
    writer.join()
    check(all(c == 0 for c, _ in codes), "backups are made while jobs come in", codes)
    copied = [int(t.split("of which ")[1].split()[0]) for _, t in codes]
    check(copied[1] < copied[0], "a second backup copies only what is new", copied)
    want = everything(hub, jobs)
    check(all(w[0] == 200 and w[1] == "succeeded" and w[4] == 200 for w in want), "there is something to save")
    for source, name in ((folder, "a folder"), (archive, "a file")):
        other = Hub("--workers", "1", preload=False)
        os.rmdir(other.data)
        code, text = run("restore", "--data", other.data, source)
        check(code == 0, f"restored from {name}", text)
        code, text = other.fsck()
        check(code == 0, f"restored from {name}: fsck finds nothing", text)
        check(other.start(), f"restored from {name}: starts", other.log_text())
        check(everything(other, jobs) == want, f"restored from {name}: every job and report is the same")
        a = other.submit(job(models[0], 55555), wait=20)
        check(a["state"] == "succeeded", f"restored from {name}: works", a.body)
        other.stop()
        code, text = run("restore", "--data", other.data, source)
        check(code != 0 and "not empty" in text, f"{name} is not restored over a hub", text)
        other.close()
    incomplete = os.path.join(hub.base, "incomplete")
    shutil.copytree(folder, incomplete)
    os.unlink(os.path.join(incomplete, "backup.json"))
    code, text = run("restore", "--data", os.path.join(hub.base, "x"), incomplete)
    check(code != 0 and "complete backup" in text and not os.path.exists(os.path.join(hub.base, "x", "hub.db")),
          "an incomplete backup is refused", text)
    damaged = os.path.join(hub.base, "damaged")
    shutil.copytree(folder, damaged)
    victim = os.path.join(damaged, "models", models[0][:2], models[0])
    with open(victim, "r+b") as f:
        f.write(b"\xff")
    code, text = run("restore", "--data", os.path.join(hub.base, "y"), damaged)
    check(code != 0 and "damaged" in text and not os.path.exists(os.path.join(hub.base, "y", "hub.db")),
          "a damaged backup is refused", text)
    evil = os.path.join(hub.base, "evil.zip")
    with zipfile.ZipFile(evil, "w") as z:
        z.writestr("../escaped", "x")
    code, text = run("restore", "--data", os.path.join(hub.base, "z"), evil)
    check(code != 0 and not os.path.exists(os.path.join(hub.base, "escaped")), "an archive cannot write elsewhere", text)


def fsck_of(hub, what, harm, expect, whole=True):
    """Harms a stopped hub; fsck finds it, repairs it, and finds nothing more."""
    harm()
    code, text = hub.fsck()
    check(code == 1 and expect in text, f"fsck finds {what}", (code, text))
    code, text = hub.fsck("--repair")
    check(code == (0 if whole else 1), f"fsck --repair mends {what}" if whole else f"fsck --repair keeps {what}",
          (code, text))
    code, text = hub.fsck()
    check(code == (0 if whole else 1), f"after it fsck finds {'nothing' if whole else 'the rest'}", (code, text))


def fscks():
    hub = Hub("--workers", "1", preload=False)
    hub.start()
    models, jobs = fill(hub, 6)
    reports = [hub.request("GET", f"/v1/jobs/{j}")["artifacts"][0]["sha256"] for j in jobs]
    hub.stop()
    code, text = hub.fsck()
    check(code == 0, "fsck finds nothing wrong in a sound hub", text)

    def path(folder, sha):
        return os.path.join(hub.data, folder, sha[:2], sha)

    def execute(sql, *args):
        with hub.database() as db:
            db.execute(sql, args)

    def write(p, data):
        with open(p, "wb") as f:
            f.write(data)

    fsck_of(hub, "a file without a row", lambda: write(path("artifacts", "ab" * 32), b"x"), "no row names the file")
    fsck_of(hub, "a lost artifact", lambda: os.unlink(path("artifacts", reports[0])), "is not there")
    fsck_of(hub, "an artifact with another hash", lambda: write(path("artifacts", reports[1]),
            b"y" * os.path.getsize(path("artifacts", reports[1]))), "its hash is another")
    check(os.path.exists(os.path.join(hub.data, "damaged", reports[1])), "what is damaged is kept aside")
    execute("DELETE FROM job_artifacts WHERE job_n = (SELECT max(n) FROM jobs)")
    fsck_of(hub, "an orphan lease", lambda: execute("UPDATE jobs SET state = 1, worker = 'gone', lease_until = 1 << 60"
            " WHERE n = (SELECT max(n) FROM jobs)"), "held by a worker that is gone")
    fsck_of(hub, "a wrong counter", lambda: execute("UPDATE totals SET count = 7"), "counters are wrong")
    fsck_of(hub, "a job that the search does not know",
            lambda: execute("DELETE FROM job_text WHERE n = (SELECT min(n) FROM jobs)"), "unknown to the search")
    fsck_of(hub, "a job that waits for one that has ended", lambda: execute(
            "UPDATE jobs SET state = 0, waits_for = (SELECT min(n) FROM jobs) WHERE n = (SELECT max(n) FROM jobs)"),
            "wait for a job that has ended")
    fsck_of(hub, "an index of the search that does not fit", lambda: execute(
            "UPDATE job_text SET text = text || 'extra' WHERE n = (SELECT min(n) FROM jobs)"), "index of the search")
    fsck_of(hub, "a model whose file is lost", lambda: os.unlink(path("models", models[1])), "is not there", whole=False)
    hub.start()
    states = [hub.request("GET", f"/v1/jobs/{j}") for j in jobs[:2]]
    check(all(s["state"] == "failed" and s["error"]["code"] == "artifact_lost" for s in states),
          "jobs that lost an artifact are failed and say why", [s.body for s in states])
    a = hub.submit(job(models[0], 0), wait=20)
    check(a["state"] == "succeeded" and a["artifacts"][0]["sha256"] == reports[0],
          "the same work is computed again, with the same result", a.body)
    check(hub.upload(FIXTURES + "illegal.json").status == 200, "uploading the lost model again")
    hub.request("POST", f"/v1/jobs/{jobs[1]}/retry")
    a = hub.wait(jobs[1])
    check(a["state"] == "succeeded", "retry of a job that lost its artifact", (a.body, hub.log_text()[-1500:]))
    hub.stop()
    code, text = hub.fsck()
    check(code == 0, "in the end fsck finds nothing", text)
    hub.close()


def retention():
    hub = Hub("--workers", "1", preload=False)
    hub.start()
    old_models, old = fill(hub, 9, "arm")
    _, kept = fill(hub, 6, "release")  # from the cache: shares contents with the others
    hub.stop()
    month = 40 * 86400000
    with hub.database() as db:  # forty days ago
        db.execute("PRAGMA defer_foreign_keys = ON")
        db.execute("UPDATE jobs SET finished = finished - ?, created = created - ?", (month, month))
        db.execute("UPDATE models SET created = created - ?", (month,))
    hub.start()
    _, young = fill(hub, 3, "arm2")
    gone_file = hub.upload(FIXTURES + "opset7.onnx")["id"]  # a model without jobs, young
    policy = ["--data", hub.data, "--retention-days", "30", "--pinned-projects", "release, other"]
    code, text = run("prune", *policy, "--dry-run")
    check(code == 0 and text.startswith("would go: 9 jobs"), "prune --dry-run says what would go", text)
    check([hub.request("GET", f"/v1/jobs/{j}").status for j in old] == [200] * 9, "and removes nothing")
    code, text = run("prune", *policy)
    check(code == 0 and text.startswith("gone: 9 jobs"), "prune forgets old jobs while the service runs", text)
    check([hub.request("GET", f"/v1/jobs/{j}").status for j in old] == [404] * 9, "they are gone")
    seen = everything(hub, kept + young)
    check(all(s[0] == 200 and s[4] == 200 for s in seen), "pinned and young jobs are whole", seen)
    check(hub.request("GET", f"/v1/models/{gone_file}").status == 200, "a young model without jobs stays")
    code, text = run("prune", "--data", hub.data, "--retention-bytes", "1", "--pinned-projects", "release", "--dry-run")
    check(code == 0 and text.startswith("would go: 3 jobs"), "prune by size takes what is not pinned", text)
    check(run("prune", "--data", hub.data)[0] == 2, "prune without a bound is refused")
    hub.stop()
    code, text = hub.fsck()
    check(code == 0, "fsck finds nothing after pruning", text)
    hub.close()


def main():
    hub = Hub("--workers", "2", preload=False)
    if not hub.start():
        sys.exit(hub.log_text())
    backups(hub)
    check(hub.stop() == 0, "the daemon ends with 0")
    hub.close()
    fscks()
    retention()
    sys.exit(1 if failed else 0)


main()
