// node validate.cjs FOLDER: every FOLDER/*.sarif against the schema of SARIF 2.1.0 as published (draft-07 wording of the
// draft-04 schema; the package carries it).
const fs = require("fs");
const path = require("path");
const Ajv = require("ajv");

const carrier = path.dirname(require.resolve("@microsoft/jest-sarif/package.json"));
const folder = path.join(carrier, "lib", "schemas");
const file = fs.readdirSync(folder).find((name) => name.startsWith("sarif-2.1.0"));
const schema = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
const ajv = new Ajv({ allErrors: true, schemaId: "auto", meta: false, logger: false });
ajv.addMetaSchema(require("ajv/lib/refs/json-schema-draft-04.json"));
ajv.addMetaSchema(require("ajv/lib/refs/json-schema-draft-06.json"));
ajv.addMetaSchema(require("ajv/lib/refs/json-schema-draft-07.json"));
const valid = ajv.compile(schema);

let wrong = 0;
let count = 0;
for (const name of fs.readdirSync(process.argv[2])) {
  if (!name.endsWith(".sarif")) continue;
  count++;
  if (!valid(JSON.parse(fs.readFileSync(path.join(process.argv[2], name), "utf8")))) {
    wrong++;
    for (const e of valid.errors.slice(0, 5)) console.log(`${name}${e.dataPath}: ${e.message}`);
  }
}
if (valid({ version: "2.1.0" })) {
  console.log("the schema takes a log without runs");
  wrong++;
}
process.exit(count > 0 && wrong === 0 ? 0 : 1);
