/* The rules engine: cases with their findings, the data of the marches, reports.
 *
 * tests/cases/check/NAME+MARCH.json is judged for that march; the sibling .expect says what must
 * come of it, line by line:
 *
 *     verdict legal|illegal
 *     error|warning|advice|induced RULE NODE TABLE ACTUAL "LIMIT"   all findings in order, no others
 *     folded NODE [INTO]
 *     fused NODE INTO
 *     legal NODE
 *     eager RULE REPLACEMENT
 *     placement BPU_SEGMENTS CPU_SEGMENTS BYTES   -1: not known
 *     option NAME=VALUE                           as the options of a job
 *
 * A sibling .txt is the whole report for a terminal.
 *
 * Every limit on both sides of its bound: test_limits.c. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "core/check/check.h"
#include "core/check/json_write.h"
#include "core/import/import.h"
#include "core/job/load.h"
#include "core/march/limit.h"
#include "core/ops/op.h"

#define QUOTA ((size_t)64 << 20)

/* ── cases ─────────────────────────────────────────────────────────────────────────────────── */

static char *slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 16);
    assert_non_null(text);
    if (!f)
        fail_msg("%s cannot be read", path);
    *size = fread(text, 1, (1 << 16) - 1, f);
    fclose(f);
    return text;
}

/* The "option" lines of an expectation, read as the options of a job are; text is cut up and must stay. */
static void read_options(char *text, struct arena *a, struct check_options *o)
{
    static struct job_option list[8];
    struct bpu_error err = {0};
    size_t count = 0;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *eq = strchr(line, '=');
        if (strncmp(line, "option ", 7) != 0)
            continue;
        assert_true(eq && count < 8);
        *eq = '\0';
        list[count++] = (struct job_option){line + 7, eq + 1};
    }
    if (!job_check_options(list, count, a, o, &err))
        fail_msg("%s", err.message);
}

static void write_findings(const struct check_result *r, struct buf *out)
{
    buf_printf(out, "verdict %s\n", r->legal ? "legal" : "illegal");
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        const char *kind = f->induced ? "induced" : severity_name(f->severity);
        buf_printf(out, "%s %s %s %s %s \"%s\"\n", kind, f->rule, f->node->name, f->table,
                   f->actual, f->limit);
    }
}

/* Lines about single nodes; true if the line is one of them and holds. */
static bool line_holds(const struct check_result *r, const struct graph *g, const char *line)
{
    char kind[16] = "", a[128] = "", b[128] = "";
    int bpu, cpu;
    double bytes;
    if (sscanf(line, "placement %d %d %lf", &bpu, &cpu, &bytes) == 3)
        return r->split.bpu_segments == bpu && r->split.cpu_segments == cpu &&
               r->split.crossing_bytes == bytes;
    sscanf(line, "%15s %127s %127[^\n]", kind, a, b);
    if (strcmp(kind, "eager") == 0) {
        for (int i = 0; i < r->finding_count; i++) {
            const char *eager = r->findings[i].eager_replacement;
            if (strcmp(r->findings[i].rule, a) == 0)
                return eager && strcmp(eager, b) == 0;
        }
        return false;
    }
    const struct node *n = graph_find_node(g, a);
    if (!n)
        return false;
    if (strcmp(kind, "folded") == 0)
        return r->verdicts[n->index] == NODE_FOLDED &&
               (!*b || (n->folded_into && strcmp(n->folded_into->name, b) == 0));
    if (strcmp(kind, "fused") == 0)
        return r->fused_into[n->index] && strcmp(r->fused_into[n->index]->name, b) == 0;
    return strcmp(kind, "legal") == 0 && r->verdicts[n->index] == NODE_LEGAL;
}

