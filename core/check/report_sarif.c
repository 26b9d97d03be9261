/* SARIF 2.1.0, for code scanners: one run, one rule per rule id that occurs, one result per
 * finding.
 *
 * The physical location is the uploaded file (with line or byte where the format has them), the
 * logical one the node. */
#include <stdio.h>
#include <string.h>

#include "core/base/table.h"
#include "core/base/version.h"
#include "core/check/check.h"
#include "core/check/json_write.h"

static const char *level_of(enum severity s)
{
    return s == SEVERITY_ERROR ? "error" : s == SEVERITY_WARNING ? "warning" : "note";
}

/* A file name as a relative URI reference; of a member of an archive the folders stay folders. */
static void write_uri(struct json_writer *w, const char *name, bool member)
{
    char uri[3 * 255 + 1];
    size_t n = 0;
    for (const unsigned char *p = (const unsigned char *)name; *p && n + 3 < sizeof uri; p++) {
        bool plain = (*p >= '0' && *p <= '9') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= 'a' && *p <= 'z') || strchr("-._~", *p) ||
                     (member && *p == '/' && n > 0 && uri[n - 1] != '/');
        n += (size_t)snprintf(uri + n, sizeof uri - n, plain ? "%c" : "%%%02X", *p);
    }
    uri[n] = '\0';
    writer_text(w, "uri", uri);
}

static void write_message(struct json_writer *w, const char *key, const char *text)
{
    writer_open(w, key, '{');
    writer_text(w, "text", text);
    writer_close(w, '}');
}

/* What a rule says that stands in no row of a table. */
static const char *own_rule(const char *suffix)
{
    static const struct {
        const char *suffix, *text;
    } own[] = {
        {"scales", "The inputs of a join have different scales"},
        {"range", "The scale of a tensor does not reach the values that the layer can give"},
        {"bias_overflow", "A quantized bias does not fit 32 bits"},
        {"source_scale", "The scale of an input does not fit where it comes from"},
        {"no_quant_stub", "A float input is not quantized by a QuantStub"},
        {"no_dequant_stub", "A result leaves the model without a DeQuantStub"},
        {"float_between", "A float operator stands between quantized ones"},
        {"cpu_split", "A node off the BPU cuts the graph into parts"},
        {"unknown_shape", "The shape of an input is not known"},
        {"unknown_operator", "The operator is in no row of the operator tables"},
        {"align_h", "Time is lost to padding the height"},
        {"align_w", "Time is lost to padding the width"},
        {"align_c", "Time is lost to padding the channels"},
        {"tiny_map", "Time is lost to padding a small map"},
        {"channels_in_group", "Time is lost to padding the input channels"},
        {"channels_out_group", "Time is lost to padding the output channels"},
        {"pyramid_", "The input does not fit the image pyramid"},
        {"resizer_", "The input does not fit the resizer"},
    };
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        size_t n = strlen(own[i].suffix);
        if (own[i].suffix[n - 1] == '_' ? strncmp(suffix, own[i].suffix, n) == 0
                                        : strcmp(suffix, own[i].suffix) == 0)
            return own[i].text;
    }
    return NULL;
}

static void write_description(struct json_writer *w, const struct finding *f)
{
    const char *dot = strrchr(f->rule, '.'), *own = own_rule(dot ? dot + 1 : f->rule);
    char text[256];
    if (own)
        snprintf(text, sizeof text, "%s", own);
    else
        snprintf(text, sizeof text, "%s of %s in the %s operator table", dot ? dot + 1 : f->rule,
                 f->row ? f->row : f->rule, f->table ? f->table : "");
    write_message(w, "shortDescription", text);
}

/* Rule ids in order of appearance; *index gets name → position + 1. */
static bool write_rules(struct json_writer *w, const struct check_result *r,
                        struct name_table *index, struct arena *a, struct bpu_error *err)
{
    size_t *positions = ARENA_ARRAY(a, size_t, r->finding_count, err);
    size_t count = 0;
    if (!positions)
        return false;
    writer_open(w, "rules", '[');
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (name_table_find(index, f->rule))
            continue;
        positions[count] = count;
        if (!name_table_put(index, f->rule, &positions[count++], err))
            return false;
        writer_open(w, NULL, '{');
        writer_text(w, "id", f->rule);
        write_description(w, f);
        write_message(w, "help", "Each result says what to do about it, with its own numbers.");
        writer_open(w, "defaultConfiguration", '{');
        writer_text(w, "level", level_of(f->severity));
        writer_close(w, '}');
        writer_close(w, '}');
    }
    writer_close(w, ']');
    return true;
}

