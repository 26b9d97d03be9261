#!/usr/bin/python3
"""What an operator watches and sets: /metrics, the log, /readyz, --check-config, retention by the daemon.  Prints TAP."""
import json, os, re, signal, subprocess, sys, time

from hub import BPUHUB, Hub, children

FIXTURE = "tests/fixtures/one_conv.json"
failed = 0


def check(good, what, seen=None):
    global failed
    failed += not good
    print(("ok" if good else "not ok") + " - " + what + ("" if good or seen is None else f": {seen}"), flush=True)


def job(model, variant, **more):
    return {"model": model, "kind": "check", "march": "bayes", "options": {"advice": str(variant)}, **more}


def metrics(hub):
    a = hub.request("GET", "/metrics")
    values = {}
    for line in a.body.decode().splitlines():
        m = re.fullmatch(r'(\w+(?:\{(?:\w+="[^"]*",?)*\})?) (\S+)', line)
        if line.startswith("# "):
            continue
        if not m:
            check(False, "a line of /metrics that is none", line)
            continue
        values[m.group(1)] = float(m.group(2))
    return values


def watching():
    hub = Hub("--workers", "1", "--log", "json", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]
    first = hub.submit(job(model, 1), wait=20)
    hub.submit(job(model, 1), wait=20)
    hub.submit(job(model, 2), wait=20)
    slow = hub.upload("tests/fixtures/lenet_qat_s8.onnx")["id"]
    # A child that is killed is counted, and its job runs again after the back-off.
    killed, a = 0, None
    for i in range(30):
        a = hub.submit({"model": slow, "kind": "compile", "march": "bayes", "options": {"advice": str(i)}})
        end = time.monotonic() + 2
        while time.monotonic() < end and killed <= i:
            for worker in children(hub.process.pid):
                for child in children(worker):
                    os.kill(child, signal.SIGKILL)  # it may have answered already
                    killed = i + 1
        a = hub.wait(a["id"])
        if a["attempts"] == 2:
            break
    m = metrics(hub)
    computed = 'bpuhub_jobs_ended_total{kind="check",state="succeeded",how="computed"}'
    cached = 'bpuhub_jobs_ended_total{kind="check",state="succeeded",how="cached"}'
    check(m.get(computed) == 2 and m.get(cached) == 1, "ends of jobs are counted, cached ones apart",
          {k: v for k, v in m.items() if "ended" in k})
    stages = {k: v for k, v in m.items() if k.startswith('bpuhub_job_stage_seconds_total{kind="check"')}
    check(len(stages) >= 2 and all(0 <= v < 60 for v in stages.values()), "time by kind and stage", stages)
    check(0 < m.get('bpuhub_job_run_seconds_total{kind="check"}', -1) < 60 and
          m.get('bpuhub_job_wait_seconds_total{kind="check"}', -1) >= 0, "time of jobs", m)
    killed_count = m.get('bpuhub_sandbox_kills_total{code="worker_crashed"}', 0)
    check(killed_count == 1 and a["state"] == "succeeded" and a["attempts"] == 2,
          "a killed child is counted, and its job is done at the second attempt", (killed, killed_count, a.body))
    buckets = [v for k, v in m.items() if k.startswith('bpuhub_http_request_seconds_bucket{method="POST",route="/v1/jobs"')]
    total = m['bpuhub_http_request_seconds_count{method="POST",route="/v1/jobs"}']
    check(len(buckets) > 8 and buckets == sorted(buckets) and buckets[-1] == total, "the latency histogram adds up", buckets)
    check(m["bpuhub_store_commits_total"] >= 4 and m["bpuhub_store_commit_requests_total"] >=
          m["bpuhub_store_commits_total"] and m["bpuhub_store_commit_seconds_total"] > 0, "commits are counted", m)
    check(m["bpuhub_jobs_queued"] == 0 and m["bpuhub_oldest_queued_seconds"] == 0 and m["bpuhub_workers_alive"] == 1,
          "queue depth, age and workers", m)

    a = hub.request("POST", "/v1/jobs", json.dumps(job(model, 77)),
                    {"Content-Type": "application/json", "X-Request-Id": "trace-me.1", "Prefer": "wait=20"})
    check(a.headers["X-Request-Id"] == "trace-me.1", "a client's request id comes back", a.headers)
    b = hub.request("GET", "/healthz", headers={"X-Request-Id": "no good\t{}"})
    check(re.fullmatch("[0-9a-f]{16}", b.headers["X-Request-Id"] or ""), "else there is a new one", b.headers)
    hub.stop()
    m2 = hub.start() and metrics(hub)
    check(m2.get(cached) == m.get(cached), "counters of jobs outlive the daemon")
    hub.stop()
    lines = []
    for line in hub.log_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            check(False, "a line of the log that is no JSON", line)
    mine = [l for l in lines if l.get("request") == "trace-me.1"]
    check(len(mine) == 1 and mine[0]["status"] == 202 and mine[0]["route"] == "/v1/jobs" and mine[0]["job"] == a["id"],
          "the request has a line with its id and its job", mine)
    ran = [l for l in lines if l["event"] == "job" and l["job"] == a["id"]]
    check(len(ran) == 1 and ran[0]["end"] == "ended" and ran[0]["ms"] >= 0 and ran[0]["verdict"],
          "the job has a line of its worker", ran)
    check(all(l["time"].endswith("Z") and l["level"] and l["event"] for l in lines), "every line has time, level, event")
    hub.close()