static void test_case(void **state)
{
    const char *path = *state;
    char expect_path[512], march[32] = "", kept[1 << 12] = "";
    size_t size, expect_size;
    struct bpu_error err = {0};
    struct arena a;
    struct check_options o;
    struct buf got;

    const char *plus = strrchr(path, '+');
    assert_non_null(plus);
    sscanf(plus + 1, "%31[a-z0-9]", march);
    snprintf(expect_path, sizeof(expect_path), "%.*s.expect", (int)(strlen(path) - 5), path);
    char *data = slurp(path, &size), *expect = slurp(expect_path, &expect_size);
    char *lines = strdup(expect);
    assert_non_null(lines);
    arena_init(&a, QUOTA);
    read_options(lines, &a, &o);
    buf_init(&got, 1 << 20);
    struct import_request request = {.data = (unsigned char *)data, .size = size, .name = path};
    struct graph *g = import_model(&a, &request, &err);
    if (!g)
        fail_msg("%s: %s (%s)", path, err.message, err.where);
    struct check_result *r = check_graph(g, march_find(march), &o, &err);
    if (!r)
        fail_msg("%s: %s", path, err.message);
    write_findings(r, &got);

    int wrong = 0;
    for (char *line = strtok(expect, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "option ", 7) == 0)
            continue;
        if (strncmp(line, "folded ", 7) == 0 || strncmp(line, "legal ", 6) == 0 ||
            strncmp(line, "fused ", 6) == 0 || strncmp(line, "placement ", 10) == 0 || strncmp(line, "eager ", 6) == 0) {
            if (!line_holds(r, g, line)) {
                print_error("%s: does not hold: %s\n", path, line);
                wrong++;
            }
            continue;
        }
        strncat(kept, line, sizeof(kept) - strlen(kept) - 2);
        strcat(kept, "\n");
    }
    if (strcmp(kept, buf_str(&got)) != 0) {
        print_error("%s:\nexpected\n%sgot\n%s", path, kept, buf_str(&got));
        wrong++;
    }
    /* every finding must be worth reading */
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (!f->message || !*f->message || !f->row ||
            (f->severity == SEVERITY_ERROR && !f->hint && f->limit[0] == '\0')) {
            print_error("%s: %s says too little\n", path, f->rule);
            wrong++;
        }
    }
    for (int i = 1; i < r->finding_count; i++)
        if (r->findings[i].node->index < r->findings[i - 1].node->index) {
            print_error("%s: finding %d is not in graph order\n", path, i);
            wrong++;
        }
    /* advice adds to what is said and changes nothing else */
    struct check_options all = o;
    all.advice_us = 0;
    struct check_result *advised = check_graph(g, march_find(march), &all, &err);
    if (!advised || advised->legal != r->legal || advised->error_count != r->error_count ||
        advised->warning_count != r->warning_count || advised->advice_count < r->advice_count) {
        print_error("%s: advice changes the verdict\n", path);
        wrong++;
    }
    snprintf(expect_path, sizeof(expect_path), "%.*s.txt", (int)(strlen(path) - 5), path);
    FILE *f = fopen(expect_path, "rb");
    if (f) {
        fclose(f);
        char *golden = slurp(expect_path, &expect_size);
        struct report_head head = {"id", "model.json", "graph-json"};
        buf_clear(&got);
        assert_true(report_check_text(r, &head, &got, &err));
        if (strcmp(golden, buf_str(&got)) != 0) {
            print_error("%s: the report differs:\n%s", expect_path, buf_str(&got));
            wrong++;
        }
        free(golden);
    }
    buf_fini(&got);
    arena_fini(&a);
    free(data);
    free(expect);
    free(lines);
    assert_int_equal(wrong, 0);
}

/* ── data ──────────────────────────────────────────────────────────────────────────────────── */

/* Every name that the data refers to must exist, or a limit would be silently dead. */
static void check_list(const struct march *m, const char *row, const struct limit *l, int *wrong)
{
    for (; l && l->quantity != Q_NONE; l++) {
        if (l->has_min && l->has_max && l->min > l->max) {
            print_error("%s %s: empty range\n", march_name(m), row);
            ++*wrong;
        }
        if (l->quantity == Q_LIMITS_OF && l->in) {
            bool found = false;
            for (int i = 0; i < m->torch_count; i++)
                found |= strcmp(m->torch[i].op, l->in[0]) == 0;
            for (int i = 0; i < m->onnx_count; i++)
                found |= strcmp(m->onnx[i].op, l->in[0]) == 0;
            if (!found) {
                print_error("%s %s: limits of %s, which is no row\n", march_name(m), row, l->in[0]);
                ++*wrong;
            }
        }
    }
}

