#!/usr/bin/python3
"""What a client is told while the disk or the database fails, that nothing acknowledged is lost by it, and that the
service goes on by itself when the condition ends.  Prints TAP."""
import http.client, os, shutil, sqlite3, subprocess, sys, time

from hub import BPUHUB, Hub, sha256_of

FIXTURE, OTHER = "tests/fixtures/one_conv.json", "tests/fixtures/illegal.json"
failed = 0


def check(good, what, seen=None):
    global failed
    failed += not good
    print(("ok" if good else "not ok") + " - " + what + ("" if good or seen is None else f": {seen}"), flush=True)


def problem(a, status, code):
    return (a.status == status and a["status"] == status and a["code"] == code and a["detail"] and a["hint"] and
            a.headers["Content-Type"] == "application/problem+json" and (status != 503 or a.headers["Retry-After"]))


def text(a):
    return a.status, a.body[:400]


def job(model, variant, kind="check"):
    return {"model": model, "kind": kind, "march": "bayes", "options": {"advice": str(variant)}}


def disk(hub, mode, status, code):
    """A condition of the disk that comes while the service has work, and goes."""
    model = hub.upload(FIXTURE)["id"]
    kept = [hub.submit(job(model, f"{i}{status}"))["id"] for i in range(5)]
    hub.fault.set(mode)
    a = hub.submit(job(model, 1000 + status))
    check(problem(a, status, code), f"{mode}: a job is refused with {status} {code}", text(a))
    a = hub.upload(OTHER)
    check(problem(a, status, code), f"{mode}: an upload is refused with {status} {code}", text(a))
    a = hub.request("GET", f"/v1/jobs/{kept[0]}")
    check(a.status == 200, f"{mode}: what is there is still read", text(a))
    a = hub.request("GET", "/readyz")
    check(problem(a, 503, "not_ready"), f"{mode}: /readyz is not ready", text(a))
    time.sleep(1.5)
    check(hub.request("GET", "/healthz").status == 200, f"{mode}: the process is alive")
    hub.fault.set("none")
    states = [hub.wait(j)["state"] for j in kept]
    check(states == ["succeeded"] * 5, f"{mode}: acknowledged jobs end well afterwards", states)
    a = hub.submit(job(model, 1000 + status), wait=20)
    check(a.status == 202 and a["state"] == "succeeded", f"{mode}: work goes on afterwards", text(a))
    a = hub.upload(OTHER)
    check(a.status in (200, 201) and a["id"] == sha256_of(OTHER), f"{mode}: uploads go on afterwards", text(a))
    a = hub.request("GET", "/readyz")
    check(a.status == 200, f"{mode}: /readyz is ready again", text(a))
    left = os.listdir(os.path.join(hub.data, "tmp"))
    check(not left, f"{mode}: no temporary file is left", left)
    check(hub.integrity() == [], f"{mode}: the database is sound", hub.integrity())


def while_running(hub):
    """The disk fills while a job computes: its result waits and is not computed again."""
    model = hub.upload("tests/fixtures/lenet_qat_s8.onnx")["id"]
    a = hub.submit({"model": model, "kind": "compile", "march": "bayes", "options": {}})
    end = time.monotonic() + 10
    while time.monotonic() < end and hub.request("GET", f"/v1/jobs/{a['id']}")["state"] == "queued":
        time.sleep(0.002)
    hub.fault.set("full")
    time.sleep(2)
    hub.fault.set("none")
    a = hub.wait(a["id"])
    check(a["state"] == "succeeded" and a["attempts"] == 1, "full while a job runs: its result is kept", text(a))


def short_writes(hub):
    model = hub.upload(FIXTURE)["id"]
    hub.fault.set("short", 500)
    states = [hub.submit(job(model, 7000 + i), wait=20)["state"] for i in range(10)]
    a = hub.upload("tests/fixtures/opset13.onnx")
    hub.fault.set("none")
    check(states == ["succeeded"] * 10, "short writes: nobody notices", states)
    path = os.path.join(hub.data, "models", a["id"][:2], a["id"])
    check(sha256_of(path) == a["id"], "short writes: an upload is whole")


