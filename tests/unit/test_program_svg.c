/* The pictures of a program and the heat map of a graph, on hand-made programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/draw/draw.h"
#include "core/draw/program_svg.h"
#include "core/program/traffic.h"

#define MOST 20000

struct bench {
    struct arena arena;
    struct machine m;
    struct program p;
    struct instruction *code;
    struct tile (*tiles)[2];
    struct timed *at;
    double *useful;
    struct program_buffer *buffers;
    struct program_source sources[3];
    struct program_io in, out;
    struct program_timing t;
    struct buf svg;
};

/* DDR: constants 0 … 999, input 1024 … 1123, output 2048 … 2147, workspace above. */
static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    struct bpu_error err = {0};
    assert_non_null(b);
    arena_init(&b->arena, (size_t)64 << 20);
    buf_init(&b->svg, (size_t)64 << 20);
    b->m.clock_mhz.v = 1000;
    b->m.sram_bytes.v = 65536;
    b->m.ddr_load_bytes.v = b->m.ddr_store_bytes.v = 8;
    b->code = ARENA_ARRAY(&b->arena, struct instruction, MOST, &err);
    b->tiles = arena_alloc_array(&b->arena, MOST, sizeof *b->tiles, &err);
    b->at = ARENA_ARRAY(&b->arena, struct timed, MOST, &err);
    b->useful = ARENA_ARRAY(&b->arena, double, MOST, &err);
    b->buffers = ARENA_ARRAY(&b->arena, struct program_buffer, MOST, &err);
    assert_true(b->code && b->tiles && b->at && b->useful && b->buffers);
    b->sources[0] = (struct program_source){.name = "conv<1>&", .op = "torch.nn.Conv2d"};
    b->sources[1] = (struct program_source){.name = "pool", .op = "torch.nn.MaxPool2d"};
    b->sources[2] = (struct program_source){.name = "x", .op = "input"};
    b->in = (struct program_io){.name = "x", .address = 1024, .bytes = 100};
    b->out = (struct program_io){.name = "y", .address = 2048, .bytes = 100};
    b->p = (struct program){.arena = &b->arena, .name = "net \"<1>\"", .march = "bayes", .cores = 1,
                            .sram_bytes = 40000, .constant_bytes = 1000, .code = b->code,
                            .inputs = &b->in, .input_count = 1, .outputs = &b->out,
                            .output_count = 1, .sources = b->sources, .source_count = 3,
                            .buffers = b->buffers};
    b->t = (struct program_timing){.at = b->at, .useful = b->useful};
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    buf_fini(&b->svg);
    arena_fini(&b->arena);
    free(b);
    return 0;
}

static struct tile row(enum space space, int64_t base, int bytes)
{
    return (struct tile){.space = (uint8_t)space, .dtype = DT_QINT8, .block_h = 1, .block_w = 1,
                         .block_c = 1, .base = base, .frame_rows = 1, .n = 1, .h = 1, .w = bytes,
                         .c = 1, .stride_h = bytes, .stride_w = 1, .stride_c = 1};
}

static int add(struct bench *b, enum opcode op, enum engine e, int core, int source, double start,
               double end)
{
    int i = b->p.code_count++;
    b->code[i] = (struct instruction){.op = (uint16_t)op, .core = (uint8_t)core,
                                      .engine = (uint8_t)e, .source = (uint32_t)source,
                                      .tiles = b->tiles[i]};
    b->at[i] = (struct timed){start, end};
    b->useful[i] = (end - start) / 2;
    b->t.busy[instruction_lane(&b->code[i])] += end - start;
    b->t.count[instruction_lane(&b->code[i])]++;
    if (end > b->t.end)
        b->t.end = end;
    return i;
}

static int move(struct bench *b, enum engine e, int64_t ddr, int64_t sram, double start, double end)
{
    int i = add(b, e == ENGINE_LOAD ? OP_LOAD : OP_STORE, e, 0, 0, start, end);
    b->code[i].tile_count = 2;
    b->tiles[i][e == ENGINE_LOAD] = row(SPACE_DDR, ddr, 64);
    b->tiles[i][e != ENGINE_LOAD] = row(SPACE_SRAM, sram, 64);
    return i;
}

