/* layout: native blocks, strides, and the order of inputs and outputs in DDR.
 *
 * A map gets the block that pads it least; of equals the first one of the march's list, which the
 * conv array prefers.  Parts lie inside their parent and share its layout. */
#include <string.h>

#include "core/base/checked.h"
#include "core/compile/schedule.h"

static int64_t round_up(int64_t v, int64_t to)
{
    return (v + to - 1) / to * to;
}

static int choose_block(const struct map *m, const struct machine *machine)
{
    double best = 0;
    int found = 0;
    for (int i = 0; i < MACHINE_MAX_BLOCKS && machine->blocks[i].h; i++) {
        const struct machine_block *b = &machine->blocks[i];
        double padded = (double)round_up(m->h, b->h) * (double)round_up(m->w, b->w) *
                        (double)round_up(m->c, b->c);
        if (i == 0 || padded < best) {
            best = padded;
            found = i;
        }
    }
    return found;
}

bool layout_maps(struct network *net, struct bpu_error *err)
{
    for (int i = 0; i < net->map_count; i++) {
        struct map *m = net->maps[i];
        if (m->parent)
            continue;
        m->block = choose_block(m, net->machine);
        const struct machine_block *b = &net->machine->blocks[m->block];
        int64_t size = (int64_t)dtype_size(m->dtype), rows, all;
        m->frame_rows = (int)round_up(m->h, b->h);
        m->stride_c = (int64_t)b->h * b->w * b->c * size;
        if (__builtin_mul_overflow(m->stride_c, (m->c + b->c - 1) / b->c, &m->stride_w) ||
            __builtin_mul_overflow(m->stride_w, (m->w + b->w - 1) / b->w, &m->stride_h) ||
            __builtin_mul_overflow((int64_t)m->n, m->frame_rows / b->h, &rows) ||
            __builtin_mul_overflow(rows, m->stride_h, &all) || all > (int64_t)1 << 40)
            return error_set(err, BPU_LIMIT, m->name,
                             "the feature map of %d x %d x %d x %d elements is larger than the "
                             "machine's address space",
                             m->n, m->h, m->w, m->c);
        m->row_bytes = m->stride_h;
    }
    for (int i = 0; i < net->map_count; i++) {
        struct map *m = net->maps[i];
        if (!m->parent)
            continue;
        m->block = m->parent->block;
        m->frame_rows = m->parent->frame_rows;
        m->stride_h = m->parent->stride_h;
        m->stride_w = m->parent->stride_w;
        m->stride_c = m->parent->stride_c;
        m->row_bytes = m->parent->row_bytes;
    }
    return true;
}

/* Published alignment of tensors in DDR: 256 k + {0, 16, 32, 64, 128} bytes. */
static int64_t align_run(int64_t bytes)
{
    static const int64_t rest[] = {0, 16, 32, 64, 128, 256};
    int64_t whole = bytes / 256 * 256;
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++)
        if (bytes <= whole + rest[i])
            return whole + rest[i];
    return whole + 256;
}

struct tile layout_io(const struct map *m, bool image, enum io_layout layout,
                      const struct machine *machine, int64_t *bytes)
{
    int64_t size = (int64_t)dtype_size(m->dtype);
    struct tile t = {.space = SPACE_DDR, .dtype = (uint8_t)m->dtype, .block_h = 1, .block_w = 1,
                     .block_c = 1, .n = m->n, .h = m->h, .w = m->w, .c = m->c, .frame_rows = m->h,
                     .scale = m->scale, .zero = m->zero};
    if (layout == IO_RAW) {
        const struct machine_block *b = &machine->blocks[m->block];
        t.block_h = (uint8_t)b->h;
        t.block_w = (uint8_t)b->w;
        t.block_c = (uint8_t)b->c;
        t.frame_rows = m->frame_rows;
        t.stride_h = m->stride_h;
        t.stride_w = m->stride_w;
        t.stride_c = m->stride_c;
        *bytes = map_bytes(m, b);
        return t;
    }
    if (layout == IO_NCHW && image) {
        t.stride_c = align_run(m->w * size) * m->h;
        t.stride_w = size;
        t.stride_h = align_run(m->w * size);
        t.stride_n = t.stride_c * m->c;
        *bytes = t.stride_n * m->n;
        return t;
    }
    t.stride_c = size;
    if (m->c <= 4) {
        t.stride_w = m->c * size;
        t.stride_h = round_up(m->w, 32) * t.stride_w;
        t.stride_n = round_up(m->h, 2) * t.stride_h;
    } else {
        t.stride_w = align_run(m->c * size);
        t.stride_h = m->w * t.stride_w;
        t.stride_n = m->h * t.stride_h;
    }
    *bytes = t.stride_n * m->n;
    return t;
}
