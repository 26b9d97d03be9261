#!/usr/bin/python3
"""json_schema.py SCHEMA FILE…: each file against a JSON schema (draft-07, the words below); 1 if one does not hold.

No package is needed.  A word of the schema that is not known here ends the run with 2: nothing is skipped in silence."""
import json, re, sys

KNOWN = {"$schema", "title", "definitions", "$ref", "type", "const", "enum", "anyOf", "required", "properties",
         "additionalProperties", "items", "minItems", "maxItems", "minimum", "maximum", "pattern", "minLength"}
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def is_type(x, name):
    if name == "integer":
        return isinstance(x, (int, float)) and not isinstance(x, bool) and x == int(x)
    if name == "number":
        return isinstance(x, (int, float)) and not isinstance(x, bool)
    return isinstance(x, TYPES[name])


def faults(x, s, root, at):
    unknown = set(s) - KNOWN
    if unknown:
        sys.exit(f"the schema has {sorted(unknown)}, which json_schema.py does not know") or 2
    if "$ref" in s:
        yield from faults(x, root["definitions"][s["$ref"].rsplit("/", 1)[1]], root, at)
        return
    if "anyOf" in s:
        all_of_them = [list(faults(x, one, root, at)) for one in s["anyOf"]]
        if all(all_of_them):
            yield min(all_of_them, key=len)[0]
        return
    if "const" in s and x != s["const"]:
        yield f"{at} is {x!r}, not {s['const']!r}"
    if "enum" in s and x not in s["enum"]:
        yield f"{at} is {x!r}, none of {s['enum']}"
    if "type" in s:
        names = s["type"] if isinstance(s["type"], list) else [s["type"]]
        if not any(is_type(x, n) for n in names):
            yield f"{at} is no {' or '.join(names)}: {str(x)[:60]}"
            return
    if is_type(x, "number") and not s.get("minimum", x) <= x <= s.get("maximum", x):
        yield f"{at} is {x}, out of range"
    if isinstance(x, str) and (len(x) < s.get("minLength", 0) or not re.search(s.get("pattern", ""), x)):
        yield f"{at} is {x!r}, which is too short or does not match {s.get('pattern')}"
    if isinstance(x, list):
        if not s.get("minItems", 0) <= len(x) <= s.get("maxItems", len(x)):
            yield f"{at} has {len(x)} items"
        for i, item in enumerate(x):
            yield from faults(item, s.get("items", {}), root, f"{at}[{i}]")
    if isinstance(x, dict):
        properties = s.get("properties", {})
        for key in s.get("required", []):
            if key not in x:
                yield f"{at} has no \"{key}\""
        for key, value in x.items():
            if key in properties:
                yield from faults(value, properties[key], root, f"{at}.{key}")
            elif s.get("additionalProperties") is False:
                yield f"{at} has \"{key}\", which the schema does not know"


def main():
    with open(sys.argv[1]) as f:
        schema = json.load(f)
    wrong = False
    for path in sys.argv[2:]:
        with open(path) as f:
            found = list(faults(json.load(f), schema, schema, ""))
        for fault in found[:10]:
            print(f"{path}: {fault}")
        wrong = wrong or bool(found)
    sys.exit(wrong)


main()
