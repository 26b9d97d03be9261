#!/usr/bin/python3
"""Requests made from the OpenAPI description of a running service, right ones and ever more wrong ones.  Prints TAP.

usage: http_fuzz.py [REQUESTS [SEED]]

Holds after every answer: the service is there; no status of 500 and above but those that the description of the endpoint
or the state of the service intends (501 for what a version cannot do, 507 and 503 of a disk, which is well here); what is
refused is a problem document that says what and where; a status that the description names has the form that it names;
nothing that was sent comes back unescaped in a page."""
import http.client, json, os, random, sys, threading, time, urllib.parse

sys.path.insert(0, os.path.dirname(__file__))
from hub import Hub

COUNT = int(sys.argv[1]) if len(sys.argv) > 1 else 2500
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
FIXTURES = ["tests/fixtures/one_conv.json", "tests/fixtures/illegal.json", "tests/fixtures/lenet_float.onnx"]
HOSTILE = ["", "0", "-1", "1e9", "99999999999999999999", "true", "null", "[]", "{}", "\x00", "%", "%00", "%2e%2e%2f", "../../etc/passwd",
           "<script>alert(1)</script>", "'; DROP TABLE jobs; --", "\"", "\\", "a" * 300, "a" * 5000, "\u00e9\u4e2d\U0001f600", "\ud7ff", "é" * 100,
           "NaN", "inf", "0x10", " ", "\t", "a\r\nX-Evil: 1", "*", "@", "?", "#", "&", "=", "%s%n%d", "bayes", "perf", "0" * 64, "f" * 64]
METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "BREW"]
rng = random.Random(SEED)
spec, seen, known = None, {}, {"job": [], "model": [], "data": [], "hook": []}
checked = failed = 0


def fail(what, *more):
    global failed
    failed += 1
    print("not ok - " + what, *(str(m)[:600] for m in more), flush=True)


def resolve(schema):
    while "$ref" in schema:
        at = spec
        for part in schema["$ref"].split("/")[1:]:
            at = at[part]
        schema = at
    return schema


