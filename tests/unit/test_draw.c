/* The drawing: what is in it, that nothing overlaps, that nothing hangs.
 *
 * tests/golden/draw_*.svg are compared byte for byte; with UPDATE_GOLDEN=1 in the environment they
 * are written instead. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/draw/draw.h"
#include "core/draw/label.h"
#include "core/draw/svg.h"
#include "core/ops/op.h"

#define QUOTA ((size_t)512 << 20)
#define ok(call)                                                                                   \
    do {                                                                                           \
        if (!(call))                                                                               \
            fail_msg("%s: %s", #call, err.message);                                                \
    } while (0)

static struct bpu_error err;

/* ── building graphs ─────────────────────────────────────────────────────────────────────── */

static struct value *input(struct graph *g, const char *name)
{
    struct value *v = graph_add_value(g, name, &err);
    ok(v);
    v->shape = shape_of(4, (const int64_t[]){1, 3, 32, 32});
    v->dtype = DT_QINT8;
    ok(graph_add_input(g, v, &err));
    return v;
}

static struct value *output_of(struct graph *g, struct node *n, const char *name)
{
    struct value *v = node_add_output(g, n, name, &err);
    ok(v);
    v->shape = shape_of(4, (const int64_t[]){1, 16, 32, 32});
    v->dtype = DT_QINT8;
    return v;
}

static struct node *node(struct graph *g, const char *name, const char *op, struct value *a,
                         struct value *b)
{
    struct node *n = graph_add_node(g, name, op, &err);
    ok(n);
    (void)op_bind(n);
    if (a)
        ok(node_add_input(g, n, a, &err));
    if (b)
        ok(node_add_input(g, n, b, &err));
    output_of(g, n, NULL);
    return n;
}

static struct value *apply(struct graph *g, const char *name, const char *op, struct value *a,
                           struct value *b)
{
    return node(g, name, op, a, b)->outputs[0];
}

static struct graph *fresh(struct arena *a, const char *name)
{
    memset(&err, 0, sizeof err);
    arena_init(a, QUOTA);
    struct graph *g = graph_new(a, name, "onnx", &err);
    ok(g);
    return g;
}

/* A residual block with one of everything: folded batch norm, shape arithmetic, a fault and what it
 * induces, a warning, names that need escaping. */
static struct graph *block(struct arena *a)
{
    struct graph *g = fresh(a, "a <block> & more");
    struct value *x = input(g, "image");
    struct node *conv = node(g, "layer1.conv", "torch.nn.Conv2d", x, NULL);
    const int64_t kernel[2] = {33, 3}, one[2] = {1, 1};
    ok(node_set_ints(g, conv, "kernel_size", kernel, 2, &err));
    ok(node_set_ints(g, conv, "padding", one, 2, &err));
    ok(node_set_int(g, conv, "in_channels", 3, &err) &&
       node_set_int(g, conv, "out_channels", 16, &err));
    struct node *norm = node(g, "layer1.bn", "torch.nn.BatchNorm2d", conv->outputs[0], NULL);
    norm->fold = FOLD_BATCH_NORM;
    norm->folded_into = conv;
    struct value *r = apply(g, "layer1.relu \"<&>\"", "torch.nn.ReLU", norm->outputs[0], NULL);
    struct node *size = node(g, "size", "torch.Tensor.size", r, NULL);
    struct node *half = node(g, "half", "torch.div", size->outputs[0], NULL);
    size->fold = half->fold = FOLD_CONSTANT;
    struct value *shaped = apply(g, "shaped", "torch.Tensor.reshape", r, half->outputs[0]);
    struct value *deep = apply(g, "deep", "torch.nn.Sigmoid", shaped, NULL);
    struct node *drop = node(g, "drop", "torch.nn.Dropout", deep, NULL);
    drop->fold = FOLD_IDENTITY;
    struct value *sum = apply(g, "sum", "torch.add", drop->outputs[0], r);
    struct node *parts = node(g, "parts", "torch.split", sum, NULL);
    output_of(g, parts, "second");
    struct value *product = apply(g, "product", "torch.mul", parts->outputs[0], parts->outputs[1]);
    ok(graph_add_output(g, product, &err));
    ok(graph_verify(g, &err));
    return g;
}

