/* Tooltips: all that a box has no room for, as lines of text. */
#include "core/draw/label.h"
#include "core/draw/svg.h"

#define OPERANDS 12 /* operands, readers and folded nodes that a tooltip lists */
#define FOLDED 40

/* NULL: there was no memory for it. */
static void put_or_fail(struct buf *out, const char *text)
{
    buf_puts(out, text ? text : "");
    out->failed |= !text;
}

static void operand(const struct scene *s, const char *role, int i, const struct value *v,
                    struct buf *out)
{
    if (!v) {
        buf_printf(out, "\n%s %d: left out", role, i);
        return;
    }
    struct bpu_error err = {0};
    const char *text = scene_value_text(s, v, &err);
    buf_printf(out, "\n%s ", role);
    if (i >= 0)
        buf_printf(out, "%d: ", i);
    put_or_fail(out, text);
    if (v->quant.count == 1)
        buf_printf(out, " scale %.6g", v->quant.scale[0]);
    else if (v->quant.count > 1)
        buf_printf(out, " %d scales", v->quant.count);
    buf_puts(out, v->constant ? "  constant " : "  ");
    svg_text_short(out, v->name);
}

static void more(int count, int shown, const char *what, struct buf *out)
{
    if (count > shown)
        buf_printf(out, "\nand %d more %s", count - shown, what);
}

static void node_lines(const struct scene *s, const struct node *n, struct buf *out)
{
    svg_text_short(out, n->name);
    buf_putc(out, '\n');
    svg_text_short(out, n->op_name);
    if (n->origin.source_op) {
        buf_puts(out, " (");
        svg_text_short(out, n->origin.source_op);
        buf_putc(out, ')');
    }
    if (n->origin.scope && *n->origin.scope) {
        buf_puts(out, "\nscope ");
        svg_text_short(out, n->origin.scope);
    }
    for (int i = 0; i < n->input_count && i < OPERANDS; i++)
        operand(s, "in", i, n->inputs[i], out);
    more(n->input_count, OPERANDS, "inputs", out);
    for (int i = 0; i < n->param_count && i < OPERANDS; i++) {
        struct buf role;
        if (!svg_line_init(&role))
            out->failed = true;
        svg_text_short(&role, n->params[i].name);
        operand(s, buf_str(&role), -1, n->params[i].value, out);
        buf_fini(&role);
    }
    for (int i = 0; i < n->output_count && i < OPERANDS; i++)
        operand(s, "out", i, n->outputs[i], out);
    more(n->output_count, OPERANDS, "outputs", out);
    for (int i = 0; i < n->attr_count; i++) {
        struct buf text;
        if (!svg_line_init(&text))
            out->failed = true;
        label_value(&n->attrs[i], &text);
        buf_putc(out, '\n');
        svg_text_short(out, n->attrs[i].name);
        buf_puts(out, " = ");
        svg_text_short(out, buf_str(&text));
        buf_fini(&text);
    }
}

static void finding_lines(const struct scene *s, int first, struct buf *out)
{
    for (int i = first; i >= 0; i = s->next_finding[i]) {
        const struct finding *f = &s->check->findings[i];
        buf_printf(out, "\n\n%s%s ", severity_name(f->severity), f->induced ? " (induced)" : "");
        svg_text_short(out, f->rule);
        buf_puts(out, ": ");
        svg_text_short(out, f->message);
        if (f->hint) {
            buf_puts(out, "\nHint: ");
            svg_text_short(out, f->hint);
        }
        if (f->eager_replacement) {
            buf_puts(out, "\nReplacement: ");
            svg_text_short(out, f->eager_replacement);
        }
    }
}

static void folded_lines(const struct scene *s, int first, struct buf *out)
{
    int count = 0;
    for (int i = first; i >= 0; i = s->next_folded[i], count++) {
        if (count >= FOLDED)
            continue;
        const struct node *n = s->graph->nodes[i];
        buf_puts(out, count ? "\n" : "\n\nfolded here:\n");
        svg_text_short(out, label_op(n->op_name));
        buf_putc(out, ' ');
        svg_text_short(out, n->name);
    }
    more(count, FOLDED, "folded nodes", out);
}

static void box_name(const struct box *x, struct buf *out)
{
    svg_text_short(out, x->kind == BOX_NODE ? x->node->name : x->value ? x->value->name : x->title);
}

void svg_box_tooltip(const struct scene *s, int box, struct buf *out)
{
    const struct box *x = &s->boxes[box];
    if (x->kind == BOX_NODE) {
        node_lines(s, x->node, out);
        if (s->heat && s->heat->share[x->node->index] >= 0)
            buf_printf(out, "\n%.3g %% %s", 100 * s->heat->share[x->node->index], s->heat->what);
        if (s->heat && s->heat->figures && s->heat->figures[x->node->index]) {
            buf_puts(out, "\n");
            svg_text_short(out, s->heat->figures[x->node->index]);
        }
        if (x->verdict == NODE_FOLDED)
            buf_printf(out, "\nfolded: %s", fold_text(x->node->fold));
        finding_lines(s, x->first_finding, out);
    } else if (x->kind == BOX_FAR) {
        int count = 0;
        buf_puts(out, "Values from further up:");
        for (int i = x->first_far; i >= 0; i = s->far[i].next)
            if (count++ < OPERANDS) {
                buf_putc(out, '\n');
                box_name(&s->boxes[s->layout.nets[s->far[i].net].source], out);
            }
        more(count, OPERANDS, "", out);
    } else {
        buf_puts(out, x->kind == BOX_INPUT ? "input " : "output ");
        svg_text_short(out, x->value->name);
        operand(s, "is", -1, x->value, out);
    }
    folded_lines(s, x->folded, out);
}

void svg_net_tooltip(const struct scene *s, int net, struct buf *out)
{
    const struct layout_net *n = &s->layout.nets[net];
    const struct value *v = s->nets[net].value;
    if (v) {
        struct bpu_error err = {0};
        const char *text = scene_value_text(s, v, &err);
        put_or_fail(out, text);
        buf_putc(out, ' ');
        svg_text_short(out, v->name);
        buf_putc(out, '\n');
    }
    box_name(&s->boxes[n->source], out);
    for (int i = 0; i < n->user_count && i < OPERANDS; i++) {
        buf_puts(out, "\n\xE2\x86\x92 ");
        box_name(&s->boxes[n->users[i]], out);
    }
    more(n->user_count, OPERANDS, "readers", out);
}
