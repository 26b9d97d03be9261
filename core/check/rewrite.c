/* Rewrites: other nodes that do the work of one that a limit forbids.
 *
 * A rewrite is offered only after it was built and judged like any model, with the shape that the
 * node has now; what it would break itself is never suggested.  rewrite_find.c makes the
 * candidates. */
#include <stdio.h>
#include <string.h>

#include "core/check/json_write.h"
#include "core/check/rules.h"

#define REWRITE_QUOTA ((size_t)8 << 20)
#define MAX_PARTS 64

static bool is_window(const struct rewrite_step *t)
{
    return strncmp(t->op, "torch.nn.Conv", 13) == 0 || strstr(t->op, "Pool") != NULL;
}

/* ── building ──────────────────────────────────────────────────────────────────────────────── */

struct builder {
    struct graph *g;
    struct bpu_error err;
};

static struct value *add_node(struct builder *b, const char *op, struct value *x, struct value *y,
                              struct node **node)
{
    struct node *n = graph_add_node(b->g, NULL, op, &b->err);
    *node = n;
    if (!n || !op_bind(n) || !node_add_input(b->g, n, x, &b->err) ||
        (y && !node_add_input(b->g, n, y, &b->err)))
        return NULL;
    return node_add_output(b->g, n, NULL, &b->err);
}

static bool set_window(struct builder *b, struct node *n, const struct rewrite_step *t)
{
    struct graph *g = b->g;
    bool conv = strstr(t->op, "Conv") != NULL;
    return node_set_ints(g, n, "kernel_size", t->kernel, 2, &b->err) &&
           node_set_ints(g, n, "stride", t->stride, 2, &b->err) &&
           node_set_ints(g, n, "padding", t->padding, 2, &b->err) &&
           (strstr(t->op, "AvgPool") || node_set_ints(g, n, "dilation", t->dilation, 2, &b->err)) &&
           (!conv || (node_set_int(g, n, "in_channels", t->in, &b->err) &&
                      node_set_int(g, n, "out_channels", t->out, &b->err) &&
                      node_set_int(g, n, "groups", t->groups, &b->err)));
}

static struct value *add_step(struct builder *b, const struct rewrite_step *t, struct value *x)
{
    struct node *n;
    struct value *y = add_node(b, t->op, x, NULL, &n);
    const int64_t pad[4] = {t->padding[1], t->padding[1], t->padding[0], t->padding[0]};
    if (!y)
        return NULL;
    bool set = is_window(t)                     ? set_window(b, n, t)
               : strstr(t->op, "Pad2d") != NULL ? node_set_ints(b->g, n, "padding", pad, 4, &b->err)
               : strcmp(t->op, "torch.nn.Linear")
                   ? true
                   : node_set_int(b->g, n, "in_features", t->in, &b->err) &&
                         node_set_int(b->g, n, "out_features", t->out, &b->err);
    return set && op_apply(b->g, n, &b->err) ? y : NULL;
}

/* The step `parts` times side by side: on the whole input, joined; or on parts of it, added. */
static struct value *add_parts(struct builder *b, const struct rewrite *w, struct value *x)
{
    const struct rewrite_step *t = &w->steps[0];
    bool linear = strcmp(t->op, "torch.nn.Linear") == 0;
    struct value *y[MAX_PARTS], *in[MAX_PARTS], *sum = NULL;
    struct node *n;
    if (w->parts > MAX_PARTS)
        return NULL;
    for (int i = 0; i < w->parts; i++)
        in[i] = x;
    if (!w->joined) {
        in[0] = add_node(b, "torch.split", x, NULL, &n);
        for (int i = 1; in[0] && i < w->parts; i++)
            if (!(in[i] = node_add_output(b->g, n, NULL, &b->err)))
                return NULL;
        if (!in[0] || !node_set_int(b->g, n, "split_size_or_sections", t->in, &b->err) ||
            !node_set_int(b->g, n, "dim", linear ? -1 : 1, &b->err) || !op_apply(b->g, n, &b->err))
            return NULL;
    }
    for (int i = 0; i < w->parts; i++) {
        struct rewrite_step part = *t;
        if (w->joined && i == w->parts - 1)
            part.out = w->total - t->out * (w->parts - 1);
        if (!(y[i] = add_step(b, &part, in[i])))
            return NULL;
    }
    if (w->joined) {
        sum = add_node(b, "torch.cat", y[0], y[1], &n);
        for (int i = 2; sum && i < w->parts; i++)
            if (!node_add_input(b->g, n, y[i], &b->err))
                return NULL;
        return sum && node_set_int(b->g, n, "dim", linear ? -1 : 1, &b->err) &&
                       op_apply(b->g, n, &b->err)
                   ? sum
                   : NULL;
    }
    sum = y[0];
    for (int i = 1; i < w->parts; i++)
        if (!(sum = add_node(b, "torch.add", sum, y[i], &n)) || !op_apply(b->g, n, &b->err))
            return NULL;
    return sum;
}

