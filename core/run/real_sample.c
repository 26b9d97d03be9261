/* real_sample: reading images at positions that are data: grid_sample, RoIAlign and its form over
 * several feature maps.
 *
 * All in double precision, rounded once.  Neighbours are taken in row-major order, the weight of a
 * neighbour is the product of its weights along the axes, first axis first. */
#include "core/run/real.h"

#define MAX_SPATIAL 3

enum sample_mode { SAMPLE_BILINEAR, SAMPLE_NEAREST, SAMPLE_BICUBIC };
enum sample_border { BORDER_ZEROS, BORDER_EDGE, BORDER_REFLECT };

struct sampler {
    enum sample_mode mode;
    enum sample_border border;
    bool align_corners;
    int axes;
    int64_t extent[MAX_SPATIAL], stride[MAX_SPATIAL];
};

/* -1 .. 1 across the pixels' centers (align_corners) or their outer edges, as a pixel position. */
static double to_pixel(const struct sampler *s, double v, int64_t extent)
{
    return s->align_corners ? (v + 1) / 2 * (double)(extent - 1)
                            : ((v + 1) * (double)extent - 1) / 2;
}

/* Mirrored at lo and hi as often as needed. */
static double reflect(double v, double lo, double hi)
{
    double span = hi - lo;
    if (span <= 0)
        return 0;
    v = fabs(v - lo);
    double rest = fmod(v, span);
    return fmod(floor(v / span), 2) == 0 ? lo + rest : hi - rest;
}

static double to_border(const struct sampler *s, double v, int64_t extent)
{
    double last = (double)(extent - 1);
    if (s->border == BORDER_REFLECT)
        v = s->align_corners ? reflect(v, 0, last) : reflect(v, -.5, last + .5);
    if (s->border == BORDER_ZEROS)
        return v;
    return v < 0 || isnan(v) ? 0 : v > last ? last : v;
}

/* The taps of one axis around position v. */
static int sample_taps(const struct sampler *s, double v, int64_t extent, int64_t *at,
                       double *weight)
{
    static const double a = -.75;
    double last = (double)(extent - 1);
    int count = s->mode == SAMPLE_NEAREST ? 1 : s->mode == SAMPLE_BILINEAR ? 2 : 4;
    if (s->mode != SAMPLE_BICUBIC)
        v = to_border(s, v, extent);
    double low = s->mode == SAMPLE_NEAREST ? nearbyint(v) : floor(v), t = v - low;
    for (int k = 0; k < count; k++) {
        double position = low + k - (s->mode == SAMPLE_BICUBIC), d = fabs(v - position);
        weight[k] = s->mode == SAMPLE_NEAREST ? 1 : k ? t : 1 - t;
        if (s->mode == SAMPLE_BICUBIC) {
            weight[k] = d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1
                              : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
            position = to_border(s, position, extent);
        }
        at[k] = position >= 0 && position <= last ? (int64_t)position : -1;
    }
    return count;
}

static double sample(const struct sampler *s, const double *image, const double *position)
{
    int64_t at[MAX_SPATIAL][4];
    double weight[MAX_SPATIAL][4], sum = 0;
    int count[MAX_SPATIAL] = {1, 1, 1}, total = 1;
    for (int i = 0; i < s->axes; i++) {
        count[i] = sample_taps(s, position[i], s->extent[i], at[i], weight[i]);
        total *= count[i];
    }
    for (int k = 0; k < total; k++) {
        int rest = k, pick[MAX_SPATIAL] = {0};
        int64_t offset = 0;
        double w = 1;
        bool inside = true;
        for (int i = s->axes - 1; i >= 0; i--) {
            pick[i] = rest % count[i];
            rest /= count[i];
        }
        for (int i = 0; i < s->axes; i++) {
            w *= weight[i][pick[i]];
            inside &= at[i][pick[i]] >= 0;
            offset += at[i][pick[i]] * s->stride[i];
        }
        if (inside)
            sum += w * image[offset];
    }
    return sum;
}

