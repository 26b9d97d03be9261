/* sim_real_sample: reading a map at positions that come from another map: grid_sample, RoIAlign. */
#include <math.h>

#include "core/sim/sim_real.h"

/* ── grid_sample ── */

struct sampling {
    int mode, edge;
    bool corners;
};

/* Back and forth between lo and hi. */
static double mirrored(double v, double lo, double hi)
{
    double length = hi - lo;
    if (length <= 0)
        return 0;
    double beyond = fabs(v - lo), rest = fmod(beyond, length);
    bool even = fmod(floor(beyond / length), 2) == 0;
    return even ? lo + rest : hi - rest;
}

static double at_edge(const struct sampling *s, double v, int64_t extent)
{
    double last = (double)(extent - 1);
    if (s->edge == EDGE_ZEROS)
        return v;
    if (s->edge == EDGE_REFLECT)
        v = s->corners ? mirrored(v, 0, last) : mirrored(v, -.5, last + .5);
    if (v < 0 || isnan(v))
        return 0;
    return v > last ? last : v;
}

struct neighbours {
    int count;
    int64_t at[4]; /* -1: outside, adds nothing */
    double weight[4];
};

static double cubic(double d)
{
    static const double a = -.75;
    return d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

/* Those of one axis, v in -1 … 1. */
static struct neighbours neighbours(const struct sampling *s, double v, int64_t extent)
{
    struct neighbours n = {s->mode == SAMPLE_NEAREST    ? 1
                           : s->mode == SAMPLE_BILINEAR ? 2
                                                        : 4,
                           {0},
                           {0}};
    double last = (double)(extent - 1);
    v = s->corners ? (v + 1) / 2 * last : ((v + 1) * (double)extent - 1) / 2;
    if (s->mode != SAMPLE_BICUBIC)
        v = at_edge(s, v, extent);
    double low = s->mode == SAMPLE_NEAREST ? nearbyint(v) : floor(v), part = v - low;
    for (int k = 0; k < n.count; k++) {
        double place = low + k;
        n.weight[k] = s->mode == SAMPLE_NEAREST ? 1 : k == 0 ? 1 - part : part;
        if (s->mode == SAMPLE_BICUBIC) {
            place -= 1;
            n.weight[k] = cubic(fabs(v - place));
            place = at_edge(s, place, extent);
        }
        n.at[k] = place >= 0 && place <= last ? (int64_t)place : -1;
    }
    return n;
}

bool sim_GRID_SAMPLE(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[0], *x = &c->tiles[1], *grid = &c->tiles[2];
    struct sampling s = {c->args[GRID_SAMPLE_MODE], c->args[GRID_SAMPLE_BORDER],
                         c->args[GRID_SAMPLE_ALIGN_CORNERS] != 0};
    if (!sim_in_range(c, GRID_SAMPLE_MODE, 0, SAMPLE_COUNT - 1, err) ||
        !sim_in_range(c, GRID_SAMPLE_BORDER, 0, EDGE_COUNT - 1, err))
        return false;
    if (x->n != y->n || x->c != y->c || grid->n != y->n || grid->h != y->h || grid->w != y->w ||
        grid->c != 2)
        return sim_bad(c, err, "extents of map, grid and result do not fit together");
    for (int64_t n = 0; n < y->n; n++)
        for (int64_t h = 0; h < y->h; h++)
            for (int64_t w = 0; w < y->w; w++) {
                struct neighbours u = neighbours(&s, sim_real(c, 2, n, h, w, 1), x->h);
                struct neighbours v = neighbours(&s, sim_real(c, 2, n, h, w, 0), x->w);
                for (int64_t l = 0; l < y->c; l++) {
                    double sum = 0;
                    for (int i = 0; i < u.count; i++)
                        for (int j = 0; j < v.count; j++)
                            if (u.at[i] >= 0 && v.at[j] >= 0)
                                sum += u.weight[i] * v.weight[j] *
                                       sim_real(c, 1, n, u.at[i], v.at[j], l);
                    sim_put_real(c, 0, n, h, w, l, sum);
                }
            }
    return true;
}

/* ── regions of interest ── */

#define ROI_MAX_SAMPLES 1024

/* A region on a map, and the samples of each of its bins. */
struct region {
    int map; /* tile */
    int64_t frame, rows, columns;
    double top, left, bin_h, bin_w;
};

/* Between four neighbours; 0 beyond one element outside of the map. */
static double bilinear(const struct sim_call *c, const struct region *r, double y, double x,
                       int64_t l)
{
    const struct tile *t = &c->tiles[r->map];
    double h = (double)t->h, w = (double)t->w;
    if (!(y >= -1 && y <= h && x >= -1 && x <= w))
        return 0;
    y = fmax(y, 0);
    x = fmax(x, 0);
    int64_t y0 = (int64_t)y, x0 = (int64_t)x, y1 = y0 + 1, x1 = x0 + 1;
    if (y0 >= t->h - 1) {
        y0 = y1 = t->h - 1;
        y = (double)y0;
    }
    if (x0 >= t->w - 1) {
        x0 = x1 = t->w - 1;
        x = (double)x0;
    }
    double b = y - (double)y0, right = x - (double)x0, a = 1 - b, left = 1 - right;
    double sum = a * left * sim_real(c, r->map, r->frame, y0, x0, l);
    sum += a * right * sim_real(c, r->map, r->frame, y0, x1, l);
    sum += b * left * sim_real(c, r->map, r->frame, y1, x0, l);
    sum += b * right * sim_real(c, r->map, r->frame, y1, x1, l);
    return sum;
}

static double roi_bin(const struct sim_call *c, const struct region *r, int64_t i, int64_t j,
                      int64_t l)
{
    bool maximum = c->args[ROI_ALIGN_MAXIMUM];
    double count = (double)(r->rows * r->columns), result = maximum && count > 0 ? -INFINITY : 0;
    for (int64_t a = 0; a < r->rows; a++) {
        double y = r->top + (double)i * r->bin_h + ((double)a + .5) * r->bin_h / (double)r->rows;
        for (int64_t b = 0; b < r->columns; b++) {
            double x =
                r->left + (double)j * r->bin_w + ((double)b + .5) * r->bin_w / (double)r->columns;
            double v = bilinear(c, r, y, x, l);
            result = maximum ? (v > result ? v : result) : result + v;
        }
    }
    return maximum ? result : result / (count > 0 ? count : 1);
}

/* Coordinate i of region k: the last four numbers of its row. */
static double corner(const struct sim_call *c, int64_t k, int i)
{
    return sim_real(c, ROI_TILE_ROIS, 0, 0, k, c->tiles[ROI_TILE_ROIS].c - 4 + i);
}

static double roi_level(const struct sim_call *c, int64_t k, double scale, int *map)
{
    int levels = c->tile_count - ROI_TILE_X;
    double w = corner(c, k, 2) - corner(c, k, 0), h = corner(c, k, 3) - corner(c, k, 1);
    double level = floor(4 + log2(sqrt(w * h) / 224) + 1e-6) + nearbyint(log2(scale));
    int pick = level > 0 ? (level < levels - 1 ? (int)level : levels - 1) : 0;
    *map = ROI_TILE_X + pick;
    return scale * exp2(nearbyint(log2((double)c->tiles[*map].h / (double)c->tiles[ROI_TILE_X].h)));
}

static bool roi_read(const struct sim_call *c, int64_t k, struct region *r, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[ROI_TILE_Y], *rois = &c->tiles[ROI_TILE_ROIS];
    double scale = sim_double(c, ROI_ALIGN_SCALE_LO), frame = 0, v[4];
    bool aligned = c->args[ROI_ALIGN_ALIGNED];
    *r = (struct region){.map = ROI_TILE_X};
    if (c->args[ROI_ALIGN_LEVELS])
        scale = roi_level(c, k, scale, &r->map);
    if (sim_given(c, ROI_TILE_IMAGES))
        frame = sim_real(c, ROI_TILE_IMAGES, 0, 0, 0, k);
    else if (rois->c == 5)
        frame = sim_real(c, ROI_TILE_ROIS, 0, 0, k, 0);
    if (!(frame >= 0 && frame < (double)c->tiles[r->map].n))
        return sim_bad(c, err, "region %lld lies in no frame", (long long)k);
    r->frame = (int64_t)frame;
    for (int i = 0; i < 4; i++)
        v[i] = corner(c, k, i) * scale - (aligned ? .5 : 0);
    double w = v[2] - v[0], h = v[3] - v[1];
    if (!aligned) {
        w = w < 1 ? 1 : w;
        h = h < 1 ? 1 : h;
    }
    r->left = v[0];
    r->top = v[1];
    r->bin_h = h / (double)y->h;
    r->bin_w = w / (double)y->w;
    double fixed = c->args[ROI_ALIGN_SAMPLING], rows = fixed > 0 ? fixed : ceil(r->bin_h),
           columns = fixed > 0 ? fixed : ceil(r->bin_w);
    if (!(rows <= ROI_MAX_SAMPLES && columns <= ROI_MAX_SAMPLES && fabs(v[0]) < 1e9 &&
          fabs(v[1]) < 1e9))
        return sim_bad(c, err, "region %lld is too large", (long long)k);
    r->rows = rows > 0 ? (int64_t)rows : 0;
    r->columns = columns > 0 ? (int64_t)columns : 0;
    if (r->rows == 0 || r->columns == 0)
        r->rows = r->columns = 0;
    return true;
}

bool sim_ROI_ALIGN(struct sim_call *c, struct bpu_error *err)
{
    const struct tile *y = &c->tiles[ROI_TILE_Y], *rois = &c->tiles[ROI_TILE_ROIS];
    const struct tile *images = &c->tiles[ROI_TILE_IMAGES];
    double scale = sim_double(c, ROI_ALIGN_SCALE_LO);
    if (c->tile_count <= ROI_TILE_X || rois->n != 1 || rois->h != 1 || rois->w != y->n ||
        (rois->c != 4 && rois->c != 5) ||
        (sim_given(c, ROI_TILE_IMAGES) &&
         (images->n != 1 || images->h != 1 || images->w != 1 || images->c != y->n)))
        return sim_bad(c, err, "regions and results do not fit together");
    for (int t = ROI_TILE_X; t < c->tile_count; t++)
        if (!sim_given(c, t) || c->tiles[t].c != y->c)
            return sim_bad(c, err, "the maps have not the result's channels");
    if (c->args[ROI_ALIGN_LEVELS] && !(scale > 0 && isfinite(scale)))
        return sim_bad(c, err, "the scale of a pyramid must be positive");
    for (int64_t k = 0; k < y->n; k++) {
        struct region r;
        if (!roi_read(c, k, &r, err))
            return false;
        for (int64_t i = 0; i < y->h; i++)
            for (int64_t j = 0; j < y->w; j++)
                for (int64_t l = 0; l < y->c; l++)
                    sim_put_real(c, 0, k, i, j, l, roi_bin(c, &r, i, j, l));
    }
    return true;
}
