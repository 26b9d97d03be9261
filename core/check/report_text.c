/* The report for people at a terminal: the verdict, what is wrong how often, then node by node.
 * A legal model gets a few lines.  Control characters of names never reach the terminal. */
#include <stdlib.h>
#include <string.h>

#include "core/base/table.h"
#include "core/check/check.h"

static void put_clean(struct buf *out, const char *s)
{
    for (; s && *s; s++) {
        unsigned char c = (unsigned char)*s;
        if (c < 0x20 || c == 0x7f)
            buf_printf(out, "\\x%02x", c);
        else
            buf_putc(out, (char)c);
    }
}

static void put_padded(struct buf *out, const char *s, size_t width)
{
    put_clean(out, s);
    for (size_t n = strlen(s); n < width; n++)
        buf_putc(out, ' ');
}

static const char *plural(int n)
{
    return n == 1 ? "" : "s";
}

struct rule_count {
    const char *rule;
    enum severity severity;
    int findings;
    const struct node *nodes[3];
    int node_count;
};

static int by_weight(const void *a, const void *b)
{
    const struct rule_count *x = a, *y = b;
    if (x->severity != y->severity)
        return x->severity < y->severity ? -1 : 1;
    if (x->findings != y->findings)
        return x->findings > y->findings ? -1 : 1;
    return strcmp(x->rule, y->rule);
}

/* Rules with how often and where. A hostile file has as many rules as nodes. */
static bool put_rules(const struct check_result *r, struct buf *out, struct bpu_error *err)
{
    struct arena *a = r->graph->arena;
    struct rule_count *rules = ARENA_ARRAY(a, struct rule_count, r->finding_count, err);
    struct name_table *by_name[3] = {name_table_new(a, err), name_table_new(a, err),
                                     name_table_new(a, err)};
    int count = 0;
    size_t width = 4;
    if (!rules || !by_name[0] || !by_name[1] || !by_name[2])
        return false;
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        struct rule_count *rule = name_table_find(by_name[f->severity], f->rule);
        if (!rule) {
            rule = &rules[count++];
            *rule = (struct rule_count){.rule = f->rule, .severity = f->severity};
            if (!name_table_put(by_name[f->severity], f->rule, rule, err))
                return false;
        }
        rule->findings++;
        if (rule->node_count < 3)
            rule->nodes[rule->node_count++] = f->node;
        if (strlen(f->rule) > width)
            width = strlen(f->rule);
    }
    qsort(rules, (size_t)count, sizeof(*rules), by_weight);
    buf_puts(out, "\n");
    put_padded(out, "rule", width);
    buf_puts(out, "  severity  count  nodes\n");
    for (int i = 0; i < count; i++) {
        put_padded(out, rules[i].rule, width);
        buf_puts(out, "  ");
        put_padded(out, severity_name(rules[i].severity), 8);
        buf_printf(out, "  %5d  ", rules[i].findings);
        for (int k = 0; k < rules[i].node_count; k++) {
            buf_puts(out, k ? ", " : "");
            put_clean(out, rules[i].nodes[k] ? rules[i].nodes[k]->name : "(model)");
        }
        buf_puts(out, rules[i].findings > rules[i].node_count ? ", …\n" : "\n");
    }
    return true;
}

static void put_place(struct buf *out, const struct node *n)
{
    const struct origin *o = &n->origin;
    buf_puts(out, "\n");
    put_clean(out, n->name);
    buf_puts(out, "  ");
    put_clean(out, n->op_name);
    if (o->source_op && strcmp(o->source_op, n->op_name) != 0) {
        buf_puts(out, " (");
        put_clean(out, o->source_op);
        buf_puts(out, ")");
    }
    if (o->scope && *o->scope && strcmp(o->scope, n->name) != 0) {
        buf_puts(out, ", scope ");
        put_clean(out, o->scope);
    }
    if (o->file) {
        buf_puts(out, ", ");
        put_clean(out, o->file);
        if (o->line > 0)
            buf_printf(out, ":%lld", (long long)o->line);
    }
    buf_puts(out, "\n");
}

static void put_findings(const struct check_result *r, struct buf *out)
{
    const struct node *last = NULL;
    for (int i = 0; i < r->finding_count; i++) {
        const struct finding *f = &r->findings[i];
        if (f->node && f->node != last)
            put_place(out, f->node);
        last = f->node;
        buf_printf(out, "  %s%s ", severity_name(f->severity), f->induced ? " (induced)" : "");
        put_clean(out, f->rule);
        buf_puts(out, ": ");
        put_clean(out, f->message);
        if (strcmp(f->table, "onnx") == 0) {
            buf_puts(out, " [ONNX table, row ");
            put_clean(out, f->row);
            buf_puts(out, "]");
        }
        buf_puts(out, "\n");
        if (f->hint) {
            buf_puts(out, "    ");
            put_clean(out, f->hint);
            buf_puts(out, "\n");
        }
        if (f->eager_replacement && f->severity == SEVERITY_ERROR) {
            buf_puts(out, "    in eager mode: ");
            put_clean(out, f->eager_replacement);
            buf_puts(out, "\n");
        }
    }
}

bool report_check_text(const struct check_result *r, const struct report_head *h, struct buf *out,
                       struct bpu_error *err)
{
    put_clean(out, h->model_name ? h->model_name : "model");
    buf_printf(out,
               " is %s on %s: %d node%s, %d legal, %d illegal, %d folded; %d error%s, %d warning%s",
               r->legal ? "legal" : "ILLEGAL", march_name(r->march), r->graph->node_count,
               plural(r->graph->node_count), r->legal_count, r->illegal_count, r->folded_count,
               r->error_count, plural(r->error_count), r->warning_count, plural(r->warning_count));
    if (r->advice_count)
        buf_printf(out, ", %d advice", r->advice_count);
    buf_puts(out, "\n");
    for (int i = 0; i < r->note_count; i++)
        buf_printf(out, "note: %s\n", r->notes[i]);
    for (int i = 0; i < r->graph->note_count; i++) {
        buf_puts(out, "note: ");
        put_clean(out, r->graph->notes[i]);
        buf_puts(out, "\n");
    }
    if (r->finding_count > 0) {
        if (!put_rules(r, out, err))
            return false;
        put_findings(r, out);
    }
    return buf_ok(out, err);
}
