/* Every limit of both tables on both sides of its bound.
 *
 * What meets a limit: nodes generated from the data (limit_probe.h), the lines of limit_cases.txt,
 * and the graphs of tests/cases/check.  The checker tells what it measured against which limit; a
 * book is kept of each, and a limit that nothing met on both sides fails the test:
 *
 *     at the bound    the measured value is the bound itself, and the graph is legal
 *     past it         the next value, and the graph has a finding
 *     a set           each of its words, and one that is not in it
 *     a relation      held, and broken
 *
 * Limits that no node can break are lines "never" of limit_cases.txt; the node there must be
 * refused before it comes to the rules, or else the line says which rule says the same already. */
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/import/import.h"
#include "core/job/load.h"
#include "tests/unit/limit_book.h"
#include "tests/unit/limit_probe.h"
#include "tests/unit/op_case.h"

/* ── generated nodes ─────────────────────────────────────────────────────────────────────── */

static bool binds(const struct limit *l)
{
    for (; l && l->quantity != Q_NONE; l++) {
        if (!l->advisory && !l->value && !l->any &&
            (quantity_rows[l->quantity].kind != K_INFO || l->quantity == Q_LIMITS_OF ||
             l->quantity == Q_COMPOSED_OF))
            return true;
    }
    return false;
}

static void probe_list(const struct march *m, const struct op *op, const struct limit *list,
                       enum dtype t, enum severity want, struct tally *tally)
{
    int rank = window_axes(op->name) == 3 ? 5 : 4;
    for (const struct limit *l = list; l && l->quantity != Q_NONE; l++) {
        if (l->value || l->advisory || (l->rank && l->rank != rank) ||
            quantity_rows[l->quantity].kind != K_NUM)
            continue;
        if (l->quantity == Q_RANK && l->in && !l->in[1])
            probe(m, op, l, t, strtol(l->in[0], NULL, 10), strtol(l->in[0], NULL, 10) + 1, want,
                  tally);
        if (l->has_max)
            probe(m, op, l, t, (int64_t)l->max - l->max_open, (int64_t)l->max + !l->max_open, want,
                  tally);
        if (l->has_min && l->min >= 1)
            probe(m, op, l, t, (int64_t)l->min + l->min_open, (int64_t)l->min - !l->min_open, want,
                  tally);
    }
}

static void test_torch_limits_at_their_bounds(void **state)
{
    size_t count;
    const struct march *const *list = march_list(&count);
    struct tally tally = {0};
    (void)state;
    for (size_t k = 0; k < count; k++) {
        for (int i = 0; i < list[k]->torch_count; i++) {
            const struct cell *c = &list[k]->torch[i];
            const struct op *op = op_find(c->op);
            if (!op || c->support == SUPPORT_NO)
                continue;
            enum dtype t = c->inputs & Q8 ? DT_QINT8 : DT_QINT16;
            probe_list(list[k], op, c->limits, t, SEVERITY_ERROR, &tally);
            probe_list(list[k], op, c->reading, t, SEVERITY_ERROR, &tally);
        }
    }
    print_message("# torch limits: %d at the bound, %d past it, %d not generated\n", tally.at_bound,
                  tally.past_bound, tally.skipped);
    assert_int_equal(tally.wrong, 0);
    assert_true(tally.at_bound > 100 && tally.past_bound > 100);
}