def readiness():
    hub = Hub("--workers", "1", preload=False)
    hub.start()
    time.sleep(0.3)
    a = hub.request("GET", "/readyz")
    check(a.status == 200 and a["workers"] == 1, "ready", a.body)
    seen = None
    for _ in range(6):
        for worker in children(hub.process.pid):
            os.kill(worker, signal.SIGKILL)
        time.sleep(0.03)
        a = hub.request("GET", "/readyz")
        if a.status == 503:
            seen = a
            break
    check(seen and seen["code"] == "not_ready" and "workers" in seen["detail"], "not ready without a worker",
          seen and seen.body)
    end = time.monotonic() + 10
    while time.monotonic() < end and hub.request("GET", "/readyz").status != 200:
        time.sleep(0.05)
    check(hub.request("GET", "/readyz").status == 200, "ready again by itself")
    hub.stop()
    hub.close()


def settings():
    hub = Hub(preload=False)

    def run(*args, **env):
        p = subprocess.run([BPUHUB, "serve", "--check-config", *args], capture_output=True, text=True,
                           env={**os.environ, **env})
        return p.returncode, p.stdout + p.stderr
    config = os.path.join(hub.base, "conf")
    with open(config, "w") as f:
        f.write("# a comment\nlisten = 127.0.0.1:0\nretention-days = 90\npinned-projects = release, arm\nlog = json\n")
    code, text = run("--config", config, "--data", hub.data)
    check(code == 0 and "can be served" in text, "good settings", text)
    check(not os.listdir(hub.data), "are only looked at")
    cases = [(["--workers", "many"], {}, "workers"), ([], {"BPUHUB_RETENTION_DAYS": "-1"}, "retention-days"),
             (["--listen", "0.0.0.0:8080"], {}, "there are no tokens"), (["--listen", "nowhere"], {}, "HOST:PORT"),
             (["--log", "xml"], {}, "xml"), (["--data", config], {}, "not a folder"), (["--nonsense", "1"], {}, "no such option")]
    for args, env, want in cases:
        code, text = run(*args, **env)
        check(code == 2 and want in text, f"bad settings: {want}", (code, text))
    subprocess.run([BPUHUB, "token", "create", "someone", "--data", hub.data], check=True, capture_output=True)
    code, text = run("--data", hub.data, "--listen", "0.0.0.0:0")
    check(code == 0, "beyond loopback with tokens", (code, text))
    code, text = run("--data", hub.data, "--tls-cert", config, "--tls-key", config)
    check(code == 2 and "no certificate" in text, "a certificate that is none", (code, text))
    with open(config, "a") as f:
        f.write("workers = 2\nworker = 3\n")
    code, text = run("--config", config)
    check(code == 2 and "line 7" in text and "worker" in text, "a bad line is named", (code, text))
    hub.close()


def retention():
    hub = Hub("--workers", "1", "--retention-days", "30", "--pinned-projects", "release", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]
    old = hub.submit(job(model, 1), wait=20)["id"]
    pinned = hub.submit(job(model, 2, project="release"), wait=20)["id"]
    with hub.database() as db:
        db.execute("UPDATE jobs SET finished = finished - 40 * 86400000")
    end = time.monotonic() + 15
    while time.monotonic() < end and hub.request("GET", f"/v1/jobs/{old}").status == 200:
        time.sleep(0.2)
    check(hub.request("GET", f"/v1/jobs/{old}").status == 404, "the daemon forgets old jobs by itself")
    check(hub.request("GET", f"/v1/jobs/{pinned}").status == 200, "and keeps those of pinned projects")
    hub.stop()
    hub.close()


watching()
readiness()
settings()
retention()
sys.exit(1 if failed else 0)
