/* layer_dump: a network as text, for people and golden tests. */
#include <math.h>
#include <string.h>

#include "core/compile/layer.h"

static const char *const need_names[] = {
    [NEED_SAME] = "same",         [NEED_WINDOW] = "window",       [NEED_TRANSPOSED] = "transposed",
    [NEED_ADAPTIVE] = "adaptive", [NEED_RESAMPLED] = "resampled", [NEED_FRAME] = "frame",
    [NEED_ALL] = "all"};

static void dump_map(const struct map *m, struct buf *out)
{
    buf_printf(out, "map %d \"%s\" %dx%dx%dx%d %s", m->index, m->name ? m->name : "", m->n, m->h,
               m->w, m->c, dtype_name(m->dtype));
    if (fpclassify(m->scale) != FP_ZERO)
        buf_printf(out, " scale=%.9g", m->scale);
    if (m->zero)
        buf_printf(out, " zero=%d", m->zero);
    if (m->parent)
        buf_printf(out, " part of %d at h %d w %d c %d", m->parent->index, m->off_h, m->off_w,
                   m->off_c);
    if (m->constant)
        buf_puts(out, " constant");
    if (m->input >= 0)
        buf_printf(out, " input %d", m->input);
    if (m->output >= 0)
        buf_printf(out, " output %d", m->output);
    buf_puts(out, "\n");
}

/* Arguments by name; zeros are left out, and so are the loops that COPY does not use. */
static void dump_args(const struct layer *l, struct buf *out)
{
    const char *name = isa_row(l->op)->args;
    int used = l->op == OP_COPY ? 2 + 5 * l->args[1] : PROGRAM_MAX_ARGS;
    for (int i = 0; *name && i < used; i++) {
        size_t length = strcspn(name, " ");
        if (l->args[i])
            buf_printf(out, " %.*s=%d", (int)length, name, l->args[i]);
        name += length;
        name += strspn(name, " ");
    }
}

static void dump_operand(const struct operand *o, struct buf *out)
{
    if (o->map)
        buf_printf(out, " %d:%s%s", o->map->index, need_names[o->need],
                   o->in_place ? ":in_place" : "");
    else if (o->blob && o->blob->units > 1)
        buf_printf(out, " %dx%lldB", o->blob->units, (long long)o->blob->unit_bytes);
    else if (o->blob)
        buf_printf(out, " %lldB", (long long)o->blob->bytes);
    else
        buf_puts(out, " -");
}

static void dump_layer(const struct network *net, const struct layer *l, struct buf *out)
{
    buf_printf(out, "layer %d %s", l->index, isa_row(l->op)->name);
    for (int i = 0; i < l->out_count; i++)
        buf_printf(out, " %d", l->out[i]->index);
    buf_puts(out, " <-");
    for (int i = 0; i < l->in_count; i++)
        dump_operand(&l->in[i], out);
    dump_args(l, out);
    if (l->window.kernel != 1 || l->window.stride != 1 || l->window.pad)
        buf_printf(out, " rows %d/%d+%d-%d", l->window.kernel, l->window.stride, l->window.dilation,
                   l->window.pad);
    if (l->whole)
        buf_puts(out, " whole");
    else if (l->whole_frame)
        buf_puts(out, " whole_frame");
    if (l->on_host)
        buf_puts(out, " on_host");
    if (l->macs)
        buf_printf(out, " macs=%lld", (long long)l->macs);
    if (l->source >= 0)
        buf_printf(out, " of \"%s\"", net->sources[l->source].name);
    buf_puts(out, "\n");
}

static void dump_io(const char *what, const struct network_io *io, struct buf *out)
{
    buf_printf(out, "%s \"%s\"", what, io->value->name);
    if (io->map)
        buf_printf(out, " map %d%s%s", io->map->index, io->host_float ? " float" : "",
                   io->host_divides ? " divides" : "");
    buf_puts(out, "\n");
}

void network_dump(const struct network *net, struct buf *out)
{
    for (int i = 0; i < net->input_count; i++)
        dump_io("input", &net->inputs[i], out);
    for (int i = 0; i < net->output_count; i++)
        dump_io("output", &net->outputs[i], out);
    for (int i = 0; i < net->map_count; i++)
        dump_map(net->maps[i], out);
    for (int i = 0; i < net->layer_count; i++)
        dump_layer(net, net->layers[i], out);
}
