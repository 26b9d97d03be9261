"""docs/security.md: each threat names its tests, and each test that it names exists and is run."""

import pathlib
import re
import sys

root = pathlib.Path(__file__).resolve().parents[2]
text = (root / "docs/security.md").read_text()
threats = text[text.index("## Threats"):text.index("## What is not protected")]
files = {p.name: p for folder in ("server", "unit", "browser", "cases", "torture", "conformance") for p in (root / "tests" / folder).glob("*")}
failed = 0


def say(ok, what):
    global failed
    failed += not ok
    print(("ok " if ok else "not ok ") + what)


def is_run(path, name):
    source = path.read_text()
    if path.suffix == ".c":
        return re.search(r"\bvoid %s\(" % re.escape(name), source) and \
            re.search(r"(\bcmocka_unit_test\w*\(|\bT\(|\{\w+\[i\]\.name, )%s\b" % re.escape(name), source)
    if path.suffix == ".py":
        return any(f'"{name}"' in line for line in source.splitlines() if "check(" in line or line.startswith("          "))
    return f"test('{name}'" in source


rows = [r for r in threats.splitlines() if r.startswith("| ") and not r.startswith("| threat")]
for row in rows:
    cells = [c.strip() for c in row.strip("|").split("|")]
    named = re.findall(r"`([\w.]+): ([^`]+)`", cells[-1]) if len(cells) == 3 else []
    say(bool(named), f"security: {cells[0][:60]} names a test")
    for file, name in named:
        found = file in files and bool(is_run(files[file], name))
        if not found:
            say(False, f"security: {file}: {name} is there and run")
say(len(rows) >= 35, "security: the threats are there")
sys.exit(failed > 0)
