/* What the fuzz targets share: decisions from bytes, and statements about results. */
#include "tests/fuzz/fuzz.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/draw/draw.h"
#include "core/export/export.h"
#include "core/import/import.h"
#include "core/job/load.h"
#include "tests/fuzz/xml.h"

_Noreturn void fuzz_fail(const char *file, int line, const char *cond, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "%s:%d: does not hold: %s: ", file, line, cond);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    abort();
}

/* ── decisions ── */

unsigned fuzz_byte(struct fuzz_in *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

size_t fuzz_below(struct fuzz_in *in, size_t n)
{
    size_t v = fuzz_byte(in);
    if (n > 256)
        v = v << 8 | fuzz_byte(in);
    return n ? v % n : 0;
}

int64_t fuzz_number(struct fuzz_in *in)
{
    static const int64_t hostile[] = {INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1,
                                      1LL << 62, -(1LL << 62),  1LL << 40, (1LL << 40) + 1,
                                      1LL << 32, INT32_MAX,     INT32_MIN, 65536};
    unsigned b = fuzz_byte(in);
    if (b < 192)
        return (int64_t)b % 24 - 2;
    if (b < 224)
        return (int64_t)(fuzz_byte(in) << 8 | fuzz_byte(in));
    return hostile[b % (sizeof hostile / sizeof *hostile)];
}

double fuzz_real(struct fuzz_in *in)
{
    static const double hostile[] = {1e-320, 1e308, -1e308, 1e-3, .5, 1 / 128., -0., 1e19};
    unsigned b = fuzz_byte(in);
    return b < 128   ? (double)fuzz_number(in)
           : b < 192 ? (double)fuzz_number(in) / 16
                     : hostile[b % (sizeof hostile / sizeof *hostile)];
}

const char *fuzz_text(struct fuzz_in *in, char out[64])
{
    size_t n = fuzz_below(in, 24);
    for (size_t i = 0; i < n; i++) {
        unsigned c = fuzz_byte(in);
        out[i] = (char)(c ? c & 0x7F : 'x'); /* ASCII: importers refuse other bytes themselves */
        if (!out[i])
            out[i] = '\x01';
    }
    out[n] = '\0';
    return out;
}

/* ── statements ── */

void fuzz_utf8(const char *s, size_t n, const char *what)
{
    json_t *text = json_stringn(s, n); /* checks it */
    FUZZ_REQUIRE(text, "%s is not valid UTF-8", what);
    json_decref(text);
}

void fuzz_error(const struct bpu_error *err, const char *what)
{
    FUZZ_REQUIRE(err->code != BPU_NONE, "%s failed without an error", what);
    FUZZ_REQUIRE(err->code != BPU_SERVER && err->code != BPU_CRASH, "%s: %s (%s)", what,
                 err->message, err->where);
    FUZZ_REQUIRE(err->message[0], "%s: an error without a message", what);
    fuzz_utf8(err->message, strlen(err->message), "an error's message");
    fuzz_utf8(err->where, strlen(err->where), "an error's place");
    fuzz_utf8(err->hint, strlen(err->hint), "an error's hint");
}

void fuzz_limit(const struct bpu_error *err, const char *what)
{
    fuzz_error(err, what);
    FUZZ_REQUIRE(err->code == BPU_NO_MEMORY || err->code == BPU_LIMIT, "%s: %s: %s (%s)", what,
                 error_code_name(err->code), err->message, err->where);
}

void fuzz_arena(const struct arena *a)
{
    FUZZ_REQUIRE(a->used <= a->quota, "%zu bytes of %zu", a->used, a->quota);
}

void fuzz_json(const struct buf *text, const char *what)
{
    json_error_t why;
    json_t *root = json_loadb(buf_str(text), text->size, JSON_REJECT_DUPLICATES, &why);
    FUZZ_REQUIRE(root, "%s: line %d: %s", what, why.line, why.text);
    json_decref(root);
}

void fuzz_xml(const struct buf *text, const char *what)
{
    char why[128];
    fuzz_utf8(buf_str(text), text->size, what);
    FUZZ_REQUIRE(xml_well_formed(buf_str(text), text->size, why), "%s: %s", what, why);
}

void fuzz_same(const struct buf *a, const struct buf *b, const char *what)
{
    size_t n = a->size < b->size ? a->size : b->size, i = 0;
    while (i < n && a->data[i] == b->data[i])
        i++;
    size_t from = i > 60 ? i - 60 : 0;
    FUZZ_REQUIRE(a->size == b->size && i == n,
                 "%s: %zu and %zu bytes differ at %zu:\n%.120s\n%.120s", what, a->size, b->size, i,
                 buf_str(a) + from, buf_str(b) + from);
}

/* ── a graph on its whole way ── */

typedef bool report_fn(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err);

/* false: a limit was met. */
static bool fuzz_report(report_fn *fn, const struct check_result *r, struct buf *out,
                        const char *what)
{
    static const struct report_head head = {"00", "name & <\"'> \xC3\xBC.onnx", "onnx"};
    struct bpu_error err = {0};
    buf_clear(out);
    if (fn(r, &head, out, &err))
        return true;
    fuzz_limit(&err, what);
    return false;
}

static void fuzz_reports(const struct check_result *r)
{
    struct buf out, again;
    buf_init(&out, FUZZ_QUOTA);
    buf_init(&again, FUZZ_QUOTA);
    if (fuzz_report(report_check_json, r, &out, "report.json"))
        fuzz_json(&out, "report.json");
    if (fuzz_report(report_check_json, r, &again, "report.json"))
        fuzz_same(&out, &again, "report.json twice");
    if (fuzz_report(report_check_sarif, r, &out, "report.sarif"))
        fuzz_json(&out, "report.sarif");
    if (fuzz_report(report_check_junit, r, &out, "report.junit.xml"))
        fuzz_xml(&out, "report.junit.xml");
    if (fuzz_report(report_check_text, r, &out, "the report's text"))
        fuzz_utf8(buf_str(&out), out.size, "the report's text");
    struct bpu_error err = {0};
    buf_clear(&out);
    if (draw_svg(r->graph, r, &out, &err))
        fuzz_xml(&out, "graph.svg");
    else
        fuzz_limit(&err, "graph.svg");
    buf_fini(&out);
    buf_fini(&again);
}

static void fuzz_verdicts(const struct check_result *r)
{
    const struct graph *g = r->graph;
    int count[3] = {0}, severity[3] = {0};
    for (int i = 0; i < g->node_count; i++) {
        count[r->verdicts[i]]++;
        FUZZ_REQUIRE((g->nodes[i]->fold == FOLD_NONE) == (r->verdicts[i] != NODE_FOLDED),
                     "%s: folded and judged", g->nodes[i]->name);
    }
    FUZZ_REQUIRE(count[NODE_LEGAL] == r->legal_count && count[NODE_ILLEGAL] == r->illegal_count &&
                     count[NODE_FOLDED] == r->folded_count,
                 "the nodes are miscounted");
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        severity[f->severity]++;
        int before = i && r->findings[i - 1].node ? r->findings[i - 1].node->index : -1;
        FUZZ_REQUIRE((f->node ? f->node->index : -1) >= before, "%s is out of order", f->rule);
        FUZZ_REQUIRE(f->rule && f->message && f->message[0], "finding %d says nothing", i);
        if (f->node && f->severity == SEVERITY_ERROR)
            FUZZ_REQUIRE(r->verdicts[f->node->index] == NODE_ILLEGAL, "%s has an error: %s",
                         f->node->name, f->rule);
    }
    FUZZ_REQUIRE(severity[SEVERITY_ERROR] == r->error_count &&
                     severity[SEVERITY_WARNING] == r->warning_count &&
                     severity[SEVERITY_ADVICE] == r->advice_count,
                 "the findings are miscounted");
    FUZZ_REQUIRE(r->legal == (r->error_count == 0), "legal with %d errors", r->error_count);
}