struct judgement {
    struct check_result r;
    struct finding findings[3];
};

static void judge(struct judgement *j, const struct graph *g)
{
    *j = (struct judgement){
        .r = {.graph = g, .march = march_find("bayes"), .findings = j->findings}};
    j->r.verdicts = calloc((size_t)g->node_count + 1, sizeof *j->r.verdicts);
    j->r.induced = calloc((size_t)g->node_count + 1, sizeof *j->r.induced);
    j->r.values = calloc((size_t)g->value_count + 1, sizeof *j->r.values);
    assert_true(j->r.verdicts && j->r.induced && j->r.values && j->r.march);
    for (int i = 0; i < g->node_count; i++)
        if (g->nodes[i]->fold != FOLD_NONE)
            j->r.verdicts[i] = NODE_FOLDED;
    for (int i = 0; i < g->value_count; i++)
        j->r.values[i].dtype = g->values[i]->dtype;
}

static void judge_block(struct judgement *j, const struct graph *g)
{
    judge(j, g);
    const struct node *conv = graph_find_node(g, "layer1.conv"), *sum = graph_find_node(g, "sum");
    assert_true(conv && sum);
    j->r.verdicts[conv->index] = j->r.verdicts[sum->index] = NODE_ILLEGAL;
    j->r.induced[sum->index] = true;
    j->findings[0] = (struct finding){.rule = "conv2d.kernel_h",
                                      .severity = SEVERITY_ERROR,
                                      .node = conv,
                                      .message = "kernel height 33 is not in 1..31",
                                      .hint = "use a smaller <kernel>"};
    j->findings[1] = (struct finding){.rule = "add.input",
                                      .severity = SEVERITY_ERROR,
                                      .node = sum,
                                      .message = "its shape is not known",
                                      .induced = true};
    j->findings[2] = (struct finding){.rule = "split.align",
                                      .severity = SEVERITY_WARNING,
                                      .node = graph_find_node(g, "parts"),
                                      .message = "channels are not a multiple of 8"};
    j->r.finding_count = 3;
    j->r.legal_count = 5;
    j->r.illegal_count = 2;
    j->r.folded_count = 4;
    j->r.error_count = 2;
    j->r.warning_count = 1;
}

static void judge_end(struct judgement *j)
{
    free(j->r.verdicts);
    free(j->r.induced);
    free(j->r.values);
}

/* ── well-formed XML ─────────────────────────────────────────────────────────────────────── */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == ':';
}

/* Past the entity at p, or NULL. */
static const char *entity(const char *p)
{
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
    for (size_t i = 0; i < 5; i++)
        if (strncmp(p, known[i], strlen(known[i])) == 0)
            return p + strlen(known[i]);
    return NULL;
}

/* Strict about what the writer may produce: balanced elements, quoted attributes, known entities.
 * Returns where it breaks, or NULL. */
static const char *malformed(const char *text)
{
    const char *open[64];
    int depth = 0;
    for (const char *p = text; *p;) {
        if (*p == '&') {
            const char *next = entity(p);
            if (!next)
                return p;
            p = next;
        } else if (*p != '<') {
            p++;
        } else if (p[1] == '/') {
            if (depth == 0)
                return p;
            const char *o = open[--depth];
            size_t n = 0;
            while (name_char(o[n]))
                n++;
            if (strncmp(p + 2, o, n) != 0 || p[2 + n] != '>')
                return p;
            p += n + 3;
        } else {
            if (depth == 64 || !name_char(p[1]))
                return p;
            open[depth++] = ++p;
            while (name_char(*p))
                p++;
            while (*p == ' ') {
                for (p++; name_char(*p); p++)
                    ;
                if (p[0] != '=' || p[1] != '"')
                    return p;
                for (p += 2; *p && *p != '"';) {
                    if (*p == '<')
                        return p;
                    const char *next = *p == '&' ? entity(p) : p + 1;
                    if (!next)
                        return p;
                    p = next;
                }
                if (*p++ != '"')
                    return p - 1;
            }
            if (*p == '/') {
                depth--;
                p++;
            }
            if (*p++ != '>')
                return p - 1;
        }
    }
    return depth ? open[depth - 1] : NULL;
}