static void buffer(struct bench *b, const char *name, enum buffer_kind kind, int64_t address,
                   int64_t bytes, int first, int last)
{
    b->buffers[b->p.buffer_count++] =
        (struct program_buffer){.name = name, .kind = (uint8_t)kind, .address = address,
                                .bytes = bytes, .first = (uint32_t)first, .last = (uint32_t)last};
}

static int count(const struct bench *b, const char *what)
{
    int n = 0;
    for (const char *p = buf_str(&b->svg); (p = strstr(p, what)) != NULL; p += strlen(what))
        n++;
    return n;
}

/* Tags nest, text is escaped, attributes are quoted: enough of XML to notice a slip. */
static void assert_well_formed(const struct bench *b)
{
    char stack[32][32];
    int depth = 0;
    for (const char *p = buf_str(&b->svg); *p; p++) {
        if (*p == '&') {
            const char *end = strchr(p, ';');
            assert_true(end && end - p < 8);
        }
        if (*p != '<')
            continue;
        const char *end = strchr(p, '>');
        assert_non_null(end);
        int quotes = 0;
        for (const char *q = p; q < end; q++)
            quotes += *q == '"';
        assert_int_equal(quotes % 2, 0);
        if (p[1] == '/') {
            size_t n = (size_t)(end - p - 2);
            assert_true(depth > 0);
            depth--;
            assert_true(strlen(stack[depth]) == n && strncmp(stack[depth], p + 2, n) == 0);
        } else if (end[-1] != '/') {
            assert_true(depth < 32);
            snprintf(stack[depth++], 32, "%.*s", (int)strcspn(p + 1, " >"), p + 1);
        }
        p = end;
    }
    assert_int_equal(depth, 0);
}

static void draw_plan(struct bench *b)
{
    struct bpu_error err = {0};
    buf_clear(&b->svg);
    assert_true(draw_plan_svg(&b->p, &b->m, &b->svg, &err));
    assert_well_formed(b);
}

static void draw_schedule(struct bench *b)
{
    struct bpu_error err = {0};
    buf_clear(&b->svg);
    assert_true(draw_schedule_svg(&b->p, &b->m, &b->t, &b->svg, &err));
    assert_well_formed(b);
}

static void transfers_are_told_apart(void **state)
{
    struct bench *b = *state;
    assert_int_equal(instruction_traffic(&b->p, &b->code[move(b, ENGINE_LOAD, 0, 0, 0, 1)]),
                     TRAFFIC_CONSTANTS);
    assert_int_equal(instruction_traffic(&b->p, &b->code[move(b, ENGINE_LOAD, 1024, 0, 0, 1)]),
                     TRAFFIC_INPUTS);
    assert_int_equal(instruction_traffic(&b->p, &b->code[move(b, ENGINE_STORE, 2048, 0, 0, 1)]),
                     TRAFFIC_OUTPUTS);
    assert_int_equal(instruction_traffic(&b->p, &b->code[move(b, ENGINE_STORE, 4096, 0, 0, 1)]),
                     TRAFFIC_SPILLS);
    assert_int_equal(
        instruction_traffic(&b->p, &b->code[add(b, OP_CONV, ENGINE_CONV, 0, 0, 0, 1)]),
        TRAFFIC_NONE);
}

static void an_empty_program_is_drawn(void **state)
{
    struct bench *b = *state;
    draw_plan(b);
    draw_schedule(b);
    b->m = (struct machine){0}; /* of a march whose figures are not known */
    draw_plan(b);
    draw_schedule(b);
}

