"""Is a report what its readers take it for?  SARIF 2.1.0 and JUnit XML, checked without network.

    sarif_schema.py FILE.sarif|FILE.xml …        prints what is wrong; exit 1 if anything is

SHAPES holds, for every SARIF object that reports contain, the properties that the standard's schema
allows in it with their kinds, and which it requires; nothing else is allowed.  Beyond the schema: rule
ids do not repeat, every result refers to its rule and its artifact, levels agree.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

LEVELS = ("none", "note", "warning", "error")
STRING, COUNT, BAG = "string", "count", "bag"
INDEX = ("integer", -1)
LINE = ("integer", 1)
OFFSET = ("integer", -1)

# object: ({property: kind}, required).  A kind is a name above, an object's name, [kind] for a list, a
# tuple of allowed words, or {"*": kind} for a dictionary.
SHAPES = {
    "log": ({"$schema": "uri", "version": ("2.1.0",), "runs": ["run"], "inlineExternalProperties": None,
             "properties": BAG}, ("version", "runs")),
    "run": ({"tool": "tool", "invocations": None, "conversion": None, "language": STRING,
             "versionControlProvenance": None, "originalUriBaseIds": None, "artifacts": ["artifact"],
             "logicalLocations": ["logicalLocation"], "graphs": None, "results": ["result"],
             "automationDetails": None, "runAggregates": None, "baselineGuid": None, "redactionTokens": None,
             "defaultEncoding": STRING, "defaultSourceLanguage": STRING, "newlineSequences": [STRING],
             "columnKind": ("utf16CodeUnits", "unicodeCodePoints"), "externalPropertyFileReferences": None,
             "threadFlowLocations": None, "taxonomies": None, "addresses": None, "translations": None,
             "policies": None, "webRequests": None, "webResponses": None, "specialLocations": None,
             "properties": BAG}, ("tool",)),
    "tool": ({"driver": "toolComponent", "extensions": ["toolComponent"], "properties": BAG}, ("driver",)),
    "toolComponent": ({"guid": None, "name": STRING, "organization": STRING, "product": STRING,
                       "productSuite": STRING, "shortDescription": "multiformat",
                       "fullDescription": "multiformat", "fullName": STRING, "version": STRING,
                       "semanticVersion": STRING, "dottedQuadFileVersion": None, "releaseDateUtc": STRING,
                       "downloadUri": "uri", "informationUri": "uri", "globalMessageStrings": None,
                       "notifications": ["rule"], "rules": ["rule"], "taxa": ["rule"], "locations": None,
                       "language": STRING, "contents": None, "isComprehensive": None,
                       "localizedDataSemanticVersion": STRING, "minimumRequiredLocalizedDataSemanticVersion":
                       STRING, "associatedComponent": None, "translationMetadata": None,
                       "supportedTaxonomies": None, "properties": BAG}, ("name",)),
    "rule": ({"id": STRING, "deprecatedIds": [STRING], "guid": None, "deprecatedGuids": None, "name": STRING,
              "deprecatedNames": [STRING], "shortDescription": "multiformat", "fullDescription":
              "multiformat", "messageStrings": {"*": "multiformat"}, "defaultConfiguration": "configuration",
              "helpUri": "uri", "help": "multiformat", "relationships": None, "properties": BAG}, ("id",)),
    "multiformat": ({"text": STRING, "markdown": STRING, "properties": BAG}, ("text",)),
    "configuration": ({"enabled": "boolean", "level": LEVELS, "rank": None, "parameters": BAG,
                       "properties": BAG}, ()),
    "artifact": ({"description": "message", "location": "artifactLocation", "parentIndex": INDEX,
                  "offset": ("integer", 0), "length": INDEX, "roles": None, "mimeType": STRING,
                  "contents": None, "encoding": STRING, "sourceLanguage": STRING, "hashes": {"*": STRING},
                  "lastModifiedTimeUtc": STRING, "properties": BAG}, ()),
    "artifactLocation": ({"uri": "uri-reference", "uriBaseId": STRING, "index": INDEX,
                          "description": "message", "properties": BAG}, ()),
    "result": ({"ruleId": STRING, "ruleIndex": INDEX, "rule": None, "kind":
                ("notApplicable", "pass", "fail", "review", "open", "informational"), "level": LEVELS,
                "message": "message", "analysisTarget": "artifactLocation", "locations": ["location"],
                "guid": None, "correlationGuid": None, "occurrenceCount": LINE,
                "partialFingerprints": {"*": STRING}, "fingerprints": {"*": STRING}, "stacks": None,
                "codeFlows": None, "graphs": None, "graphTraversals": None, "relatedLocations": ["location"],
                "suppressions": None, "baselineState": ("new", "unchanged", "updated", "absent"),
                "rank": None, "attachments": None, "hostedViewerUri": "uri", "workItemUris": None,
                "provenance": None, "fixes": None, "taxa": None, "webRequest": None, "webResponse": None,
                "properties": BAG}, ("message",)),
    "message": ({"text": STRING, "markdown": STRING, "id": STRING, "arguments": [STRING],
                 "properties": BAG}, ()),
    "location": ({"id": INDEX, "physicalLocation": "physicalLocation", "logicalLocations":
                  ["logicalLocation"], "message": "message", "annotations": ["region"], "relationships": None,
                  "properties": BAG}, ()),
    "physicalLocation": ({"address": None, "artifactLocation": "artifactLocation", "region": "region",
                          "contextRegion": "region", "properties": BAG}, ()),
    "region": ({"startLine": LINE, "startColumn": LINE, "endLine": LINE, "endColumn": LINE,
                "charOffset": OFFSET, "charLength": ("integer", 0), "byteOffset": OFFSET,
                "byteLength": ("integer", 0), "snippet": None, "message": "message",
                "sourceLanguage": STRING, "properties": BAG}, ()),
    "logicalLocation": ({"name": STRING, "index": INDEX, "fullyQualifiedName": STRING, "decoratedName":
                         STRING, "parentIndex": INDEX, "kind": STRING, "properties": BAG}, ()),
}
URI = re.compile(r"^(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*$")
UNIQUE = {("run", "artifacts"), ("toolComponent", "rules"), ("location", "logicalLocations")}


class Checker:
    def __init__(self):
        self.wrong = []

    def say(self, where, what):
        self.wrong.append(f"{where}: {what}")

    def value(self, kind, v, where):
        if kind is None:
            self.say(where, "is not expected in our reports")
        elif isinstance(kind, list):
            if not isinstance(v, list):
                self.say(where, "is no list")
            else:
                for i, x in enumerate(v):
                    self.value(kind[0], x, f"{where}[{i}]")
        elif isinstance(kind, dict):
            if not isinstance(v, dict):
                self.say(where, "is no dictionary")
            else:
                for k, x in v.items():
                    self.value(kind["*"], x, f"{where}.{k}")
        elif isinstance(kind, tuple) and kind[0] == "integer":
            if not isinstance(v, int) or isinstance(v, bool) or v < kind[1]:
                self.say(where, f"{v!r} is no integer from {kind[1]} on")
        elif isinstance(kind, tuple):
            if v not in kind:
                self.say(where, f"{v!r} is none of {kind}")
        elif kind == BAG:
            if not isinstance(v, dict):
                self.say(where, "is no object")
            elif "tags" in v and not isinstance(v["tags"], list):
                self.say(where, "its tags are no list")
        elif kind == "boolean":
            if not isinstance(v, bool):
                self.say(where, "is no boolean")
        elif kind in (STRING, "uri", "uri-reference"):
            if not isinstance(v, str):
                self.say(where, f"{v!r} is no string")
            elif kind != STRING and not URI.match(v):
                self.say(where, f"{v!r} is no URI reference")
            elif kind == "uri" and not re.match(r"^[A-Za-z][A-Za-z0-9+.\-]*:", v):
                self.say(where, f"{v!r} has no scheme")
        else:
            self.object(kind, v, where)

    def object(self, name, v, where):
        shape, required = SHAPES[name]
        if not isinstance(v, dict):
            self.say(where, f"is no {name}")
            return
        for key in required:
            if key not in v:
                self.say(where, f"a {name} must have {key}")
        for key, x in v.items():
            if key not in shape:
                self.say(where, f"a {name} has no property {key}")
            else:
                self.value(shape[key], x, f"{where}.{key}")
            if (name, key) in UNIQUE and isinstance(x, list):
                seen = {json.dumps(i, sort_keys=True) for i in x}
                if len(seen) != len(x):
                    self.say(where, f"{key} holds one item twice")
        if name == "message" and "text" not in v and "id" not in v:
            self.say(where, "a message has text or id")

    def run(self, run, where):
        rules = run["tool"]["driver"].get("rules", [])
        ids = [r["id"] for r in rules]
        if len(set(ids)) != len(ids):
            self.say(where, "two rules have one id")
        artifacts = run.get("artifacts", [])
        for i, r in enumerate(run.get("results", [])):
            at = f"{where}.results[{i}]"
            k = r.get("ruleIndex", -1)
            if not 0 <= k < len(rules):
                self.say(at, "its rule is not in the list")
            elif rules[k]["id"] != r["ruleId"]:
                self.say(at, f"ruleIndex {k} is {rules[k]['id']}, not {r['ruleId']}")
            for place in r.get("locations", []):
                a = place.get("physicalLocation", {}).get("artifactLocation", {})
                k = a.get("index", -1)
                if k >= len(artifacts) or (k >= 0 and artifacts[k]["location"]["uri"] != a["uri"]):
                    self.say(at, "its artifact is not the one of that index")


def no_duplicates(pairs):
    keys = [k for k, _ in pairs]
    if len(set(keys)) != len(keys):
        raise ValueError(f"a key is given twice: {keys}")
    return dict(pairs)


def check_sarif(text):
    checker = Checker()
    try:
        log = json.loads(text, object_pairs_hook=no_duplicates)
    except ValueError as e:
        return [str(e)]
    checker.object("log", log, "$")
    if not checker.wrong:
        for i, run in enumerate(log["runs"]):
            checker.run(run, f"$.runs[{i}]")
    return checker.wrong


# element: (attributes required, allowed; children allowed), as CI servers read JUnit files.
JUNIT = {
    "testsuite": ({"name", "tests", "failures", "errors"},
                  {"skipped", "time", "timestamp", "hostname", "id", "package"},
                  {"properties", "testcase", "system-out", "system-err"}),
    "testcase": ({"name", "classname"}, {"time", "file", "line", "status", "assertions"},
                 {"skipped", "error", "failure", "system-out", "system-err"}),
    "failure": ({"type"}, {"message"}, set()),
    "skipped": (set(), {"message", "type"}, set()),
    "system-out": (set(), set(), set()),
}


def check_junit(text):
    wrong = []
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as e:
        return [str(e)]
    if root.tag != "testsuite":
        return [f"the root is {root.tag}"]

    def walk(e):
        if e.tag not in JUNIT:
            wrong.append(f"unknown element {e.tag}")
            return
        required, allowed, children = JUNIT[e.tag]
        for a in required - set(e.attrib):
            wrong.append(f"{e.tag} {e.get('name')} has no {a}")
        for a in set(e.attrib) - required - allowed:
            wrong.append(f"{e.tag} has an attribute {a}")
        for child in e:
            if child.tag not in children:
                wrong.append(f"{child.tag} in {e.tag}")
            walk(child)
        if e.tag == "testcase" and sum(c.tag in ("skipped", "failure", "error") for c in e) > 1:
            wrong.append(f"testcase {e.get('name')} has two results")

    walk(root)
    cases = root.findall("testcase")
    for key, count in (("tests", len(cases)), ("failures", len(root.findall("testcase/failure"))),
                       ("skipped", len(root.findall("testcase/skipped"))), ("errors", 0)):
        if root.get(key) != str(count):
            wrong.append(f"{key} is {root.get(key)}, not {count}")
    return wrong


def main(files):
    bad = 0
    for name in files:
        with open(name, encoding="utf-8") as f:
            text = f.read()
        wrong = check_junit(text) if name.endswith(".xml") else check_sarif(text)
        for w in wrong[:5]:
            print(f"{name}: {w}")
        bad += bool(wrong)
    return bad


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
