/* The rule engine: bytes are decisions that build a graph through the table of operators; whatever
 * op_apply accepts must be judged, reported, drawn, written and read back. */
#include <string.h>

#include "core/ops/op.h"
#include "tests/fuzz/fuzz.h"

#define CHECK_NODES 12

static struct value *check_value(struct fuzz_in *in, struct graph *g, struct bpu_error *err)
{
    static const enum dtype types[] = {DT_FLOAT32, DT_QINT8, DT_INT64, DT_QINT16,
                                       DT_BOOL,    DT_INT32, DT_UINT8, DT_FLOAT16};
    char name[64];
    unsigned how = fuzz_byte(in);
    struct shape s = {.rank = (int)(how & 7) < 5 ? (int)(how & 7) : 4};
    enum dtype t = types[how >> 3 & 7];
    for (int i = 0; i < s.rank; i++) {
        int64_t d = fuzz_number(in);
        s.dim[i] = d < 1 ? 1 : d; /* shapes of files are static and not negative */
    }
    int64_t count = shape_elements(&s);
    if (how & 64 && count >= 0 && count <= 4096) {
        size_t bytes = (size_t)count * dtype_size(t);
        unsigned char *p = arena_alloc(g->arena, bytes + 1, err);
        for (size_t i = 1; p && i <= bytes && i < 64; i++)
            p[i] = (unsigned char)fuzz_byte(in); /* odd addresses, as in a file */
        return p ? graph_add_constant(g, NULL, &s, t, p + 1, bytes, err) : NULL;
    }
    struct value *v = graph_add_value(g, how & 128 ? fuzz_text(in, name) : NULL, err);
    if (!v || !graph_add_input(g, v, err))
        return NULL;
    v->shape = s;
    v->dtype = t;
    if (dtype_is_quantized(t)) {
        double *scale = ARENA_NEW(g->arena, double, err);
        if (!scale)
            return NULL;
        double x = fuzz_real(in);
        *scale = x > 0 ? x : 1 / 128.;
        v->quant = (struct quant){.scale = scale, .count = 1};
    }
    return v;
}

/* An operand: one of the values so far, more often the last. */
static struct value *check_operand(struct fuzz_in *in, struct graph *g, struct bpu_error *err)
{
    unsigned b = fuzz_byte(in);
    if (g->value_count == 0 || b < 64)
        return check_value(in, g, err);
    if (b < 160)
        return g->values[g->value_count - 1];
    return g->values[fuzz_below(in, (size_t)g->value_count)];
}

static bool check_attr(struct fuzz_in *in, struct graph *g, struct node *n, const struct op_attr *a,
                       struct bpu_error *err)
{
    static const char *const words[] = {"same",     "valid",   "reflect",  "zeros",   "replicate",
                                        "circular", "sum",     "mean",     "tanh",    "none",
                                        "nearest",  "i,j->ij", "bilinear", "bicubic", "float32",
                                        "qint8",    "trunc",   "floor",    "ij",      "border"};
    unsigned how = fuzz_byte(in);
    enum attr_kind kind = a->kind == ATTR_NONE || how >= 250 ? (enum attr_kind)(how % 7) : a->kind;
    int64_t ints[6];
    double reals[6];
    char text[64];
    int count = (int)(how % 5);
    for (int i = 0; i < count; i++) {
        ints[i] = kind == ATTR_INTS ? fuzz_number(in) : 0;
        reals[i] = kind == ATTR_FLOATS ? fuzz_real(in) : 0;
    }
    switch (kind) {
    case ATTR_BOOL: /* no importer makes a node that has a bias and denies it */
        return node_set_bool(
            g, n, a->name, how & 1 || (strcmp(a->name, "bias") == 0 && node_param(n, "bias")), err);
    case ATTR_INT: return node_set_int(g, n, a->name, fuzz_number(in), err);
    case ATTR_FLOAT: return node_set_float(g, n, a->name, fuzz_real(in), err);
    case ATTR_STRING:
        return node_set_string(g, n, a->name,
                               how < 240 ? words[fuzz_below(in, sizeof words / sizeof *words)]
                                         : fuzz_text(in, text),
                               err);
    case ATTR_INTS:
        return how & 64 ? node_set_int(g, n, a->name, fuzz_number(in), err)
                        : node_set_ints(g, n, a->name, ints, count, err);
    case ATTR_FLOATS: return node_set_floats(g, n, a->name, reals, count, err);
    case ATTR_NONE: break;
    }
    return node_set_none(g, n, a->name, err);
}