def valid(schema, depth=0):
    """Something that the schema allows."""
    schema = resolve(schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    for either in ("anyOf", "oneOf"):
        if either in schema:
            return valid(rng.choice(schema[either]), depth)
    kind = schema.get("type", "string")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        out = {}
        for name, member in schema.get("properties", {}).items():
            if name in schema.get("required", ()) or rng.random() < .4:
                out[name] = valid(member, depth + 1)
        return out
    if kind == "array":
        return [valid(schema.get("items", {}), depth + 1) for _ in range(rng.randrange(3))]
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", 100)
        return rng.choice([low, high, rng.randint(int(low), int(high)) if high >= low else low])
    if kind == "boolean":
        return rng.random() < .5
    if kind == "null":
        return None
    return rng.choice(known["model"] or ["0" * 64]) if "64" in schema.get("pattern", "") else rng.choice(["x", "net", "arm", "1x3x8x8"])


def spoil(value, depth=0):
    """The same, with something wrong in it."""
    roll = rng.random()
    if isinstance(value, dict) and value and roll < .8:
        key = rng.choice(list(value))
        if roll < .2:
            return {k: v for k, v in value.items() if k != key}
        if roll < .35:
            return {**value, rng.choice(HOSTILE): rng.choice(HOSTILE)}
        return {**value, key: spoil(value[key], depth + 1)}
    return rng.choice([rng.choice(HOSTILE), None, [], {}, -1, 1 << 70, 1.5, True, [[[[]]]] * 3, {"a": {"b": []}}, "x" * 70000])


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def fill(pattern):
    """A path with what its braces stand for."""
    def one(name):
        pool = known["hook"] if "webhooks" in pattern else known["data"] if "/data/" in pattern else \
            known["model"] if "/models/" in pattern else known["job"]
        if name == "march":
            return rng.choice(["bayes", "bernoulli2", "BAYES", "vax"])
        if name == "name":
            return rng.choice(["report.json", "graph.svg", "app.js", "style.css", "nothing", "report.html", "model.bpu"])
        return rng.choice(pool) if pool and rng.random() < .8 else rng.choice(HOSTILE)
    parts = []
    for part in pattern.split("/"):
        part = one(part[1:-1]) if part.startswith("{") else part
        if rng.random() < .02:
            part = rng.choice(HOSTILE)
        parts.append(urllib.parse.quote(part, safe="%" if rng.random() < .3 else ""))
    return "/".join(parts)


def body_of(operation, wrong):
    content = operation.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        value = valid(content["application/json"]["schema"])
        if wrong:
            value = spoil(value)
        raw = json.dumps(value, ensure_ascii=rng.random() < .5).encode("utf-8", "surrogatepass")
        if rng.random() < .1:
            raw = raw[:rng.randrange(len(raw) + 1)]
        return raw, "application/json"
    if operation["method"] != "post" or operation["path"].endswith(("cancel", "retry")):
        return (None, None) if rng.random() < .95 else (b"unasked", "text/plain")
    with open(rng.choice(FIXTURES), "rb") as f:
        raw = bytearray(f.read())
    for _ in range(rng.choice([0, 0, 1, 5, 50]) if wrong else 0):
        raw[rng.randrange(len(raw))] = rng.randrange(256)
    if wrong and rng.random() < .3:
        del raw[rng.randrange(len(raw)):]
    if rng.random() < .2:
        edge = "edge"
        name = rng.choice(HOSTILE).replace("\r", "").replace("\n", "").replace("\x00", "").replace('"', "")
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode("utf-8", "replace")
        return head + bytes(raw) + f"\r\n--{edge}--\r\n".encode(), "multipart/form-data; boundary=" + edge
    return bytes(raw), rng.choice(["application/octet-stream", "application/json", "text/plain", "nonsense"])


def request_of(operation):
    wrong = rng.random() < .6
    path, query = fill(operation["path"]), []
    for p in map(resolve, operation.get("parameters", ())):
        if p["in"] != "query" or not (p.get("required") or rng.random() < .35):
            continue
        name = p["name"].replace("NAME", rng.choice(["x", "input", "0"]))
        value = valid(p["schema"])
        if name in ("base", "head") and known["job"]:
            value = rng.choice(known["job"])
        query.append((name, rng.choice(HOSTILE) if wrong and rng.random() < .5 else text(value)))
    if wrong and rng.random() < .2:
        query.append((rng.choice(HOSTILE), rng.choice(HOSTILE)))
    if query:
        path += "?" + "&".join(urllib.parse.quote(k, errors="replace") + "=" + urllib.parse.quote(v, errors="replace") for k, v in query)
    body, kind = body_of(operation, wrong)
    headers = {"Prefer": rng.choice(["wait=0", "wait=1", "wait=x", "respond-async"])}
    if kind:
        headers["Content-Type"] = kind
    for name, values in (("Idempotency-Key", ["k1", "k2", "x" * 300, "é"]), ("If-None-Match", ["*", '"x"', "junk"]),
                         ("Range", ["bytes=0-10", "bytes=-5", "bytes=9-1", "bytes=0-0,2-3", "lines=1-2", "bytes=99999999999-"]),
                         ("Accept", ["*/*", "text/html", "application/json;q=0"]), ("Accept-Encoding", ["gzip", "gzip;q=0", "br, gzip;q=x"]),
                         ("Last-Event-ID", ["1", "-1", "x"]), ("Origin", ["https://evil.example", "null"]), ("X-Request-Id", ["ok", "a b", "x" * 99]),
                         ("Authorization", ["Bearer x", "Basic eDp5", "Bearer"]), ("Host", ["localhost", "evil.example", ""])):
        if rng.random() < .06:
            headers[name] = rng.choice(values)
    method = rng.choice(METHODS) if rng.random() < .04 else operation["method"].upper()
    return method, path, body, {k: v.encode("utf-8", "replace").decode("latin-1") for k, v in headers.items()}


def judge(operation, sent, status, headers, body):
    global checked
    checked += 1
    method, path = sent[:2]
    seen.setdefault(f"{operation['method']} {operation['path']}", set()).add(status)
    kind = headers.get("Content-Type", "")
    if status >= 500 and status not in (501,):
        fail(f"{status}", method, path, sent[2], sent[3], body)
    if status >= 400 and method != "HEAD":
        try:
            p = json.loads(body)
            good = kind.startswith("application/problem+json") and p["status"] == status and p["title"] and p["type"]
        except (ValueError, KeyError, TypeError):
            good = False
        # What libmicrohttpd finds unreadable it answers itself.
        if not good and not (status == 400 and b"<html>" in body):
            fail("no problem document", status, kind, method, path, body)
    if b"<script>alert(1)" in body and ("html" in kind or "svg" in kind):
        fail("unescaped", method, path, body[:200])
    if "\r\nX-Evil" in str(headers) or headers.get("X-Evil"):
        fail("a header of the client's", method, path, headers)
    if method == operation["method"].upper() and status < 300:
        answer = operation["responses"].get(str(status))
        if answer is None:
            fail("a status that is not described", status, method, path)
        elif "application/json" in resolve(answer).get("content", {}) and kind.startswith("application/json"):
            schema = resolve(resolve(answer)["content"]["application/json"].get("schema", {}))
            value = json.loads(body)
            missing = [n for n in schema.get("required", ()) if n not in value]
            if missing:
                fail(f"without {missing}", method, path, body)
            remember(operation["path"], value)


def remember(path, value):
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        return
    pool = "hook" if "webhooks" in path else "data" if "/data" in path else "model" if "/models" in path else "job"
    known[pool] = (known[pool] + [value["id"]])[-40:]


def exchange(address, sent):
    method, path, body, headers = sent
    c = http.client.HTTPConnection(address, timeout=60)
    try:
        c.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
        for k, v in headers.items():
            c.putheader(k, v)
        if body is not None:
            c.putheader("Content-Length", str(len(body)))
        c.endheaders(body)
        r = c.getresponse()
        if "event-stream" in r.headers.get("Content-Type", ""):
            return r.status, r.headers, r.read1(65536)
        return r.status, r.headers, r.read()
    finally:
        c.close()


def main():
    global spec
    hub = Hub("--workers", "2", "--webhook-private", "--job-seconds", "10", "--max-upload", "1M", preload=False)
    hub.start()
    spec = hub.request("GET", "/openapi.json").json
    operations = [{**o, "path": p, "method": m} for p, ops in spec["paths"].items() for m, o in ops.items()]
    for path in FIXTURES:
        known["model"].append(hub.upload(path)["id"])
    pid, lost = hub.process.pid, 0
    for n in range(COUNT):
        operation = operations[n % len(operations)] if n < 3 * len(operations) else rng.choice(operations)
        try:
            sent = request_of(operation)
            status, headers, body = exchange(hub.address, sent)
        except (UnicodeError, http.client.InvalidURL, ValueError) as e:
            continue # this client sends no such thing
        except (OSError, http.client.HTTPException) as e:
            # A refused body may end the connection before all of it was sent; the service must be there.
            lost += 1
            try:
                alive = hub.request("GET", "/healthz", timeout=10).status == 200
            except (OSError, http.client.HTTPException):
                alive = False
            if not alive or lost > COUNT // 20:
                fail("no answer", e, sent[:2], sent[3])
                if not alive:
                    break
            continue
        judge(operation, sent, status, headers, body)
        if failed > 20:
            break
    print(f"# seed {SEED}: {checked} answers, {lost} connections without one, statuses " +
          " ".join(f"{s}:{sum(s in v for v in seen.values())}" for s in sorted({s for v in seen.values() for s in v})) + " (by how many endpoints)")
    print("ok - no answer was wrong" if not failed else f"# {failed} wrong", flush=True)
    same = hub.process.poll() is None and hub.process.pid == pid
    for what, good in (("the daemon is the same process", same), ("every endpoint answered", len(seen) == len(operations)),
                       ("it stops as it should", hub.stop(60) == 0), ("the database is whole", hub.integrity() == []),
                       ("nothing was said of a crash", "signal" not in "".join(l for l in hub.log_text().splitlines() if "worker" in l and "was killed by" in l))):
        print(("ok - " if good else "not ok - ") + what, flush=True)
        if not good:
            globals()["failed"] += 1
    hub.close()
    sys.exit(failed > 0)


main()