/* What the check says, for comparison. */
static void fuzz_findings(const struct check_result *r, struct buf *out)
{
    buf_clear(out);
    buf_puts(out, r->legal ? "legal\n" : "illegal\n");
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        const char *const parts[] = {f->rule,
                                     severity_name(f->severity),
                                     f->node ? f->node->name : "",
                                     f->message,
                                     f->actual,
                                     f->limit,
                                     f->hint,
                                     f->eager_replacement,
                                     f->table,
                                     f->row};
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
            buf_printf(out, "%s | ", parts[k] ? parts[k] : "-");
        buf_puts(out, f->induced ? "induced\n" : "\n");
    }
    for (int i = 0; i < r->note_count; i++)
        buf_printf(out, "note %s\n", r->notes[i]);
}

/* findings: what the check says.  false at a limit or a wrong option. */
static bool fuzz_judge(struct graph *g, const struct march *m, const struct check_options *options,
                       struct buf *findings)
{
    struct bpu_error err = {0};
    struct check_result *r = check_graph(g, m, options, &err);
    fuzz_arena(g->arena);
    buf_clear(findings);
    if (!r) {
        if (options->override_count)
            fuzz_error(&err, "the check");
        else
            fuzz_limit(&err, "the check");
        return false;
    }
    memset(&err, 0, sizeof err);
    FUZZ_REQUIRE(graph_verify(g, &err), "after the check: %s", err.message);
    fuzz_verdicts(r);
    fuzz_reports(r);
    fuzz_arena(g->arena);
    fuzz_findings(r, findings);
    return true;
}