/* The weight that a convolution over x could have, so that graphs get deep. */
static bool check_conv_weight(struct fuzz_in *in, struct graph *g, struct node *n,
                              const struct value *x, struct bpu_error *err)
{
    struct shape s = {.rank = x->shape.rank};
    int64_t k = 1 + (int64_t)fuzz_below(in, 5);
    s.dim[0] = 1 + (int64_t)fuzz_below(in, 32);
    s.dim[1] = x->shape.dim[1];
    for (int i = 2; i < s.rank; i++)
        s.dim[i] = k;
    int64_t count = shape_elements(&s);
    struct value *w =
        graph_add_constant(g, "w", &s, DT_FLOAT32, NULL, count < 0 ? 0 : (size_t)count * 4, err);
    return w && node_add_param(g, n, "weight", w, err);
}

static bool check_params(struct fuzz_in *in, struct graph *g, struct node *n, struct bpu_error *err)
{
    const struct value *x = node_input(n, 0);
    const char *names = n->op->params;
    char name[64];
    if (n->op->class == OPC_CONV && x && x->shape.rank >= 3 && fuzz_byte(in) < 224)
        return check_conv_weight(in, g, n, x, err);
    for (size_t length; *names; names += length + (names[length] == ' ')) {
        length = strcspn(names, " ");
        if (length >= sizeof name || fuzz_byte(in) < 100)
            continue;
        memcpy(name, names, length);
        name[length] = '\0';
        struct value *v = check_operand(in, g, err);
        if (!v || !node_add_param(g, n, name, v, err))
            return false;
    }
    return true;
}

/* true: the node stands; false with an error: the graph must be given up. */
static bool check_node(struct fuzz_in *in, struct graph *g, struct bpu_error *err)
{
    size_t count;
    const struct op *rows = op_table(&count), *op = &rows[fuzz_below(in, count)];
    char name[64], unknown[64];
    unsigned how = fuzz_byte(in);
    struct value *operands[6] = {NULL};
    int inputs = op->min_inputs + (how & 3 ? 0 : (int)fuzz_below(in, 4));
    if (op->max_inputs >= 0 && inputs > op->max_inputs)
        inputs = op->max_inputs;
    inputs = inputs > 6 ? 6 : inputs;
    for (int i = 0; i < inputs; i++)
        if (how < 250 && !(operands[i] = check_operand(in, g, err)))
            return false;
    bool known = how < 240;
    const char *op_name = known ? op->name : fuzz_text(in, unknown);
    struct node *n = graph_add_node(g, how & 4 ? fuzz_text(in, name) : NULL,
                                    *op_name ? op_name : "aten::what", err);
    if (!n || (known && !op_bind(n)))
        return false;
    for (int i = 0; i < inputs; i++)
        if (!node_add_input(g, n, operands[i], err))
            return false;
    if (known && !check_params(in, g, n, err))
        return false;
    for (const struct op_attr *a = op->attrs; known && a->name; a++)
        if ((a->required || fuzz_byte(in) & 1) && !check_attr(in, g, n, a, err))
            return false;
    n->origin.source_op = how & 8 ? "onnx:X" : n->op_name;
    for (int outputs = op->outputs > 0 && how & 16 ? op->outputs
                                                   : (how & 32 ? 2 : fuzz_byte(in) < 250);
         outputs > 0; outputs--)
        if (!node_add_output(g, n, NULL, err))
            return false;
    return op_apply(g, n, err);
}

static bool check_outputs(struct fuzz_in *in, struct graph *g, struct bpu_error *err)
{
    for (size_t i = 0, n = 1 + fuzz_below(in, 3); i < n && g->value_count; i++) {
        size_t back = fuzz_below(in, 4);
        struct value *v = g->values[g->value_count - 1 - (int)(back % (size_t)g->value_count)];
        if (!v->is_output && !graph_add_output(g, v, err))
            return false;
    }
    return true;
}

FUZZ_TARGET(check)
{
    struct fuzz_in in = {data, size};
    struct arena arena;
    struct bpu_error err = {0};
    char node[64], name[64];
    arena_init(&arena, FUZZ_QUOTA);
    struct graph *g = graph_new(&arena, fuzz_text(&in, name), "graph-json", &err);
    FUZZ_REQUIRE(g, "%s", err.message);
    bool overrides = fuzz_byte(&in) < 32;
    struct check_override over = {fuzz_text(&in, node), fuzz_byte(&in) & 1 ? "qint16" : "qint8"};
    if (overrides)
        over.node = "node.0";
    struct check_options options = {
        .advice_us = (double)fuzz_byte(&in) - 64, .overrides = &over, .override_count = overrides};
    bool ok = true;
    while (ok && in.size > 0 && g->node_count < CHECK_NODES)
        ok = check_node(&in, g, &err);
    fuzz_arena(&arena);
    if (!ok)
        fuzz_error(&err, "op_apply");
    else if (g->node_count > 0) {
        ok = check_outputs(&in, g, &err);
        FUZZ_REQUIRE(ok, "%s", err.message);
        fuzz_graph(g, &options);
    }
    arena_fini(&arena);
    return 0;
}