static void test_onnx_limits_at_their_bounds(void **state)
{
    size_t count, ops;
    const struct march *const *list = march_list(&count);
    const struct op *table = op_table(&ops);
    struct tally tally = {0};
    (void)state;
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < ops; i++) {
            const struct cell *c = NULL;
            const struct onnx_cell *o = NULL;
            for (int j = 0; j < list[k]->torch_count && !c; j++)
                c = strcmp(list[k]->torch[j].op, table[i].name) == 0 ? &list[k]->torch[j] : NULL;
            for (int j = 0; j < list[k]->onnx_count && !o && table[i].onnx; j++)
                o = strcmp(list[k]->onnx[j].op, table[i].onnx) == 0 ? &list[k]->onnx[j] : NULL;
            if (!c || !o || o->placement != PLACEMENT_BPU || c->support == SUPPORT_NO)
                continue;
            /* a torch cell with bounds of its own is judged above: here only silent ones */
            if (binds(c->limits) || binds(c->reading))
                continue;
            enum dtype t = c->inputs & Q8 ? DT_QINT8 : DT_QINT16;
            probe_list(list[k], &table[i], o->limits, t, SEVERITY_ERROR, &tally);
        }
    }
    print_message("# onnx limits: %d at the bound, %d past it, %d not generated\n", tally.at_bound,
                  tally.past_bound, tally.skipped);
    assert_int_equal(tally.wrong, 0);
    assert_true(tally.at_bound > 30 && tally.past_bound > 30);
}

/* ── the graphs of tests/cases/check ───────────────────────────────────────────────────────── */

static void test_cases_are_booked(void **state)
{
    glob_t files = {0};
    (void)state;
    assert_int_equal(glob("tests/cases/check/*.json", 0, NULL, &files), 0);
    for (size_t i = 0; i < files.gl_pathc; i++) {
        static unsigned char data[1 << 16];
        struct bpu_error err = {0};
        struct arena a;
        char march[32] = "";
        sscanf(strrchr(files.gl_pathv[i], '+') + 1, "%31[a-z0-9]", march);
        FILE *f = fopen(files.gl_pathv[i], "rb");
        assert_non_null(f);
        size_t size = fread(data, 1, sizeof(data), f);
        fclose(f);
        arena_init(&a, QUOTA);
        struct import_request request = {.data = data, .size = size, .name = files.gl_pathv[i]};
        struct graph *g = import_model(&a, &request, &err);
        if (!g || !judge_observed(g, march_find(march), &err))
            fail_msg("%s: %s", files.gl_pathv[i], err.message);
        arena_fini(&a);
    }
    globfree(&files);
}

/* ── the lines of limit_cases.txt ──────────────────────────────────────────────────────────── */

/* Words of the attributes that begin with '@' are about the graph around the node. */
struct around {
    const char *source_op, *output_dtype;
    int64_t opset;
    double scale;               /* of the inputs; 0: none */
    bool internal, sumin, open; /* open: the height of the input is not known */
    const char *shortcut;       /* dtype of the residual input, or NULL */
};

static void take_around(char *attrs, struct around *x)
{
    *x = (struct around){.opset = 0};
    for (char *p = attrs; (p = strchr(p, '@')) != NULL;) {
        char *end = p + strcspn(p, " ");
        char *next = *end ? end + 1 : end;
        *end = '\0';
        if (strncmp(p, "@source=", 8) == 0)
            x->source_op = strdup(p + 8);
        else if (strncmp(p, "@out=", 5) == 0)
            x->output_dtype = strdup(p + 5);
        else if (strncmp(p, "@sumin=", 7) == 0)
            x->sumin = (x->shortcut = strdup(p + 7)) != NULL;
        else if (strncmp(p, "@opset=", 7) == 0)
            x->opset = strtoll(p + 7, NULL, 10);
        else if (strncmp(p, "@scale=", 7) == 0)
            x->scale = strtod(p + 7, NULL);
        else if (strcmp(p, "@open") == 0)
            x->open = true;
        else if (strcmp(p, "@internal") == 0)
            x->internal = true;
        else if (strcmp(p, "@sumin") == 0)
            x->sumin = true;
        else
            fail_msg("what is %s?", p);
        memmove(p, next, strlen(next) + 1);
    }
}

