/* What stands at the border of the model: stubs that are missing, inputs that come from the camera.
 *
 * A graph that its file quantized says of every feature map what scale it has.  Where one does not,
 * somebody forgot a stub or an observer, and the tensor would be computed in float on the host. */
#include <stdio.h>
#include <string.h>

#include "core/check/rules.h"

/* ── stubs ─────────────────────────────────────────────────────────────────────────────────── */

/* True if the file leaves v in float.  Inference hands dtypes on, so that behind a Q/DQ pair of
 * ONNX only the missing scale tells. */
static bool is_float_in_file(const struct value *v)
{
    if (!value_is_feature(v) || v->quant.count > 0)
        return false;
    const char *source = v->producer ? v->producer->origin.source_op : NULL;
    return v->dtype == DT_FLOAT32 || (source && strncmp(source, "onnx:", 5) == 0);
}

/* Operators that keep the scale of what they move, pick or pool. */
static bool keeps_scale(const struct node *n)
{
    switch (n->op ? n->op->class : OPC_OTHER) {
    case OPC_MOVE:
    case OPC_SHAPE:
    case OPC_POOL:
    case OPC_RESIZE:
    case OPC_QUANT: return true;
    default: return false;
    }
}

static struct finding *stub_finding(const struct subject *s, const char *suffix,
                                    const struct value *v)
{
    struct finding *f = finding_add(s->c, s->n, SEVERITY_WARNING, suffix);
    if (f)
        f->actual = json_quote(s->c, v->dtype == DT_FLOAT32 ? "float32" : "no scale");
    return f && f->actual ? f : NULL;
}

/* The first node with an effect that reads input v of the model past its QuantStub, if it has one.
 */
static const struct node *first_reader(const struct checker *c, const struct value *v)
{
    for (int i = 0; i < c->users->count[v->index]; i++) {
        const struct node *n = c->users->users[v->index][i];
        if (n->fold == FOLD_NONE && c->ctx[n->index].role != ROLE_QUANT)
            return n;
    }
    return NULL;
}

static bool judge_input_stubs(const struct subject *s)
{
    struct checker *c = s->c;
    for (int i = 0; i < s->n->input_count; i++) {
        const struct value *v = s->n->inputs[i];
        if (!v || !v->is_input || !value_is_feature(v) || v->dtype != DT_FLOAT32 ||
            v->quant.count > 0 || first_reader(c, v) != s->n)
            continue;
        struct finding *f = stub_finding(s, "no_quant_stub", v);
        if (!f)
            return false;
        f->message = arena_printf(c->a, c->err,
                                  "input %.200s of the model is float and read without a "
                                  "QuantStub, while the rest of the graph is quantized",
                                  v->name);
        f->limit = "a QuantStub behind each float input";
        f->hint = arena_printf(
            c->a, c->err, "Put a torch.quantization.QuantStub between input %.150s and %.150s.",
            v->name, s->n->name);
        return f->message && f->hint;
    }
    return true;
}

static bool judge_output_stub(const struct subject *s, const struct value *v)
{
    struct checker *c = s->c;
    struct finding *f = stub_finding(s, "no_dequant_stub", v);
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err,
                              "output %.200s of the model is float and no DeQuantStub makes it, "
                              "while the rest of the graph is quantized",
                              v->name);
    f->limit = "a DeQuantStub before each float output";
    f->hint = arena_printf(c->a, c->err,
                           "Put a torch.quantization.DeQuantStub between %.150s and output %.150s.",
                           s->n->name, v->name);
    return f->message && f->hint;
}

/* True if the ReLU that alone reads v runs with n, though no convolution hosts them: quantizing and
 * then cutting off at zero gives the integers of cutting off first (torch's add_relu, mul_relu), so
 * the scale behind the ReLU is that of both. */
static bool relu_shares_scale(const struct checker *c, const struct node *n, const struct value *v)
{
    const struct node *reader =
        c->users->count[v->index] == 1 ? c->users->users[v->index][0] : NULL;
    bool computes = c->ctx[n->index].role == ROLE_ADD || c->ctx[n->index].role == ROLE_BATCH_NORM ||
                    node_is(n, "torch.sub") || node_is(n, "torch.mul");
    return computes && reader && reader->fold == FOLD_NONE && reader->output_count == 1 &&
           c->ctx[reader->index].role == ROLE_RELU && quant_of(reader->outputs[0]);
}

