/* Reading nodes: what several quantities ask of operands and attributes, in one place.
 *
 * Everything here tolerates what a malformed graph can hold: missing attributes, unknown shapes,
 * lists of the wrong length.  "Cannot be read" makes the quantity not applicable. */
#include <string.h>

#include "core/base/checked.h"
#include "core/check/rules.h"

bool node_is(const struct node *n, const char *op)
{
    return n->op && strcmp(n->op->name, op) == 0;
}

bool value_is_feature(const struct value *v)
{
    if (!v || v->constant)
        return false;
    switch (v->dtype) {
    case DT_INT8:
    case DT_UINT8:
    case DT_INT16: return v->quant.count > 0;
    case DT_UINT16:
    case DT_INT32:
    case DT_UINT32:
    case DT_INT64:
    case DT_UINT64:
    case DT_BOOL: return false;
    default: return true;
    }
}

enum dtype judged_dtype(const struct subject *s, const struct value *v)
{
    return v ? s->c->r->values[v->index].dtype : DT_UNKNOWN;
}

const struct value *subject_input(const struct subject *s, int i)
{
    return node_input(s->n, i);
}

static bool is_transposed(const struct node *n)
{
    return n->op && strncmp(n->op->name, "torch.nn.ConvTranspose", 22) == 0;
}

int subject_spatial(const struct subject *s)
{
    if (s->view == VIEW_CONV)
        return 2;
    if (!s->n->op)
        return 0;
    const char *name = s->n->op->name;
    size_t len = strlen(name);
    enum op_class class = s->n->op->class;
    if (class != OPC_CONV && class != OPC_POOL)
        return 0;
    if (len > 2 && name[len - 1] == 'd' && name[len - 2] >= '1' && name[len - 2] <= '3')
        return name[len - 2] - '0';
    return 0;
}

/* Position of an axis among the spatial ones: (h, w), (d, h, w), (w). */
static int axis_index(int spatial, char axis)
{
    switch (axis) {
    case 'w': return spatial - 1;
    case 'h': return spatial - 2;
    default: return spatial - 3;
    }
}

bool subject_window(const struct subject *s, const char *attr, char axis, int64_t otherwise,
                    int64_t *out)
{
    int spatial = subject_spatial(s), i = axis_index(spatial, axis);
    int64_t v[3];
    if (spatial == 0 || i < 0)
        return false;
    *out = otherwise;
    if (s->view == VIEW_CONV)
        return true; /* a 1x1 convolution: all of its windows are the defaults */
    if (node_ints(s->n, attr, v, spatial))
        *out = v[i];
    return true;
}

bool subject_padding(const struct subject *s, char axis, int64_t *out)
{
    int spatial = subject_spatial(s), i = axis_index(spatial, axis);
    int64_t v[6];
    if (spatial == 0 || i < 0)
        return false;
    *out = 0;
    if (s->view == VIEW_CONV)
        return true;
    const char *word = node_string(s->n, "padding", NULL);
    if (word) {
        int64_t kernel, dilation;
        if (strcmp(word, "same") == 0 && subject_window(s, "kernel_size", axis, 1, &kernel) &&
            subject_window(s, "dilation", axis, 1, &dilation) &&
            checked_mul(dilation, kernel - 1, out))
            *out = (*out + 1) / 2;
        return true;
    }
    if (node_ints(s->n, "padding", v, spatial))
        *out = v[i];
    else if (node_ints(s->n, "padding", v, 2 * spatial))
        *out = v[i] > v[spatial + i] ? v[i] : v[spatial + i];
    return true;
}

bool subject_weight_shape(const struct subject *s, struct shape *out)
{
    const struct node *n = s->n;
    const struct value *x = node_input(n, 0);
    if (s->view == VIEW_CONV) {
        int64_t channels = -1, outputs = -1;
        if (s->ctx->role == ROLE_LINEAR) {
            channels = node_int(n, "in_features", -1);
            outputs = node_int(n, "out_features", -1);
        } else if (x && x->shape.rank >= 2) { /* batch norm: one weight a channel */
            channels = 1;
            outputs = x->shape.dim[1];
        }
        if (channels < 0 || outputs < 0)
            return false;
        *out = shape_of(4, (const int64_t[]){outputs, channels, 1, 1});
        return true;
    }
    const struct value *w = node_param(n, "weight");
    if (w && shape_is_static(&w->shape) && w->shape.rank >= 2) {
        *out = w->shape;
        return true;
    }
    int spatial = subject_spatial(s);
    int64_t in = node_int(n, "in_channels", -1), outputs = node_int(n, "out_channels", -1);
    int64_t groups = node_int(n, "groups", 1), dims[5];
    if (spatial == 0 || in < 0 || outputs < 0 || groups < 1 ||
        !node_ints(n, "kernel_size", dims + 2, spatial))
        return false;
    dims[0] = is_transposed(n) ? in : outputs;
    dims[1] = (is_transposed(n) ? outputs : in) / groups;
    *out = shape_of(2 + spatial, dims);
    return true;
}

