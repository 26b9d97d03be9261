/* Findings: collecting them, and what to do about operators that a march does not have. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/check/json_write.h"
#include "core/check/rules.h"

const char *severity_name(enum severity s)
{
    static const char *const names[] = {"error", "warning", "advice"};
    return names[s];
}

const char *rule_key(struct checker *c, const struct node *n)
{
    if (n->op)
        return n->op->key;
    /* "onnx:HardSwish" → "hardswish", "aten::foo.bar" → "foo" */
    const char *name = n->op_name ? n->op_name : "operator", *p;
    if ((p = strrchr(name, ':')))
        name = p + 1;
    if (strncmp(name, "torch.", 6) == 0 && (p = strrchr(name, '.')))
        name = p + 1;
    char *key = arena_strndup(c->a, name, strnlen(name, 40), c->err);
    if (!key)
        return "operator";
    for (char *q = key; *q; q++) {
        if (*q == '.' && q != key) {
            *q = '\0';
            break;
        }
        *q = isalnum((unsigned char)*q) ? (char)tolower((unsigned char)*q) : '_';
    }
    return *key ? key : "operator";
}

bool finding_exists(const struct checker *c, const struct node *n, const char *rule_suffix)
{
    for (int i = c->first_finding; i < c->r->finding_count; i++) {
        const struct finding *f = &c->r->findings[i];
        const char *dot = strrchr(f->rule, '.');
        if (f->node == n && dot && strcmp(dot + 1, rule_suffix) == 0)
            return true;
    }
    return false;
}

struct finding *finding_add(struct checker *c, const struct node *n, enum severity severity,
                            const char *rule_suffix)
{
    size_t count = (size_t)c->r->finding_count;
    struct finding *list = arena_grow(c->a, c->r->findings, count, count + 1, sizeof(*list),
                                      &c->finding_capacity, c->err);
    if (!list)
        return NULL;
    c->r->findings = list;
    struct finding *f = &list[count];
    memset(f, 0, sizeof(*f));
    f->rule = arena_printf(c->a, c->err, "%s.%s", rule_key(c, n), rule_suffix);
    if (!f->rule)
        return NULL;
    f->severity = severity;
    f->node = n;
    f->actual = "null";
    f->limit = "";
    f->table = "torch";
    f->row = n->op ? n->op->name : n->op_name;
    if (n->op)
        f->eager_replacement = march_eager_replacement(n->op->name);
    c->r->finding_count++;
    return f;
}

static size_t finding_place(const struct finding *f)
{
    return f->node ? (size_t)f->node->index + 1 : 0;
}

bool findings_sort(struct checker *c)
{
    size_t places = (size_t)c->g->node_count + 1, count = (size_t)c->r->finding_count;
    size_t *start = ARENA_ARRAY(c->a, size_t, places + 1, c->err);
    struct finding *sorted = start ? ARENA_ARRAY(c->a, struct finding, count, c->err) : NULL;
    if (!sorted)
        return false;
    for (size_t i = 0; i < count; i++)
        start[finding_place(&c->r->findings[i]) + 1]++;
    for (size_t i = 0; i < places; i++)
        start[i + 1] += start[i];
    for (size_t i = 0; i < count; i++)
        sorted[start[finding_place(&c->r->findings[i])]++] = c->r->findings[i];
    c->r->findings = sorted;
    c->finding_capacity = count;
    return true;
}

const char *json_quote(struct checker *c, const char *s)
{
    struct buf text;
    buf_init(&text, 64u << 10);
    writer_string(&text, s);
    char *out = buf_ok(&text, c->err) ? arena_strdup(c->a, buf_str(&text), c->err) : NULL;
    buf_fini(&text);
    return out;
}

/* What to write instead of operators (names separated by spaces) that a march does not have.  march
 * NULL: on every march.  Operators named here are held against the tables by a test. */