/* The text form leaves the content of large constants out: const=432B reads back as const=?. */
static void fuzz_without_content(struct buf *dump)
{
    static const char key[] = " const=";
    size_t used = 0;
    for (size_t i = 0; i < dump->size;) {
        if (dump->size - i > sizeof key && memcmp(dump->data + i, key, sizeof key - 1) == 0) {
            size_t n = sizeof key - 1 + strspn(dump->data + i + sizeof key - 1, "0123456789");
            if (n >= sizeof key && dump->data[i + n] == 'B') {
                memmove(dump->data + used, " const=?", sizeof key);
                used += sizeof key;
                i += n + 1;
                continue;
            }
        }
        dump->data[used++] = dump->data[i++];
    }
    dump->data[used] = '\0';
    dump->size = used;
}

/* Dump, parse, dump: the same text. */
static void fuzz_text_form(const struct graph *g)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct buf first, second;
    arena_init(&arena, FUZZ_QUOTA);
    buf_init(&first, FUZZ_QUOTA);
    buf_init(&second, FUZZ_QUOTA);
    graph_dump(g, &first);
    if (!buf_ok(&first, &err))
        goto out;
    struct graph *back = graph_parse(&arena, buf_str(&first), &err);
    if (back) {
        graph_dump(back, &second);
        fuzz_without_content(&first);
        fuzz_same(&first, &second, "the text form read back");
    } else
        fuzz_limit(&err, "reading the text form back");
out:
    buf_fini(&first);
    buf_fini(&second);
    arena_fini(&arena);
}

/* Reads a graph JSON and writes it again; NULL at a limit. */
static struct graph *fuzz_reread(struct arena *a, const struct buf *text, struct buf *out)
{
    struct bpu_error err = {0};
    struct import_request req = {
        .data = (const unsigned char *)text->data, .size = text->size, .name = "again.json"};
    struct graph *g = import_model(a, &req, &err);
    if (!g)
        fuzz_limit(&err, "reading the graph JSON back");
    else if (!export_graph_json(g, out, true, &err)) {
        fuzz_limit(&err, "the graph JSON");
        g = NULL;
    }
    return g;
}

/* What was read and written once stays as it is, and means the same to the checker.  (Once: reading
 * infers dtypes of nodes that another importer left alone.) */
