/* verify_real: that the operands of an instruction fit its row of isa_real.def; the parts and the
 * form of rules are those of verify_operands.c.  What depends on an operand's content (indices,
 * regions, places in a table of taps) is checked where it is executed. */
#include "core/base/checked.h"
#include "core/program/args_real.h"
#include "core/program/program_private.h"

/* The largest window, stride or padding, and number of channels of a recurrence. */
#define WINDOW_MAX (1 << 20)

static const struct tile *tile(const struct verify *v, int t)
{
    return &v->i->tiles[t];
}

static bool given(const struct verify *v, int t)
{
    return t < v->i->tile_count && v->i->tiles[t].n > 0;
}

static int64_t along(const struct tile *t, int axis)
{
    const int32_t extents[AXIS_COUNT] = {t->n, t->h, t->w, t->c};
    return extents[axis];
}

static int64_t elements(const struct tile *t)
{
    return (int64_t)t->n * t->h * t->w * t->c;
}

/* ── parts of rules ── */

static bool is_real(const struct tile *t)
{
    return dtype_is_float((enum dtype)t->dtype);
}

static bool check_integers(const struct verify *v)
{
    return (!is_real(tile(v, 0)) && !is_real(tile(v, 1))) ||
           verify_refuse(v, "the instruction works on stored integers");
}

/* y has x's extents except along an axis (-1: everywhere). */
static bool check_alike(const struct verify *v, int axis)
{
    for (int a = 0; a < AXIS_COUNT; a++)
        if (a != axis && along(tile(v, 0), a) != along(tile(v, 1), a))
            return verify_refuse(v, "y has %lld elements along %c, x %lld",
                                 (long long)along(tile(v, 0), a), "nhwc"[a],
                                 (long long)along(tile(v, 1), a));
    return true;
}

static bool check_same(const struct verify *v)
{
    return verify_same_extents(v, 0, 1);
}

/* y has 1 element along the axes of the set, x's number along the others. */
static bool check_reduced(const struct verify *v)
{
    unsigned axes = (unsigned)v->i->args[0];
    for (int a = 0; a < AXIS_COUNT; a++)
        if (along(tile(v, 0), a) != (axes & 1u << a ? 1 : along(tile(v, 1), a)))
            return verify_refuse(v, "y has %lld elements along %c", (long long)along(tile(v, 0), a),
                                 "nhwc"[a]);
    return true;
}

static bool check_reduced_integers(const struct verify *v)
{
    return check_reduced(v) && check_integers(v);
}

/* `count` numbers of a kind lie in tile t; count -1: beyond 64 bits. */
static bool check_numbers(const struct verify *v, int t, int kind, int64_t count)
{
    int64_t has = tile_flat_bytes(tile(v, t)), needs = count;
    if (has < 0)
        return verify_refuse(v, "its numbers are not one run of bytes");
    if (count < 0 || !checked_mul(count, kind ? 8 : 4, &needs) || has < needs)
        return verify_refuse(v, "it has %lld bytes of numbers, and needs %lld", (long long)has,
                             (long long)needs);
    return true;
}

static bool check_planes(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *x = tile(v, 1);
    return (y->n == x->n && y->c == x->c) ||
           verify_refuse(v, "y has %d frames of %d channels, x %d of %d", y->n, y->c, x->n, x->c);
}

/* ── along one axis ── */

static const struct operand_range softmax_ranges[] = {{SOFTMAX_AXIS, 0, 3},
                                                      {SOFTMAX_LOGARITHM, 0, 1}};
static const struct operand_range hardmax_ranges[] = {{HARDMAX_AXIS, 0, 3}};
static const struct operand_range glu_ranges[] = {{GLU_AXIS, 0, 3}};
static const struct operand_range cumsum_ranges[] = {
    {CUMSUM_AXIS, 0, 3}, {CUMSUM_EXCLUSIVE, 0, 1}, {CUMSUM_REVERSE, 0, 1}};
static const struct operand_range sort_ranges[] = {
    {SORT_AXIS, 0, 3}, {SORT_DESCENDING, 0, 1}, {SORT_POSITIONS, 0, 1}};

static bool check_glu(const struct verify *v)
{
    int axis = v->i->args[GLU_AXIS];
    if (!check_alike(v, axis))
        return false;
    return along(tile(v, 1), axis) == 2 * along(tile(v, 0), axis) ||
           verify_refuse(v, "x is not twice as long as y along %c", "nhwc"[axis]);
}

static bool check_sort(const struct verify *v)
{
    int axis = v->i->args[SORT_AXIS];
    if (!check_alike(v, axis) || !check_integers(v))
        return false;
    return along(tile(v, 0), axis) <= along(tile(v, 1), axis) ||
           verify_refuse(v, "y is longer than x along %c", "nhwc"[axis]);
}