static void sort_axes(int64_t *v, int count)
{
    for (int i = 1; i < count; i++) {
        for (int k = i; k > 0 && v[k - 1] > v[k]; k--) {
            int64_t t = v[k];
            v[k] = v[k - 1];
            v[k - 1] = t;
        }
    }
}

bool subject_axes(const struct subject *s, int64_t out[SHAPE_MAX_RANK], int *count)
{
    const struct value *x = node_input(s->n, 0);
    if (!x || x->shape.rank < 1)
        return false;
    int rank = x->shape.rank;
    const struct attr *a = node_attr(s->n, "dim");
    if (!a)
        a = node_attr(s->n, "dims");
    *count = 0;
    if (!a || a->kind == ATTR_NONE || (a->kind == ATTR_INTS && a->count == 0)) { /* all of them */
        for (int i = 0; i < rank; i++)
            out[(*count)++] = i;
        return true;
    }
    if (a->kind == ATTR_INT) {
        out[(*count)++] = a->i;
    } else if (a->kind == ATTR_INTS) {
        for (int i = 0; i < a->count && *count < SHAPE_MAX_RANK; i++)
            out[(*count)++] = a->ints[i];
    } else {
        return false;
    }
    for (int i = 0; i < *count; i++) {
        if (out[i] < 0)
            out[i] += rank;
        if (out[i] < 0 || out[i] >= rank)
            return false;
    }
    sort_axes(out, *count);
    return true;
}

const char *axis_name(int rank, int i)
{
    static const char *const names[6][5] = {
        {0}, {"C"}, {"N", "C"}, {"N", "C", "W"}, {"N", "C", "H", "W"}, {"N", "C", "D", "H", "W"},
    };
    static const char *const numbers[SHAPE_MAX_RANK] = {
        "axis 0", "axis 1", "axis 2", "axis 3", "axis 4",  "axis 5",
        "axis 6", "axis 7", "axis 8", "axis 9", "axis 10", "axis 11",
    };
    if (rank >= 1 && rank <= 5 && i >= 0 && i < rank)
        return names[rank][i];
    if (i == 0)
        return "N";
    return i > 0 && i < SHAPE_MAX_RANK ? numbers[i] : "?";
}

bool subject_scales(const struct subject *s, double *h, double *w)
{
    const struct value *x = node_input(s->n, 0), *y = s->n->output_count ? s->n->outputs[0] : NULL;
    const struct attr *a = node_attr(s->n, "scale_factor");
    if (a && a->kind == ATTR_FLOAT) {
        *h = *w = a->f;
        return true;
    }
    if (a && a->kind == ATTR_INT) {
        *h = *w = (double)a->i;
        return true;
    }
    if (a && a->kind == ATTR_FLOATS && a->count >= 1) {
        *w = a->floats[a->count - 1];
        *h = a->count >= 2 ? a->floats[a->count - 2] : 1.0;
        return true;
    }
    if (a && a->kind == ATTR_INTS && a->count >= 1) {
        *w = (double)a->ints[a->count - 1];
        *h = a->count >= 2 ? (double)a->ints[a->count - 2] : 1.0;
        return true;
    }
    if (!x || !y || x->shape.rank < 3 || y->shape.rank != x->shape.rank ||
        !shape_is_static(&x->shape) || !shape_is_static(&y->shape))
        return false;
    int r = x->shape.rank;
    if (x->shape.dim[r - 1] == 0 || x->shape.dim[r - 2] == 0)
        return false;
    *w = (double)y->shape.dim[r - 1] / (double)x->shape.dim[r - 1];
    *h = r >= 4 ? (double)y->shape.dim[r - 2] / (double)x->shape.dim[r - 2] : 1.0;
    return true;
}

bool subject_broadcast(const struct subject *s, struct shape *out)
{
    const struct value *a = node_input(s->n, 0), *b = node_input(s->n, 1);
    if (!a || !b || !shape_is_static(&a->shape) || !shape_is_static(&b->shape))
        return false;
    int rank = a->shape.rank > b->shape.rank ? a->shape.rank : b->shape.rank;
    out->rank = rank;
    for (int i = 0; i < rank; i++) {
        int ai = i - (rank - a->shape.rank), bi = i - (rank - b->shape.rank);
        int64_t x = ai >= 0 ? a->shape.dim[ai] : 1, y = bi >= 0 ? b->shape.dim[bi] : 1;
        out->dim[i] = x == 1 ? y : x;
    }
    return true;
}
