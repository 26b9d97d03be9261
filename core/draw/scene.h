/* scene: what is drawn of a graph, before anything has a place.
 *
 *   box ── a node, a terminal of the graph, or a note that stands for lines too long to draw
 *   net ── a value as its readers see it: from one box to its readers
 *
 * Folded nodes get no box: those that pass their input through hang as a grey tag below the box
 * whose value they pass on, constants belong to the first box that reads their result.  Each box
 * lists its folded nodes, so that every node of the report has its id in the drawing. */
#ifndef BPU_DRAW_SCENE_H
#define BPU_DRAW_SCENE_H

#include "core/check/check.h"
#include "core/draw/draw.h"
#include "core/draw/layout.h"

/* Font sizes and line heights of the drawing, in CSS pixels. */
#define FONT_OP 13.0
#define FONT_ATTR 11.0
#define FONT_NAME 10.0
#define FONT_EDGE 10.5
#define FONT_TAG 9.5

enum box_kind { BOX_NODE, BOX_INPUT, BOX_OUTPUT, BOX_FAR };

struct box {
    enum box_kind kind;
    const struct node *node;   /* NODE */
    const struct value *value; /* INPUT, OUTPUT: the value */
    int user;                  /* FAR: the box that reads the far values */
    enum node_verdict verdict;
    bool induced;
    const char *title, *detail, *name; /* lines of text; detail and name may be "" */
    const char *tag;                   /* folded nodes behind it: "BatchNorm2d", or NULL */
    int folded;                        /* first folded node (index) of the list, or -1 */
    int first_finding;                 /* of the list, or -1 */
    int warnings, advice, far_count;
    bool labels_differ; /* of the nets that leave it */
    int first_far;      /* FAR: newest of its far_lines */
};

struct net {
    const struct value *value; /* as its readers see it; NULL for the line below a FAR box */
    const char *label;         /* "1x64x56x56 qint8", "" at terminals */
};

struct scene {
    const struct graph *graph;
    const struct check_result *check; /* may be NULL */
    const struct draw_heat *heat;     /* may be NULL */
    double hottest;                   /* the largest share */
    struct arena *arena;
    struct box *boxes;
    struct net *nets;
    struct layout layout; /* boxes and nets have the same indices there */
    int *box_of_node;     /* -1: folded */
    int *next_folded;     /* by node: the next folded node of the same box, or -1 */
    int *next_finding;    /* by finding */
    int orphans;          /* first folded node that belongs to no box, or -1 */
    struct far_line *far; /* lines that were too long to draw */
    int far_lines;
};

/* A line that is told in words: net `net`, and the next one of the same FAR box or -1. */
struct far_line {
    int net, next;
};

/* Everything but the places; layout has ranks.  r and heat may be NULL. */
bool scene_new(struct scene *s, const struct graph *g, const struct check_result *r,
               const struct draw_heat *heat, struct arena *a, struct bpu_error *err) BPU_CHECKED;
/* "1x64x56x56 qint8" of a value, as judged. */
const char *scene_value_text(const struct scene *s, const struct value *v,
                             struct bpu_error *err) BPU_CHECKED;

#endif