/* ── axes that go away ── */

static const struct operand_range sum_ranges[] = {
    {REDUCE_SUM_AXES, 0, 15}, {REDUCE_SUM_SHIFT, 0, 62}, {REDUCE_SUM_RULE, 0, 1}};
static const struct operand_range extreme_ranges[] = {{REDUCE_EXTREME_AXES, 0, 15},
                                                      {REDUCE_EXTREME_LARGEST, 0, 1}};
static const struct operand_range reduce_ranges[] = {{REDUCE_REAL_AXES, 0, 15},
                                                     {REDUCE_REAL_ORDER, 0, NEST_COUNT - 1},
                                                     {REDUCE_REAL_FUNCTION, 0, REDUCE_COUNT - 1}};
static const struct operand_range position_ranges[] = {{POSITION_AXES, 0, 15},
                                                       {POSITION_ORDER, 0, NEST_COUNT - 1},
                                                       {POSITION_LARGEST, 0, 1},
                                                       {POSITION_LAST, 0, 1}};

/* ── normalization ── */

static const struct operand_range normalize_ranges[] = {{NORMALIZE_AXES, 0, 15},
                                                        {NORMALIZE_GROUPS, 0, INT32_MAX},
                                                        {NORMALIZE_PER_CHANNEL, 0, 1},
                                                        {NORMALIZE_ORDER, 0, NEST_COUNT - 1},
                                                        {NORMALIZE_KIND, 0, 1}};
static const struct operand_range affine_ranges[] = {{AFFINE_KIND, 0, 1}};
static const struct operand_range response_ranges[] = {{RESPONSE_NORM_SIZE, 1, INT32_MAX},
                                                       {RESPONSE_NORM_BEFORE, 0, INT32_MAX}};

static bool check_normalize(const struct verify *v)
{
    const int32_t *args = v->i->args;
    const struct tile *x = tile(v, 1);
    int64_t pairs = 1;
    if (!check_same(v))
        return false;
    if (args[NORMALIZE_GROUPS] &&
        (args[NORMALIZE_AXES] & 1 << AXIS_C || x->c % args[NORMALIZE_GROUPS]))
        return verify_refuse(v, "%d channels in %d groups", x->c, args[NORMALIZE_GROUPS]);
    for (int a = 0; a < AXIS_COUNT; a++)
        pairs *= args[NORMALIZE_AXES] & 1 << a ? along(x, a) : 1;
    return !given(v, 2) || check_numbers(v, 2, args[NORMALIZE_KIND],
                                         2 * (args[NORMALIZE_PER_CHANNEL] ? x->c : pairs));
}

static bool check_affine(const struct verify *v)
{
    return check_same(v) &&
           check_numbers(v, 2, v->i->args[AFFINE_KIND], 4 * (int64_t)tile(v, 1)->c);
}

/* ── windows and resampling ── */

static const struct operand_range power_ranges[] = {{POOL_POWER_KERNEL_H, 1, WINDOW_MAX},
                                                    {POOL_POWER_KERNEL_W, 1, WINDOW_MAX},
                                                    {POOL_POWER_STRIDE_H, 1, WINDOW_MAX},
                                                    {POOL_POWER_STRIDE_W, 1, WINDOW_MAX},
                                                    {POOL_POWER_PAD_TOP, -WINDOW_MAX, WINDOW_MAX},
                                                    {POOL_POWER_PAD_LEFT, -WINDOW_MAX, WINDOW_MAX},
                                                    {POOL_POWER_MAGNITUDE, 0, 1}};
static const struct operand_range resize_ranges[] = {{RESIZE_OUT_H, 1, INT32_MAX},
                                                     {RESIZE_MOST_H, 0, 1 << 24},
                                                     {RESIZE_MOST_W, 0, 1 << 24},
                                                     {RESIZE_FIRST_OUT_H, 0, INT32_MAX},
                                                     {RESIZE_FIRST_IN_H, 0, INT32_MAX}};
static const struct operand_range grid_ranges[] = {{GRID_SAMPLE_MODE, 0, SAMPLE_COUNT - 1},
                                                   {GRID_SAMPLE_BORDER, 0, EDGE_COUNT - 1},
                                                   {GRID_SAMPLE_ALIGN_CORNERS, 0, 1}};
static const struct operand_range roi_ranges[] = {{ROI_ALIGN_SAMPLING, 0, 1024},
                                                  {ROI_ALIGN_ALIGNED, 0, 1},
                                                  {ROI_ALIGN_MAXIMUM, 0, 1},
                                                  {ROI_ALIGN_LEVELS, 0, 1}};

