/* Words of the machine: engines by name, the rows of MACHINE_MAP as a list. */
#include "core/march/machine.h"

#include "core/march/limit.h"

static const char *const names[ENGINE_COUNT] = {
#define X(id, name, text) [ENGINE_##id] = name,
    ENGINE_MAP(X)
#undef X
};

static const char *const texts[ENGINE_COUNT] = {
#define X(id, name, text) [ENGINE_##id] = text,
    ENGINE_MAP(X)
#undef X
};

const char *engine_name(enum engine e)
{
    return names[e];
}

const char *engine_text(enum engine e)
{
    return texts[e];
}

const struct machine *march_machine(const struct march *m)
{
    return m->machine;
}

const struct machine_row machine_rows[] = {
#define X(name, unit, text) {#name, unit, text, offsetof(struct machine, name)},
    MACHINE_MAP(X)
#undef X
        {NULL, NULL, NULL, 0},
};

const struct machine_figure *machine_row_figure(const struct machine *m,
                                                const struct machine_row *row)
{
    return (const struct machine_figure *)(const void *)((const char *)m + row->offset);
}