def locked(hub):
    model = hub.upload(FIXTURE)["id"]
    db = hub.database()
    db.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    a = hub.submit(job(model, 9000))
    check(problem(a, 503, "store_busy"), "locked: a job is refused with 503 store_busy", text(a))
    check(time.monotonic() - began < 15, "locked: within 15 s")
    check(hub.request("GET", "/v1/jobs?limit=5").status == 200, "locked: lists are read")
    db.execute("ROLLBACK")
    db.close()
    a = hub.submit(job(model, 9000), wait=20)
    check(a.status == 202 and a["state"] == "succeeded", "locked: work goes on afterwards", text(a))


def unreadable(hub):
    model = hub.upload(FIXTURE)["id"]
    kept = hub.submit(job(model, 9100), wait=20)["id"]
    hub.fault.set("unreadable")
    answers = [hub.request("GET", f"/v1/jobs/{kept}/report"), hub.submit(job(model, 9101)), hub.request("GET", "/readyz")]
    check(all(a.status in (200, 202, 503) for a in answers), "unreadable: answers are 200 or 503",
          [text(a) for a in answers])
    check(all(a["hint"] for a in answers if a.status == 503), "unreadable: with a hint", [text(a) for a in answers])
    hub.fault.set("none")
    a = hub.submit(job(model, 9102), wait=20)
    check(a.status == 202 and a["state"] == "succeeded", "unreadable: work goes on afterwards", text(a))
    check(hub.integrity() == [], "unreadable: the database is sound")


def damaged():
    hub = Hub("--workers", "1", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]
    jobs = [hub.submit(job(model, i), wait=20)["id"] for i in range(30)]
    check(hub.stop() == 0, "damaged: stopped")
    path = os.path.join(hub.data, "hub.db")
    sound = open(path, "rb").read()
    with open(path, "r+b") as f:  # a page in the middle of everything but the first
        for page in range(1, len(sound) // 4096):
            f.seek(page * 4096)
            f.write(os.urandom(4096))
    if hub.start():
        answers = [hub.request("GET", "/v1/jobs"), hub.request("GET", f"/v1/jobs/{jobs[3]}"),
                   hub.submit(job(model, 77)), hub.request("GET", "/readyz")]
        check(all(a.status in (404, 503) or a.status == 200 for a in answers) and
              any(problem(a, 503, "store_damaged") for a in answers), "damaged pages: 503 store_damaged",
              [text(a) for a in answers])
        hub.stop()
    else:
        check("malformed" in hub.log_text() and "bpuhub restore" in hub.log_text(), "damaged pages: told at the start",
              hub.log_text()[-500:])
    open(path, "wb").write(b"no database, just text\n" * 1000)
    check(not hub.start(), "no database: refuses to start")
    check("bpuhub restore" in hub.log_text(), "no database: says what to do", hub.log_text()[-500:])
    open(path, "wb").write(sound)
    check(hub.start(), "the sound file again: starts")
    states = [hub.request("GET", f"/v1/jobs/{j}")["state"] for j in jobs]
    check(states == ["succeeded"] * 30, "the sound file again: everything is there", states)
    hub.close()


def start_on_bad_disk():
    """A daemon that cannot write says so and ends; it does not half run."""
    for mode in ("full", "read-only"):
        hub = Hub("--workers", "1")
        hub.fault.set(mode)
        started = hub.start()
        log = hub.log_text()
        check(not started, f"start on a {mode} disk: ends")
        check("No space left" in log or "Read-only" in log or "disk" in log, f"start on a {mode} disk: says why", log)
        hub.fault.set("none")
        check(hub.start(), f"start on a {mode} disk: starts afterwards", hub.log_text())
        hub.close()


def main():
    hub = Hub("--workers", "2")
    if not hub.start():
        sys.exit(hub.log_text())
    disk(hub, "full", 507, "disk_full")
    disk(hub, "read-only", 503, "disk_unavailable")
    disk(hub, "broken", 503, "disk_unavailable")
    while_running(hub)
    short_writes(hub)
    locked(hub)
    unreadable(hub)
    check(hub.stop() == 0, "the daemon ends with 0")
    check(hub.integrity() == [], "the database is sound in the end", hub.integrity())
    hub.close()
    damaged()
    start_on_bad_disk()
    sys.exit(1 if failed else 0)


main()