/* True if a reader of v gives a result with a scale and is not fused behind v. */
static bool read_as_quantized(const struct checker *c, const struct value *v)
{
    for (int i = 0; i < c->users->count[v->index]; i++) {
        const struct node *n = c->users->users[v->index][i];
        if (n->fold != FOLD_NONE || c->ctx[n->index].host || n->output_count < 1)
            return false; /* what the value becomes is said there */
        if (c->ctx[n->index].role != ROLE_DEQUANT && quant_of(n->outputs[0]))
            return true;
    }
    return false;
}

static bool judge_island(const struct subject *s, const struct value *v)
{
    struct checker *c = s->c;
    bool from_quantized = false;
    for (int i = 0; i < s->n->input_count; i++)
        from_quantized |= value_is_feature(s->n->inputs[i]) && quant_of(s->n->inputs[i]);
    if (!from_quantized || keeps_scale(s->n) || relu_shares_scale(c, s->n, v) ||
        !read_as_quantized(c, v))
        return true;
    struct finding *f = stub_finding(s, "float_between", v);
    if (!f)
        return false;
    f->message = arena_printf(c->a, c->err,
                              "%s is left in float between quantized operators: its result %.200s "
                              "has no scale, so that it would run on the host with a dequantize "
                              "before and a quantize behind it",
                              s->n->op_name, v->name);
    f->limit = "a scale";
    f->hint = "Give this operator a qconfig (write functional forms as modules or with "
              "FloatFunctional), so that its output is observed.";
    return f->message != NULL;
}

bool judge_stubs(const struct subject *s)
{
    const struct node_context *ctx = s->ctx;
    if (!s->c->quantized || !s->n->op || ctx->role == ROLE_QUANT || ctx->role == ROLE_DEQUANT)
        return true;
    if (!judge_input_stubs(s))
        return false;
    for (int i = 0; i < s->n->output_count; i++) {
        const struct value *v = s->n->outputs[i];
        if (!is_float_in_file(v) || judged_dtype(s, v) == DT_FLOAT32)
            continue;
        if (!(v->is_output ? judge_output_stub(s, v) : judge_island(s, v)))
            return false;
    }
    return true;
}

/* ── where inputs come from ────────────────────────────────────────────────────────────────── */

/* The largest region that the resizer gives, exclusive, and the width that the pyramid writes. */
#define RESIZER_AREA 18432
#define PYRAMID_WIDTH 16

static bool source_error(struct checker *c, const struct value *v, const char *rule,
                         const char *source, const char *what, int64_t actual, const char *limit,
                         const char *hint)
{
    const struct node *reader = c->users->count[v->index] > 0 ? c->users->users[v->index][0] : NULL;
    if (!reader)
        return true; /* an input that nobody reads needs no source */
    struct finding *f = hint ? finding_add(c, reader, SEVERITY_ERROR, "source") : NULL;
    if (!f)
        return false;
    f->rule = rule;
    f->message = arena_printf(c->a, c->err, "%s of input %.200s is %lld; the %s gives %s", what,
                              v->name, (long long)actual, source, limit);
    f->actual = arena_printf(c->a, c->err, "%lld", (long long)actual);
    f->limit = limit;
    f->hint = hint;
    f->eager_replacement = NULL;
    return f->message && f->actual;
}

/* The camera's pixels arrive as centred int8: their scale is 1/128 and nothing else. */
static bool judge_source_scale(struct checker *c, struct value *v, const char *source)
{
    for (int i = 0; i < c->users->count[v->index]; i++) {
        struct node *n = c->users->users[v->index][i];
        bool stub = c->ctx[n->index].role == ROLE_QUANT && n->output_count > 0;
        const struct quant *scale = quant_of(stub ? n->outputs[0] : v);
        if (!scale || scale->count != 1 || scale->scale[0] == 1.0 / 128)
            continue;
        struct finding *f = finding_add(c, n, SEVERITY_WARNING, "source_scale");
        if (!f)
            return false;
        f->message =
            arena_printf(c->a, c->err,
                         "input %.200s has the scale %.9g; pixels from the %s come with "
                         "exactly 1/128 (0.0078125), and every value would be off by %+.2f %%",
                         v->name, scale->scale[0], source, (scale->scale[0] * 128 - 1) * 100);
        f->actual = arena_printf(c->a, c->err, "%.9g", scale->scale[0]);
        f->limit = "1/128";
        f->hint = "Write QuantStub(scale=1 / 128) and train or calibrate with pixels as "
                  "(yuv444 - 128) / 128.";
        return f->message && f->actual;
    }
    return true;
}

