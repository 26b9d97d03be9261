/* `bpuhub ops` for people: one line per row of the torch table, one column per march. */
#include <string.h>

#include "core/march/limit.h"

/* "qint8 qint16", or "-" where the row is not supported. Needs 128 bytes. */
static const char *support_text(const struct cell *c, char out[128])
{
    static const struct {
        unsigned bit;
        const char *name;
    } dtypes[] = {{Q8, "qint8"}, {Q16, "qint16"}, {Q32, "qint32"}, {QB, "qbool"}, {F32, "float32"}};
    out[0] = '\0';
    if (c->support == SUPPORT_NO)
        return strcpy(out, "-");
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
        if (c->inputs & dtypes[i].bit) {
            if (out[0])
                strcat(out, " ");
            strcat(out, dtypes[i].name);
        }
    if (!out[0])
        strcpy(out, "yes");
    if (c->limits || c->reading)
        strcat(out, " *");
    return out;
}

static const struct cell *cell_of(const struct march *m, const char *op)
{
    for (int i = 0; i < m->torch_count; i++)
        if (strcmp(m->torch[i].op, op) == 0)
            return &m->torch[i];
    return NULL;
}

bool march_ops_text(const struct march *only, struct buf *out, struct bpu_error *err)
{
    size_t count;
    const struct march *const *all = march_list(&count), *const *marches = only ? &only : all;
    if (only)
        count = 1;
    buf_printf(out, "%-52s", "operator");
    for (size_t m = 0; m < count; m++)
        buf_printf(out, "  %-28s", march_name(marches[m]));
    buf_putc(out, '\n');
    for (int i = 0; i < marches[0]->torch_count; i++) {
        const char *op = marches[0]->torch[i].op;
        buf_printf(out, "%-52s", op);
        for (size_t m = 0; m < count; m++) {
            const struct cell *c = cell_of(marches[m], op);
            char text[128];
            buf_printf(out, "  %-28s", c ? support_text(c, text) : "");
        }
        buf_putc(out, '\n');
    }
    buf_puts(out, "\n*  with limits; `bpuhub ops --json` has them all, and the ONNX table.\n");
    return buf_ok(out, err);
}
