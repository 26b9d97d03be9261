/* sim_memory: the memories, and what was written into them.
 *
 * On-chip memory of each core, and DDR: constants first, then inputs, outputs and workspace.  One
 * byte beside each byte of memory says whether somebody wrote it in this frame.  Before the first
 * frame all memory holds noise: what is read without having been written would be found even where
 * this is not looked at. */
#include <stdio.h>
#include <stdlib.h>

#include "core/sim/sim_machine.h"

struct sim_memory *sim_memory_of(struct sim *s, const struct instruction *i, const struct tile *t)
{
    return t->space == SPACE_DDR ? &s->ddr : &s->sram[i->core];
}

static int by_first(const void *a, const void *b)
{
    const struct sim_area *x = a, *y = b;
    return x->first < y->first ? -1 : x->first > y->first;
}

static struct sim_area *area_add(struct sim_memory *m, int64_t first, int64_t end, bool read_only,
                                 const char *what)
{
    struct sim_area *area = &m->areas[m->area_count++];
    *area = (struct sim_area){.first = first, .end = end, .read_only = read_only, .what = what};
    return area;
}

/* What lies between the areas is one more area each: workspace. */
static bool fill_gaps(struct sim_memory *m, struct bpu_error *err)
{
    int count = m->area_count;
    int64_t at = 0;
    qsort(m->areas, (size_t)count, sizeof *m->areas, by_first);
    for (int i = 0; i < count; i++) {
        if (m->areas[i].first < at) {
            error_set(err, BPU_BAD_MODEL, m->areas[i].what, "overlaps another part of DDR");
            return false;
        }
        if (m->areas[i].first > at)
            area_add(m, at, m->areas[i].first, false, "the workspace");
        at = m->areas[i].end;
    }
    if (at < m->size)
        area_add(m, at, m->size, false, "the workspace");
    qsort(m->areas, (size_t)m->area_count, sizeof *m->areas, by_first);
    return true;
}

static bool ddr_areas(struct sim *s, struct bpu_error *err)
{
    const struct program *p = s->program;
    struct sim_memory *m = &s->ddr;
    int count = p->input_count + p->output_count + 1;
    m->areas = ARENA_ARRAY(s->arena, struct sim_area, 2 * count + 1, err);
    if (!m->areas)
        return false;
    if (p->constant_bytes)
        area_add(m, 0, p->constant_bytes, true, "the constants");
    for (int i = 0; i < p->input_count + p->output_count; i++) {
        bool input = i < p->input_count;
        const struct program_io *io = input ? &p->inputs[i] : &p->outputs[i - p->input_count];
        if (io->address < 0 || io->bytes < 0 || io->bytes > m->size - io->address)
            return error_set(err, BPU_BAD_MODEL, io->name, "it lies outside of DDR");
        bool twice = false; /* one tensor may be two outputs, or an input that is an output */
        for (int k = 0; k < m->area_count; k++)
            twice |= m->areas[k].first == io->address && m->areas[k].end == io->address + io->bytes;
        if (io->bytes && !twice)
            area_add(m, io->address, io->address + io->bytes, input, io->name);
    }
    return fill_gaps(m, err);
}

static bool memory_new(struct sim *s, struct sim_memory *m, int64_t size, int64_t fixed,
                       struct bpu_error *err)
{
    m->size = size;
    m->fixed = fixed;
    if (size < 0 || fixed < 0 || fixed > size)
        return error_set(err, BPU_BAD_MODEL, m->name, "%lld bytes", (long long)size);
    m->bytes = arena_reserve(s->arena, (size_t)size, err);
    if (!m->bytes)
        return false;
    if (!s->options.unchecked) {
        m->written = arena_reserve(s->arena, (size_t)(size - fixed), err);
        if (!m->written)
            return false;
    }
    return true;
}

static uint64_t noise(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static void poison(struct sim_memory *m, uint64_t seed)
{
    int64_t at = m->fixed;
    for (; at + 8 <= m->size; at += 8) {
        uint64_t v = noise(&seed);
        memcpy(m->bytes + at, &v, sizeof v);
    }
    for (; at < m->size; at++)
        m->bytes[at] = (unsigned char)noise(&seed);
}

bool sim_memory_new(struct sim *s, struct bpu_error *err)
{
    const struct program *p = s->program;
    snprintf(s->ddr.name, sizeof s->ddr.name, "DDR");
    if (!memory_new(s, &s->ddr, p->ddr_bytes, p->constant_bytes, err) || !ddr_areas(s, err))
        return false;
    if (p->constant_bytes)
        memcpy(s->ddr.bytes, p->constants, (size_t)p->constant_bytes);
    poison(&s->ddr, s->options.seed);
    for (int core = 0; core < p->cores; core++) {
        struct sim_memory *m = &s->sram[core];
        snprintf(m->name, sizeof m->name, "on-chip memory of core %d", core);
        m->areas = ARENA_NEW(s->arena, struct sim_area, err);
        if (!m->areas || !memory_new(s, m, p->sram_bytes, 0, err))
            return false;
        area_add(m, 0, m->size, false, m->name);
        poison(m, s->options.seed + (uint64_t)core + 1);
    }
    return true;
}

static void memory_clear(struct sim_memory *m)
{
    if (m->written)
        memset(m->written, 0, (size_t)(m->size - m->fixed));
}

void sim_memory_clear(struct sim *s)
{
    memory_clear(&s->ddr);
    for (int core = 0; core < s->program->cores; core++)
        memory_clear(&s->sram[core]);
}

/* ── content ── */

bool sim_content_read(const struct sim_view *v, int64_t *at)
{
    const struct sim_memory *m = v->memory;
    SIM_EACH_RUN(v, first, bytes, {
        int64_t from = first < m->fixed ? m->fixed : first;
        if (from < first + bytes) {
            const unsigned char *w = m->written + (from - m->fixed);
            const unsigned char *hole = memchr(w, 0, (size_t)(first + bytes - from));
            if (hole) {
                *at = from + (hole - w);
                return false;
            }
        }
    })
    return true;
}

void sim_content_write(const struct sim_view *v, const unsigned char *wrote)
{
    unsigned char *written = v->memory->written;
    int64_t fixed = v->memory->fixed;
    const struct tile *t = v->tile;
    if (!wrote) {
        SIM_EACH_RUN(v, first, bytes, { memset(written + (first - fixed), 1, (size_t)bytes); })
        return;
    }
    size_t element = dtype_size((enum dtype)t->dtype);
    for (int64_t r = 0; r < v->row_count; r++)
        for (int64_t k = 0; k < t->w; k++)
            for (int64_t l = 0; l < t->c; l++)
                if (*wrote++)
                    memset(written + (v->rows[r] + v->columns[k] + v->channels[l] - fixed), 1,
                           element);
}

struct sim_area *sim_area_of(const struct sim_memory *m, int64_t first, int64_t end)
{
    int low = 0, high = m->area_count - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (m->areas[middle].first <= first)
            low = middle;
        else
            high = middle - 1;
    }
    struct sim_area *a = m->area_count ? &m->areas[low] : NULL;
    return a && first >= a->first && end <= a->end ? a : NULL;
}