static bool judge_source(struct checker *c, struct value *v, const char *source)
{
    bool pyramid = strcmp(source, "pyramid") == 0;
    const struct shape *x = &v->shape;
    if (strcmp(source, "ddr") == 0)
        return true;
    if (x->rank != 4 || !shape_is_static(x))
        return x->rank < 0 || x->rank == 4 ||
               source_error(
                   c, v, pyramid ? "input.pyramid_rank" : "input.resizer_rank", source, "rank",
                   x->rank, "4",
                   arena_printf(c->a, c->err,
                                "Only images [N, 3, H, W] come from there: give it --option "
                                "input_source.%.150s=ddr.",
                                v->name));
    int64_t channels = x->dim[1], h = x->dim[2], w = x->dim[3], area = 0;
    if (channels != 3 &&
        !source_error(c, v, pyramid ? "input.pyramid_channels" : "input.resizer_channels", source,
                      "channel count C", channels, "3",
                      "Frames arrive as YUV444 with 3 channels; take other inputs from ddr."))
        return false;
    if (pyramid && h % 2 != 0 &&
        !source_error(c, v, "input.pyramid_height", source, "height H", h, "a multiple of 2",
                      "Choose an even height: NV12 frames have one row of colour for two of "
                      "brightness."))
        return false;
    if (pyramid && w % PYRAMID_WIDTH != 0 &&
        !source_error(
            c, v, "input.pyramid_width", source, "width W", w, "a multiple of 16",
            arena_printf(c->a, c->err, "Choose a width of %lld or %lld.",
                         (long long)(w / PYRAMID_WIDTH > 0 ? w / PYRAMID_WIDTH : 1) * PYRAMID_WIDTH,
                         (long long)(w / PYRAMID_WIDTH + 1) * PYRAMID_WIDTH)))
        return false;
    if (!pyramid && (__builtin_mul_overflow(h, w, &area) || area >= RESIZER_AREA) &&
        !source_error(c, v, "input.resizer_area", source, "map size H*W", area, "less than 18432",
                      "Use a smaller input, such as 128x128, or the pyramid."))
        return false;
    return judge_source_scale(c, v, source);
}

/* The source of input `i`: by its name, else its position, else that of all. */
static const char *source_of(const struct checker *c, int i)
{
    const char *best = "ddr";
    int rank = 0;
    char position[16];
    snprintf(position, sizeof position, "%d", i);
    for (size_t k = 0; k < c->opt->source_count; k++) {
        const struct check_source *o = &c->opt->sources[k];
        int r = strcmp(o->input, c->g->inputs[i]->name) == 0 ? 3
                : strcmp(o->input, position) == 0            ? 2
                : !o->input[0]                               ? 1
                                                             : 0;
        if (r > rank) {
            rank = r;
            best = o->source;
        }
    }
    return best;
}

/* An option that names no input would be ignored in silence. */
static bool check_source_names(struct checker *c)
{
    for (size_t k = 0; k < c->opt->source_count; k++) {
        const char *name = c->opt->sources[k].input;
        bool found = !name[0];
        for (int i = 0; i < c->g->input_count && !found; i++) {
            char position[16];
            snprintf(position, sizeof position, "%d", i);
            found = strcmp(name, c->g->inputs[i]->name) == 0 || strcmp(name, position) == 0;
        }
        if (found)
            continue;
        error_set(c->err, BPU_BAD_OPTION, NULL,
                  "input_source.%.200s: the model has no input of that name", name);
        return error_hint(c->err, "Its first input is %.200s.",
                          c->g->input_count ? c->g->inputs[0]->name : "(none)");
    }
    return true;
}

bool judge_sources(struct checker *c)
{
    if (!c->opt || c->opt->source_count == 0)
        return true;
    if (!check_source_names(c))
        return false;
    for (int i = 0; i < c->g->input_count; i++) {
        if (value_is_feature(c->g->inputs[i]) && !judge_source(c, c->g->inputs[i], source_of(c, i)))
            return false;
    }
    return true;
}
