/* The way of a drawing: scene, layout, writer. */
#include "core/draw/draw.h"

#include "core/draw/svg.h"

#define DRAW_QUOTA ((size_t)512 << 20)

static bool draw(const struct graph *g, const struct check_result *r, const struct draw_heat *heat,
                 struct buf *out, struct bpu_error *err)
{
    struct arena a;
    struct scene s;
    arena_init(&a, DRAW_QUOTA);
    bool ok = scene_new(&s, g, r, heat, &a, err) && layout_run(&s.layout, &a, err);
    if (ok) {
        svg_write(&s, out);
        ok = buf_ok(out, err);
    }
    arena_fini(&a);
    return ok;
}

bool draw_svg(const struct graph *g, const struct check_result *r, struct buf *out,
              struct bpu_error *err)
{
    return draw(g, r, NULL, out, err);
}

bool draw_heat_svg(const struct graph *g, const struct draw_heat *heat, struct buf *out,
                   struct bpu_error *err)
{
    return draw(g, NULL, heat, out, err);
}
