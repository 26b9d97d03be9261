/* limit_hints: is a hint worth following?  Include it after cmocka.h.
 *
 *   - every error says what to do
 *   - an operator that a hint names is one that the march has
 *   - the layers that a hint proposes, built from the data beside it, are legal and give the same
 * shape */
#ifndef BPU_UNIT_LIMIT_HINTS_H
#define BPU_UNIT_LIMIT_HINTS_H

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/check/check.h"
#include "core/import/import.h"
#include "core/march/limit.h"
#include "core/ops/op.h"

static struct {
    int errors, operators, rewrites, wrong;
} hints;

/* The march has the operator: by the torch table, or by the ONNX table where that one has no row.
 */
static bool march_has(const struct march *m, const struct op *op)
{
    for (int i = 0; i < m->torch_count; i++)
        if (strcmp(m->torch[i].op, op->name) == 0)
            return m->torch[i].support != SUPPORT_NO;
    for (int i = 0; op->onnx && i < m->onnx_count; i++)
        if (strcmp(m->onnx[i].op, op->onnx) == 0)
            return m->onnx[i].placement == PLACEMENT_BPU;
    return false;
}

static bool names_what_is_there(const struct march *m, const struct finding *f)
{
    if (strncmp(f->hint, "Names that look like it", 23) == 0) /* a question about spelling */
        return true;
    for (const char *p = f->hint; (p = strstr(p, "torch")) != NULL;) {
        char name[96];
        size_t n = 0;
        if (p > f->hint && (isalnum((unsigned char)p[-1]) || p[-1] == '.')) {
            p++;
            continue;
        }
        while (n < sizeof(name) - 1 && (isalnum((unsigned char)p[n]) || p[n] == '_' || p[n] == '.'))
            name[n] = p[n], n++;
        while (n > 0 && name[n - 1] == '.')
            n--;
        name[n] = '\0';
        p += n ? n : 1;
        const struct op *op = op_find(name);
        hints.operators++;
        if (!op || !march_has(m, op)) {
            print_error("%s on %s: the hint names %s, which it does not have: %s\n", f->rule,
                        march_name(m), name, f->hint);
            return false;
        }
    }
    return true;
}

/* ── what a rewrite proposes, as a graph of its own ────────────────────────────────────────── */

static void put_dims(struct buf *out, const int64_t *d, int count)
{
    for (int i = 0; i < count; i++)
        buf_printf(out, "%s%lld", i ? "," : "", (long long)d[i]);
}

static void put_layer(struct buf *out, const struct rewrite_step *t, const char *in,
                      const char *name)
{
    bool pad = strstr(t->op, "Pad2d"), linear = strstr(t->op, "Linear");
    buf_printf(
        out, "{\"op\":\"%s\",\"name\":\"%s\",\"inputs\":[\"%s\"],\"outputs\":[\"%s\"],\"attrs\":{",
        t->op, name, in, name);
    if (pad) {
        const int64_t lrtb[4] = {t->padding[1], t->padding[1], t->padding[0], t->padding[0]};
        buf_puts(out, "\"padding\":[");
        put_dims(out, lrtb, 4);
        buf_puts(out, "]");
    } else if (!linear) {
        buf_puts(out, "\"kernel_size\":[");
        put_dims(out, t->kernel, 2);
        buf_puts(out, "],\"stride\":[");
        put_dims(out, t->stride, 2);
        buf_puts(out, "],\"padding\":[");
        put_dims(out, t->padding, 2);
        buf_puts(out, "]");
        if (!strstr(t->op, "AvgPool")) {
            buf_puts(out, ",\"dilation\":[");
            put_dims(out, t->dilation, 2);
            buf_puts(out, "]");
        }
    }
    if (linear)
        buf_printf(out, "\"in_features\":%lld,\"out_features\":%lld", (long long)t->in,
                   (long long)t->out);
    else if (strstr(t->op, "Conv"))
        buf_printf(out, ",\"in_channels\":%lld,\"out_channels\":%lld,\"groups\":%lld",
                   (long long)t->in, (long long)t->out, (long long)t->groups);
    buf_puts(out, "}}");
}

