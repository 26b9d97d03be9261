/* infer_resize: interpolation to a size or by a factor, and sampling on a grid. */
#include <math.h>
#include <string.h>

#include "core/ops/infer.h"

/* The rank that a mode implies in PyTorch; 0: any image. ONNX says "linear" and "cubic" for all
 * ranks. */
static int mode_rank(const struct node *n, const char *mode, bool *known)
{
    static const struct {
        const char *name;
        int rank;
    } modes[] = {{"nearest", 0},  {"nearest-exact", 0}, {"area", 0},    {"linear", 3},
                 {"bilinear", 4}, {"trilinear", 5},     {"bicubic", 4}, {"cubic", 4}};
    *known = true;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].name) == 0)
            return infer_from_onnx(n) || node_attr(n, "coordinate_transformation_mode")
                       ? 0
                       : modes[i].rank;
    *known = false;
    return 0;
}

static bool scale_list(const struct node *n, double *out, int *count, struct bpu_error *err)
{
    const struct attr *a = node_attr(n, "scale_factor");
    *count = -1;
    if (!a || a->kind == ATTR_NONE)
        return true;
    if (a->kind == ATTR_INT || a->kind == ATTR_FLOAT) {
        out[0] = a->kind == ATTR_INT ? (double)a->i : a->f;
        *count = 1;
    } else {
        if ((a->kind != ATTR_INTS && a->kind != ATTR_FLOATS) || a->count > SHAPE_MAX_RANK)
            return infer_bad(n, err, NULL, "scale_factor must be a number or a list of numbers");
        for (int i = 0; i < a->count; i++)
            out[i] = a->kind == ATTR_INTS ? (double)a->ints[i] : a->floats[i];
        *count = a->count;
    }
    for (int i = 0; i < *count; i++)
        if (!(out[i] > 0) || !isfinite(out[i]))
            return infer_bad(n, err, NULL, "scale_factor %g must be positive and finite", out[i]);
    return true;
}

bool infer_interpolate(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char text[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0);
    const char *fallback =
        strcmp(n->op->key, "upsampling_bilinear2d") == 0 ? "bilinear" : "nearest";
    const char *mode = node_string(n, "mode", fallback);
    bool known, only4d = strncmp(n->op->key, "upsampling_", 11) == 0;
    int rank = mode_rank(n, mode, &known), sizes, scales;
    int64_t size[SHAPE_MAX_RANK];
    double scale[SHAPE_MAX_RANK];
    if (!known)
        return infer_bad(n, err,
                         "Modes are nearest, bilinear, bicubic, linear, trilinear and area.",
                         "mode is \"%.40s\"", mode);
    if (!infer_ints(n, "size", size, SHAPE_MAX_RANK, &sizes, err) ||
        !scale_list(n, scale, &scales, err))
        return false;
    if (sizes >= 0 && scales >= 0)
        return infer_bad(n, err, NULL, "both size and scale_factor are given");
    if (sizes < 0 && scales < 0 && n->input_count < 2)
        return infer_bad(n, err, NULL, "size or scale_factor is missing");
    if (x->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    bool onnx = infer_from_onnx(n) || node_attr(n, "coordinate_transformation_mode");
    int count = sizes >= 0 ? sizes : scales, first = 2;
    if (onnx && count == x->rank)
        first = 0; /* ONNX may name every axis */
    else if (x->rank < 3 || x->rank > 5 || (rank && x->rank != rank) || (only4d && x->rank != 4))
        return infer_bad(n, err, NULL, "mode %s does not fit the input of shape %s", mode,
                         shape_text(x, text));
    int spatial = x->rank - first;
    if (count > 1 && count != spatial)
        return infer_bad(n, err, "Give one number, or one per axis after N and C.",
                         "%s has %d entries, but the input has shape %s",
                         sizes >= 0 ? "size" : "scale_factor", count, shape_text(x, text));
    struct shape out = *x;
    for (int i = 0; i < spatial; i++) {
        int64_t *d = &out.dim[first + i];
        if (count <= 0) {
            *d = -1;
        } else if (sizes >= 0) {
            *d = size[sizes == 1 ? 0 : i];
        } else if (*d >= 0) {
            double want = floor((double)*d * scale[scales == 1 ? 0 : i]);
            *d = want > (double)INFER_MAX_ELEMENTS ? INFER_MAX_ELEMENTS + 1 : (int64_t)want;
        }
        bool open = *d == -1 && sizes < 0;
        if (*d < 1 && !open && (first == 2 || *d < 0))
            return infer_bad(n, err, NULL, "axis %d of %s would become %lld; at least 1 is needed",
                             first + i, shape_text(x, text), (long long)*d);
    }
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}

/* x (N, C, H, W), grid (N, h, w, 2) gives (N, C, h, w); one axis more for volumes. */
bool infer_grid_sample(struct graph *g, struct node *n, struct bpu_error *err)
{
    (void)g;
    char ta[SHAPE_TEXT_MAX], tb[SHAPE_TEXT_MAX];
    const struct shape *x = infer_shape(n, 0), *grid = infer_shape(n, 1);
    if (x->rank < 0 || grid->rank < 0)
        return infer_out_unknown(n, 0, infer_dtype(n, 0), err);
    bool fits = (x->rank == 4 || x->rank == 5) && grid->rank == x->rank;
    if (fits)
        fits = (grid->dim[grid->rank - 1] < 0 || grid->dim[grid->rank - 1] == x->rank - 2) &&
               (grid->dim[0] < 0 || x->dim[0] < 0 || grid->dim[0] == x->dim[0]);
    for (int i = 2; i < x->rank && fits; i++)
        fits = x->dim[i] != 0;
    if (!fits)
        return infer_bad(n, err, "The input is (N, C, H, W) and the grid (N, H, W, 2).",
                         "the input of shape %s and the grid of shape %s do not fit together",
                         shape_text(x, ta), shape_text(grid, tb));
    struct shape out = *x;
    if (out.dim[0] < 0)
        out.dim[0] = grid->dim[0];
    for (int i = 2; i < x->rank; i++)
        out.dim[i] = grid->dim[i - 1];
    if (!infer_out(n, 0, &out, infer_dtype(n, 0), err))
        return false;
    infer_carry_quant(n, 0, 0, NULL);
    return true;
}