static bool check_resize(const struct verify *v)
{
    const int32_t *args = v->i->args;
    const struct tile *y = tile(v, 0);
    int64_t has = tile_flat_bytes(tile(v, 2));
    int64_t rows = args[RESIZE_OUT_H] * (8 + 16 * (int64_t)args[RESIZE_MOST_H]);
    int64_t columns = y->w * (8 + 16 * (int64_t)args[RESIZE_MOST_W]);
    if (!check_planes(v))
        return false;
    if (args[RESIZE_FIRST_OUT_H] > args[RESIZE_OUT_H] - y->h)
        return verify_refuse(v, "rows %d … of a result of %d", args[RESIZE_FIRST_OUT_H],
                             args[RESIZE_OUT_H]);
    return has >= rows + columns || verify_refuse(v, "the table has %lld bytes and needs %lld",
                                                  (long long)has, (long long)(rows + columns));
}

static bool check_grid(const struct verify *v)
{
    const struct tile *y = tile(v, 0), *grid = tile(v, 2);
    if (!check_planes(v))
        return false;
    return (grid->n == y->n && grid->h == y->h && grid->w == y->w && grid->c == 2) ||
           verify_refuse(v, "the grid has not two numbers for each position of y");
}

static bool check_roi(const struct verify *v)
{
    const struct tile *y = tile(v, ROI_TILE_Y), *rois = tile(v, ROI_TILE_ROIS);
    const struct tile *images = tile(v, ROI_TILE_IMAGES);
    if (rois->n != 1 || rois->h != 1 || rois->w != y->n || (rois->c != 4 && rois->c != 5))
        return verify_refuse(v, "the regions are not %d rows of 4 or 5 numbers", y->n);
    if (given(v, ROI_TILE_IMAGES) && (elements(images) != y->n || images->c != y->n))
        return verify_refuse(v, "there is not one frame number for each region");
    for (int t = ROI_TILE_X; t < v->i->tile_count; t++)
        if (!given(v, t) || tile(v, t)->c != y->c)
            return verify_refuse(v, "a feature map has not y's channels");
    return v->i->tile_count > ROI_TILE_X || verify_refuse(v, "there is no feature map");
}

/* ── real weights ── */

static const struct operand_range linear_ranges[] = {{LINEAR_REAL_UNIT_CHANNELS, 1, INT32_MAX},
                                                     {LINEAR_REAL_UNIT_BYTES, 1, INT32_MAX},
                                                     {LINEAR_REAL_KIND, 0, 1}};
static const struct operand_range attend_ranges[] = {
    {ATTEND_HEADS, 1, INT32_MAX},        {ATTEND_TARGET, AXIS_H, AXIS_W},
    {ATTEND_IMAGE_AXIS, AXIS_H, AXIS_W}, {ATTEND_FIRST_TARGET, 0, INT32_MAX},
    {ATTEND_FIRST_IMAGE, 0, INT32_MAX},  {ATTEND_RESULT, 0, ATTEND_RESULTS - 1}};
static const struct operand_range recur_ranges[] = {{RECUR_CELL, 0, RECUR_CELLS - 1},
                                                    {RECUR_HIDDEN, 1, WINDOW_MAX},
                                                    {RECUR_STATE, 1, WINDOW_MAX},
                                                    {RECUR_PEEPHOLE, 0, 1},
                                                    {RECUR_PROJECTION, 0, 1},
                                                    {RECUR_RESET_AFTER, 0, 1},
                                                    {RECUR_REVERSE, 0, 1},
                                                    {RECUR_KIND, 0, 1},
                                                    {RECUR_X_TIME, AXIS_H, AXIS_W},
                                                    {RECUR_Y_TIME, AXIS_N, AXIS_W},
                                                    {RECUR_Y_IMAGE, AXIS_N, AXIS_W},
                                                    {RECUR_H_IMAGE, AXIS_N, AXIS_W},
                                                    {RECUR_RESULT, 0, RECUR_RESULTS - 1}};

static bool check_linear(const struct verify *v)
{
    const int32_t *args = v->i->args;
    int64_t per = args[LINEAR_REAL_UNIT_CHANNELS], bytes = args[LINEAR_REAL_UNIT_BYTES], needs;
    int64_t units = (tile(v, 0)->c + per - 1) / per, row = tile(v, 1)->c + (int64_t)1;
    if (!check_alike(v, AXIS_C))
        return false;
    if (!checked_mul(per * (args[LINEAR_REAL_KIND] ? 8 : 4), row, &needs) || needs > bytes)
        return verify_refuse(v, "a unit of %lld bytes is too short for %lld channels",
                             (long long)bytes, (long long)per);
    return check_numbers(v, 2, 0, units * bytes / 4);
}

