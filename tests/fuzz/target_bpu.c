/* Compiled programs: the bytes of sections → container → reader and verifier → text, costs, the
 * estimator with its reports, and the same container again.
 *
 * The input is the sections one after the other, each behind its length in two bytes; the head with
 * its places and digests is made here, so that they do not keep the fuzzer out.  What begins with the
 * container's magic is read as it is. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/draw/program_svg.h"
#include "core/job/report_perf.h"
#include "core/job/report_perf_html.h"
#include "core/march/march.h"
#include "core/program/program_private.h"
#include "tests/fuzz/fuzz.h"

/* The container around sections. */
static void bpu_container(const uint8_t *data, size_t size, struct buf *out)
{
    static const unsigned char zeros[CONTAINER_ALIGN];
    unsigned char head[HEAD_SIZE] = CONTAINER_MAGIC;
    buf_add(out, head, sizeof head);
    for (int s = 0; s < SECTION_COUNT; s++) {
        size_t length = size < 2 ? 0 : (size_t)little_get(data, 2), skip = size < 2 ? size : 2;
        data += skip;
        size -= skip;
        length = length < size ? length : size;
        buf_add(out, zeros, -out->size % CONTAINER_ALIGN);
        unsigned char *entry = head + HEAD_TABLE + s * ENTRY_SIZE;
        memcpy(entry + ENTRY_TAG, section_tag((enum section)s), 4);
        little_put(entry + ENTRY_OFFSET, 8, out->size);
        little_put(entry + ENTRY_BYTES, 8, length);
        buf_add(out, data, length);
        data += length;
        size -= length;
    }
    little_put(head + HEAD_VERSION, 4, PROGRAM_VERSION);
    little_put(head + HEAD_SECTIONS, 4, SECTION_COUNT);
    little_put(head + HEAD_BYTES, 8, out->size);
    memcpy(out->data, head, sizeof head);
    FUZZ_REQUIRE(container_seal((unsigned char *)out->data, out->size), "cannot be sealed");
}

/* Everything that reads a verified program. */
static void bpu_use(const struct program *p)
{
    struct bpu_error err = {0};
    struct buf text;
    size_t count;
    buf_init(&text, FUZZ_QUOTA);
    FUZZ_REQUIRE(program_verify(p, &err), "%s (%s)", err.message, err.where);
    program_disassemble(p, &text);
    program_disassemble_summary(p, &text);
    if (buf_ok(&text, &err))
        fuzz_utf8(text.data, text.size, "the disassembly");
    buf_fini(&text);
    const struct march *const *list = march_list(&count);
    for (size_t m = 0; m < count; m++)
        for (int i = 0; i < p->code_count; i++) {
            struct cost c = instruction_cost(march_machine(list[m]), &p->code[i]);
            FUZZ_REQUIRE(isfinite(c.cycles) && c.cycles >= 0 && c.useful_cycles >= 0 &&
                             c.ddr_bytes >= 0,
                         "instruction %d: %g cycles, %g of use, %lld bytes", i, c.cycles,
                         c.useful_cycles, (long long)c.ddr_bytes);
        }
    for (int i = 0; i < p->code_count; i++)
        for (int k = 0; k < p->code[i].tile_count; k++) {
            const struct tile *t = &p->code[i].tiles[k];
            struct span spans[TILE_MAX_SPANS];
            int64_t first, end;
            if (t->n == 0)
                continue;
            tile_range(t, &first, &end);
            int n = tile_spans(t, spans);
            FUZZ_REQUIRE(n > 0 && n <= TILE_MAX_SPANS, "%d spans", n);
            for (int s = 0; s < n; s++) {
                const struct span *r = &spans[s];
                FUZZ_REQUIRE(r->first >= first && r->bytes > 0 && r->count > 0 &&
                                 r->first + (r->count - 1) * r->step + r->bytes <= end,
                             "span %d of instruction %d, tile %d", s, i, k);
            }
            int64_t last = tile_address(t, t->n - 1, t->h - 1, t->w - 1, t->c - 1);
            FUZZ_REQUIRE(last >= first && last < end, "an address outside of the range");
        }
}

/* What a job of kind perf does with it. */
static void bpu_measure(const void *data, size_t size)
{
    struct arena arena;
    struct bpu_error err = {0};
    struct buf json, page, picture;
    arena_init(&arena, FUZZ_QUOTA);
    buf_init(&json, FUZZ_QUOTA);
    buf_init(&page, FUZZ_QUOTA);
    buf_init(&picture, FUZZ_QUOTA);
    struct perf_model *m = ARENA_NEW(&arena, struct perf_model, &err);
    FUZZ_REQUIRE(m, "%s", err.message);
    m->c = (struct compilation){
        .arena = &arena, .model = data, .model_size = size, .model_name = "x.bpu", .model_id = "x"};
    if (!perf_model_run(m, &err)) {
        fuzz_error(&err, "the estimate");
    } else {
        const struct perf *p = &m->perf;
        double parts = p->idle_us;
        for (int i = 0; i < p->layer_count; i++)
            parts += p->layers[i].time_us;
        FUZZ_REQUIRE(isfinite(p->latency_us) && fabs(parts - p->latency_us) <= 1e-6 * (1 + p->latency_us),
                     "parts of %g us, a latency of %g us", parts, p->latency_us);
        if (report_perf_json(m, &json, &err))
            fuzz_json(&json, "the report");
        else
            fuzz_limit(&err, "the report");
        err = (struct bpu_error){0};
        if (report_perf_html(m, &page, &err))
            fuzz_utf8(page.data, page.size, "the page");
        else
            fuzz_limit(&err, "the page");
        err = (struct bpu_error){0};
        if (draw_schedule_svg(p->program, p->machine, p->timing, &picture, &err))
            fuzz_xml(&picture, "the schedule");
        else
            fuzz_limit(&err, "the schedule");
    }
    buf_fini(&json);
    buf_fini(&page);
    buf_fini(&picture);
    arena_fini(&arena);
}

static bool bpu_read(const void *data, size_t size, struct buf *again, bool must)
{
    struct arena arena;
    struct bpu_error err = {0}, full = {0};
    arena_init(&arena, FUZZ_QUOTA);
    struct program *p = program_read(&arena, data, size, &err);
    fuzz_arena(&arena);
    FUZZ_REQUIRE(p || !must, "what was written is refused: %s (%s)", err.message, err.where);
    if (!p) {
        fuzz_error(&err, "the program");
    } else {
        if (!must)
            bpu_use(p);
        if (!program_write(p, again, &full)) {
            fuzz_limit(&full, "the program written");
            p = NULL;
        }
    }
    arena_fini(&arena);
    return p != NULL;
}

FUZZ_TARGET(bpu)
{
    struct buf file, first, second;
    buf_init(&file, FUZZ_QUOTA);
    buf_init(&first, FUZZ_QUOTA);
    buf_init(&second, FUZZ_QUOTA);
    if (size >= 4 && memcmp(data, CONTAINER_MAGIC, 4) == 0)
        buf_add(&file, data, size);
    else
        bpu_container(data, size, &file);
    /* A file may name its strings in another order than the writer does; what was written may not. */
    if (bpu_read(file.data, file.size, &first, false)) {
        bpu_measure(file.data, file.size);
        if (bpu_read(first.data, first.size, &second, true))
            fuzz_same(&first, &second, "the program written twice");
    }
    buf_fini(&file);
    buf_fini(&first);
    buf_fini(&second);
    return 0;
}