static void assert_well_formed(const char *svg)
{
    const char *at = malformed(svg);
    if (at)
        fail_msg("not well-formed at: %.80s", at);
}

static int occurrences(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)); p += strlen(part))
        n++;
    return n;
}

static void assert_every_node_once(const struct graph *g, const char *svg)
{
    char id[40];
    for (int i = 0; i < g->node_count; i++) {
        snprintf(id, sizeof id, " id=\"node-%d\"", i);
        assert_int_equal(occurrences(svg, id), 1);
    }
}

/* ── the drawing of a block ──────────────────────────────────────────────────────────────── */

static void golden(const char *path, const struct buf *svg)
{
    if (getenv("UPDATE_GOLDEN")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(svg->data, 1, svg->size, f), svg->size);
        assert_int_equal(fclose(f), 0);
    }
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s is missing: run with UPDATE_GOLDEN=1 and look at it", path);
    char *want = calloc(1, svg->size + 2);
    assert_non_null(want);
    size_t n = fread(want, 1, svg->size + 1, f);
    fclose(f);
    bool same = n == svg->size && memcmp(want, svg->data, n) == 0;
    free(want);
    if (!same)
        fail_msg("the drawing differs from %s: if that is wanted, run with UPDATE_GOLDEN=1", path);
}

static void test_block(void **state)
{
    (void)state;
    struct arena a;
    struct judgement j;
    struct graph *g = block(&a);
    struct buf svg, again;
    judge_block(&j, g);
    buf_init(&svg, BUF_DEFAULT_CAP);
    buf_init(&again, BUF_DEFAULT_CAP);
    ok(draw_svg(g, &j.r, &svg, &err) && draw_svg(g, &j.r, &again, &err));
    assert_string_equal(buf_str(&svg), buf_str(&again));
    assert_well_formed(buf_str(&svg));
    assert_every_node_once(g, buf_str(&svg));
    const char *text = buf_str(&svg);
    assert_non_null(strstr(text, "class=\"n bad\" id=\"node-0\""));
    assert_non_null(strstr(text, "data-verdict=\"illegal\" data-cause=\"induced\""));
    assert_non_null(strstr(text, "data-node=\"layer1.relu &quot;&lt;&amp;&gt;&quot;\""));
    assert_non_null(strstr(text, "error conv2d.kernel_h: kernel height 33 is not in 1..31\nHint: "
                                 "use a smaller &lt;kernel&gt;"));
    assert_non_null(strstr(text, ">33x3 p1 3\xE2\x86\x92"
                                 "16<"));
    assert_non_null(strstr(text, ">1x16x32x32 qint8<"));
    /* folded: batch norm with its conv, shape arithmetic with its reader, dropout with its source
     */
    assert_non_null(strstr(text, "data-node=\"layer1.bn\" data-op=\"torch.nn.BatchNorm2d\" "
                                 "data-verdict=\"folded\" data-folded-into=\"layer1.conv\""));
    assert_non_null(strstr(text, "data-folded-into=\"shaped\""));
    assert_non_null(strstr(text, "data-folded-into=\"deep\""));
    assert_int_equal(occurrences(text, "<g class=\"e\""),
                     9); /* 7 values, both parts, no constants */
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "url("));
    golden("tests/golden/draw_block.svg", &svg);
    buf_fini(&svg);
    buf_fini(&again);
    judge_end(&j);
    arena_fini(&a);
}