static struct value *add_input(struct builder *b, const struct shape *shape, enum dtype t)
{
    struct value *v = graph_add_value(b->g, NULL, &b->err);
    if (!v)
        return NULL;
    v->shape = *shape;
    v->dtype = t;
    return graph_add_input(b->g, v, &b->err) ? v : NULL;
}

/* With what stands around the node: a fused add behind it, a reader of its result. */
static struct value *build(struct builder *b, const struct subject *s, const struct rewrite *w,
                           enum dtype t, struct value **result)
{
    struct value *x = add_input(b, &w->input, t);
    struct node *n;
    if (x && w->parts > 1)
        x = add_parts(b, w, x);
    for (int i = 0; x && w->parts <= 1 && i < w->count; i++)
        x = add_step(b, &w->steps[i], x);
    *result = x;
    if (x && s->ctx->sumin) {
        struct value *shortcut = add_input(b, &x->shape, t);
        x = shortcut ? add_node(b, "torch.add", x, shortcut, &n) : NULL;
        x = x && op_apply(b->g, n, &b->err) ? x : NULL;
    } else if (x && s->c->uses[s->n->outputs[0]->index] == USE_INTERNAL) {
        x = add_node(b, "torch.nn.ReLU", x, NULL, &n);
        x = x && op_apply(b->g, n, &b->err) ? x : NULL;
    }
    return x;
}

/* What a linear layer gives as [N, C] may come as [N, C, 1, 1]: then the sizes must agree. */
static bool same_result(const struct shape *was, const struct shape *is)
{
    if (was->rank == is->rank)
        return shape_equal(was, is);
    return shape_elements(was) >= 0 && shape_elements(was) == shape_elements(is);
}

bool rewrite_is_legal(const struct subject *s, const struct rewrite *w)
{
    struct checker *c = s->c;
    const struct check_options plain = {.advice_us = -1, .no_rewrites = true};
    struct builder b = {.g = NULL};
    struct arena a;
    struct value *result = NULL;
    bool legal = false;
    arena_init(&a, REWRITE_QUOTA);
    b.g = graph_new(&a, "rewrite", "graph-json", &b.err);
    struct value *x = b.g ? build(&b, s, w, judged_dtype(s, subject_input(s, 0)), &result) : NULL;
    if (x && same_result(&s->n->outputs[0]->shape, &result->shape) &&
        graph_add_output(b.g, x, &b.err) && graph_verify(b.g, &b.err)) {
        const struct check_result *r = check_graph(b.g, c->m, &plain, &b.err);
        legal = r && r->legal;
    }
    arena_fini(&a);
    return legal;
}

/* ── telling ───────────────────────────────────────────────────────────────────────────────── */

static void put_pair(struct buf *out, const char *key, const int64_t v[2], int64_t otherwise)
{
    if (v[0] != otherwise || v[1] != otherwise)
        buf_printf(out, ", %s=(%lld, %lld)", key, (long long)v[0], (long long)v[1]);
}