static void test_march_data_is_sound(void **state)
{
    size_t count, ops;
    const struct march *const *list = march_list(&count);
    const struct op *table = op_table(&ops);
    int wrong = 0;
    (void)state;
    assert_int_equal(count, 2);
    for (size_t k = 0; k < count; k++) {
        for (int i = 0; i < list[k]->torch_count; i++) {
            const struct op *op = op_find(list[k]->torch[i].op);
            if (!op || strcmp(op->name, list[k]->torch[i].op) != 0) {
                print_error("%s: the operator table has no row %s\n", march_name(list[k]),
                            list[k]->torch[i].op);
                wrong++;
            }
            check_list(list[k], list[k]->torch[i].op, list[k]->torch[i].limits, &wrong);
        }
        for (int i = 0; i < list[k]->onnx_count; i++)
            check_list(list[k], list[k]->onnx[i].op, list[k]->onnx[i].limits, &wrong);
        /* and the other way round: an operator's ONNX row must be one of the table */
        for (size_t i = 0; i < ops; i++) {
            bool found = table[i].onnx == NULL;
            for (int j = 0; j < list[k]->onnx_count && !found; j++)
                found = strcmp(list[k]->onnx[j].op, table[i].onnx) == 0;
            if (!found && strcmp(table[i].onnx, "NonZero") != 0) {
                print_error("%s: %s names the ONNX row %s, which is none\n", march_name(list[k]),
                            table[i].name, table[i].onnx);
                wrong++;
            }
        }
    }
    assert_int_equal(wrong, 0);
}

static void test_march_find_ignores_case(void **state)
{
    (void)state;
    assert_non_null(march_find("BAYES"));
    assert_ptr_equal(march_find("Bernoulli2"), march_find("bernoulli2"));
    assert_null(march_find("bernoulli"));
    assert_null(march_find(NULL));
}

/* ── overrides, reports ────────────────────────────────────────────────────────────────────── */

static const char hostile[] =
    "{\"format\": \"bpuhub.graph/1\", \"name\": \"h\","
    " \"inputs\": [{\"name\": \"a\\\"b\\u0007<c>\", \"shape\": [1,3,8,8], \"dtype\": \"float32\"}],"
    " \"nodes\": [{\"name\": \"n\\u001b[31m\\\\\", \"op\": \"acme\\n.Op\", \"inputs\": "
    "[\"a\\\"b\\u0007<c>\"],"
    " \"outputs\": [\"y\"]}], \"outputs\": [\"y\"]}";

static struct check_result *check_text(struct arena *a, const char *text, const char *march,
                                       const struct check_options *o, struct bpu_error *err)
{
    struct import_request request = {
        .data = (const unsigned char *)text, .size = strlen(text), .name = "x.json"};
    struct graph *g = import_model(a, &request, err);
    return g ? check_graph(g, march_find(march), o, err) : NULL;
}

static void test_reports_escape_what_the_file_says(void **state)
{
    struct bpu_error err = {0};
    struct arena a;
    struct buf out;
    struct check_options o = {.advice_us = -1};
    struct report_head head = {"id", "na\"me\x01\xff.onnx", "graph-json"};
    (void)state;
    arena_init(&a, QUOTA);
    buf_init(&out, 1 << 20);
    struct check_result *r = check_text(&a, hostile, "bayes", &o, &err);
    if (!r)
        fail_msg("%s", err.message);
    assert_true(report_check_json(r, &head, &out, &err));
    json_error_t why;
    json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, &why);
    if (!j)
        fail_msg("the report is no JSON: %s", why.text);
    const json_t *f = json_array_get(json_object_get(j, "findings"), 0);
    assert_string_equal(json_string_value(json_object_get(f, "node")), "n\x1b[31m\\");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "model"), "name")),
                        "na\"me\x01\xef\xbf\xbd.onnx");
    json_decref(j);
    buf_clear(&out);
    assert_true(report_check_text(r, &head, &out, &err));
    for (const char *p = buf_str(&out); *p; p++)
        assert_true((unsigned char)*p >= 0x20 || *p == '\n');
    buf_fini(&out);
    arena_fini(&a);
}