static void buffers_are_boxes_with_names(void **state)
{
    struct bench *b = *state;
    move(b, ENGINE_LOAD, 0, 0, 0, 1);
    add(b, OP_CONV, ENGINE_CONV, 0, 0, 1, 2);
    add(b, OP_POOL_MAX, ENGINE_POOL, 0, 1, 2, 3);
    buffer(b, "conv<1>&.weights", BUFFER_WEIGHTS, 0, 12345, 0, 1);
    buffer(b, "map", BUFFER_MAP, 12800, 4096, 1, 2);
    buffer(b, "table", BUFFER_TABLE, 20000, 256, 1, 1);
    buffer(b, "sums", BUFFER_SUMS, 30000, 256, 1, 1);
    draw_plan(b);
    assert_int_equal(count(b, "<path class=\"weights\""), 1);
    assert_int_equal(count(b, "<path class=\"map\""), 1);
    assert_int_equal(count(b, "<path class=\"table\""), 1);
    assert_int_equal(count(b, "<path class=\"sums\""), 1);
    assert_int_equal(count(b, "<path class=\"spill\""), 0);
    assert_int_equal(count(b, "conv&lt;1&gt;&amp;.weights\nweights, 12.06 KiB at 0"), 1);
    assert_int_equal(count(b, "from conv&lt;1&gt;&amp; to pool"), 1);
    assert_int_equal(count(b, "net &quot;&lt;1&gt;&quot;"), 2);
    assert_int_equal(count(b, "does not stay"), 0);
}

/* The map that is stored to the workspace and the one that is loaded from there are marked, others
 * at the same place at other times are not. */
static void spills_are_seen(void **state)
{
    struct bench *b = *state;
    add(b, OP_CONV, ENGINE_CONV, 0, 0, 0, 1);
    move(b, ENGINE_STORE, 8192, 256, 1, 2);
    add(b, OP_CONV, ENGINE_CONV, 0, 0, 2, 3);
    move(b, ENGINE_LOAD, 8192, 512, 3, 4);
    buffer(b, "kept", BUFFER_MAP, 0, 256, 0, 3);
    buffer(b, "stored", BUFFER_MAP, 256, 64, 0, 1);
    buffer(b, "later", BUFFER_MAP, 256, 64, 2, 3);
    buffer(b, "loaded", BUFFER_MAP, 512, 64, 3, 3);
    draw_plan(b);
    assert_int_equal(count(b, "<path class=\"map\""), 2);
    assert_int_equal(count(b, "does not stay on the chip: stored to DDR"), 1);
    assert_int_equal(count(b, "does not stay on the chip: loaded from DDR"), 1);
    assert_int_equal(count(b, ">spills<"), 1);
    assert_int_equal(count(b, "<path class=\"spill\""), 4); /* two buffers, two transfers */
    draw_schedule(b);
    assert_int_equal(count(b, "<path class=\"spill\""), 2);
}

static void both_cores_have_a_panel(void **state)
{
    struct bench *b = *state;
    b->p.cores = 2;
    add(b, OP_CONV, ENGINE_CONV, 0, 0, 0, 1);
    add(b, OP_CONV, ENGINE_CONV, 1, 0, 0, 2);
    buffer(b, "a", BUFFER_MAP, 0, 64, 0, 1);
    buffer(b, "b", BUFFER_MAP, 0, 64, 0, 1);
    b->buffers[1].core = 1;
    draw_plan(b);
    assert_int_equal(count(b, ">core 1<"), 1);
    assert_int_equal(count(b, "<path class=\"map\""), 2);
    draw_schedule(b);
    assert_int_equal(count(b, ">core 0 conv 50 %<"), 1);
    assert_int_equal(count(b, ">core 1 conv 100 %<"), 1);
}

static void instructions_are_bars(void **state)
{
    struct bench *b = *state;
    move(b, ENGINE_LOAD, 0, 0, 0, 1000);
    add(b, OP_CONV, ENGINE_CONV, 0, 0, 1000, 3000);
    add(b, OP_POOL_MAX, ENGINE_POOL, 0, 1, 3000, 4000);
    draw_schedule(b);
    assert_int_equal(count(b, "<path class=\"l0\""), 2);
    assert_int_equal(count(b, "<path class=\"l1\""), 1);
    assert_int_equal(count(b, "1 conv conv&lt;1&gt;&amp;\n1.00 to 3.00 us, 2000 cycles, 50 % of them useful"), 1);
    assert_int_equal(count(b, ">conv 50 %<"), 1);
    assert_int_equal(count(b, "weights, tables and constant operands: "), 1);
}