/* A reader behind the node, so that its results are no outputs of the model. */
static void put_behind(struct graph *g, struct node *n, const char *op, const struct around *x,
                       struct bpu_error *err)
{
    struct node *next = graph_add_node(g, "next", op, err);
    assert_true(next && op_bind(next));
    assert_true(node_add_input(g, next, n->outputs[n->output_count - 1], err));
    if (x->sumin) {
        struct value *v = must(graph_add_value(g, "shortcut", err), err);
        v->shape = n->outputs[0]->shape;
        v->dtype = n->outputs[0]->dtype;
        if (x->shortcut)
            assert_true(dtype_find(x->shortcut, &v->dtype));
        assert_true(graph_add_input(g, v, err) && node_add_input(g, next, v, err));
    }
    struct value *y = must(node_add_output(g, next, "behind", err), err);
    if (!op_apply(g, next, err))
        fail_msg("behind: %s", err->message);
    assert_true(graph_add_output(g, y, err));
}

/* NULL: refused before the rules. */
static struct check_result *judge_line(struct fixture *f, struct op_case *c, const struct march *m)
{
    struct around x;
    take_around(c->field[1], &x);
    struct graph *g = f->graph;
    struct node *n = case_build(g, c, &f->err);
    if (!n)
        fail_msg("%s cannot be built: %s", c->field[0], f->err.message);
    for (int i = 0; i < n->attr_count; i++)
        if (!op_attr_find(n->op, n->attrs[i].name))
            fail_msg("%s has no attribute %s", c->field[0], n->attrs[i].name);
    n->origin.source_op = x.source_op ? arena_strdup(&f->arena, x.source_op, &f->err) : NULL;
    g->opset = x.opset;
    for (int i = 0; x.scale > 0 && i < g->input_count; i++) {
        double *scale = ARENA_NEW(&f->arena, double, &f->err);
        assert_non_null(scale);
        *scale = x.scale;
        g->inputs[i]->quant = (struct quant){.scale = scale, .count = 1, .axis = 0};
    }
    struct check_result *r = NULL;
    if (x.open)
        g->inputs[0]->shape.dim[2] = -1;
    if (op_apply(g, n, &f->err)) {
        if (x.output_dtype)
            assert_true(dtype_find(x.output_dtype, &n->outputs[0]->dtype));
        if (x.internal || x.sumin)
            put_behind(g, n, x.sumin ? "torch.add" : "torch.nn.Sigmoid", &x, &f->err);
        for (int i = 0; i < n->output_count - (x.internal || x.sumin); i++)
            assert_true(graph_add_output(g, n->outputs[i], &f->err));
        if (graph_verify(g, &f->err))
            r = judge_observed(g, m, &f->err);
    }
    free((void *)x.source_op);
    free((void *)x.output_dtype);
    free((void *)x.shortcut);
    return r;
}

static bool has_rule(const struct check_result *r, const char *rule)
{
    for (int i = 0; i < r->finding_count; i++)
        if (strcmp(r->findings[i].rule, rule) == 0)
            return true;
    return false;
}

static void print_findings(const struct check_result *r)
{
    for (int i = 0; i < r->finding_count; i++)
        print_error("    %s %s: %s\n", severity_name(r->findings[i].severity), r->findings[i].rule,
                    r->findings[i].message);
}

/* "MARCH legal | op …" or "MARCH RULE | op …": as op_case.h, behind a first field.  "MARCH refused
 * | …": the node does not come to the rules. */
