/* disasm: a program as text, one line per instruction, the same text for the same program.
 *
 *   12 0.conv  conv y[0:4][0:56][0:64]@s0x1c00/8 x[0:6][0:56][0:64]@s0x0/12 weights[37120]@s0x9000
 *       kernel_h=3 kernel_w=3 pad_top=1 … wait 0.load:3 ; layer1.0.conv1            (in one line)
 *
 * Core and engine, mnemonic; tiles with rows, columns and channels as first:end, the place of their
 * first element (s on chip, d DDR) and the rows of their ring; arguments that are not what is usual
 * (1 for kernels, strides and dilations, the type's limits for low and high, 0 for all others);
 * lane:instructions that must be finished; the layer.  Types other than qint8 and int8 are named. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/program/args.h"
#include "core/program/program_private.h"

/* Names are the user's: control characters must not reach a terminal. */
static void put_name(struct buf *out, const char *s)
{
    for (; s && *s; s++) {
        unsigned char c = (unsigned char)*s;
        bool c1 = c == 0xC2 && (unsigned char)s[1] < 0xA0;
        if (c < 0x20 || c == 0x7F || c1)
            buf_printf(out, "\\x%02x", c1 ? (unsigned char)*++s : c);
        else
            buf_putc(out, *s);
    }
}

static void put_real(struct buf *out, double v)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v || isnan(v))
            break;
    }
    buf_puts(out, text);
}

static const char *code_name(const char *const *names, unsigned count, unsigned i)
{
    return i < count ? names[i] : "?";
}
#define CODE_NAME(names, i) code_name(names, sizeof(names) / sizeof(names)[0], (unsigned)(i))

/* ── the head ── */

static void put_port(const char *kind, int i, const struct program_io *io, struct buf *out)
{
    static const char *const layouts[] = {"nhwc", "nchw", "raw"};
    static const char *const sources[] = {"ddr", "pyramid", "resizer"};
    char shape[SHAPE_TEXT_MAX];
    buf_printf(out, "%s %d \"", kind, i);
    put_name(out, io->name);
    buf_printf(out, "\" %s %s", shape_text(&io->shape, shape), dtype_name(io->dtype));
    if (io->host_dtype != io->dtype)
        buf_printf(out, " host %s%s", dtype_name(io->host_dtype), io->host_divides ? " (divides)" : "");
    if (io->quant.count == 1) {
        buf_puts(out, " scale ");
        put_real(out, io->quant.scale[0]);
        if (io->quant.zero_point && io->quant.zero_point[0])
            buf_printf(out, " zero %lld", (long long)io->quant.zero_point[0]);
    } else if (io->quant.count > 1) {
        buf_printf(out, " %d scales along axis %d", io->quant.count, io->quant.axis);
    }
    buf_printf(out, " %s %s @d0x%llx %lld bytes\n", CODE_NAME(layouts, io->layout),
               CODE_NAME(sources, io->source), (unsigned long long)io->address,
               (long long)io->bytes);
}

void program_disassemble_head(const struct program *p, struct buf *out)
{
    buf_puts(out, "program \"");
    put_name(out, p->name);
    buf_puts(out, "\" for ");
    put_name(out, p->march);
    buf_printf(out, ", %d core%s, ", p->cores, p->cores == 1 ? "" : "s");
    put_name(out, p->options);
    buf_puts(out, ", by ");
    put_name(out, p->tool);
    buf_printf(out, "\nmemory %lld bytes on chip, %lld bytes of DDR, %lld of them constants\n",
               (long long)p->sram_bytes, (long long)p->ddr_bytes, (long long)p->constant_bytes);
    if (p->uncalibrated)
        buf_puts(out, "uncalibrated: scales are placeholders, only the timing holds\n");
    for (int i = 0; i < p->input_count; i++)
        put_port("input", i, &p->inputs[i], out);
    for (int i = 0; i < p->output_count; i++)
        put_port("output", i, &p->outputs[i], out);
    buf_printf(out, "%d instructions, %d layers, %d buffers\n", p->code_count, p->source_count,
               p->buffer_count);
}

/* ── instructions ── */

static void put_extent(struct buf *out, int64_t first, int64_t extent)
{
    buf_printf(out, "[%lld:%lld]", (long long)first, (long long)(first + extent));
}

static void put_tile(const struct instruction *i, int k, struct buf *out)
{
    const struct tile *t = &i->tiles[k];
    char name[ISA_NAME_MAX];
    if (t->n <= 0)
        return;
    buf_printf(out, " %s", isa_tile_name((enum opcode)i->op, k, name));
    if (t->dtype != DT_QINT8 && t->dtype != DT_INT8 && t->dtype < DT_COUNT)
        buf_printf(out, ".%s", dtype_name((enum dtype)t->dtype));
    if (t->n == 1 && t->h == 1 && t->w == 1 && !t->n0 && !t->h0 && !t->w0 && !t->c0) {
        buf_printf(out, "[%d]", t->c);
    } else {
        if (t->n != 1 || t->n0)
            put_extent(out, t->n0, t->n);
        put_extent(out, t->h0, t->h);
        put_extent(out, t->w0, t->w);
        put_extent(out, t->c0, t->c);
    }
    buf_printf(out, "@%c0x%llx", t->space == SPACE_SRAM ? 's' : 'd',
               (unsigned long long)tile_address(t, 0, 0, 0, 0));
    if (t->ring)
        buf_printf(out, "/%d", t->ring);
}