static bool check_attend(const struct verify *v)
{
    const int32_t *args = v->i->args;
    const struct tile *q = tile(v, 1), *k = tile(v, 2);
    if (args[ATTEND_TARGET] == args[ATTEND_IMAGE_AXIS])
        return verify_refuse(v, "rows and images are the same axis");
    if (q->c % args[ATTEND_HEADS] || k->c != q->c || q->n != 1 || k->n != 1)
        return verify_refuse(v, "%d heads of %d channels in q, %d in k", args[ATTEND_HEADS], q->c,
                             k->c);
    if (along(q, args[ATTEND_IMAGE_AXIS]) != along(k, args[ATTEND_IMAGE_AXIS]))
        return verify_refuse(v, "q and k have not the same number of images");
    if (args[ATTEND_RESULT] != ATTEND_VALUES)
        return true;
    if (!given(v, 3))
        return verify_refuse(v, "there is no v");
    return verify_same_extents(v, 0, 1) && verify_same_extents(v, 2, 3);
}

static bool check_recur(const struct verify *v)
{
    static const int64_t gates[RECUR_CELLS] = {4, 3, 1, 1};
    const int32_t *args = v->i->args;
    int64_t hidden = args[RECUR_HIDDEN], state = args[RECUR_STATE],
            rows = gates[args[RECUR_CELL]] * hidden;
    int64_t width = args[RECUR_RESULT] == RECUR_CELL_STATE ? hidden : state;
    if (tile(v, 1)->c != rows || tile(v, 1)->n != 1 || tile(v, 0)->c != width)
        return verify_refuse(v, "gates have %d channels instead of %lld, y %d instead of %lld",
                             tile(v, 1)->c, (long long)rows, tile(v, 0)->c, (long long)width);
    if (args[RECUR_CELL] != RECUR_LSTM && (args[RECUR_PROJECTION] || args[RECUR_PEEPHOLE]))
        return verify_refuse(v, "only an LSTM has projections and peepholes");
    if (!args[RECUR_PROJECTION] && state != hidden)
        return verify_refuse(v, "a state of %lld without projection from %lld", (long long)state,
                             (long long)hidden);
    int64_t count = rows * state + (args[RECUR_CELL] == RECUR_GRU ? 2 * hidden : 0) +
                    (args[RECUR_PROJECTION] ? state * hidden : 0) +
                    (args[RECUR_PEEPHOLE] ? 3 * hidden : 0);
    return check_numbers(v, 4, args[RECUR_KIND], count);
}

/* ── moving by index ── */

static const struct operand_range pick_ranges[] = {{PICK_AXIS, 0, 3}, {PICK_FIRST, 0, INT32_MAX}};
static const struct operand_range gather_ranges[] = {{GATHER_ORDER_Y, 0, NEST_COUNT - 1},
                                                     {GATHER_ORDER_X, 0, NEST_COUNT - 1},
                                                     {GATHER_ORDER_INDEX, 0, NEST_COUNT - 1},
                                                     {GATHER_DEPTH, 1, INDEX_MAX_DEPTH},
                                                     {GATHER_LOOPS, 0, INDEX_MAX_LOOPS}};
static const struct operand_range scatter_ranges[] = {
    {SCATTER_ORDER_Y, 0, NEST_COUNT - 1},     {SCATTER_ORDER_X, 0, NEST_COUNT - 1},
    {SCATTER_ORDER_INDEX, 0, NEST_COUNT - 1}, {SCATTER_ORDER_UPDATES, 0, NEST_COUNT - 1},
    {SCATTER_FUNCTION, 0, SCATTER_COUNT - 1}, {SCATTER_DEPTH, 1, INDEX_MAX_DEPTH},
    {SCATTER_LOOPS, 0, INDEX_MAX_LOOPS}};
static const struct operand_range one_hot_ranges[] = {{ONE_HOT_ORDER_Y, 0, NEST_COUNT - 1},
                                                      {ONE_HOT_ORDER_X, 0, NEST_COUNT - 1},
                                                      {ONE_HOT_DEPTH, 1, INT32_MAX},
                                                      {ONE_HOT_INNER, 1, INT32_MAX}};

static bool check_pick(const struct verify *v)
{
    int axis = v->i->args[PICK_AXIS];
    if (!check_alike(v, axis))
        return false;
    return elements(tile(v, 2)) - v->i->args[PICK_FIRST] >= along(tile(v, 0), axis) ||
           verify_refuse(v, "%lld indices are too few", (long long)elements(tile(v, 2)));
}