static void test_lines(void **state)
{
    char line[4096];
    int wrong = 0, number = 0;
    (void)state;
    FILE *in = case_open(__FILE__, "limit_cases.txt");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in)) {
        struct op_case c;
        struct fixture f;
        char march[32], want[96], copy[4096];
        number++;
        snprintf(copy, sizeof(copy), "%s", line);
        char *bar = strstr(copy, " | ");
        if (*line == '#' || !bar || strncmp(line, "never ", 6) == 0)
            continue;
        int bars = 0;
        for (const char *p = copy; (p = strstr(p, " | ")) != NULL; p += 2)
            bars++;
        copy[strcspn(copy, "\n")] = '\0';
        for (; bars < CASE_FIELDS; bars++) /* what is empty at the end may be left out */
            snprintf(copy + strlen(copy), sizeof(copy) - strlen(copy), " | ");
        if (sscanf(line, "%31s %95s", march, want) != 2 || !case_cut(bar + 3, &c))
            fail_msg("limit_cases.txt:%d cannot be read", number);
        fixture_init(&f, QUOTA);
        assert_non_null(march_find(march));
        const struct check_result *r = judge_line(&f, &c, march_find(march));
        bool good = !r                           ? strcmp(want, "refused") == 0
                    : strcmp(want, "legal") == 0 ? r->legal
                                                 : has_rule(r, want);
        if (!good) {
            print_error("limit_cases.txt:%d: %s%s%s", number,
                        !r         ? "refused: "
                        : r->legal ? "legal: "
                                   : "",
                        line, r ? "" : "    ");
            if (r)
                print_findings(r);
            else
                print_error("%s\n", f.err.message);
            wrong++;
        }
        arena_fini(&f.arena);
    }
    fclose(in);
    assert_int_equal(wrong, 0);
}

/* ── the book is full ──────────────────────────────────────────────────────────────────────── */

static unsigned long long words_missing(const struct entry *e)
{
    const struct limit *l = e->limit;
    const char *const *set = l->in ? l->in : l->not_in;
    unsigned long long all = 0;
    for (int k = 0; set && set[k] && quantity_rows[l->quantity].kind != K_INFO; k++)
        all |= 1ull << k;
    return all & ~e->words;
}

/* "never MARCH TABLE ROW QUANTITY SIDE because": * matches any. SIDE: at, past, min, max, word. */
static void take_excuses(void)
{
    char line[4096];
    FILE *in = case_open(__FILE__, "limit_cases.txt");
    assert_non_null(in);
    for (int number = 1; fgets(line, sizeof(line), in); number++) {
        char march[32], table[16], row[96], quantity[64], side[16];
        int used = 0, count = 0;
        if (strncmp(line, "never ", 6) != 0)
            continue;
        if (sscanf(line, "never %31s %15s %95s %63s %15s %n", march, table, row, quantity, side,
                   &used) != 5 ||
            strlen(line + used) < 10)
            fail_msg("limit_cases.txt:%d: never MARCH TABLE ROW QUANTITY SIDE because", number);
        unsigned sides = strcmp(side, "min") == 0        ? AT_MIN | PAST_MIN
                         : strcmp(side, "past_min") == 0 ? PAST_MIN
                         : strcmp(side, "max") == 0      ? AT_MAX | PAST_MAX
                         : strcmp(side, "at_max") == 0   ? AT_MAX
                         : strcmp(side, "past_max") == 0 ? PAST_MAX
                         : strcmp(side, "inside") == 0   ? INSIDE | HELD
                         : strcmp(side, "outside") == 0  ? OUTSIDE | BROKEN
                         : strcmp(side, "words") == 0    ? WORDS_OF_SET
                         : strcmp(side, "any") == 0      ? ~0u
                                                         : 0;
        if (!sides)
            fail_msg("limit_cases.txt:%d: what side is %s?", number, side);
        for (int i = 0; i < entry_count; i++) {
            struct entry *e = &entries[i];
            unsigned open = e->need & ~e->met;
            if ((*march != '*' && strcmp(march, march_name(e->march)) != 0) ||
                (*table != '*' && (strcmp(table, "onnx") == 0) != e->onnx) ||
                (*row != '*' && strcmp(row, e->row) != 0) ||
                (*quantity != '*' && strcmp(quantity, quantity_rows[e->limit->quantity].name) != 0))
                continue;
            count += (open & sides) || (sides & WORDS_OF_SET && words_missing(e));
            e->excused |= sides;
        }
        if (count == 0)
            fail_msg("limit_cases.txt:%d excuses nothing: %s", number, line);
    }
    fclose(in);
}