static const char small[] =
    "{\"format\": \"bpuhub.graph/1\", \"name\": \"s\","
    " \"inputs\": [{\"name\": \"x\", \"shape\": [1,3,8,8], \"dtype\": \"float32\"}],"
    " \"nodes\": [{\"name\": \"c\", \"op\": \"torch.nn.Conv2d\", \"inputs\": [\"x\"], \"outputs\": "
    "[\"y\"],"
    " \"attrs\": {\"in_channels\": 3, \"out_channels\": 4, \"kernel_size\": 33, \"padding\": 16}}],"
    " \"outputs\": [\"y\"]}";

/* Every field of the contract, with its type. */
static void test_report_has_the_fields_of_the_contract(void **state)
{
    static const char *const finding_keys[] = {
        "rule", "severity",          "node",  "op",    "message",  "actual", "limit",
        "hint", "eager_replacement", "cause", "table", "source_op"};
    static const char *const sums[] = {"nodes",  "legal",    "illegal", "folded",
                                       "errors", "warnings", "advice"};
    struct bpu_error err = {0};
    struct arena a;
    struct buf out;
    struct check_options o = {.advice_us = -1};
    struct report_head head = {"id", "name", "graph-json"};
    (void)state;
    arena_init(&a, QUOTA);
    buf_init(&out, 1 << 20);
    struct check_result *r = check_text(&a, small, "bayes", &o, &err);
    assert_non_null(r);
    assert_true(report_check_json(r, &head, &out, &err));
    json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "schema")), "bpuhub.check/1");
    assert_string_equal(json_string_value(json_object_get(j, "march")), "bayes");
    assert_string_equal(json_string_value(json_object_get(j, "verdict")), "illegal");
    assert_true(json_is_true(json_object_get(json_object_get(j, "dtypes"), "assumed")));
    for (size_t i = 0; i < sizeof(sums) / sizeof(*sums); i++)
        assert_true(json_is_integer(json_object_get(json_object_get(j, "summary"), sums[i])));
    const json_t *f = json_array_get(json_object_get(j, "findings"), 0);
    for (size_t i = 0; i < sizeof(finding_keys) / sizeof(*finding_keys); i++)
        assert_non_null(json_object_get(f, finding_keys[i]));
    assert_int_equal(json_integer_value(json_object_get(f, "actual")), 33);
    assert_string_equal(json_string_value(json_object_get(f, "limit")), "1..31");
    const json_t *n = json_array_get(json_object_get(j, "nodes"), 0);
    const json_t *x = json_array_get(json_object_get(n, "inputs"), 0);
    assert_string_equal(json_string_value(json_object_get(n, "verdict")), "illegal");
    assert_int_equal(json_array_size(json_object_get(x, "shape")), 4);
    assert_string_equal(json_string_value(json_object_get(x, "dtype")), "qint8");
    assert_true(json_is_null(json_object_get(x, "scale")));
    json_decref(j);
    buf_fini(&out);
    arena_fini(&a);
}

static void test_overrides_that_mean_nothing_are_refused(void **state)
{
    static const struct check_override bad[] = {
        {"nosuch", "qint16"}, {"c", "int16"}, {"x", "float32"}};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bpu_error err = {0};
        struct arena a;
        struct check_options o = {.advice_us = -1, .overrides = &bad[i], .override_count = 1};
        arena_init(&a, QUOTA);
        assert_null(check_text(&a, small, "bayes", &o, &err));
        assert_int_equal(err.code, BPU_BAD_OPTION);
        assert_non_null(strstr(err.message, bad[i].node));
        arena_fini(&a);
    }
}

