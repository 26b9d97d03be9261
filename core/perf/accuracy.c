/* The expected error of a latency. The numbers are the comparison with published runs that `make accuracy`
 * makes and writes to accuracy.inc; docs/accuracy.md is the same for people. */
#include "core/perf/accuracy.h"

#include <stdio.h>
#include <strings.h>

#include "core/perf/perf.h"

struct row {
    const char *march;
    uint32_t mark;
    struct perf_accuracy a;
};

static const struct row rows[] = {
#define ACCURACY(march, mark, known, median, p90, worst, networks, text)                           \
    {march, mark, {known, median, p90, worst, networks, text}},
#include "core/perf/accuracy.inc"
#undef ACCURACY
    {0}, /* ends the list: nothing is known until `make accuracy` was run */
};

static const struct row *row_of(const char *march)
{
    for (size_t i = 0; march && rows[i].march; i++)
        if (strcasecmp(rows[i].march, march) == 0)
            return &rows[i];
    return NULL;
}

struct perf_accuracy perf_accuracy_of(const char *march)
{
    const struct row *r = row_of(march);
    if (r)
        return r->a;
    return (struct perf_accuracy){.text = "unknown: no published run of this march was compared"};
}

uint32_t perf_accuracy_mark(const char *march)
{
    const struct row *r = row_of(march);
    return r ? r->mark : 0;
}

uint32_t perf_machine_mark(const struct machine *m)
{
    uint32_t h = 2166136261u; /* FNV-1a over "name=value;" of every row */
    for (const struct machine_row *row = machine_rows; row->name; row++) {
        char text[128];
        snprintf(text, sizeof text, "%s=%.9g;", row->name, machine_row_figure(m, row)->v);
        for (const char *c = text; *c; c++)
            h = (h ^ (unsigned char)*c) * 16777619u;
    }
    return h;
}