static void test_without_check(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = block(&a);
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    ok(draw_svg(g, NULL, &svg, &err));
    assert_well_formed(buf_str(&svg));
    assert_every_node_once(g, buf_str(&svg));
    assert_null(strstr(buf_str(&svg), "data-verdict=\"illegal\""));
    assert_non_null(strstr(buf_str(&svg), "not checked"));
    golden("tests/golden/draw_unchecked.svg", &svg);
    buf_fini(&svg);
    arena_fini(&a);
}

static void test_empty(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = fresh(&a, "");
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    ok(draw_svg(g, NULL, &svg, &err));
    assert_well_formed(buf_str(&svg));
    buf_fini(&svg);
    arena_fini(&a);
}

/* Names that are not UTF-8, or not allowed in XML. */
static void test_hostile_names(void **state)
{
    (void)state;
    static const char *const names[] = {"\xFF\xFE",
                                        "cut \xE2\x86",
                                        "over \xC0\xAF",
                                        "surrogate \xED\xA0\x80",
                                        "bell \x07 del \x7F",
                                        "]]>",
                                        "<!--",
                                        "\xEF\xBF\xBF",
                                        "&#0;"};
    struct arena a;
    struct graph *g = fresh(&a, "\xC3(");
    struct value *v = input(g, names[0]);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        v = apply(g, names[i], names[i], v, NULL);
    ok(graph_add_output(g, v, &err));
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    ok(draw_svg(g, NULL, &svg, &err));
    assert_well_formed(buf_str(&svg));
    for (const unsigned char *p = (const unsigned char *)buf_str(&svg); *p; p++)
        assert_true(*p >= 0x20 || *p == '\n');
    assert_null(strstr(buf_str(&svg), "\xC0\xAF"));
    assert_null(strstr(buf_str(&svg), "\xED\xA0"));
    assert_null(strstr(buf_str(&svg), "\xEF\xBF\xBF"));
    buf_fini(&svg);
    arena_fini(&a);
}

/* ── nothing overlaps ────────────────────────────────────────────────────────────────────── */

static uint32_t seed;

static uint32_t dice(uint32_t n)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return seed % n;
}

static struct graph *random_graph(struct arena *a, int nodes, int reach, int fan_in)
{
    struct graph *g = fresh(a, "random");
    struct value **values = ARENA_ARRAY(a, struct value *, nodes + 1, &err);
    assert_non_null(values);
    values[0] = input(g, "x");
    for (int i = 1; i <= nodes; i++) {
        int from = i > reach ? i - reach : 0, inputs = 1 + (int)dice((uint32_t)fan_in);
        struct node *n = node(g, "", inputs > 1 ? "torch.cat" : "torch.nn.ReLU", NULL, NULL);
        for (int k = 0; k < inputs; k++)
            ok(node_add_input(g, n, values[from + (int)dice((uint32_t)(i - from))], &err));
        values[i] = n->outputs[0];
    }
    ok(graph_add_output(g, values[nodes], &err));
    ok(graph_verify(g, &err));
    return g;
}

static bool inside(const struct layout_box *b, double x, double y)
{
    return x > b->x - b->w / 2 + 0.6 && x < b->x + b->w / 2 - 0.6 && y > b->y + 0.6 &&
           y < b->y + b->h - 0.6;
}

static void assert_free(const struct layout *l, double x, double y)
{
    for (int i = 0; i < l->box_count; i++)
        if (inside(&l->boxes[i], x, y))
            fail_msg("a line runs through box %d at %.1f %.1f", i, x, y);
}