/* "torch.nn.Conv2d(64, 64, (7, 7), padding=(3, 3))". */
void rewrite_step_text(const struct rewrite_step *t, struct buf *out)
{
    buf_printf(out, "%s(", t->op);
    if (strstr(t->op, "Pad2d")) {
        buf_printf(out, "(%lld, %lld, %lld, %lld))", (long long)t->padding[1],
                   (long long)t->padding[1], (long long)t->padding[0], (long long)t->padding[0]);
        return;
    }
    if (strstr(t->op, "Conv") || strstr(t->op, "Linear"))
        buf_printf(out, "%lld, %lld%s", (long long)t->in, (long long)t->out,
                   is_window(t) ? ", " : "");
    if (is_window(t)) {
        bool pool = strstr(t->op, "Pool") != NULL;
        buf_printf(out, "(%lld, %lld)", (long long)t->kernel[0], (long long)t->kernel[1]);
        put_pair(out, "stride", t->stride, pool ? -1 : 1);
        put_pair(out, "padding", t->padding, 0);
        put_pair(out, "dilation", t->dilation, 1);
        if (t->groups > 1)
            buf_printf(out, ", groups=%lld", (long long)t->groups);
    }
    buf_putc(out, ')');
}

static bool same_step(const struct rewrite_step *a, const struct rewrite_step *b)
{
    return strcmp(a->op, b->op) == 0 && memcmp(a->kernel, b->kernel, sizeof(a->kernel)) == 0 &&
           memcmp(a->stride, b->stride, sizeof(a->stride)) == 0 &&
           memcmp(a->padding, b->padding, sizeof(a->padding)) == 0 &&
           memcmp(a->dilation, b->dilation, sizeof(a->dilation)) == 0 && a->in == b->in &&
           a->out == b->out && a->groups == b->groups;
}

const char *rewrite_text(struct checker *c, const struct rewrite *w, const struct shape *now)
{
    char shape[SHAPE_TEXT_MAX];
    struct buf out;
    buf_init(&out, 64u << 10);
    buf_puts(&out, "Write it as ");
    if (w->parts > 1) {
        buf_printf(&out, "%d of ", w->parts);
        rewrite_step_text(&w->steps[0], &out);
        int64_t last = w->total - w->steps[0].out * (w->parts - 1);
        if (w->joined && last != w->steps[0].out)
            buf_printf(&out, " (the last one with %lld)", (long long)last);
    }
    for (int i = 0; w->parts <= 1 && i < w->count;) {
        int same = 1;
        while (i + same < w->count && same_step(&w->steps[i], &w->steps[i + same]))
            same++;
        buf_puts(&out, i ? ", then " : "");
        if (same > 1)
            buf_printf(&out, "%d times ", same);
        rewrite_step_text(&w->steps[i], &out);
        i += same;
    }
    if (!shape_equal(&w->input, now))
        buf_printf(&out, " with the input as %s", shape_text(&w->input, shape));
    buf_printf(&out, ": %s", w->why);
    const char *text = buf_ok(&out, c->err) ? arena_strdup(c->a, buf_str(&out), c->err) : NULL;
    buf_fini(&out);
    return text;
}

static void write_pair(struct json_writer *w, const char *key, const int64_t v[2])
{
    writer_open(w, key, '[');
    writer_int(w, NULL, v[0]);
    writer_int(w, NULL, v[1]);
    writer_close(w, ']');
}

void rewrite_json(struct json_writer *w, const struct rewrite *r)
{
    writer_open(w, "rewrite", '{');
    writer_open(w, "input", '[');
    for (int i = 0; i < r->input.rank; i++)
        writer_int(w, NULL, r->input.dim[i]);
    writer_close(w, ']');
    writer_int(w, "side_by_side", r->parts > 1 ? r->parts : 1);
    if (r->parts > 1)
        writer_text(w, "join", r->joined ? "torch.cat" : "torch.add");
    writer_open(w, "steps", '[');
    for (int i = 0; i < r->count; i++) {
        const struct rewrite_step *t = &r->steps[i];
        bool window = is_window(t);
        writer_open(w, NULL, '{');
        writer_text(w, "op", t->op);
        if (window)
            write_pair(w, "kernel_size", t->kernel);
        if (window)
            write_pair(w, "stride", t->stride);
        if (window || strstr(t->op, "Pad2d"))
            write_pair(w, "padding", t->padding);
        if (window)
            write_pair(w, "dilation", t->dilation);
        if (t->out > 0) {
            writer_int(w, "in", t->in);
            writer_int(w, "out", t->out);
            writer_int(w, "groups", t->groups);
        }
        writer_close(w, '}');
    }
    writer_close(w, ']');
    writer_close(w, '}');
}
