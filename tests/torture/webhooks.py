#!/usr/bin/python3
"""Webhooks of a running service against receivers that take, refuse, send elsewhere, never answer or never end.  Prints TAP."""
import hashlib, hmac, http.server, json, os, signal, subprocess, sys, threading, time

sys.path.insert(0, os.path.dirname(__file__))
from hub import BPUHUB, Hub

FIXTURE = "tests/fixtures/one_conv.json"
failed = 0


def check(good, what, seen=""):
    global failed
    print(("ok - " if good else "not ok - ") + what + ("" if good else f": {seen}"), flush=True)
    failed += not good


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what came; `answers` are statuses in turn, then 200; a status may be a function of the handler."""
    daemon_threads = True

    def __init__(self, *answers):
        self.got, self.answers, self.lock = [], list(answers), threading.Lock()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(h):
                body = h.rfile.read(int(h.headers["Content-Length"]))
                with self.lock:
                    self.got.append((dict(h.headers), body))
                    status = self.answers.pop(0) if self.answers else 200
                try:
                    if callable(status):
                        return status(h)
                    h.send_response(status)
                    h.send_header("Content-Length", "0")
                    h.end_headers()
                except OSError:
                    pass

            do_GET = do_POST

            def log_message(h, *args):
                pass
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hook?a=1"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def wait(self, count, seconds=20):
        end = time.monotonic() + seconds
        while len(self.got) < count and time.monotonic() < end:
            time.sleep(0.02)
        return len(self.got) >= count


def hook(hub, **members):
    return hub.request("POST", "/v1/webhooks", json.dumps(members), {"Content-Type": "application/json"})


def deliveries(hub, id):
    return hub.request("GET", f"/v1/webhooks/{id}/deliveries")["items"]


def settled(hub, id, count, seconds=20):
    """The log when so many notices are no longer pending."""
    end = time.monotonic() + seconds
    while True:
        items = deliveries(hub, id)
        if sum(i["state"] != "pending" for i in items) >= count or time.monotonic() > end:
            return items
        time.sleep(0.05)


def job(model, n, **more):
    return {"model": model, "kind": "check", "march": "bayes", "labels": {"n": str(n)}, "options": {"advice": str(n)}, **more}


def delivering():
    hub = Hub("--workers", "1", "--webhook-private", "--webhook-retry-ms", "100", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]
    good = Receiver()
    made = hook(hub, url=good.url)
    check(made.status == 201 and len(made["secret"]) == 64 and made["project"] is None, "a webhook, with its secret", made.body)
    check(made.headers["Location"] == f"/v1/webhooks/{made['id']}", "and its place")
    listed = hub.request("GET", "/v1/webhooks")["items"]
    check(len(listed) == 1 and "secret" not in listed[0] and "secret" not in hub.request("GET", made.headers["Location"]).json,
          "which is shown once", listed)
    id = hub.submit(job(model, 1), wait=20)["id"]
    check(good.wait(1), "the end of a job is told")
    headers, body = good.got[0]
    told = json.loads(body)
    signature = hmac.new(made["secret"].encode(), headers["X-BPUHub-Timestamp"].encode() + b"." + body, hashlib.sha256)
    check(headers["X-BPUHub-Signature"] == "sha256=" + signature.hexdigest(), "signed with the secret", headers)
    check(abs(time.time() - int(headers["X-BPUHub-Timestamp"])) < 60 and headers["X-BPUHub-Event"] == told["event"] == "job.succeeded"
          and headers["X-BPUHub-Delivery"] == told["delivery"] and headers["Content-Type"] == "application/json",
          "with time, event and number", headers)
    check(told["job"] == hub.request("GET", f"/v1/jobs/{id}").json, "and the job as GET shows it", told)
    log = settled(hub, made["id"], 1)
    check(len(log) == 1 and log[0]["state"] == "delivered" and log[0]["attempts"] == 1 and log[0]["status"] == 200
          and log[0]["job"] == id and log[0]["finished"], "the log says so", log)
    hub.submit(job(model, 1), wait=20)
    check(good.wait(2), "a job from the cache is told too")

    refusing = Receiver(500, 503)
    again = hook(hub, url=refusing.url, project="arm")
    hub.submit(job(model, 2), wait=20)
    hub.submit(job(model, 3, project="arm"), wait=20)
    log = settled(hub, again["id"], 1)
    check(len(refusing.got) == 3 and len(log) == 1 and log[0]["attempts"] == 3 and log[0]["state"] == "delivered",
          "sent again until it is taken, and only of its project", log)
    check(len({h["X-BPUHub-Delivery"] for h, _ in refusing.got}) == 1, "under the same number")

    other = Receiver()

    def elsewhere(h):
        h.send_response(302)
        h.send_header("Location", other.url)
        h.send_header("Content-Length", "0")
        h.end_headers()

    def endless(h):
        h.send_response(200)
        h.end_headers()
        for _ in range(1 << 16):
            h.wfile.write(bytes(1 << 16))
    odd = Receiver(elsewhere, endless)
    strange = hook(hub, url=odd.url, project="odd")
    hub.submit(job(model, 4, project="odd"), wait=20)
    log = settled(hub, strange["id"], 1)
    check(len(odd.got) == 3 and not other.got and log[0]["attempts"] == 3, "no redirect is followed, no endless answer read", log)

    def never(h):
        time.sleep(30)
    dead = Receiver(*[never] * 100)
    hook(hub, url=dead.url, project="busy")
    live = Receiver()
    hook(hub, url=live.url, project="busy")
    for n in range(40):
        hub.submit(job(model, 100 + n, project="busy"))
    check(live.wait(40, 15), "a receiver that never answers delays no other", len(live.got))

    cancelled = hub.submit(job(model, 5, priority=-10))
    hub.request("POST", f"/v1/jobs/{cancelled['id']}/cancel")
    hub.wait(cancelled["id"])
    gone = hub.request("DELETE", f"/v1/webhooks/{made['id']}")
    check(gone.status == 204 and hub.request("GET", f"/v1/webhooks/{made['id']}/deliveries").status == 404, "a webhook is deleted")
    text = hub.request("GET", "/metrics").body.decode()
    check('webhook_deliveries_total{outcome="delivered"}' in text and 'outcome="failed"' in text, "counted for the operator")
    started = time.monotonic()
    check(hub.stop() == 0 and time.monotonic() - started < 15, "the service stops while something is on its way")
    check(hub.integrity() == [], "the database is whole", hub.integrity())
    hub.close()


def killing():
    hub = Hub("--workers", "1", "--webhook-private", "--webhook-retry-ms", "100", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]

    def slowly(h):
        time.sleep(0.05)
        h.send_response(200)
        h.send_header("Content-Length", "0")
        h.end_headers()
    receiver = Receiver(*[slowly] * 10000)
    made = hook(hub, url=receiver.url)
    ids = set()
    for n in range(60):
        ids.add(hub.submit(job(model, n))["id"])
        if n in (15, 30):
            subprocess.run(["pkill", "-KILL", "-P", str(hub.process.pid), "-f", "bpuhub-deliver"], check=False)
        if n == 45:
            hub.kill()
            hub.start()
    log = settled(hub, made["id"], 60, 40)
    told = {json.loads(b)["job"]["id"] for _, b in receiver.got}
    check(told == ids and all(i["state"] == "delivered" for i in log), "killed, it tells everything all the same",
          (len(told), len(ids), [i for i in log if i["state"] != "delivered"][:3]))
    check(len(receiver.got) <= 60 + 3 * 4, "and little twice", len(receiver.got))
    hub.stop()
    hub.close()


def private():
    hub = Hub("--workers", "1", preload=False)
    hub.start()
    model = hub.upload(FIXTURE)["id"]
    inside = Receiver()
    ids = [hook(hub, url=url)["id"] for url in (inside.url, inside.url.replace("127.0.0.1", "localhost"),
                                                 inside.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"))]
    hub.submit(job(model, 1), wait=20)
    for id in ids:
        log = settled(hub, id, 1)
        check(log and log[0]["state"] == "given_up" and "webhook-private" in log[0]["error"], "nothing goes into private networks", log)
    check(not inside.got, "not even a connection's worth", inside.got)
    for members, place in (({}, "/url"), ({"url": "ftp://example.org/"}, "/url"), ({"url": "http://a b/"}, "/url"), ({"url": 3}, "/url"),
                           ({"url": "https://example.org/", "colour": "red"}, "/colour"), ({"url": "https://e.org/" + "x" * 2000}, "/url"),
                           ({"url": "https://example.org/", "project": "p" * 200}, "/project")):
        a = hook(hub, **members)
        check(a.status == 400 and a["where"] == place, f"refused: {str(members)[:50]}", a.body)
    check(hub.request("GET", "/v1/webhooks/none").status == 404 and hub.request("DELETE", "/v1/webhooks/none").status == 404, "one that is none")
    for _ in range(97):
        last = hook(hub, url="https://example.org/")
    check(last.status == 201 and hook(hub, url="https://example.org/").status >= 400, "a hundred and no more")
    hub.stop()
    hub.close()


def access():
    hub = Hub("--workers", "1", preload=False)
    hub.start()

    def token(*args):
        p = subprocess.run([BPUHUB, "token", "create", *args, "--data", hub.data], capture_output=True, text=True, check=True)
        return {"Authorization": "Bearer " + p.stdout.split()[0], "Content-Type": "application/json"}
    boss, builder = token("boss", "--role", "admin"), token("builder")
    looker, arm = token("looker", "--role", "viewer"), token("arm", "--project", "arm")
    subprocess.run([BPUHUB, "project", "set", "arm", "private", "--data", hub.data], check=True, capture_output=True)
    end = time.monotonic() + 10
    while hub.request("GET", "/v1/webhooks").status != 401 and time.monotonic() < end:
        time.sleep(0.05)

    def ask(who, method="GET", path="/v1/webhooks", **members):
        return hub.request(method, path, json.dumps(members) if members else None, who)
    url = "https://example.org/"
    check(ask(looker, "POST", url=url, project="x").status == 403, "a viewer makes none")
    check(ask(builder, "POST", url=url).status == 403, "only an admin is told of all projects")
    check(ask(builder, "POST", url=url, project="arm").status == 403, "a private project's jobs are its own")
    all_of_them, public, own = ask(boss, "POST", url=url), ask(builder, "POST", url=url, project="x"), ask(arm, "POST", url=url)
    check(all_of_them.status == public.status == own.status == 201 and own["project"] == "arm", "a token's project is the webhook's")
    seen = lambda who: {i["id"] for i in ask(who)["items"]}
    check(seen(boss) == {all_of_them["id"], public["id"], own["id"]} and seen(builder) == {public["id"]} and seen(arm) == {own["id"]},
          "everybody sees their own", (seen(boss), seen(builder), seen(arm)))
    none = ask(builder, path="/v1/webhooks/00aa/deliveries").body
    for method, path in (("GET", "/deliveries"), ("GET", ""), ("DELETE", "")):
        a = ask(builder, method, f"/v1/webhooks/{own['id']}{path}")
        check(a.status == 404 and a.body.replace(own["id"].encode(), b"00aa") == none, f"{method} of another's is not there", a.body)
    check(ask(arm, "DELETE", f"/v1/webhooks/{own['id']}").status == 204, "its own may go")
    entries = [i["action"] for i in ask(boss, path="/v1/audit")["items"]]
    check("webhook.create" in entries and "webhook.delete" in entries, "in the audit log", entries)
    hub.stop()
    hub.close()


for part in (delivering, killing, private, access):
    part()
sys.exit(failed > 0)