static void check_lines(const struct layout *l)
{
    for (int i = 0; i < l->net_count; i++) {
        const struct layout_net *n = &l->nets[i];
        double x = 0, y = 0;
        int arrows = 0;
        for (int k = 0; k < n->step_count; k++) {
            const struct layout_step *s = &n->steps[k];
            if (s->kind == STEP_LINE) {
                assert_true(s->x == x); /* straight lines are vertical and lead down */
                assert_true(s->y >= y);
            }
            for (int t = 0; t <= 4; t++) {
                double u = t / 4.0, w = 1 - u;
                if (s->kind == STEP_LINE)
                    assert_free(l, x, y + (s->y - y) * u);
                else if (s->kind == STEP_CURVE)
                    assert_free(l,
                                w * w * w * x + 3 * w * w * u * s->x1 + 3 * w * u * u * s->x2 +
                                    u * u * u * s->x,
                                w * w * w * y + 3 * w * w * u * s->y1 + 3 * w * u * u * s->y2 +
                                    u * u * u * s->y);
            }
            if (s->kind == STEP_ARROW) {
                bool hit = false;
                for (int u = 0; u < n->user_count; u++) {
                    const struct layout_box *b = &l->boxes[n->users[u]];
                    hit =
                        hit || (s->y == b->y && s->x >= b->x - b->w / 2 && s->x <= b->x + b->w / 2);
                }
                assert_true(hit);
                arrows++;
            }
            x = s->x;
            y = s->y;
        }
        assert_int_equal(arrows, n->user_count);
    }
}

static void check_boxes(const struct layout *l)
{
    for (int i = 0; i < l->box_count; i++) {
        const struct layout_box *a = &l->boxes[i];
        assert_true(a->x - a->left >= -1 && a->x + a->right <= l->width + 1);
        assert_true(a->y >= 0 && a->y + a->h <= l->height);
        for (int k = i + 1; k < l->box_count; k++) {
            const struct layout_box *b = &l->boxes[k];
            if (a->rank != b->rank)
                assert_true(a->rank < b->rank ? a->y + a->h < b->y : b->y + b->h < a->y);
            else
                assert_true(a->x + a->right <= b->x - b->left + 1 ||
                            b->x + b->right <= a->x - a->left + 1);
        }
    }
}

static void test_nothing_overlaps(void **state)
{
    (void)state;
    for (uint32_t i = 1; i <= 60; i++) {
        struct arena a, scratch;
        struct scene s;
        seed = i * 2654435761u;
        struct graph *g = random_graph(&a, 5 + (int)i * 2, 1 + (int)dice(40), 1 + (int)dice(6));
        arena_init(&scratch, QUOTA);
        ok(scene_new(&s, g, NULL, NULL, &scratch, &err) && layout_run(&s.layout, &scratch, &err));
        check_boxes(&s.layout);
        check_lines(&s.layout);
        arena_fini(&scratch);
        arena_fini(&a);
    }
}

/* The main chain of a residual network is one straight column. */
static void test_chain_is_straight(void **state)
{
    (void)state;
    struct arena a, scratch;
    struct scene s;
    struct graph *g = fresh(&a, "residual");
    struct value *v = input(g, "x");
    for (int i = 0; i < 16; i++) {
        struct value *w = apply(g, "", "torch.nn.Conv2d", v, NULL);
        w = apply(g, "", "torch.nn.ReLU", w, NULL);
        w = apply(g, "", "torch.nn.Conv2d", w, NULL);
        v = apply(g, "", "torch.add", w, v);
    }
    ok(graph_add_output(g, v, &err));
    arena_init(&scratch, QUOTA);
    ok(scene_new(&s, g, NULL, NULL, &scratch, &err) && layout_run(&s.layout, &scratch, &err));
    for (int i = 1; i < s.layout.box_count; i++)
        assert_true(s.layout.boxes[i].x == s.layout.boxes[0].x);
    arena_fini(&scratch);
    arena_fini(&a);
}

/* ── nothing hangs ───────────────────────────────────────────────────────────────────────── */