/* The value that is so usual that it is not printed. */
static int64_t arg_usual(const struct instruction *i, const char *name)
{
    static const char *const ones[] = {"kernel_h", "kernel_w",   "stride_h",
                                       "stride_w", "dilation_h", "dilation_w"};
    for (size_t k = 0; k < sizeof ones / sizeof ones[0]; k++)
        if (strcmp(name, ones[k]) == 0)
            return 1;
    bool low = strcmp(name, "low") == 0, high = strcmp(name, "high") == 0;
    if (low || high)
        switch (i->tile_count ? i->tiles[0].dtype : DT_UNKNOWN) {
        case DT_QINT8: return low ? INT8_MIN : INT8_MAX;
        case DT_QUINT8: return low ? 0 : UINT8_MAX;
        case DT_QINT16: return low ? INT16_MIN : INT16_MAX;
        case DT_QINT32: return low ? INT32_MIN : INT32_MAX;
        default: break;
        }
    return 0;
}

static void put_loops(const int32_t *args, struct buf *out)
{
    if (args[COPY_RULE])
        buf_printf(out, " rule=%d", args[COPY_RULE]);
    for (int k = 0; k < args[COPY_LOOPS] && k < COPY_MAX_LOOPS; k++) {
        const int32_t *loop = args + COPY_LOOP(k);
        buf_printf(out, " %d(y.%c%+d x.%c%+d)", loop[COPY_EXTENT], "nhwc"[loop[COPY_Y_AXIS] & 3],
                   loop[COPY_Y_STEP], "nhwc"[loop[COPY_X_AXIS] & 3], loop[COPY_X_STEP]);
    }
}

static void put_args(const struct instruction *i, struct buf *out)
{
    char name[ISA_NAME_MAX];
    if (i->op == OP_COPY) {
        put_loops(i->args, out);
        return;
    }
    for (int k = 0; k < i->arg_count; k++) {
        isa_arg_name((enum opcode)i->op, k, name);
        size_t n = strlen(name);
        if (n > 3 && strcmp(name + n - 3, "_lo") == 0 && k + 1 < i->arg_count) {
            double v = args_real(i->args + k++);
            if (v == 0 && !signbit(v))
                continue;
            buf_printf(out, " %.*s=", (int)n - 3, name);
            put_real(out, v);
        } else if (i->args[k] != arg_usual(i, name)) {
            buf_printf(out, " %s=%d", name, i->args[k]);
        }
    }
}

static void put_lane(struct buf *out, int core, int engine)
{
    buf_printf(out, "%d.%s", core, engine < ENGINE_COUNT ? engine_name((enum engine)engine) : "?");
}

void program_disassemble_code(const struct program *p, int from, int to, struct buf *out)
{
    int digits = snprintf(NULL, 0, "%d", p->code_count > 0 ? p->code_count - 1 : 0);
    for (int k = from < 0 ? 0 : from; k < to && k < p->code_count; k++) {
        const struct instruction *i = &p->code[k];
        size_t lane = out->size;
        buf_printf(out, "%*d ", digits, k);
        put_lane(out, i->core, i->engine);
        lane = out->size - lane - (size_t)digits - 1;
        buf_printf(out, "%*s %s", (int)(lane < 11 ? 11 - lane : 0), "",
                   isa_row((enum opcode)i->op)->name);
        for (int t = 0; t < i->tile_count; t++)
            put_tile(i, t, out);
        put_args(i, out);
        for (int w = 0; w < i->wait_count; w++) {
            buf_puts(out, w ? " " : " wait ");
            put_lane(out, i->waits[w].lane / ENGINE_COUNT, i->waits[w].lane % ENGINE_COUNT);
            buf_printf(out, ":%u", i->waits[w].count);
        }
        buf_puts(out, " ; ");
        put_name(out, i->source < (uint32_t)p->source_count ? p->sources[i->source].name : "?");
        buf_putc(out, '\n');
    }
}

void program_disassemble(const struct program *p, struct buf *out)
{
    program_disassemble_head(p, out);
    program_disassemble_code(p, 0, p->code_count, out);
}

void program_disassemble_summary(const struct program *p, struct buf *out)
{
    int lanes[PROGRAM_LANES] = {0}, kinds[OP_COUNT] = {0};
    long long waits = 0;
    program_disassemble_head(p, out);
    for (int k = 0; k < p->code_count; k++) {
        const struct instruction *i = &p->code[k];
        lanes[i->core * ENGINE_COUNT + i->engine]++;
        kinds[i->op]++;
        waits += i->wait_count;
    }
    buf_printf(out, "%lld waits\n\nlane            instructions\n", waits);
    for (int k = 0; k < PROGRAM_LANES; k++)
        if (lanes[k])
            buf_printf(out, "%d.%-13s %12d\n", k / ENGINE_COUNT,
                       engine_name((enum engine)(k % ENGINE_COUNT)), lanes[k]);
    buf_puts(out, "\nkind            instructions\n");
    for (int k = 0; k < OP_COUNT; k++)
        if (kinds[k])
            buf_printf(out, "%-15s %12d\n", isa_row((enum opcode)k)->name, kinds[k]);
}
