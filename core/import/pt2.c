/* A torch.export archive, from its members to a graph.
 *
 * PyTorch up to 2.7 wrote serialized_exported_program.json beside files of torch.save; from 2.8 on
 * it is a "PT2 archive": archive_format, archive_version, models/NAME.json and data/.  The program
 * within is the same; its schema has a version, of which an unknown major one is refused. */
#include "core/import/pt2.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/import/quant_pair.h"
#include "core/import/recompose.h"

#define OLD_PROGRAM "serialized_exported_program.json"
#define EXPORT "torch.export.save(torch.export.export(model.eval(), (example,)), \"model.pt2\")"

/* Major versions of the schema whose fields are known; the last minor one that was looked at. */
enum { SCHEMA_OLDEST = 5, SCHEMA_NEWEST = 8 };

bool pt2_is_archive(const struct archive *z)
{
    return archive_find(z, OLD_PROGRAM) || archive_find(z, "archive_format");
}

/* ── members ── */

static bool refuse(struct bpu_error *err, enum bpu_code code, const char *member, const char *what,
                   const char *hint)
{
    error_set(err, code, NULL, "%s", what);
    error_where(err, "member \"%.150s\"", member);
    return error_hint(err, "%s", hint);
}

/* Up to 31 characters of a small text member, without space at its end; "" if it is not there. */
static bool small_text(struct archive *z, const char *member, char out[32], struct bpu_error *err)
{
    const struct archive_member *m = archive_find(z, member);
    const unsigned char *p = m ? archive_bytes(z, m, true, err) : NULL;
    out[0] = '\0';
    if (m && !p)
        return false;
    size_t n = m ? (m->size < 31 ? (size_t)m->size : 31) : 0;
    for (size_t i = 0; i < n; i++)
        out[i] = p[i] > ' ' && p[i] < 127 ? (char)p[i] : ' ';
    while (n > 0 && out[n - 1] == ' ')
        n--;
    out[n] = '\0';
    return true;
}

/* models/NAME.json → NAME. */
static const char *model_name(struct archive *z, const struct archive_member *m,
                              struct bpu_error *err)
{
    const char *name = archive_name(z, m);
    size_t n = strlen(name);
    if (n < 13 || strncmp(name, "models/", 7) != 0 || strcmp(name + n - 5, ".json") != 0)
        return NULL;
    return arena_strndup(z->arena, name + 7, n - 12, err);
}

/* The program of a PT2 archive; NULL with an error. */
static const char *find_model(struct archive *z, struct bpu_error *err)
{
    const char *found = NULL, *name;
    char text[300] = "";
    size_t count = 0;
    for (size_t i = 0; i < z->count; i++)
        if ((name = model_name(z, &z->members[i], err))) {
            size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "%s%.60s", count ? ", " : "", name);
            if (!found || strcmp(name, "model") == 0)
                found = name;
            count++;
        } else if (err->code != BPU_NONE)
            return NULL;
    if (count == 1 || (count > 1 && strcmp(found, "model") == 0))
        return found;
    if (count > 1) {
        error_set(err, BPU_UNSUPPORTED, NULL, "the archive holds %zu programs: %s", count, text);
        error_where(err, "member \"models/\"");
        error_hint(err, "Save one program per file: " EXPORT ".");
        return NULL;
    }
    for (size_t i = 0; i < z->count; i++)
        if (strncmp(archive_name(z, &z->members[i]), "data/aotinductor/", 17) == 0) {
            refuse(err, BPU_UNSUPPORTED, z->members[i].name,
                   "the file holds a library compiled by AOTInductor, not the network",
                   "Save the exported program itself: " EXPORT ".");
            return NULL;
        }
    refuse(err, BPU_BAD_MODEL, "models/",
           "the archive holds no program: models/NAME.json is missing",
           "Save the exported program: " EXPORT ".");
    return NULL;
}

/* Format and version of a PT2 archive. */
static bool check_archive(struct archive *z, struct bpu_error *err)
{
    char format[32], version[32], order[32], what[128];
    if (!small_text(z, "archive_format", format, err) ||
        !small_text(z, "archive_version", version, err) || !small_text(z, "byteorder", order, err))
        return false;
    if (strcmp(format, "pt2") != 0) {
        snprintf(what, sizeof what, "the archive is of the format \"%s\"; \"pt2\" is read", format);
        return refuse(err, BPU_UNSUPPORTED, "archive_format", what, "Export it again: " EXPORT ".");
    }
    if (version[0] && strcmp(version, "0") != 0) {
        snprintf(what, sizeof what, "the archive has the version \"%s\"; version 0 is read",
                 version);
        return refuse(err, BPU_UNSUPPORTED, "archive_version", what,
                      "It is of a PyTorch that is newer than this program: export with an "
                      "older one, or as ONNX.");
    }
    return strcmp(order, "big") != 0 ||
           refuse(err, BPU_UNSUPPORTED, "byteorder",
                  "the weights of the file are in big-endian byte order",
                  "Load it and save it again on a little-endian machine.");
}

