#!/usr/bin/python3
"""Compares the shapes of a check report with those of onnx.shape_inference: compare.py REPORT ORACLE.

Prints one line for each disagreement and a count at the end. Exit 0: every shape in the report is static, and
each one that the oracle knows is the same.
"""
import json
import sys


def main():
    report, facts = (json.load(open(p)) for p in sys.argv[1:3])
    wrong, same, unknown = [], 0, 0
    for node in report["nodes"]:
        values = facts["results"].get(node["name"], [])
        for kind in ("inputs", "outputs"):
            for i, value in enumerate(node[kind]):
                shape = value and value["shape"]
                if value and (not isinstance(shape, list) or any(not isinstance(d, int) or d < 0 for d in shape)):
                    wrong.append(f"{node['name']} ({node['source_op']}): {kind[:-1]} {i} is open: {shape}")
        for i, (value, name) in enumerate(zip(node["outputs"], values)):
            oracle = facts["values"].get(name)
            if oracle is None or None in oracle:
                unknown += 1
            elif value["shape"] != oracle:
                wrong.append(f"{node['name']} ({node['source_op']}): output {i} is {value['shape']}, "
                             f"the oracle says {oracle}")
            else:
                same += 1
    for line in wrong[:20]:
        print("    " + line)
    if len(wrong) > 20:
        print(f"    … and {len(wrong) - 20} more")
    s = report["summary"]
    print(f"    {s['nodes']} nodes: {s['legal']} legal, {s['illegal']} illegal, {s['folded']} folded; "
          f"{same} shapes agree with the oracle, {unknown} it does not know")
    # A comparison that compares nothing must not pass.
    sys.exit(1 if wrong or same * 2 < len(facts["values"]) - unknown - len(facts["inputs"]) else 0)


if __name__ == "__main__":
    main()
