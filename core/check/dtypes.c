/* Dtypes of a node against its cell: inputs, weights and biases, outputs that the file fixes. */
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

static const char *dtype_list(struct checker *c, unsigned bits)
{
    char text[128] = "";
    size_t used = 0;
    for (int t = 0; t < DT_COUNT; t++) {
        if ((bits & (1u << t)) && used < sizeof(text) - 24)
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", used ? ", " : "",
                                     dtype_name((enum dtype)t));
    }
    return arena_strdup(c->a, text, c->err);
}

static unsigned operand_bits(const struct cell *cell, const char *name, unsigned otherwise)
{
    for (const struct operand_dtypes *d = cell->operands; d && d->operand; d++) {
        if (strcmp(d->operand, name) == 0)
            return d->dtypes;
    }
    return otherwise;
}

static bool bad_dtype(const struct subject *s, const char *suffix, const char *what,
                      const struct value *v, enum dtype actual, unsigned allowed, const char *hint,
                      bool onnx)
{
    struct checker *c = s->c;
    if (finding_exists(c, s->n, suffix))
        return true;
    const char *limit = dtype_list(c, allowed), *row = onnx ? s->ctx->onnx->op : s->ctx->torch->op;
    const char *note = onnx ? s->ctx->onnx->note : s->ctx->torch->note;
    struct finding *f = limit ? finding_add(c, s->n, SEVERITY_ERROR, suffix) : NULL;
    if (!f)
        return false;
    bool assumed = !v->constant && c->r->values[v->index].assumed;
    bool blank = !onnx && s->ctx->torch->support == SUPPORT_BLANK && note;
    f->message = arena_printf(c->a, c->err, "%s %.200s is %s%s; %s allows %s for %s%s%s%s", what,
                              v->name, dtype_name(actual), assumed ? " (assumed)" : "", c->m->title,
                              limit, row, blank ? " (the public table is ambiguous here: " : "",
                              blank ? note : "", blank ? ")" : "");
    f->actual = json_quote(c, dtype_name(actual));
    f->limit = limit;
    f->hint = hint;
    f->table = onnx ? "onnx" : "torch";
    f->row = row;
    return f->message && f->actual;
}

static const char *input_hint(const struct subject *s, const struct value *v, enum dtype t,
                              unsigned allowed)
{
    struct checker *c = s->c;
    enum dtype want = DT_UNKNOWN;
    for (int i = 0; i < DT_COUNT && want == DT_UNKNOWN; i++) {
        if (allowed & (1u << i))
            want = (enum dtype)i;
    }
    if (t == DT_FLOAT32)
        return "Put a torch.quantization.QuantStub before it, or move it behind the DeQuantStub to "
               "the "
               "host.";
    if (dtype_is_float(want))
        return "Take the tensor before it is quantized.";
    return arena_printf(c->a, c->err,
                        "Give the layer that makes it %s output in its qconfig; try it here with "
                        "--option dtype.%.150s=%s.",
                        dtype_name(want), v->producer ? v->producer->name : v->name,
                        dtype_name(want));
}

/* Index operands and conditions are no feature maps; integers there are judged by limits. */
static bool judge_inputs(const struct subject *s, unsigned all, bool onnx)
{
    for (int i = 0; i < s->n->input_count; i++) {
        const struct value *v = s->n->inputs[i];
        if (!value_is_feature(v))
            continue;
        enum dtype t = judged_dtype(s, v);
        /* What is float in the file is float where a stub quantizes it, whatever its other readers are judged by. */
        if (s->ctx->role == ROLE_QUANT && v->dtype == DT_FLOAT32)
            continue;
        unsigned allowed = all;
        const char *suffix = "input_dtype", *what = "input";
        if (!onnx && s->ctx->torch->operands) {
            bool grid = operand_bits(s->ctx->torch, "grid", 0) != 0;
            const char *name = i == 0 ? "input" : grid ? "grid" : "other";
            allowed = operand_bits(s->ctx->torch, name, all);
            if (i > 0 && grid) {
                suffix = "grid_dtype";
                what = "grid";
            }
        }
        if (t == DT_UNKNOWN || (allowed & (1u << t)))
            continue;
        const char *hint = input_hint(s, v, t, allowed);
        if (!hint || !bad_dtype(s, suffix, what, v, t, allowed, hint, onnx))
            return false;
    }
    return true;
}

/* Only what the file or an override fixes can be wrong: assumed outputs follow the table.  An output that follows from
 * a wrong input is not said to be wrong as well. */
static bool judge_outputs(const struct subject *s)
{
    const struct cell *cell = s->ctx->torch;
    if (finding_exists(s->c, s->n, "input_dtype"))
        return true;
    enum dtype in = judged_dtype(s, subject_input(s, 0));
    for (int i = 0; i < s->n->output_count; i++) {
        const struct value *v = s->n->outputs[i];
        enum dtype t = judged_dtype(s, v);
        unsigned allowed = cell->outputs & SAME ? 1u << in : cell->outputs;
        bool last = s->c->uses[v->index] == USE_OUTPUT;
        if (s->c->r->values[v->index].assumed || v->constant || !dtype_is_quantized(t) ||
            ((cell->outputs & SAME) && !dtype_is_quantized(in)))
            continue;
        if ((s->ctx->role == ROLE_CONV || s->ctx->role == ROLE_LINEAR) && last)
            allowed |= Q32;
        if (allowed & (1u << t))
            continue;
        if (!bad_dtype(s, "output_dtype", "output", v, t, allowed,
                       "Choose an allowed output dtype in the qconfig of this layer.", false))
            return false;
    }
    return true;
}

static bool judge_params(const struct subject *s)
{
    for (const struct operand_dtypes *d = s->ctx->torch->operands; d && d->operand; d++) {
        const struct value *p = node_param(s->n, d->operand);
        struct measure m;
        enum dtype t;
        char suffix[40];
        if (!p || !quantity_measure(s, Q_DTYPE, p, &m) || !dtype_find(m.text, &t) ||
            (d->dtypes & (1u << t)))
            continue;
        snprintf(suffix, sizeof(suffix), "%s_dtype", d->operand);
        if (!bad_dtype(s, suffix, d->operand, p, t, d->dtypes,
                       "Weights are qint8 per output channel, biases qint32.", false))
            return false;
    }
    return true;
}

bool judge_dtypes(const struct subject *s)
{
    if (s->ctx->torch)
        return judge_inputs(s, s->ctx->torch->inputs, false) && judge_params(s) && judge_outputs(s);
    if (!s->ctx->onnx)
        return true;
    /* The ONNX table speaks of 8 bits, and of 16 where it says so. */
    unsigned allowed = Q8 | QB;
    const struct limit *l = s->ctx->onnx->limits;
    if (l && l->quantity == Q_LIMITS_OF && l->in) {
        const struct onnx_cell *o = checker_onnx_row(s->c, l->in[0]);
        l = o ? o->limits : NULL;
    }
    for (; l && l->quantity != Q_NONE; l++)
        allowed |= l->quantity == Q_INT16 ? Q16 : 0;
    return judge_inputs(s, allowed, true);
}
