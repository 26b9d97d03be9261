/* op_apply: one node through its row: operands and attributes checked, shapes inferred, constants
 * computed, and whether anything of it is left to do at inference. */
#include <stdio.h>
#include <string.h>

#include "core/ops/fold.h"
#include "core/ops/infer.h"

static bool apply_malformed(const struct node *n, struct bpu_error *err, const char *fmt, ...)
    BPU_PRINTF(3, 4);
static bool apply_malformed(const struct node *n, struct bpu_error *err, const char *fmt, ...)
{
    char text[sizeof(err->message)];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return error_set(err, BPU_BAD_MODEL, n->name, "%s: %s", n->op->name, text);
}

static const char *kind_name(enum attr_kind k)
{
    static const char *const names[] = {"None",
                                        "a bool",
                                        "an integer",
                                        "a number",
                                        "a string",
                                        "a list of integers",
                                        "a list of numbers"};
    return (unsigned)k < sizeof names / sizeof *names ? names[k] : "something else";
}

/* Lists take one number, numbers take integers and truth values, an empty list has no type. */
static bool kind_fits(enum attr_kind want, const struct attr *a)
{
    bool list = a->kind == ATTR_INTS || a->kind == ATTR_FLOATS;
    switch (want) {
    case ATTR_NONE: return true;
    case ATTR_BOOL:
    case ATTR_INT:
        return a->kind == ATTR_INT || a->kind == ATTR_BOOL ||
               (a->kind == ATTR_INTS && a->count == 1);
    case ATTR_FLOAT: return a->kind == ATTR_FLOAT || a->kind == ATTR_INT || a->kind == ATTR_BOOL;
    case ATTR_STRING: return a->kind == ATTR_STRING;
    case ATTR_INTS: return a->kind == ATTR_INTS || a->kind == ATTR_INT || (list && a->count == 0);
    case ATTR_FLOATS: return list || a->kind == ATTR_FLOAT || a->kind == ATTR_INT;
    }
    return false;
}

static bool apply_attrs(const struct node *n, struct bpu_error *err)
{
    for (const struct op_attr *want = n->op->attrs; want->name; want++) {
        const struct attr *a = node_attr(n, want->name);
        bool given = a && a->kind != ATTR_NONE;
        if (want->required && !given) {
            apply_malformed(n, err, "attribute %s is missing", want->name);
            return error_hint(err, "Give %s: %s.", want->name, kind_name(want->kind));
        }
        if (given && !kind_fits(want->kind, a))
            return apply_malformed(n, err, "attribute %s is %s; %s is needed", want->name,
                                   kind_name(a->kind), kind_name(want->kind));
    }
    return true;
}

static bool apply_operands(const struct node *n, struct bpu_error *err)
{
    const struct op *op = n->op;
    char what[96];
    if (n->input_count < op->min_inputs ||
        (op->max_inputs >= 0 && n->input_count > op->max_inputs)) {
        if (op->max_inputs < 0)
            return apply_malformed(n, err, "there are %d inputs; at least %d are needed",
                                   n->input_count, op->min_inputs);
        if (op->min_inputs == op->max_inputs)
            return apply_malformed(n, err, "there are %d inputs; %d are needed", n->input_count,
                                   op->min_inputs);
        return apply_malformed(n, err, "there are %d inputs; %d..%d are needed", n->input_count,
                               op->min_inputs, op->max_inputs);
    }
    /* torch.arange may leave out its start, which comes first. */
    for (int i = 0; i < op->min_inputs; i++)
        if (!n->inputs[i] && op->infer != infer_arange)
            return apply_malformed(n, err, "input %d is left out, but it is needed", i);
    if (op->outputs >= 0 && n->output_count > op->outputs)
        return apply_malformed(n, err, "there are %d outputs; it has %d", n->output_count,
                               op->outputs);
    for (int i = 0; i < n->input_count; i++) {
        snprintf(what, sizeof what, "input %d", i);
        if (n->inputs[i] && !infer_check_size(n, what, &n->inputs[i]->shape, err))
            return false;
    }
    for (int i = 0; i < n->param_count; i++) {
        snprintf(what, sizeof what, "parameter %.60s", n->params[i].name);
        if (n->params[i].value && !infer_check_size(n, what, &n->params[i].value->shape, err))
            return false;
    }
    return true;
}