static void test_every_limit_was_met_on_both_sides(void **state)
{
    static const char *const names[] = {"at max", "past max", "at min", "past min",
                                        "inside", "outside",  "held",   "broken"};
    int open = 0, met_sides = 0, excused = 0;
    (void)state;
    take_excuses();
    for (int i = 0; i < entry_count; i++) {
        const struct entry *e = &entries[i];
        const struct limit *l = e->limit;
        unsigned missing = e->need & ~e->met & ~e->excused;
        met_sides += __builtin_popcount(e->need & e->met);
        excused += __builtin_popcount(e->need & ~e->met & e->excused);
        const char *const *set = l->in ? l->in : l->not_in;
        char words[400] = "";
        for (int k = 0; set && set[k]; k++)
            if (!(e->excused & (WORDS_OF_SET | (l->in ? INSIDE : OUTSIDE))) &&
                words_missing(e) >> k & 1)
                snprintf(words + strlen(words), sizeof(words) - strlen(words), " '%s'", set[k]);
        if (!missing && !*words)
            continue;
        open++;
        print_error("%s %s %s %s%s%s [%s]:", march_name(e->march), e->onnx ? "onnx" : "torch",
                    e->row, operand_names[l->operand], *operand_names[l->operand] ? "." : "",
                    quantity_rows[l->quantity].name, condition_rows[l->when].words);
        for (int k = 0; k < 8; k++)
            if (missing >> k & 1)
                print_error(" %s", names[k]);
        print_error("%s%s max %g min %g%s\n", *words ? " words" : "", words, l->max, l->min,
                    e->decides ? "" : " (warning)");
    }
    print_message("# %d limits, %d sides met, %d excused, %d limits open\n", entry_count, met_sides,
                  excused, open);
    assert_int_equal(open, 0);
    assert_true(entry_count > 500);
}

/* An operator that the march does not have says what to use instead, or where to run it. */
static void test_every_operator_has_a_hint(void **state)
{
    size_t count, ops;
    const struct march *const *list = march_list(&count);
    const struct op *table = op_table(&ops);
    (void)state;
    for (size_t k = 0; k < count; k++) {
        for (size_t i = 0; i < ops; i++) {
            struct fixture f;
            fixture_init(&f, QUOTA);
            struct node *n = graph_add_node(f.graph, "node", table[i].name, &f.err);
            assert_true(n && op_bind(n));
            for (int x = 0; x < (table[i].min_inputs > 0 ? table[i].min_inputs : 1); x++) {
                const int64_t map[4] = {1, 4, 8, 8};
                struct value *v = add_input(f.graph, NULL, 4, map, DT_QINT8, &f.err);
                assert_true(node_add_input(f.graph, n, v, &f.err));
            }
            struct value *y = must(node_add_output(f.graph, n, "y", &f.err), &f.err);
            y->shape = f.graph->inputs[0]->shape;
            assert_true(graph_add_output(f.graph, y, &f.err));
            if (graph_verify(f.graph, &f.err) && !judge_observed(f.graph, list[k], &f.err))
                fail_msg("%s: %s", table[i].name, f.err.message);
            arena_fini(&f.arena);
        }
    }
}

static void test_hints_can_be_followed(void **state)
{
    (void)state;
    print_message("# hints: %d errors, %d operators named, %d rewrites built; %d wrong\n",
                  hints.errors, hints.operators, hints.rewrites, hints.wrong);
    assert_int_equal(hints.wrong, 0);
    assert_true(hints.errors > 500 && hints.operators > 300 && hints.rewrites > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_torch_limits_at_their_bounds),
        cmocka_unit_test(test_onnx_limits_at_their_bounds),
        cmocka_unit_test(test_cases_are_booked),
        cmocka_unit_test(test_lines),
        cmocka_unit_test(test_every_limit_was_met_on_both_sides),
        cmocka_unit_test(test_every_operator_has_a_hint),
        cmocka_unit_test(test_hints_can_be_followed),
    };
    return cmocka_run_group_tests_name("limits", tests, enter_all, NULL);
}
