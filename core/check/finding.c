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
    char *key = arena_strndup(c->a, name, 40, c->err);
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

/* Legal rewrites of operators that a march does not have.  march NULL: on every march. */
static const struct {
    const char *march, *op, *hint;
} rewrites[] = {
    {"bernoulli2", "torch.nn.Linear",
     "Write it as torch.nn.Conv2d with a 1x1 kernel on [N, C, 1, 1]; the weights are the same."},
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
    {NULL, "torch.nn.GroupNorm", "Use torch.nn.BatchNorm2d, which folds into the convolution."},
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
    {NULL, "torch.nn.Hardtanh", "Use torch.nn.ReLU6, or torch.clamp where the march has it."},
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
};

const char *hint_find(const struct march *m, const char *op)
{
    for (size_t i = 0; i < sizeof(rewrites) / sizeof(rewrites[0]); i++) {
        if (strcmp(rewrites[i].op, op) == 0 &&
            (!rewrites[i].march || strcmp(rewrites[i].march, m->name) == 0))
            return rewrites[i].hint;
    }
    return NULL;
}