/* ── the program ── */

static bool check_schema(struct pt2_import *im)
{
    struct bpu_error *err = im->ts.err;
    const struct json_at *at = AT_KEY(NULL, "schema_version");
    json_t *version = json_object_get(im->root, "schema_version");
    if (!json_is_object(im->root))
        return json_fail(err, BPU_BAD_MODEL, NULL, "here stands %s; an object is expected",
                         json_kind(im->root));
    /* Once it was a single number. */
    const json_t *major = json_is_integer(version) ? version
                          : version ? pt2_member(version, at, "major", JSON_INTEGER, err)
                                    : NULL;
    if (!version)
        json_fail(err, BPU_BAD_MODEL, at, "the version of the schema is missing");
    if (!major)
        return false;
    int64_t n = json_integer_value(major);
    if (n >= SCHEMA_OLDEST && n <= SCHEMA_NEWEST)
        return true;
    json_fail(err, BPU_UNSUPPORTED, at,
              "the program has version %" PRId64 " of torch.export's schema; %d to %d are read", n,
              SCHEMA_OLDEST, SCHEMA_NEWEST);
    return error_hint(err, n > SCHEMA_NEWEST
                               ? "It is of a PyTorch that is newer than this program: export with "
                                 "an older one, or as ONNX (torch.onnx.export)."
                               : "Export it again with PyTorch 2.3 or later.");
}

static bool set_producer(struct pt2_import *im)
{
    const char *version = json_string_value(json_object_get(im->root, "torch_version"));
    if (!version)
        return true;
    im->ts.graph->producer = arena_printf(im->ts.arena, im->ts.err, "pytorch %.40s", version);
    return im->ts.graph->producer != NULL;
}

static bool read_program(struct pt2_import *im)
{
    struct bpu_error *err = im->ts.err;
    const struct json_at *module = AT_KEY(NULL, "graph_module");
    if (!check_schema(im) || !set_producer(im))
        return false;
    json_t *gm = pt2_member(im->root, NULL, "graph_module", JSON_OBJECT, err);
    json_t *graph = gm ? pt2_member(gm, module, "graph", JSON_OBJECT, err) : NULL;
    im->signature = graph ? pt2_member(gm, module, "signature", JSON_OBJECT, err) : NULL;
    struct pt2_scope scope = {
        .graph = graph, .at = AT_KEY(module, "graph"), .names = name_table_new(im->ts.arena, err)};
    if (!im->signature || !scope.names)
        return false;
    im->scope = &scope;
    bool ok = pt2_inputs(im) && pt2_nodes(im) && pt2_outputs(im);
    im->scope = NULL;
    return ok;
}

struct graph *import_pt2(struct arena *a, const struct import_request *req, struct archive *z,
                         struct bpu_error *err)
{
    struct pt2_import im = {
        .ts = {.arena = a, .req = req, .err = err, .archive = z, .paired = true}};
    const char *model = NULL;
    bool ok = false;
    if (archive_find(z, OLD_PROGRAM))
        im.member = OLD_PROGRAM;
    else if (!check_archive(z, err) || !(model = find_model(z, err)) ||
             !(im.member = arena_printf(a, err, "models/%s.json", model)))
        return NULL;
    im.ts.graph = graph_new(a, req->name, "pt2", err);
    im.ts.parts = name_table_new(a, err);
    im.symbols = name_table_new(a, err);
    im.pickles = name_table_new(a, err);
    if (!im.ts.graph || !im.ts.parts || !im.symbols || !im.pickles)
        return NULL;
    im.root = pt2_json(&im.ts, archive_find(z, im.member));
    if (!im.root)
        return NULL;
    if (pt2_stores(&im, model)) {
        ok = read_program(&im);
        if (!ok)
            pt2_place(err, im.member);
    }
    pt2_stores_close(&im);
    json_decref(im.root);
    if (!ok)
        return NULL;
    quant_pair_restore_stubs(im.ts.graph);
    ok = ts_fold_unused_weights(&im.ts) && graph_recompose(im.ts.graph, err) &&
         graph_sort(im.ts.graph, err);
    return ok ? im.ts.graph : NULL;
}