/* x (N, C, D?, H, W), grid (N, .., 2 or 3): the last axis holds x, y (, z) in -1 .. 1. */
static bool grid_sample_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *x = kernel_in(c, 0), *grid = kernel_in(c, 1);
    struct tensor *y = c->out[0];
    const char *mode = node_string(c->node, "mode", "bilinear"),
               *border = node_string(c->node, "padding_mode", "zeros");
    struct sampler s = {.mode = strcmp(mode, "nearest") == 0   ? SAMPLE_NEAREST
                                : strcmp(mode, "bicubic") == 0 ? SAMPLE_BICUBIC
                                                               : SAMPLE_BILINEAR,
                        .border = strcmp(border, "border") == 0       ? BORDER_EDGE
                                  : strcmp(border, "reflection") == 0 ? BORDER_REFLECT
                                                                      : BORDER_ZEROS,
                        .align_corners = node_bool(c->node, "align_corners", false),
                        .axes = x->shape.rank - 2};
    int64_t plane = 1, points = 1, batch = x->shape.dim[0], channels = x->shape.dim[1];
    for (int i = s.axes - 1; i >= 0; i--) {
        s.extent[i] = x->shape.dim[2 + i];
        s.stride[i] = plane;
        plane *= s.extent[i];
        points *= y->shape.dim[2 + i];
    }
    double *image = real_scratch(c, plane + points * s.axes, err);
    if (!image)
        return false;
    double *at = image + plane;
    for (int64_t b = 0; b < batch; b++) {
        for (int64_t p = 0; p < points; p++)
            for (int i = 0; i < s.axes; i++) /* the grid names the last axis first */
                at[p * s.axes + i] = to_pixel(
                    &s, tensor_real(grid, (b * points + p) * s.axes + s.axes - 1 - i), s.extent[i]);
        for (int64_t ch = 0; ch < channels; ch++) {
            real_load(x, (b * channels + ch) * plane, 1, plane, image);
            for (int64_t p = 0; p < points; p++)
                tensor_store_real(y, (b * channels + ch) * points + p,
                                  sample(&s, image, at + p * s.axes));
        }
    }
    return true;
}

bool real_grid_sample(const struct kernel_call *c, struct bpu_error *err)
{
    return grid_sample_run(c, err);
}

bool fixed_grid_sample(const struct kernel_call *c, struct bpu_error *err)
{
    return grid_sample_run(c, err);
}

/* ── regions ── */

/* More samples per bin and axis than any region inside a feature map has. */
#define MAX_SAMPLES 1024

struct region {
    double y, x, bin_h, bin_w;      /* of the feature map */
    int64_t rows, columns, samples; /* per bin */
};

/* Bilinear; beyond one pixel outside the map there is 0, nearer its edge goes on. */
static double roi_sample(const struct tensor *map, int64_t first, double y, double x)
{
    int64_t h = map->shape.dim[2], w = map->shape.dim[3];
    if (!(y >= -1 && y <= (double)h && x >= -1 && x <= (double)w))
        return 0;
    y = y < 0 ? 0 : y;
    x = x < 0 ? 0 : x;
    int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1 = y0 + 1, x1 = x0 + 1;
    if (y0 >= h - 1)
        y = (double)(y0 = y1 = h - 1);
    if (x0 >= w - 1)
        x = (double)(x0 = x1 = w - 1);
    double ly = y - (double)y0, lx = x - (double)x0, hy = 1 - ly, hx = 1 - lx;
    return hy * hx * tensor_real(map, first + y0 * w + x0) +
           hy * lx * tensor_real(map, first + y0 * w + x1) +
           ly * hx * tensor_real(map, first + y1 * w + x0) +
           ly * lx * tensor_real(map, first + y1 * w + x1);
}

/* Regions are (K, 4), (K, 5), or with one image (1, K, 4). */
static int64_t roi_width(const struct tensor *rois)
{
    return rois->shape.dim[rois->shape.rank - 1];
}

static int64_t roi_count(const struct tensor *rois)
{
    return rois->shape.dim[rois->shape.rank - 2];
}

/* Row `row` of the regions: (x1, y1, x2, y2), or (image, x1, y1, x2, y2). */
static bool roi_read(const struct kernel_call *c, const struct tensor *rois, int64_t row,
                     double scale, const struct shape *out, struct region *r, struct bpu_error *err)
{
    bool aligned = node_bool(c->node, "aligned", false);
    int64_t width = roi_width(rois), sampling = node_int(c->node, "sampling_ratio", -1);
    double v[4], offset = aligned ? .5 : 0;
    for (int i = 0; i < 4; i++)
        v[i] = tensor_real(rois, row * width + width - 4 + i) * scale - offset;
    double w = v[2] - v[0], h = v[3] - v[1];
    if (!aligned) {
        w = w < 1 ? 1 : w;
        h = h < 1 ? 1 : h;
    }
    *r = (struct region){v[1], v[0], h / (double)out->dim[2], w / (double)out->dim[3], 0, 0, 0};
    double rows = sampling > 0 ? (double)sampling : ceil(r->bin_h);
    double columns = sampling > 0 ? (double)sampling : ceil(r->bin_w);
    if (!(rows <= MAX_SAMPLES && columns <= MAX_SAMPLES && fabs(v[0]) < 1e9 && fabs(v[1]) < 1e9))
        return kernel_unsupported(c, err, "region %lld is absurdly large", (long long)row);
    r->rows = rows > 0 ? (int64_t)rows : 0;
    r->columns = columns > 0 ? (int64_t)columns : 0;
    r->samples = r->rows * r->columns > 0 ? r->rows * r->columns : 1;
    return true;
}

