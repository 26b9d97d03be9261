/* JUnit XML, for CI: a suite per model and march, a case per node. An illegal node is a failure with all its findings, a
 * folded one is skipped, warnings and advice stand in system-out. */
#include "core/check/check.h"

static void write_text(struct buf *out, const struct finding *f)
{
    buf_printf(out, "%s ", severity_name(f->severity));
    buf_xml(out, f->rule);
    buf_puts(out, ": ");
    buf_xml(out, f->message);
    if (f->hint) {
        buf_puts(out, "\n  ");
        buf_xml(out, f->hint);
    }
    if (f->eager_replacement) {
        buf_puts(out, "\n  in eager mode: ");
        buf_xml(out, f->eager_replacement);
    }
    buf_putc(out, '\n');
}

/* Findings [from, to) are this node's; true if one of them is an error (or is none). */
static void write_kind(struct buf *out, const struct check_result *r, int from, int to, bool errors)
{
    for (int i = from; i < to; i++)
        if ((r->findings[i].severity == SEVERITY_ERROR) == errors)
            write_text(out, &r->findings[i]);
}

static void write_case(struct buf *out, const struct check_result *r, const struct node *n,
                       int from, int to)
{
    int errors = 0;
    const struct finding *first = NULL;
    for (int i = from; i < to; i++)
        if (r->findings[i].severity == SEVERITY_ERROR && !errors++)
            first = &r->findings[i];
    buf_puts(out, "  <testcase classname=\"");
    buf_xml(out, n->op_name);
    buf_puts(out, "\" name=\"");
    buf_xml(out, n->name);
    buf_puts(out, "\"");
    if (from == to && r->verdicts[n->index] != NODE_FOLDED) {
        buf_puts(out, "/>\n");
        return;
    }
    buf_puts(out, ">\n");
    if (r->verdicts[n->index] == NODE_FOLDED) {
        buf_puts(out, "    <skipped message=\"");
        buf_xml(out, fold_text(n->fold));
        buf_puts(out, "\"/>\n");
    }
    if (first) {
        buf_puts(out, "    <failure type=\"");
        buf_xml(out, first->rule);
        buf_puts(out, "\" message=\"");
        buf_xml(out, first->message);
        buf_puts(out, "\">");
        write_kind(out, r, from, to, true);
        buf_puts(out, "</failure>\n");
    }
    if (to - from > errors) {
        buf_puts(out, "    <system-out>");
        write_kind(out, r, from, to, false);
        buf_puts(out, "</system-out>\n");
    }
    buf_puts(out, "  </testcase>\n");
}

bool report_check_junit(const struct check_result *r, const struct report_head *h, struct buf *out,
                        struct bpu_error *err)
{
    const struct graph *g = r->graph;
    buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"");
    buf_xml(out, h->model_name);
    buf_puts(out, " on ");
    buf_xml(out, march_name(r->march));
    buf_printf(out, "\" tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"0\">\n",
               g->node_count, r->illegal_count, r->folded_count);
    int at = 0;
    while (at < r->finding_count && !r->findings[at].node)
        at++; /* those of the whole model come first */
    for (int i = 0; i < g->node_count; i++) {
        int from = at;
        while (at < r->finding_count && r->findings[at].node == g->nodes[i])
            at++;
        write_case(out, r, g->nodes[i], from, at);
    }
    if (r->finding_count && !r->findings[0].node) {
        buf_puts(out, "  <system-out>");
        for (int i = 0; i < r->finding_count && !r->findings[i].node; i++)
            write_text(out, &r->findings[i]);
        buf_puts(out, "</system-out>\n");
    }
    buf_puts(out, "</testsuite>\n");
    return buf_ok(out, err);
}