/* The turns of all loops together are `most` at most, and the indexed axes have elements. */
static bool check_loops(const struct verify *v, int depth, int first, int size, int64_t least,
                        int64_t most)
{
    const int32_t *args = v->i->args;
    int64_t turns = 1;
    for (int i = 0; i < args[first - 1]; i++)
        if (args[first + i * size] < 1 || !checked_mul(turns, args[first + i * size], &turns) ||
            turns > most)
            return verify_refuse(v, "its loops make more than %lld turns", (long long)most);
    for (int d = 0; d < args[depth]; d++)
        if (args[depth + 2 + d] < 1)
            return verify_refuse(v, "indexed axis %d has no elements", d);
    return turns >= least || verify_refuse(v, "its loops make %lld turns for %lld elements",
                                           (long long)turns, (long long)least);
}

static bool check_gather(const struct verify *v)
{
    int64_t count = elements(tile(v, 0));
    return check_loops(v, GATHER_DEPTH, GATHER_FIRST_LOOP, GATHER_LOOP_SIZE, count, count);
}

static bool check_scatter(const struct verify *v)
{
    if (elements(tile(v, 0)) != elements(tile(v, 1)))
        return verify_refuse(v, "y has not the elements of x");
    /* One turn per update, or one update for all indices. */
    int64_t updates = elements(tile(v, 3)), indices = elements(tile(v, 2));
    return check_loops(v, SCATTER_DEPTH, SCATTER_FIRST_LOOP, SCATTER_LOOP_SIZE, 1,
                       updates > indices ? updates : indices);
}

static bool check_one_hot(const struct verify *v)
{
    int64_t depth = v->i->args[ONE_HOT_DEPTH], each;
    if (!check_integers(v))
        return false;
    return (checked_mul(elements(tile(v, 1)), depth, &each) && each == elements(tile(v, 0)) &&
            elements(tile(v, 1)) % v->i->args[ONE_HOT_INNER] == 0) ||
           verify_refuse(v, "y has not %lld elements for each of x", (long long)depth);
}

static const struct operand_rule rules[OP_COUNT] = {
    [OP_SOFTMAX] = {OPERAND_RANGES(softmax_ranges), check_same},
    [OP_HARDMAX] = {OPERAND_RANGES(hardmax_ranges), check_same},
    [OP_GLU] = {OPERAND_RANGES(glu_ranges), check_glu},
    [OP_CUMSUM] = {OPERAND_RANGES(cumsum_ranges), check_same},
    [OP_SORT] = {OPERAND_RANGES(sort_ranges), check_sort},
    [OP_REDUCE_SUM] = {OPERAND_RANGES(sum_ranges), check_reduced_integers},
    [OP_REDUCE_EXTREME] = {OPERAND_RANGES(extreme_ranges), check_reduced_integers},
    [OP_REDUCE_REAL] = {OPERAND_RANGES(reduce_ranges), check_reduced},
    [OP_POSITION] = {OPERAND_RANGES(position_ranges), check_reduced_integers},
    [OP_NORMALIZE] = {OPERAND_RANGES(normalize_ranges), check_normalize},
    [OP_AFFINE] = {OPERAND_RANGES(affine_ranges), check_affine},
    [OP_RESPONSE_NORM] = {OPERAND_RANGES(response_ranges), check_same},
    [OP_POOL_POWER] = {OPERAND_RANGES(power_ranges), check_planes},
    [OP_RESIZE] = {OPERAND_RANGES(resize_ranges), check_resize},
    [OP_GRID_SAMPLE] = {OPERAND_RANGES(grid_ranges), check_grid},
    [OP_ROI_ALIGN] = {OPERAND_RANGES(roi_ranges), check_roi},
    [OP_LINEAR_REAL] = {OPERAND_RANGES(linear_ranges), check_linear},
    [OP_ATTEND] = {OPERAND_RANGES(attend_ranges), check_attend},
    [OP_RECUR] = {OPERAND_RANGES(recur_ranges), check_recur},
    [OP_PICK] = {OPERAND_RANGES(pick_ranges), check_pick},
    [OP_GATHER] = {OPERAND_RANGES(gather_ranges), check_gather},
    [OP_SCATTER] = {OPERAND_RANGES(scatter_ranges), check_scatter},
    [OP_ONE_HOT] = {OPERAND_RANGES(one_hot_ranges), check_one_hot},
};

const struct operand_rule *verify_rule_real(enum opcode op)
{
    const struct operand_rule *rule = &rules[op];
    return rule->ranges || rule->check ? rule : NULL;
}
