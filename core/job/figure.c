/* Names and texts of figures: one row each. */
#include "core/job/figure.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct figure_row rows[FIGURE_COUNT] = {
#define X(id, key, label, unit, better) [FIGURE_##id] = {key, label, unit, BETTER_##better},
    FIGURE_MAP(X)
#undef X
};

static const struct {
    const char *name;
    enum figure is;
} short_names[] = {
    {"latency", FIGURE_LATENCY}, {"ddr", FIGURE_DDR},         {"ddr_load", FIGURE_DDR_LOAD},
    {"ddr_store", FIGURE_DDR_STORE}, {"spills", FIGURE_SPILLS}, {"sram", FIGURE_SRAM},
    {"program", FIGURE_PROGRAM}, {"constants", FIGURE_CONSTANTS}, {"sqnr", FIGURE_SQNR},
};

const struct figure_row *figure_row(enum figure f)
{
    return &rows[f];
}

bool figure_find(const char *name, size_t length, enum figure *out)
{
    for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++)
        if (strlen(short_names[i].name) == length && memcmp(short_names[i].name, name, length) == 0) {
            *out = short_names[i].is;
            return true;
        }
    for (int i = 0; i < FIGURE_COUNT; i++)
        if (strlen(rows[i].key) == length && memcmp(rows[i].key, name, length) == 0) {
            *out = (enum figure)i;
            return true;
        }
    return false;
}

const char *figure_bytes(double v, char *out, size_t size)
{
    double a = fabs(v);
    if (a < 1024)
        snprintf(out, size, "%.0f B", v);
    else if (a < 1024 * 1024)
        snprintf(out, size, "%.1f KiB", v / 1024);
    else
        snprintf(out, size, "%.3f MiB", v / (1024 * 1024));
    return out;
}

const char *figure_text(enum figure f, double v, char *out, size_t size)
{
    const char *unit = rows[f].unit;
    double a = fabs(v);
    if (strcmp(unit, "B") == 0)
        return figure_bytes(v, out, size);
    if (strcmp(unit, "%") == 0)
        snprintf(out, size, "%.2f %%", 100 * v);
    else if (*unit)
        snprintf(out, size, "%.*f %s", a >= 1000 ? 1 : a >= 10 ? 2 : 3, v, unit);
    else if (v == floor(v) && a < 1e15)
        snprintf(out, size, "%.0f", v);
    else
        snprintf(out, size, "%.*f", a >= 100 ? 1 : 3, v);
    return out;
}