static void test_sources_that_mean_nothing_are_refused(void **state)
{
    static const struct job_option bad[] = {
        {"input_source", "camera"}, {"input_source.x", ""}, {"advice", "-1"}, {"advice", "fast"}};
    static const struct check_source nosuch[] = {{"nosuch", "pyramid"}, {"1", "ddr"}};
    struct arena a;
    (void)state;
    arena_init(&a, QUOTA);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bpu_error err = {0};
        struct check_options o;
        assert_false(job_check_options(&bad[i], 1, &a, &o, &err));
        assert_int_equal(err.code, BPU_BAD_OPTION);
        assert_non_null(strstr(err.message, bad[i].key));
    }
    for (size_t i = 0; i < sizeof(nosuch) / sizeof(nosuch[0]); i++) {
        struct bpu_error err = {0};
        struct check_options o = {.advice_us = -1, .sources = &nosuch[i], .source_count = 1};
        assert_null(check_text(&a, small, "bayes", &o, &err));
        assert_int_equal(err.code, BPU_BAD_OPTION);
        assert_non_null(strstr(err.message, nosuch[i].input));
    }
    arena_fini(&a);
}

/* Where a figure is not known the report says why, and never 0. */
static void test_report_tells_the_placement(void **state)
{
    static const char *const ops[] = {"torch.abs", "no.such.op"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct bpu_error err = {0};
        struct arena a;
        struct buf out;
        struct check_options o = {.advice_us = -1};
        struct report_head head = {"id", "name", "graph-json"};
        char text[1024];
        snprintf(text, sizeof(text),
                 "{\"format\": \"bpuhub.graph/1\", \"name\": \"g\", \"inputs\": [{\"name\": \"x\", "
                 "\"shape\": [1, 4, 8, 8]}], \"nodes\": ["
                 "{\"op\": \"torch.nn.Sigmoid\", \"inputs\": [\"x\"], \"outputs\": [\"a\"]}, "
                 "{\"op\": \"%s\", \"inputs\": [\"a\"], \"outputs\": [\"b\"]}, "
                 "{\"op\": \"torch.nn.Sigmoid\", \"inputs\": [\"b\"], \"outputs\": [\"y\"]}], "
                 "\"outputs\": [\"y\"]}",
                 ops[i]);
        arena_init(&a, QUOTA);
        buf_init(&out, 1 << 20);
        struct check_result *r = check_text(&a, text, "bernoulli2", &o, &err);
        if (!r)
            fail_msg("%s", err.message);
        assert_true(report_check_json(r, &head, &out, &err));
        json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, NULL);
        const json_t *p = json_object_get(j, "placement"), *bytes = json_object_get(p, "crossing_bytes");
        const json_t *us = json_object_get(p, "crossing_us");
        assert_int_equal(json_integer_value(json_object_get(p, "bpu_segments")), 2);
        assert_int_equal(json_integer_value(json_object_get(p, "cpu_segments")), 1);
        if (i == 0) {
            assert_true(json_number_value(bytes) == 512 && json_number_value(us) == .512);
        } else {
            assert_string_equal(json_string_value(json_object_get(bytes, "availability")),
                                "unavailable");
            assert_string_equal(json_string_value(json_object_get(us, "availability")),
                                "unavailable");
            assert_true(json_string_length(json_object_get(us, "reason")) > 10);
        }
        json_decref(j);
        buf_fini(&out);
        arena_fini(&a);
    }
}