/* Twenty thousand instructions on a picture of 1300 pixels: few boxes, and none is lost. */
static void what_is_too_thin_is_drawn_together(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < MOST; i++) {
        add(b, OP_CONV, ENGINE_CONV, 0, i / 10000, i, i + .5);
        buffer(b, "w", BUFFER_WEIGHTS, i % 2 * 4096, 4096, i, i);
    }
    draw_schedule(b);
    int boxes = count(b, "<path class=\"l"), together = 0;
    assert_true(boxes > 500 && boxes <= 2601);
    for (const char *p = buf_str(&b->svg); (p = strstr(p, " instructions, ")) != NULL; p++) {
        const char *digit = p;
        while (digit[-1] >= '0' && digit[-1] <= '9')
            digit--;
        together += (int)strtol(digit, NULL, 10);
    }
    assert_int_equal(together, MOST);
    assert_true(b->svg.size < 1000000);
    draw_plan(b);
    assert_true(count(b, "<path class=\"weights\"") < 100);
    assert_true(count(b, " buffers, the first of them w") > 0);
}

static void the_same_program_gives_the_same_bytes(void **state)
{
    struct bench *b = *state;
    spills_are_seen(state);
    char *first = strdup(buf_str(&b->svg));
    draw_schedule(b);
    assert_string_equal(first, buf_str(&b->svg));
    free(first);
}

/* ── heat ── */

static void nodes_are_coloured_by_share(void **state)
{
    struct bench *b = *state;
    struct bpu_error err = {0};
    struct graph *g = graph_new(&b->arena, "net", "graph-json", &err);
    struct value *x = graph_add_value(g, "x", &err);
    x->dtype = DT_QINT8;
    x->shape = shape_of(2, (const int64_t[]){1, 8});
    assert_true(graph_add_input(g, x, &err));
    static const char *const names[] = {"cold", "warm", "hot", "stub"};
    for (int i = 0; i < 4; i++) {
        struct node *n = graph_add_node(g, names[i], "torch.relu", &err);
        assert_true(n && node_add_input(g, n, x, &err));
        x = node_add_output(g, n, names[i], &err);
        assert_non_null(x);
        x->dtype = DT_QINT8;
        x->shape = shape_of(2, (const int64_t[]){1, 8});
    }
    assert_true(graph_add_output(g, x, &err));
    const double share[] = {0, .1, .4, -1};
    const char *const figures[] = {NULL, "12.5 us", NULL, NULL};
    const struct draw_heat heat = {share, figures, "of the time"};
    assert_true(draw_heat_svg(g, &heat, &b->svg, &err));
    assert_well_formed(b);
    assert_int_equal(count(b, "<g class=\"n h0\" id=\"node-0\""), 1);
    assert_int_equal(count(b, "<g class=\"n h2\" id=\"node-1\""), 1);
    assert_int_equal(count(b, "<g class=\"n h7\" id=\"node-2\""), 1);
    assert_int_equal(count(b, "id=\"node-3\" data-node=\"stub\" data-op=\"torch.relu\" data-verdict=\"legal\">"), 1);
    assert_int_equal(count(b, "data-share=\"0.400000\""), 1);
    assert_int_equal(count(b, "10 % of the time\n12.5 us"), 1);
    assert_int_equal(count(b, "35 % and more of the time"), 1);
    char *hot = strdup(buf_str(&b->svg));
    buf_clear(&b->svg);
    assert_true(draw_svg(g, NULL, &b->svg, &err)); /* without heat nothing of it is there */
    assert_null(strstr(buf_str(&b->svg), ".h7"));
    assert_string_not_equal(hot, buf_str(&b->svg));
    free(hot);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {T(transfers_are_told_apart),
                                       T(an_empty_program_is_drawn),
                                       T(buffers_are_boxes_with_names),
                                       T(spills_are_seen),
                                       T(both_cores_have_a_panel),
                                       T(instructions_are_bars),
                                       T(what_is_too_thin_is_drawn_together),
                                       T(the_same_program_gives_the_same_bytes),
                                       T(nodes_are_coloured_by_share)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