static const struct {
    const char *march, *ops, *hint;
} rewrites[] = {
    {"bernoulli2", "torch.nn.Linear",
     "Write it as torch.nn.Conv2d with a 1x1 kernel on [N, C, 1, 1], of at most 4096 channels; the "
     "weights are the same."},
    {"bernoulli2", "torch.nn.AdaptiveAvgPool2d",
     "For a fixed input size use torch.nn.AvgPool2d with kernel_size = (H, W) up to 7x7, or "
     "several "
     "of them one behind the other for larger maps."},
    {"bernoulli2", "torch.nn.Softmax",
     "Return the logits from the model and run Softmax on the host."},
    {NULL, "torch.nn.LogSoftmax",
     "Return the logits from the model and run LogSoftmax on the host."},
    {"bernoulli2", "torch.Tensor.reshape",
     "Keep tensors in [N, C, H, W] and end with a 1x1 torch.nn.Conv2d; channels that change places "
     "are torch.nn.ChannelShuffle or torch.nn.PixelShuffle."},
    {"bernoulli2", "torch.flatten",
     "Leave it out: keep [N, C, 1, 1] and use a 1x1 torch.nn.Conv2d where a Linear follows; "
     "flatten on "
     "the host."},
    {NULL, "torch.squeeze", "Keep the axis of extent 1 and drop it on the host."},
    {NULL, "torch.unsqueeze", "Shape the input with the extra axis from the start."},
    {"bernoulli2", "torch.Tensor.transpose",
     "Choose the layout at the border of the model (input and output layout) instead."},
    {NULL, "torch.permute",
     "Choose the layout at the border of the model (input and output layout) instead."},
    {"bernoulli2", "torch.nn.LeakyReLU", "Use torch.nn.ReLU and train again."},
    {"bernoulli2", "torch.nn.PReLU", "Use torch.nn.ReLU and train again."},
    {"bernoulli2", "torch.nn.ELU", "Use torch.nn.ReLU or torch.nn.SiLU and train again."},
    {"bernoulli2", "torch.nn.GLU",
     "Split the channels and multiply one half by torch.nn.Sigmoid of the other."},
    {"bernoulli2", "torch.nn.HardSigmoid", "Use torch.nn.Sigmoid and train again."},
    {"bernoulli2", "torch.nn.Hardswish", "Use torch.nn.SiLU or torch.nn.ReLU and train again."},
    {"bayes", "torch.nn.Hardswish",
     "Write it as FloatFunctional().mul(x, torch.nn.Hardsigmoid()(x)), or use torch.nn.SiLU."},
    {NULL, "torch.nn.Mish", "Use torch.nn.SiLU, which is close, and train again."},
    {"bernoulli2", "torch.nn.Softplus", "Use torch.nn.ReLU, or run it on the host."},
    {"bernoulli2", "torch.nn.Layernorm",
     "Use torch.nn.BatchNorm2d, which folds into the convolution."},
    {"bayes", "torch.nn.GroupNorm",
     "Use torch.nn.BatchNorm2d, which folds into the convolution, or torch.nn.LayerNorm (one "
     "group)."},
    {"bernoulli2", "torch.nn.GroupNorm",
     "Use torch.nn.BatchNorm2d, which folds into the convolution."},
    {NULL, "torch.nn.InstanceNorm2d",
     "Use torch.nn.BatchNorm2d, which folds into the convolution."},
    {NULL, "torch.nn.LocalResponseNorm",
     "Use torch.nn.BatchNorm2d, which folds into the convolution."},
    {"bernoulli2", "torch.clamp",
     "Use torch.nn.ReLU or torch.nn.ReLU6 where the bounds are theirs."},
    {"bernoulli2", "torch.clip",
     "Use torch.nn.ReLU or torch.nn.ReLU6 where the bounds are theirs."},
    {"bernoulli2", "torch.Tensor.clamp",
     "Use torch.nn.ReLU or torch.nn.ReLU6 where the bounds are theirs."},
    {"bernoulli2", "torch.nn.Hardtanh", "Use torch.nn.ReLU6 and train again."},
    {"bayes", "torch.nn.Hardtanh", "Use torch.clamp with the same bounds."},
    {NULL, "torch.nn.ReflectionPad2d", "Use torch.nn.ReplicationPad2d or torch.nn.ZeroPad2d."},
    {"bernoulli2", "torch.nn.functional.pad",
     "Use torch.nn.ZeroPad2d, ConstantPad2d or ReplicationPad2d, or the padding of the next "
     "layer."},
    {"bernoulli2", "torch.div",
     "Multiply by the reciprocal, folded into the weights of the layer before."},
    {"bernoulli2", "torch.pow", "Multiply the tensor by itself with FloatFunctional().mul."},
    {"bernoulli2", "torch.maximum", "Write it as ReLU(a - b) + b."},
    {"bernoulli2", "torch.minimum", "Write it as a - ReLU(a - b)."},
    {"bernoulli2", "torch.min", "Write it as torch.max of the negated tensor."},
    {"bernoulli2", "torch.nn.functional.grid_sample",
     "Sample on the host, or on the image pyramid."},
    {"bernoulli2", "torch.topk", "Return the scores from the model and sort on the host."},
    {"bernoulli2", "torch.abs", "Write it as ReLU(x) + ReLU(-x)."},
    {NULL, "torch.neg", "Multiply by -1 inside the weights of the layer before."},
    {"bernoulli2", "torch.nn.Conv3d", "Treat the depth as channels and use torch.nn.Conv2d."},
    {NULL, "torch.nn.Conv1d", "Use torch.nn.Conv2d with a kernel of (1, k) on [N, C, 1, W]."},
    {NULL, "torch.nn.MaxPool1d", "Use torch.nn.MaxPool2d with a kernel of (1, k) on [N, C, 1, W]."},
    {NULL, "torch.nn.AvgPool1d", "Use torch.nn.AvgPool2d with a kernel of (1, k) on [N, C, 1, W]."},
    {"bernoulli2", "torch.Tensor.expand",
     "Leave it to the broadcasting of the operator behind it."},
    {"bernoulli2", "torch.Tensor.repeat", "Join copies with torch.cat."},
    {"bernoulli2", "torch.Tensor.tile", "Join copies with torch.cat."},
    {"bernoulli2", "torch.nn.MultiheadAttention",
     "Bernoulli2 has neither Softmax nor reshape: choose a convolutional network for this board."},
    {NULL, "torchvision.ops.nms", "Return boxes and scores and suppress on the host."},
    {NULL, "torch.nonzero",
     "Its result has no fixed shape: return the tensor and search on the host."},
    {NULL, "torch.where", "Blend with FloatFunctional: mask * a + (1 - mask) * b."},
    {NULL, "torch.einsum", "Write it as torch.matmul with explicit axes."},
    {"bernoulli2", "torch.selu torch.nn.CELU",
     "Use torch.nn.SiLU or torch.nn.GELU and train again."},
    {"bayes", "torch.nn.CELU", "Use torch.nn.ELU; with alpha 1 it is the same."},
    {"bernoulli2",
     "torch.acos torch.acosh torch.asin torch.asinh torch.atan torch.atanh torch.cos torch.cosh "
     "torch.erf torch.log torch.sin torch.sinh torch.tan torch.log2 torch.log10 torch.log1p "
     "torch.expm1 torch.nn.LogSigmoid",
     "Bernoulli2 makes torch.exp, torch.nn.Sigmoid, torch.nn.Tanh, torch.nn.GELU and "
     "torch.nn.SiLU from lookup tables: write it with these, or compute it on the host."},
    {"bernoulli2",
     "torch.reciprocal torch.sqrt torch.rsqrt torch.norm torch.var torch.std torch.logsumexp",
     "Train a scale that the weights of the layer before can carry, or compute it on the host."},
    {"bayes", "torch.rsqrt", "Write it as torch.pow with exponent -0.5."},
    {"bayes", "torch.log2 torch.log10", "Use torch.log and carry the factor in the next layer."},
    {"bayes", "torch.log1p torch.expm1", "Use torch.log or torch.exp, with the 1 in a bias."},
    {"bayes", "torch.nn.LogSigmoid",
     "Write it as -torch.nn.Softplus()(-x), the signs in the weights."},
    {"bayes", "torch.norm", "Write it as torch.sqrt of torch.sum of FloatFunctional().mul(x, x)."},
    {"bayes", "torch.var torch.std",
     "Write it with torch.mean, torch.sub and FloatFunctional().mul of the difference with "
     "itself."},
    {"bayes", "torch.logsumexp", "Write it as torch.log of torch.sum of torch.exp."},
    {NULL, "torch.square", "Write it as FloatFunctional().mul(x, x)."},
    {NULL, "torch.nn.Softsign", "Use torch.nn.Tanh and train again."},
    {NULL, "torch.nn.Threshold",
     "Use torch.nn.ReLU, with the threshold in the bias of the layer before."},
    {NULL, "torch.nn.Softshrink torch.nn.Hardshrink",
     "Write soft shrinking by l as ReLU(x - l) - ReLU(-x - l) with torch.nn.ReLU, the shifts in "
     "biases."},
    {NULL, "torch.ceil torch.floor torch.round torch.trunc torch.sign",
     "Leave rounding to quantization, or do it on the host."},
    {NULL,
     "torch.eq torch.ge torch.greater torch.greater_equal torch.gt torch.le torch.less "
     "torch.less_equal torch.lt torch.ne torch.logical_and torch.logical_or torch.logical_xor "
     "torch.logical_not torch.Tensor.eq torch.Tensor.ge torch.Tensor.greater "
     "torch.Tensor.greater_equal torch.Tensor.gt torch.Tensor.le torch.Tensor.less "
     "torch.Tensor.less_equal torch.isnan torch.isinf",
     "Return the tensors from the model and compare on the host."},
    {NULL,
     "torch.bitwise_and torch.bitwise_or torch.bitwise_xor torch.bitwise_not "
     "torch.bitwise_left_shift torch.bitwise_right_shift torch.fmod torch.remainder "
     "torch.floor_divide torch.atan2 torch.det torch.unique torch.sort torch.hardmax torch.prod",
     "Return its operands from the model and compute it on the host."},
    {"bernoulli2", "torch.gather torch.index_select torch.scatter torch.gather_nd torch.scatter_nd",
     "Take slices with constant bounds and join them with torch.cat, or pick on the host."},
    {"bayes", "torch.scatter torch.gather_nd torch.scatter_nd",
     "Take slices or torch.gather and join them with torch.cat, or do it on the host."},
    {"bernoulli2", "torch.Tensor.max torch.amax",
     "Call torch.max(x, dim), and return its result from the model."},
    {"bernoulli2", "torch.Tensor.min torch.amin",
     "Call torch.max(x, dim) on a tensor whose sign the weights before have changed, as a model "
     "output."},
    {"bayes", "torch.amin", "Call torch.min(x, dim)."},
    {"bernoulli2", "torch.Tensor.clip",
     "Use torch.nn.ReLU or torch.nn.ReLU6 where the bounds are theirs."},
    {"bernoulli2", "torch.Tensor.abs", "Write it as ReLU(x) + ReLU(-x)."},
    {NULL, "torch.cumsum", "Write it as torch.matmul with a constant triangular matrix of ones."},
    {NULL,
     "torch.arange torch.one_hot torch.full torch.full_like torch.eye_like torch.tril torch.triu",
     "Make it a constant of the model before export."},
    {NULL, "torch.rand torch.randn torch.rand_like torch.randn_like",
     "Make the random tensor on the host and give it as an input."},
    {NULL, "torch.masked_fill", "Multiply by the mask and add a tensor that holds the fill."},
    {NULL, "torch.stack",
     "Shape the tensors with the new axis from the start and join them with torch.cat."},
    {NULL, "torch.roll", "Join two slices with torch.cat."},
    {NULL, "torch.flip", "Turn the data before it comes into the model."},
    {NULL, "torch.if torch.loop torch.scan",
     "Export what one run does: tracing writes out one branch and every step of a loop."},
    {NULL, "torch.nn.InstanceNorm1d torch.nn.InstanceNorm3d",
     "Use torch.nn.BatchNorm2d, which folds into the convolution."},
    {"bayes", "torch.nn.GRU torch.nn.RNN",
     "Unroll it into one torch.nn.LSTMCell for each time step, or use torch.nn.LSTM with batch 1."},
    {"bernoulli2", "torch.nn.GRU torch.nn.RNN torch.nn.LSTMCell",
     "Use torch.nn.LSTM with batch 1, or convolutions over time."},
};

/* True if the list of names separated by spaces holds the name. */
static bool listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

const char *hint_find(const struct march *m, const char *op)
{
    for (size_t i = 0; i < sizeof(rewrites) / sizeof(rewrites[0]); i++) {
        if ((!rewrites[i].march || strcmp(rewrites[i].march, m->name) == 0) &&
            listed(rewrites[i].ops, op))
            return rewrites[i].hint;
    }
    return NULL;
}