/* Draws g and returns how many lines are told in words because they are too long to draw. */
static int draw_in_time(const struct graph *g, double seconds)
{
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    clock_t start = clock();
    ok(draw_svg(g, NULL, &svg, &err));
    double took = (double)(clock() - start) / CLOCKS_PER_SEC;
    if (took > seconds)
        fail_msg("%s took %.1f s of processor time", g->name, took);
    assert_well_formed(buf_str(&svg));
    const char *far = strstr(buf_str(&svg), " from further up</text>");
    while (far && far > svg.data && far[-1] >= '0' && far[-1] <= '9')
        far--;
    int lines = far ? atoi(far) : 0;
    buf_fini(&svg);
    return lines;
}

static void test_large_random(void **state)
{
    (void)state;
    static const struct {
        int reach, fan_in;
    } kinds[] = {{5000, 2}, {50, 2}, {2000, 5}, {3, 2}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct arena a;
        seed = 77;
        (void)draw_in_time(random_graph(&a, 5000, kinds[i].reach, kinds[i].fan_in), 10);
        arena_fini(&a);
    }
}

static void test_chain(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = fresh(&a, "chain");
    struct value *v = input(g, "x");
    struct value **all = ARENA_ARRAY(&a, struct value *, 10000, &err);
    assert_non_null(all);
    for (int i = 0; i < 10000; i++)
        all[i] = v = apply(g, "", "torch.nn.ReLU", v, NULL);
    assert_int_equal(draw_in_time(g, 10), 0);
    /* and one node that reads every value of it: 10,000 long lines */
    struct node *cat = node(g, "all", "torch.cat", NULL, NULL);
    for (int i = 0; i < 10000; i++)
        ok(node_add_input(g, cat, all[i], &err));
    ok(graph_add_output(g, cat->outputs[0], &err));
    assert_in_range(draw_in_time(g, 10), 9000, 9999);
    arena_fini(&a);
}

static void test_fans(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = fresh(&a, "fans");
    struct node *cat = NULL;
    struct value *many[1000];
    for (int i = 0; i < 1000; i++)
        many[i] = input(g, "x");
    cat = node(g, "cat", "torch.cat", NULL, NULL);
    for (int i = 0; i < 1000; i++)
        ok(node_add_input(g, cat, many[i], &err));
    for (int i = 0; i < 2000; i++)
        ok(graph_add_output(g, apply(g, "", "torch.nn.ReLU", cat->outputs[0], NULL), &err));
    assert_int_equal(draw_in_time(g, 10), 0);
    arena_fini(&a);
}

static void test_folded_masses(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = fresh(&a, "shapes");
    struct value *v = input(g, "x");
    for (int i = 0; i < 20; i++) {
        struct value *s = v;
        for (int k = 0; k < 300; k++) {
            struct node *n = node(g, "", "torch.Tensor.size", s, NULL);
            n->fold = FOLD_CONSTANT;
            s = n->outputs[0];
        }
        v = apply(g, "", "torch.Tensor.reshape", v, s);
    }
    /* one that nothing reads belongs to no box and has its id all the same */
    node(g, "unread", "torch.Tensor.size", v, NULL)->fold = FOLD_CONSTANT;
    ok(graph_add_output(g, v, &err));
    struct buf svg;
    buf_init(&svg, BUF_DEFAULT_CAP);
    ok(draw_svg(g, NULL, &svg, &err));
    assert_well_formed(buf_str(&svg));
    assert_int_equal(occurrences(buf_str(&svg), "<rect class=\"b\""),
                     20 + 2 + 2); /* and the legend */
    assert_int_equal(occurrences(buf_str(&svg), "id=\"node-"), g->node_count);
    buf_fini(&svg);
    arena_fini(&a);
}

/* ── failures ────────────────────────────────────────────────────────────────────────────── */