static void fuzz_json_form(const struct buf *text, const struct march *m,
                           const struct buf *findings)
{
    struct arena arena;
    struct buf once, twice;
    struct check_options options = {.advice_us = -1};
    arena_init(&arena, 3 * FUZZ_QUOTA);
    buf_init(&once, FUZZ_QUOTA);
    buf_init(&twice, FUZZ_QUOTA);
    struct graph *g = fuzz_reread(&arena, text, &once);
    if (g && fuzz_reread(&arena, &once, &twice))
        fuzz_same(&once, &twice, "the graph JSON read back");
    buf_clear(&twice);
    if (g && findings && fuzz_judge(g, m, &options, &twice))
        fuzz_same(findings, &twice, "the findings of the graph JSON read back");
    buf_fini(&once);
    buf_fini(&twice);
    arena_fini(&arena);
}

/* A graph JSON of nothing but constants has no nodes, no node may be without outputs, and a node of
 * the table that an importer left without a shape may lack attributes.  Inputs without elements are
 * refused by import_model(), of which targets call the readers only. */
static bool fuzz_readable(const struct graph *g)
{
    bool work = false;
    for (int i = 0; i < g->input_count; i++)
        if (shape_elements(&g->inputs[i]->shape) == 0)
            return false;
    for (int i = 0; i < g->node_count; i++) {
        const struct node *n = g->nodes[i];
        if (n->output_count == 0 || (n->op && n->outputs[0]->shape.rank < 0))
            return false;
        work = work || n->input_count + n->param_count > 0 || !n->outputs[0]->constant;
    }
    return work;
}

void fuzz_graph(struct graph *g, const struct check_options *options)
{
    const bool readable = fuzz_readable(g);
    struct bpu_error err = {0};
    struct buf text, findings;
    size_t marches;
    const struct march *const *list = march_list(&marches);
    const struct check_options plain = {.advice_us = -1};
    buf_init(&text, FUZZ_QUOTA);
    buf_init(&findings, FUZZ_QUOTA);
    if (getenv("FUZZ_SHOW")) {
        graph_dump(g, &text);
        fputs(buf_str(&text), stderr);
        buf_clear(&text);
    }
    FUZZ_REQUIRE(graph_verify(g, &err), "%s (%s)", err.message, err.where);
    fuzz_text_form(g);
    if (job_model_json(g, &text, &err))
        fuzz_json(&text, "model.json");
    else
        fuzz_limit(&err, "model.json");
    memset(&err, 0, sizeof err);
    buf_clear(&text);
    if (!export_graph_json(g, &text, true, &err))
        fuzz_limit(&err, "the graph JSON");
    else {
        fuzz_json(&text, "the graph JSON");
        if (readable)
            fuzz_json_form(&text, NULL, NULL);
    }
    for (size_t i = 0; i < marches; i++)
        fuzz_judge(g, list[i], options, &findings);
    /* As convert does it: with what the check has folded. */
    memset(&err, 0, sizeof err);
    buf_clear(&text);
    bool judged = fuzz_judge(g, list[0], &plain, &findings);
    if (judged && readable && export_graph_json(g, &text, true, &err))
        fuzz_json_form(&text, list[0], &findings);
    buf_fini(&text);
    buf_fini(&findings);
}

void fuzz_archive(const uint8_t *data, size_t size, const struct import_option *options,
                  size_t option_count)
{
    struct arena arena;
    struct bpu_error err = {0}, broken = {0};
    struct import_request req = {.data = data,
                                 .size = size,
                                 .name = "fuzz.pt",
                                 .options = options,
                                 .option_count = option_count};
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = import_torchscript(&arena, &req, &err);
    fuzz_arena(&arena);
    if (!g) {
        fuzz_error(&err, "the import");
        if (getenv("FUZZ_SHOW"))
            fprintf(stderr, "%s: %s (%s) %s\n", error_code_name(err.code), err.message, err.where,
                    err.hint);
    } else {
        FUZZ_REQUIRE(graph_verify(g, &broken), "%s (%s)", broken.message, broken.where);
        const struct check_options check = {.advice_us = 0};
        fuzz_graph(g, &check);
    }
    arena_fini(&arena);
}
