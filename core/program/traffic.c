/* The kind of a transfer follows from its address: constants lie at the bottom of DDR, inputs and outputs
 * say where they are, and everything else there is workspace. */
#include "core/program/traffic.h"

static const struct {
    const char *name, *text;
} rows[TRAFFIC_COUNT] = {
#define X(id, name, text) {name, text},
    TRAFFIC_MAP(X)
#undef X
};

const char *traffic_name(enum traffic t)
{
    return rows[t].name;
}

const char *traffic_text(enum traffic t)
{
    return rows[t].text;
}

static bool is_in(const struct program_io *list, int count, int64_t address)
{
    for (int i = 0; i < count; i++)
        if (address >= list[i].address && address - list[i].address < list[i].bytes)
            return true;
    return false;
}

enum traffic instruction_traffic(const struct program *p, const struct instruction *i)
{
    const struct tile *t = NULL;
    int64_t first, end;
    if (i->engine != ENGINE_LOAD && i->engine != ENGINE_STORE)
        return TRAFFIC_NONE;
    for (int k = 0; k < i->tile_count && !t; k++)
        if (i->tiles[k].space == SPACE_DDR && i->tiles[k].n > 0)
            t = &i->tiles[k];
    if (!t)
        return TRAFFIC_NONE;
    tile_range(t, &first, &end);
    if (first < p->constant_bytes)
        return TRAFFIC_CONSTANTS;
    if (is_in(p->inputs, p->input_count, first))
        return TRAFFIC_INPUTS;
    return is_in(p->outputs, p->output_count, first) ? TRAFFIC_OUTPUTS : TRAFFIC_SPILLS;
}