/* One bin of one channel: the mean (or the maximum) over its samples, row by row. */
static double roi_bin(const struct tensor *map, int64_t first, const struct region *r, int64_t i,
                      int64_t j, bool maximum)
{
    double result = maximum && r->rows && r->columns ? -INFINITY : 0;
    for (int64_t a = 0; a < r->rows; a++) {
        double y = r->y + (double)i * r->bin_h + ((double)a + .5) * r->bin_h / (double)r->rows;
        for (int64_t b = 0; b < r->columns; b++) {
            double x =
                r->x + (double)j * r->bin_w + ((double)b + .5) * r->bin_w / (double)r->columns;
            double v = roi_sample(map, first, y, x);
            result = !maximum ? result + v : v > result ? v : result;
        }
    }
    return maximum ? result : result / (double)r->samples;
}

static bool roi_pool(const struct kernel_call *c, const struct tensor *map, double scale,
                     const struct tensor *rois, int64_t row, int64_t image, struct bpu_error *err)
{
    struct tensor *y = c->out[0];
    struct region r;
    bool maximum = strcmp(node_string(c->node, "mode", "avg"), "max") == 0;
    int64_t channels = map->shape.dim[1], plane = map->shape.dim[2] * map->shape.dim[3];
    int64_t h = y->shape.dim[2], w = y->shape.dim[3];
    if (image < 0 || image >= map->shape.dim[0] || plane == 0)
        return kernel_unsupported(c, err, "region %lld lies in image %lld of %lld", (long long)row,
                                  (long long)image, (long long)map->shape.dim[0]);
    if (!roi_read(c, rois, row, scale, &y->shape, &r, err))
        return false;
    for (int64_t i = 0; i < channels * h * w; i++)
        tensor_store_real(
            y, row * channels * h * w + i,
            roi_bin(map, (image * channels + i / (h * w)) * plane, &r, i / w % h, i % w, maximum));
    return true;
}

/* The image number: before the corners, or in an operand of its own, or 0. */
static int64_t roi_image(const struct tensor *rois, const struct tensor *images, int64_t row)
{
    double v = images                 ? tensor_real(images, row)
               : roi_width(rois) == 5 ? tensor_real(rois, row * 5)
                                      : 0;
    return v >= 0 && v < 1e9 ? (int64_t)v : -1;
}

/* [x, rois, batch_indices?] */
static bool roi_align_run(const struct kernel_call *c, struct bpu_error *err)
{
    const struct tensor *rois = kernel_in(c, 1), *images = kernel_in(c, 2);
    double scale = node_float(c->node, "spatial_scale", 1);
    if (images && real_count(images) < roi_count(rois))
        return kernel_unsupported(c, err, "there are fewer image numbers than regions");
    for (int64_t row = 0; row < roi_count(rois); row++)
        if (!roi_pool(c, kernel_in(c, 0), scale, rois, row, roi_image(rois, images, row), err))
            return false;
    return true;
}

bool real_roi_align(const struct kernel_call *c, struct bpu_error *err)
{
    return roi_align_run(c, err);
}

bool fixed_roi_align(const struct kernel_call *c, struct bpu_error *err)
{
    return roi_align_run(c, err);
}

/* [maps …, rois]: the first map has spatial_scale (1/4 by default), the others in proportion to
 * their height. A region of area A is taken from level  floor(4 + log2(sqrt(A) / 224) + 1e-6),
 * where level k has the scale 2^-k, or the nearest level that there is. */
static bool multi_roi_align_run(const struct kernel_call *c, struct bpu_error *err)
{
    int maps = c->in_count - 1;
    const struct tensor *rois = kernel_in(c, maps);
    double scale = node_float(c->node, "spatial_scale", .25);
    if (!(scale > 0) || !isfinite(scale))
        return kernel_unsupported(c, err, "spatial_scale %g must be positive and finite", scale);
    for (int i = 0; i < maps; i++)
        if (c->in[i]->shape.rank != 4 || c->in[i]->shape.dim[1] != c->out[0]->shape.dim[1])
            return kernel_unsupported(c, err, "the feature maps have not the same channels");
    for (int64_t row = 0; row < roi_count(rois); row++) {
        int64_t width = roi_width(rois), at = row * width + width - 4;
        double w = tensor_real(rois, at + 2) - tensor_real(rois, at),
               h = tensor_real(rois, at + 3) - tensor_real(rois, at + 1);
        double level = floor(4 + log2(sqrt(w * h) / 224) + 1e-6) + nearbyint(log2(scale));
        int pick = level > 0 ? (level < maps - 1 ? (int)level : maps - 1) : 0;
        const struct tensor *map = c->in[pick];
        double ratio = (double)map->shape.dim[2] / (double)c->in[0]->shape.dim[2];
        if (!roi_pool(c, map, scale * exp2(nearbyint(log2(ratio))), rois, row,
                      roi_image(rois, NULL, row), err))
            return false;
    }
    return true;
}

bool real_multi_roi_align(const struct kernel_call *c, struct bpu_error *err)
{
    return multi_roi_align_run(c, err);
}

bool fixed_multi_roi_align(const struct kernel_call *c, struct bpu_error *err)
{
    return multi_roi_align_run(c, err);
}