static void put_parts(struct buf *out, const struct rewrite *w)
{
    int axis = strstr(w->steps[0].op, "Linear") ? 3 : 1;
    char name[32], in[32];
    if (!w->joined) {
        buf_puts(out, "{\"op\":\"torch.split\",\"inputs\":[\"x\"],\"outputs\":[");
        for (int i = 0; i < w->parts; i++)
            buf_printf(out, "%s\"x%d\"", i ? "," : "", i);
        buf_printf(out, "],\"attrs\":{\"split_size_or_sections\":%lld,\"dim\":%d}},",
                   (long long)w->steps[0].in, axis);
    }
    for (int i = 0; i < w->parts; i++) {
        struct rewrite_step t = w->steps[0];
        if (w->joined && i == w->parts - 1)
            t.out = w->total - t.out * (w->parts - 1);
        snprintf(name, sizeof(name), "p%d", i);
        snprintf(in, sizeof(in), w->joined ? "x" : "x%d", i);
        put_layer(out, &t, in, name);
        buf_puts(out, ",");
    }
    if (w->joined) {
        buf_puts(out, "{\"op\":\"torch.cat\",\"inputs\":[");
        for (int i = 0; i < w->parts; i++)
            buf_printf(out, "%s\"p%d\"", i ? "," : "", i);
        buf_printf(out, "],\"outputs\":[\"y\"],\"attrs\":{\"dim\":%d}}", axis);
        return;
    }
    for (int i = 1; i < w->parts; i++)
        buf_printf(out,
                   "%s{\"op\":\"torch.add\",\"inputs\":[\"%s%d\",\"p%d\"],\"outputs\":[\"%s%d\"]}",
                   i > 1 ? "," : "", i > 1 ? "s" : "p", i - 1, i, i == w->parts - 1 ? "y" : "s",
                   i == w->parts - 1 ? 0 : i);
}

static bool rewrite_holds(const struct march *m, const struct check_result *r,
                          const struct finding *f)
{
    const struct rewrite *w = f->rewrite;
    const struct shape *want = &f->node->outputs[0]->shape;
    const char *last = w->parts > 1 ? w->joined ? "y" : "y0" : NULL;
    char name[32] = "x", next[32];
    struct bpu_error err = {0};
    struct arena a;
    struct buf out;
    struct check_options o = {.advice_us = -1};
    const struct value *x = f->node->inputs[0];
    arena_init(&a, (size_t)64 << 20);
    buf_init(&out, 1 << 20);
    buf_puts(
        &out,
        "{\"format\":\"bpuhub.graph/1\",\"name\":\"r\",\"inputs\":[{\"name\":\"x\",\"shape\":[");
    put_dims(&out, w->input.dim, w->input.rank);
    buf_printf(&out, "],\"dtype\":\"%s\"}],\"nodes\":[",
               dtype_name(r->values[x->index].dtype ? r->values[x->index].dtype : DT_QINT8));
    if (last) {
        put_parts(&out, w);
    } else {
        for (int i = 0; i < w->count; i++) {
            snprintf(next, sizeof(next), "y%d", i);
            buf_puts(&out, i ? "," : "");
            put_layer(&out, &w->steps[i], name, next);
            memcpy(name, next, sizeof(name));
        }
        last = name;
    }
    buf_printf(&out, "],\"outputs\":[\"%s\"]}", last);
    struct import_request request = {.data = (const unsigned char *)buf_str(&out),
                                     .size = strlen(buf_str(&out)),
                                     .name = "r.json"};
    struct graph *g = import_model(&a, &request, &err);
    struct check_result *judged = g ? check_graph(g, m, &o, &err) : NULL;
    const struct value *y = g ? graph_find_value(g, last) : NULL;
    bool same =
        y && (y->shape.rank == want->rank ? shape_equal(&y->shape, want)
                                          : shape_elements(&y->shape) == shape_elements(want));
    bool good = judged && judged->legal && same;
    hints.rewrites++;
    if (!good)
        print_error("%s on %s: %s: %s\n%s\n", f->rule, march_name(m), f->hint,
                    !judged ? err.message
                    : !same ? "gives another shape"
                            : judged->findings[0].message,
                    buf_str(&out));
    buf_fini(&out);
    arena_fini(&a);
    return good;
}

static void hints_check(const struct march *m, const struct check_result *r)
{
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (f->severity != SEVERITY_ERROR)
            continue;
        hints.errors++;
        if (!f->hint || strlen(f->hint) < 10) {
            print_error("%s on %s says not what to do: %s\n", f->rule, march_name(m), f->message);
            hints.wrong++;
            continue;
        }
        hints.wrong += !names_what_is_there(m, f);
        hints.wrong += f->rewrite && !rewrite_holds(m, r, f);
    }
}

#endif