/* Out of memory at any point is a clean error. */
static void test_allocation_failures(void **state)
{
    static const struct check_source pyramid[] = {{"", "pyramid"}};
    struct check_options o = {.advice_us = 0, .sources = pyramid, .source_count = 1};
    long n = 0;
    bool done = false;
    (void)state;
    for (; !done && n < 5000; n++) {
        struct bpu_error err = {0};
        struct arena a;
        arena_init(&a, QUOTA);
        struct import_request request = {
            .data = (const unsigned char *)small, .size = strlen(small), .name = "x.json"};
        struct graph *g = import_model(&a, &request, &err);
        assert_non_null(g);
        a.fail_after = n;
        struct check_result *r = check_graph(g, march_find("bayes"), &o, &err);
        done = r != NULL;
        if (!done)
            assert_int_equal(err.code, BPU_NO_MEMORY);
        arena_fini(&a);
    }
    assert_true(done && n > 5);
}

/* Figures that advice divides by, and their export. */
static void test_march_figures_are_sound(void **state)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct figures *f = &list[i]->figures;
        struct bpu_error err = {0};
        struct buf out;
        assert_true(f->macs_per_us > 0 && f->elements_per_us > 0 && f->ddr_bytes_per_us > 0);
        assert_true(f->in_multiple > 0 && f->out_multiple > 0 && f->element_w > 0);
        for (const struct machine_block *b = f->blocks; b->h; b++)
            assert_true(b->w > 0 && b->c > 0 && b->name);
        int side = 0;
        for (const struct depthwise_rate *r = f->depthwise; r && r->side; r++) {
            assert_true(r->side > side && r->macs_per_us > 0 && r->macs_per_us < f->macs_per_us);
            assert_true(r[1].macs_per_us > r->macs_per_us); /* larger maps are faster */
            side = r->side;
        }
        buf_init(&out, BUF_DEFAULT_CAP);
        assert_true(march_json(list[i], &out, &err));
        json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, NULL);
        const json_t *figures = json_object_get(j, "figures");
        assert_true(json_number_value(json_object_get(figures, "macs_per_us")) == f->macs_per_us);
        assert_true(json_array_size(json_object_get(figures, "blocks")) > 0);
        json_decref(j);
        buf_fini(&out);
    }
}

/* A cell per row of both tables, as exported. */
static void test_export_is_complete(void **state)
{
    struct bpu_error err = {0};
    struct buf out;
    (void)state;
    buf_init(&out, BUF_DEFAULT_CAP);
    assert_true(march_ops_json(march_find("bayes"), &out, &err));
    json_t *j = json_loads(buf_str(&out), JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(j);
    const json_t *m = json_array_get(json_object_get(j, "marches"), 0);
    assert_int_equal(json_array_size(json_object_get(j, "marches")), 1);
    assert_int_equal(json_array_size(json_object_get(m, "torch")), 118);
    assert_int_equal(json_array_size(json_object_get(m, "onnx")), 159);
    json_decref(j);
    buf_fini(&out);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(test_march_find_ignores_case),
        cmocka_unit_test(test_march_data_is_sound),
        cmocka_unit_test(test_reports_escape_what_the_file_says),
        cmocka_unit_test(test_report_has_the_fields_of_the_contract),
        cmocka_unit_test(test_overrides_that_mean_nothing_are_refused),
        cmocka_unit_test(test_sources_that_mean_nothing_are_refused),
        cmocka_unit_test(test_report_tells_the_placement),
        cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_march_figures_are_sound),
        cmocka_unit_test(test_export_is_complete),
    };
    size_t count = sizeof(fixed) / sizeof(fixed[0]), total = count;
    glob_t files = {0};
    if (glob("tests/cases/check/*.json", 0, NULL, &files) != 0 || files.gl_pathc < 100) {
        puts("not ok 1 cases of tests/cases/check are missing");
        return 1;
    }
    struct CMUnitTest *tests = calloc(count + files.gl_pathc, sizeof(*tests));
    if (!tests)
        return 1;
    memcpy(tests, fixed, sizeof(fixed));
    for (size_t i = 0; i < files.gl_pathc; i++)
        tests[total++] = (struct CMUnitTest){strrchr(files.gl_pathv[i], '/') + 1, test_case, NULL,
                                             NULL, files.gl_pathv[i]};
    int failed = _cmocka_run_group_tests("check", tests, total, NULL, NULL);
    free(tests);
    globfree(&files);
    return failed != 0;
}