static void test_no_memory(void **state)
{
    (void)state;
    struct arena a;
    seed = 5;
    struct graph *g = random_graph(&a, 30, 20, 3);
    bool done = false;
    for (long n = 0; !done; n++) {
        struct arena scratch;
        struct scene s;
        struct bpu_error e = {0};
        arena_init(&scratch, QUOTA);
        scratch.fail_after = n;
        done = scene_new(&s, g, NULL, NULL, &scratch, &e) && layout_run(&s.layout, &scratch, &e);
        if (!done)
            assert_int_equal(e.code, BPU_NO_MEMORY);
        arena_fini(&scratch);
        assert_true(n < 5000);
    }
    struct buf svg;
    struct bpu_error e = {0};
    buf_init(&svg, 1000);
    assert_false(draw_svg(g, NULL, &svg, &e));
    assert_int_equal(e.code, BPU_NO_MEMORY);
    buf_fini(&svg);
    arena_fini(&a);
}

/* ── labels ──────────────────────────────────────────────────────────────────────────────── */

static void assert_label(const struct node *n, const char *want)
{
    struct buf b;
    buf_init(&b, 4096);
    label_attributes(n, &b);
    assert_string_equal(buf_str(&b), want);
    buf_fini(&b);
}

static void test_labels(void **state)
{
    (void)state;
    struct arena a;
    struct graph *g = fresh(&a, "labels");
    const int64_t pair[2] = {3, 3}, uneven[2] = {1, 7}, two[2] = {2, 2}, zero[2] = {0, 0};
    struct node *n = node(g, "", "torch.nn.Conv2d", NULL, NULL);
    ok(node_set_ints(g, n, "kernel_size", pair, 2, &err) &&
       node_set_ints(g, n, "stride", two, 2, &err));
    ok(node_set_ints(g, n, "padding", zero, 2, &err) && node_set_int(g, n, "groups", 32, &err));
    assert_label(n, "3x3 s2 g32");
    ok(node_set_int(g, n, "in_channels", 32, &err) && node_set_int(g, n, "out_channels", 64, &err));
    assert_label(n, "3x3 s2 dw 32\xE2\x86\x92"
                    "64");
    ok(node_set_ints(g, n, "kernel_size", uneven, 2, &err) &&
       node_set_string(g, n, "padding", "same", &err));
    assert_label(n, "1x7 s2 p same dw 32\xE2\x86\x92"
                    "64");
    n = node(g, "", "torch.nn.MaxPool2d", NULL, NULL);
    ok(node_set_int(g, n, "kernel_size", 2, &err) && node_set_int(g, n, "stride", 2, &err));
    assert_label(n, "2x2");
    n = node(g, "", "torch.mean", NULL, NULL);
    ok(node_set_ints(g, n, "dim", (const int64_t[]){2, 3}, 2, &err) &&
       node_set_bool(g, n, "keepdim", true, &err));
    assert_label(n, "dim 2,3 keep");
    n = node(g, "", "torch.Tensor.__getitem__", NULL, NULL);
    ok(node_set_ints(g, n, "axes", (const int64_t[]){2}, 1, &err) &&
       node_set_ints(g, n, "starts", zero, 1, &err));
    ok(node_set_ints(g, n, "ends", (const int64_t[]){INT64_MAX}, 1, &err) &&
       node_set_ints(g, n, "steps", two, 1, &err));
    assert_label(n, "2[0::2]");
    assert_string_equal(label_op(n->op_name), "slice");
    assert_label(node(g, "", "torch.nn.ReLU", NULL, NULL), "");
    const char *cut = text_fit_end(&a, "features.denseblock3.denselayer12.conv2", 10, 100, &err);
    ok(cut);
    assert_true(strncmp(cut, "\xE2\x80\xA6", 3) == 0 && strstr(cut, "conv2"));
    assert_true(text_width(cut, 10, false) <= 101);
    arena_fini(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_block),
        cmocka_unit_test(test_without_check),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_hostile_names),
        cmocka_unit_test(test_nothing_overlaps),
        cmocka_unit_test(test_chain_is_straight),
        cmocka_unit_test(test_large_random),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_fans),
        cmocka_unit_test(test_folded_masses),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