/* Every operand is a constant (known: with its content). */
static bool apply_constant_operands(const struct node *n, bool known)
{
    for (int i = 0; i < n->input_count; i++)
        if (n->inputs[i] && (known ? !value_is_known(n->inputs[i]) : !n->inputs[i]->constant))
            return false;
    for (int i = 0; i < n->param_count; i++)
        if (n->params[i].value && !n->params[i].value->constant)
            return false;
    return true;
}

static bool apply_all_constant(const struct node *n)
{
    for (int i = 0; i < n->output_count; i++)
        if (!n->outputs[i]->constant)
            return false;
    return n->output_count > 0;
}

/* The outputs follow from constants but were not computed: constants without content. */
static bool apply_lazy(struct graph *g, struct node *n, struct bpu_error *err)
{
    for (int i = 0; i < n->output_count; i++) {
        struct value *v = n->outputs[i];
        int64_t count = shape_elements(&v->shape), bytes;
        if (v->constant || count < 0 || v->dtype == DT_UNKNOWN ||
            !checked_mul(count, (int64_t)dtype_size(v->dtype), &bytes))
            continue;
        struct constant *c = ARENA_NEW(g->arena, struct constant, err);
        if (!c)
            return false;
        c->bytes = (size_t)bytes;
        v->constant = c;
    }
    return true;
}

/* Passing through: an identity, or a cast that changes nothing or only the width of a float. */
static bool apply_is_identity(const struct node *n)
{
    if (!n->op->identity || n->input_count < 1 || n->output_count < 1 || !n->inputs[0])
        return false;
    if (n->op->infer != infer_to)
        return true;
    enum dtype a = n->inputs[0]->dtype, b = n->outputs[0]->dtype;
    return a != DT_UNKNOWN && (a == b || (dtype_is_float(a) && dtype_is_float(b)));
}

bool op_fold_affordable(struct graph *g, int64_t elements)
{
    if (elements >= 0 && elements <= OP_FOLD_FREE)
        return true;
    if (elements < 0 || elements > OP_FOLD_BUDGET - g->folded_elements)
        return false;
    g->folded_elements += elements;
    return true;
}

/* Elements that folding n reads and writes; -1 if they cannot be counted.  What is beyond the caps of
 * fold.h is not computed anyway, and a view costs nothing. */
static int64_t apply_work(const struct node *n)
{
    int64_t work = 0;
    if (n->op->fold == fold_view)
        return 0;
    for (int i = 0; i < n->output_count + (n->op->shape_only ? 0 : n->input_count); i++) {
        const struct value *v =
            i < n->output_count ? n->outputs[i] : n->inputs[i - n->output_count];
        int64_t elements = v ? shape_elements(&v->shape) : 0;
        if (elements > (fold_is_int(v ? v->dtype : DT_UNKNOWN) ? FOLD_INT_CAP : FOLD_REAL_CAP))
            continue;
        if (elements > 0 && !checked_add(work, elements, &work))
            return -1;
    }
    return work;
}

static bool apply_fold(struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct op *op = n->op;
    if (node_bool(n, "undetermined", false))
        return true; /* an importer could not tell what it computes */
    bool known = apply_constant_operands(n, true), constant = apply_constant_operands(n, false);
    bool folds = op->fold && n->output_count > 0 && (op->shape_only || known);
    if (folds && op_fold_affordable(g, apply_work(n)) && !op->fold(g, n, err))
        return false;
    /* Random numbers and control flow have no value before running, whatever their operands are. */
    bool computable = op->class != OPC_OTHER || op->identity;
    if (constant && computable && n->input_count > 0 && !apply_lazy(g, n, err))
        return false;
    if (apply_all_constant(n))
        n->fold = FOLD_CONSTANT;
    else if (apply_is_identity(n) && n->fold == FOLD_NONE)
        n->fold = FOLD_IDENTITY;
    return true;
}

bool op_apply(struct graph *g, struct node *n, struct bpu_error *err)
{
    if (!n->op)
        return true;              /* its outputs keep what the file says of them, or stay unknown */
    if (n->fold == FOLD_CONSTANT) /* applied before, perhaps with other shapes */
        for (int i = 0; i < n->output_count; i++)
            n->outputs[i]->constant = NULL;
    if (n->fold == FOLD_CONSTANT || n->fold == FOLD_IDENTITY)
        n->fold = FOLD_NONE;
    return apply_attrs(n, err) && apply_operands(n, err) && n->op->infer(g, n, err) &&
           apply_fold(g, n, err);
}

bool op_apply_all(struct graph *g, struct bpu_error *err)
{
    for (int i = 0; i < g->node_count; i++)
        if (!op_apply(g, g->nodes[i], err))
            return false;
    return true;
}