static void write_location(struct json_writer *w, const struct report_head *h, const struct node *n)
{
    writer_open(w, "locations", '[');
    writer_open(w, NULL, '{');
    writer_open(w, "physicalLocation", '{');
    writer_open(w, "artifactLocation", '{');
    bool member = n && n->origin.file;
    write_uri(w, member ? n->origin.file : h->model_name, member);
    if (!n || !n->origin.file)
        writer_int(w, "index", 0);
    writer_close(w, '}');
    writer_open(w, "region", '{');
    if (n && n->origin.byte >= 0 && n->origin.line <= 0)
        writer_int(w, "byteOffset", n->origin.byte);
    writer_int(w, "startLine", n && n->origin.line > 0 ? n->origin.line : 1);
    writer_close(w, '}');
    writer_close(w, '}');
    if (n) {
        writer_open(w, "logicalLocations", '[');
        writer_open(w, NULL, '{');
        writer_text(w, "name", n->name);
        bool scope = n->origin.scope && *n->origin.scope;
        writer_text(w, "fullyQualifiedName", scope ? n->origin.scope : n->name);
        writer_text(w, "kind", "member");
        writer_close(w, '}');
        writer_close(w, ']');
    }
    writer_close(w, '}');
    writer_close(w, ']');
}

static void write_result(struct json_writer *w, const struct report_head *h,
                         const struct finding *f, const struct name_table *index)
{
    char text[2048], print[600];
    snprintf(text, sizeof text, "%s: %s.%s%s", f->node ? f->node->name : "model", f->message,
             f->hint ? " " : "", f->hint ? f->hint : "");
    snprintf(print, sizeof print, "%s@%s", f->rule, f->node ? f->node->name : "");
    buf_putc(w->out, '\n');
    writer_open(w, NULL, '{');
    writer_text(w, "ruleId", f->rule);
    writer_int(w, "ruleIndex", (int64_t) * (const size_t *)name_table_find(index, f->rule));
    writer_text(w, "level", level_of(f->severity));
    write_message(w, "message", text);
    write_location(w, h, f->node);
    writer_open(w, "partialFingerprints", '{');
    writer_text(w, "bpuhubFinding/v1", print);
    writer_close(w, '}');
    writer_open(w, "properties", '{');
    writer_raw(w, "actual", f->actual);
    writer_text(w, "limit", f->limit);
    writer_text(w, "cause", f->induced ? "induced" : "direct");
    writer_text(w, "table", f->table);
    writer_text(w, "eagerReplacement", f->eager_replacement);
    writer_close(w, '}');
    writer_close(w, '}');
}

bool report_check_sarif(const struct check_result *r, const struct report_head *h, struct buf *out,
                        struct bpu_error *err)
{
    struct arena *a = r->graph->arena;
    struct name_table *index = name_table_new(a, err);
    struct json_writer w = {.out = out};
    if (!index)
        return false;
    writer_open(&w, NULL, '{');
    writer_text(&w, "$schema",
                "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/"
                "sarif-schema-2.1.0.json");
    writer_text(&w, "version", "2.1.0");
    writer_open(&w, "runs", '[');
    writer_open(&w, NULL, '{');
    writer_open(&w, "tool", '{');
    writer_open(&w, "driver", '{');
    writer_text(&w, "name", "BPU Hub");
    writer_text(&w, "semanticVersion", BPU_VERSION);
    if (!write_rules(&w, r, index, a, err))
        return false;
    writer_close(&w, '}');
    writer_close(&w, '}');
    writer_open(&w, "artifacts", '[');
    writer_open(&w, NULL, '{');
    writer_open(&w, "location", '{');
    write_uri(&w, h->model_name, false);
    writer_close(&w, '}');
    writer_open(&w, "hashes", '{');
    writer_text(&w, "sha-256", h->model_id);
    writer_close(&w, '}');
    writer_close(&w, '}');
    writer_close(&w, ']');
    writer_open(&w, "results", '[');
    for (int i = 0; i < r->finding_count; i++)
        write_result(&w, h, &r->findings[i], index);
    writer_close(&w, ']');
    writer_open(&w, "properties", '{');
    writer_text(&w, "march", march_name(r->march));
    writer_text(&w, "verdict", r->legal ? "legal" : "illegal");
    writer_close(&w, '}');
    writer_close(&w, '}');
    writer_close(&w, ']');
    writer_close(&w, '}');
    buf_putc(out, '\n');
    return buf_ok(out, err);
}
