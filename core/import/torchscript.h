/* torchscript: shared by the files of the TorchScript reader. Private to core/import.
 *
 *   torchscript.c         the archive: what it is, inputs, running forward, outputs
 *   torchscript_lex.c     code member → tokens
 *   torchscript_expr.c, torchscript_parse.c   tokens → expressions, statements of one function
 *   torchscript_code.c    classes and functions of the code members, found by qualified name
 *   torchscript_eval.c    runs straight-line code over values that are partly known
 *   torchscript_attr.c    attributes of modules
 *   torchscript_call.c    what a call means: submodules, functions, builtins, operators
 *   torchscript_scalar.c  arithmetic on Python numbers
 *   torchscript_operator.c  how an operator is called
 *   torchscript_map*.c    one row per aten operator: its arguments → the operator table's
 *   torchscript_node.c    what the adapters read and build with
 *   torchscript_quant.c   quantized:: operators and packed weights
 *   torchscript_write.c   writes into a part of a constant tensor
 *   torchscript_source.c  the user's own source lines
 *
 * forward is run as a symbolic program: modules, numbers and lists are what they are, tensors are
 * values of the graph.  Sizes are numbers, since every input has its shape, so that the shape
 * arithmetic that traces are full of disappears here and leaves no nodes. */
#ifndef BPU_IMPORT_TORCHSCRIPT_H
#define BPU_IMPORT_TORCHSCRIPT_H

#include "core/import/import.h"
#include "core/import/pickle.h"

/* ── code ── */

enum expr_kind {
    EXPR_NAME,     /* text */
    EXPR_CONSTANT, /* value */
    EXPR_ATTR,     /* text of items[0] */
    EXPR_CALL,     /* items[0] (items[1], …); names[i] of keyword arguments */
    EXPR_INDEX,    /* items[0] [items[1]] */
    EXPR_LIST,
    EXPR_TUPLE,
    EXPR_DICT,
    EXPR_UNARY,  /* text: "-", "not" */
    EXPR_BINARY, /* text: "+", "==", "and" … */
    EXPR_IF,     /* items[0] if items[1] else items[2] */
};

struct ts_expr {
    enum expr_kind kind;
    int line;
    const char *at; /* in the code member: where it begins, of a call the bracket (before which
                     * PyTorch's tables may say nothing) */
    const char *text;
    struct py_value *value;
    struct ts_expr **items;
    const char **names; /* CALL: one per item, NULL where positional */
    size_t count, capacity;
};

enum stmt_kind { STMT_ASSIGN, STMT_EXPR, STMT_RETURN, STMT_IF, STMT_PASS, STMT_REFUSED };

struct ts_stmt {
    enum stmt_kind kind;
    int line;
    const char *at;           /* in the code member */
    const char *text;         /* REFUSED: the keyword */
    struct ts_expr **targets; /* ASSIGN: names, attributes or items */
    size_t target_count;
    bool unpack;                      /* ASSIGN: a, b, = value */
    struct ts_expr *value;            /* also the condition of IF; NULL: return without a value */
    struct ts_stmt *body, *otherwise; /* IF */
    struct ts_stmt *next;
};

struct ts_param {
    const char *name, *type; /* "Tensor"; NULL if not annotated */
    struct ts_expr *otherwise;
};

struct ts_source;

/* A member with code. */
struct ts_member {
    const char *path, *text;  /* "code/__torch__.py" and its bytes */
    struct ts_source *source; /* the user's lines; NULL: not read yet, or not known */
    bool looked;              /* for them */
};

/* A function or method: a range of a code member, parsed when it is first called. */
struct ts_function {
    const char *name, *file; /* file: member name */
    struct ts_member *member;
    const char *begin, *end;
    int line;
    bool parsed;
    struct ts_param *params;
    size_t param_count;
    struct ts_stmt *body;
};

struct ts_class {
    const char *name;             /* "__torch__.LeNet" */
    struct name_table *methods;   /* → ts_function */
    struct name_table *constants; /* attribute: Final[int] = 3 → ts_expr */
};

enum token_kind {
    TOKEN_END,
    TOKEN_NEWLINE,
    TOKEN_INDENT,
    TOKEN_DEDENT,
    TOKEN_NAME,
    TOKEN_NUMBER,
    TOKEN_STRING,
    TOKEN_OP
};

struct token {
    enum token_kind kind;
    const char *text; /* not terminated */
    size_t length;
    int line;
};

enum { LEX_MAX_INDENT = 64 };

struct lexer {
    const char *at, *end, *file;
    struct bpu_error *err;
    int line, indents[LEX_MAX_INDENT], depth, pending, brackets;
    bool line_start;
    struct token token; /* the current one */
};

/* begin..end: whole lines; the first line has number `line`. */
bool lex_init(struct lexer *l, const char *file, const char *begin, const char *end, int line,
              struct bpu_error *err) BPU_CHECKED;
bool lex_next(struct lexer *l) BPU_CHECKED;
bool lex_is(const struct lexer *l, const char *text); /* an operator or a name */
bool lex_error(const struct lexer *l, const char *fmt, ...) BPU_PRINTF(2, 3);

struct ts_import;

enum { PARSE_MAX_DEPTH = 200 };

struct ts_parser {
    struct ts_import *ts;
    struct lexer lex;
    int depth;
};

/* Steps over `text` if it is next. */
bool parse_accept(struct ts_parser *p, const char *text, bool *yes) BPU_CHECKED;
bool parse_expect(struct ts_parser *p, const char *text) BPU_CHECKED;
char *parse_text(struct ts_parser *p); /* of the current token, in the arena */
struct ts_expr *parse_new(struct ts_parser *p, enum expr_kind kind);
bool parse_add(struct ts_parser *p, struct ts_expr *e, struct ts_expr *item,
               const char *name) BPU_CHECKED;
struct ts_expr *parse_expression(struct ts_parser *p);

bool ts_parse_function(struct ts_import *ts, struct ts_function *f) BPU_CHECKED;
/* One expression, of a class' constant. */
struct ts_expr *ts_parse_expr(struct ts_import *ts, const char *file, const char *begin,
                              const char *end, int line);

/* By qualified name; NULL without an error if there is none. */
struct ts_class *ts_class_find(struct ts_import *ts, const char *name);
struct ts_function *ts_function_find(struct ts_import *ts, const char *name);

/* ── running ── */

/* One call of a function. */
struct ts_frame {
    const struct ts_function *function;
    struct name_table *variables;
    struct py_value *self; /* the module, or the caller's for plain functions */
    struct py_value *result;
    bool returned;
    int line;
    const char *at; /* the call that is being made, in the code member */
    const struct ts_frame *caller;
    /* torch.export: calls come one by one from a list of nodes, not from code. */
    const char *node, *source_op; /* NULL: code is run */
};

struct ts_import {
    struct arena *arena;
    struct graph *graph;
    const struct import_request *req;
    struct bpu_error *err;
    struct archive *archive;
    struct name_table *members; /* code member → ts_member, once it is indexed */
    struct name_table *classes, *functions;
    struct name_table *parts;   /* slices that are there already → value */
    struct py_value *constants; /* of constants.pkl: a tuple */
    struct value *causal_mask;  /* the last one that was made: layers share it */
    struct py_value none;
    struct ts_frame *frame;
    const char *whole, *part; /* an operator that is taken apart, and what is made of it; or NULL */
    struct ts_weights *weights; /* of attention, which perhaps nobody uses */
    int depth;     /* nested expressions and calls */
    int64_t steps; /* expressions evaluated */
    struct name_table *source_files; /* names of the user's files; NULL: none yet */
    uint64_t source_bytes;           /* of the tables of source lines that were read */
    bool source_noted;               /* that one of them is damaged */
    bool probing;  /* shapes are missing: only what can be refused without them matters */
    bool paired;   /* scales come from pairs of quantize and dequantize, never from the operand */
};

struct py_value *ts_new(struct ts_import *ts, enum py_kind kind);
struct py_value *ts_int(struct ts_import *ts, int64_t i);
struct py_value *ts_float(struct ts_import *ts, double f);
struct py_value *ts_bool(struct ts_import *ts, bool b);
struct py_value *ts_tensor(struct ts_import *ts, struct value *v);
bool ts_append(struct ts_import *ts, struct py_value *list, struct py_value *item) BPU_CHECKED;

/* Where the call stands that is being translated: a line of code, or a node. */
const char *ts_where(struct ts_import *ts, char out[256]);
/* An error at the line that is being run. Returns false. */
bool ts_bad(struct ts_import *ts, enum bpu_code code, const char *fmt, ...) BPU_PRINTF(3, 4);

struct py_value *ts_eval(struct ts_import *ts, const struct ts_expr *e);
/* Calls f; the first parameter is self if that is not NULL. */
struct py_value *ts_call_function(struct ts_import *ts, struct ts_function *f,
                                  struct py_value *self, struct py_value **args, size_t count);
struct py_value *ts_eval_call(struct ts_import *ts, const struct ts_expr *e);
/* Attribute of a module or another object. */
struct py_value *ts_get_attr(struct ts_import *ts, struct py_value *object, const char *name);
struct py_value *ts_find_attr(struct ts_import *ts, struct py_value *object, const char *name,
                              bool *ok);
bool ts_set_attr(struct ts_import *ts, struct py_value *object, const char *name,
                 struct py_value *v) BPU_CHECKED;
/* "a.b.c" of a chain of attributes; NULL (no error) if it is none or starts at a variable. */
const char *ts_dotted(struct ts_import *ts, const struct ts_expr *e);
/* *known false: only inference shows whether v is true. */
bool ts_truth(const struct py_value *v, bool *known);

/* Numbers: result of an operator whose operands are Python numbers; *done false if they are not, or
 * if it is no such operator. */
struct py_value *ts_scalar_op(struct ts_import *ts, const char *op, struct py_value **args,
                              size_t count, bool *done);

/* ── torchscript_source.c ── */
/* The user's own source line of the call that is being made: the innermost frame that is not
 * PyTorch's. *file NULL if the archive does not say. */
bool ts_user_line(struct ts_import *ts, const char **file, int *line) BPU_CHECKED;
/* File and line of a node: the user's, or else those of the code member. */
bool ts_origin(struct ts_import *ts, struct origin *o) BPU_CHECKED;

/* ── operators ── */

/* A call of an operator while it is translated. */
struct ts_op {
    struct ts_import *ts;
    const struct ts_row *row;
    const char *name;       /* "aten::conv2d" */
    struct py_value **args; /* by position in the schema; NULL where left out */
    size_t count;
};

typedef struct py_value *ts_adapt_fn(struct ts_op *o);

/* schema: the argument names in order, one space between.  Marks in front of a name say what
 * becomes of it in a row without an adapter: @ operand, # parameter, = attribute of that name;
 * without a mark it is left aside. */
struct ts_row {
    const char *name;  /* "conv2d", without the trailing _ of in-place forms */
    const char *torch; /* the operator it becomes, or NULL */
    const char *schema;
    ts_adapt_fn *adapt; /* NULL: as the marks say */
};

/* name without namespace; quantized: of quantized:: */
const struct ts_row *ts_row_find(const char *space, const char *name);
const struct ts_row *ts_rows(const char *space, size_t *count);
struct py_value *ts_call_operator(struct ts_import *ts, const char *space, const char *name,
                                  struct py_value **args, const char **names, size_t count);

/* ── torchscript_node.c: reading ── */
struct py_value *ts_arg(const struct ts_op *o, const char *name); /* NULL if left out or None */
bool ts_is_tensor(const struct py_value *v);
/* Numbers with a default if the argument is left out or None. *ok is cleared if it is there but not
 * known. */
int64_t ts_arg_int(const struct ts_op *o, const char *name, int64_t otherwise, bool *ok);
double ts_arg_float(const struct ts_op *o, const char *name, double otherwise, bool *ok);
bool ts_arg_bool(const struct ts_op *o, const char *name, bool otherwise, bool *ok);
/* Integers of a list, or one integer; count -1 if left out. False if not known or more than max. */
bool ts_arg_ints(const struct ts_op *o, const char *name, int64_t *out, int max, int *count);
bool ts_number(const struct py_value *v, double *out); /* a known number of any kind */
bool ts_integer(const struct py_value *v, int64_t *out);
/* PyTorch's number of an element type; DT_UNKNOWN for others. */
enum dtype ts_dtype(int64_t code);
struct py_value *ts_op_bad(const struct ts_op *o, const char *fmt, ...) BPU_PRINTF(2, 3);

/* ── torchscript_node.c: building ── */
/* The graph's value of a tensor; a number becomes a constant without dimensions of the type `like`
 * has. */
struct value *ts_value(struct ts_import *ts, struct py_value *v, const struct value *like);
struct node *ts_begin(struct ts_op *o, const char *op_name, const char *suffix);
/* Begins and adds the argument `name` as operand. */
struct node *ts_begin_unary(struct ts_op *o, const char *op_name, const char *name);
/* The value of an argument; NULL with an error if it is missing. */
struct value *ts_operand_of(struct ts_op *o, const char *name);
struct node *ts_begin_on(struct ts_op *o, const char *op_name, const char *suffix, struct value *x);
/* *axis within the rank of x, counted from the front; false with an error if it is outside. */
bool ts_axis(struct ts_op *o, const struct value *x, int64_t *axis) BPU_CHECKED;
bool ts_operand(struct ts_op *o, struct node *n, struct py_value *v) BPU_CHECKED;
bool ts_param(struct ts_op *o, struct node *n, const char *param, struct py_value *v) BPU_CHECKED;
/* An attribute from a value of any kind; lists of numbers included. */
bool ts_attr(struct ts_op *o, struct node *n, const char *attr,
             const struct py_value *v) BPU_CHECKED;
/* One output, then op_apply. */
struct py_value *ts_finish(struct ts_op *o, struct node *n);
struct value *ts_finish_value(struct ts_op *o, struct node *n);
/* Several outputs: a list or a tuple of tensors. */
struct py_value *ts_finish_many(struct ts_op *o, struct node *n, int outputs, enum py_kind kind);
/* The call as a node whose result's shape is not known: bound if the table has op_name. */
struct py_value *ts_opaque(struct ts_op *o, const char *op_name);

/* One node of two: ts_begin, operands x and y (may be NULL), one output. */
struct value *ts_node2(struct ts_op *o, const char *op_name, const char *suffix, struct value *x,
                       struct value *y);
/* The last two axes of x swapped. */
struct value *ts_transposed(struct ts_op *o, struct value *x, const char *suffix);

/* ── adapters ── */
ts_adapt_fn ts_conv, ts_batch_norm, ts_layer_norm, ts_group_norm, ts_linear, ts_addmm, ts_matmul,
    ts_pool, ts_adaptive_pool;                           /* torchscript_map_conv.c */
ts_adapt_fn ts_attention, ts_encoder_layer, ts_sdpa;     /* torchscript_map_attention.c */
bool ts_fold_unused_weights(struct ts_import *ts) BPU_CHECKED;
ts_adapt_fn ts_binary, ts_clamp, ts_gelu, ts_mean, ts_max_min, ts_to, ts_einsum, ts_prelu, ts_pass,
    ts_create, ts_create_like, ts_arange, ts_masked_fill, ts_topk, ts_arg_max, ts_softmax, ts_size,
    ts_grid_sample, ts_hard; /* torchscript_map_misc.c */
ts_adapt_fn ts_view, ts_flatten, ts_transpose, ts_permute, ts_select, ts_slice, ts_split, ts_chunk,
    ts_unbind, ts_squeeze, ts_expand, ts_pad, ts_upsample, ts_cat, ts_index, ts_index_select,
    ts_roll;
/* torchscript_map_move.c, torchscript_map_cut.c */
ts_adapt_fn ts_recurrent, ts_lstm_cell, ts_sort, ts_roi_align; /* torchscript_map_state.c */
ts_adapt_fn ts_fill, ts_copy;                                  /* torchscript_write.c */
ts_adapt_fn ts_quantize, ts_dequantize, ts_qconv, ts_qlinear, ts_qbinary, ts_qcat, ts_qunary,
    ts_qhardswish, ts_qbatch_norm, ts_prepack, ts_unpack; /* torchscript_quant.c */
ts_adapt_fn ts_pair_quantize, ts_pair_dequantize;         /* pt2_quant.c */
/* Conv or Linear of a known weight, shared with the quantized forms. */
struct node *ts_conv_node(struct ts_op *o, struct py_value *x, struct py_value *weight,
                          struct py_value *bias, bool transposed);
struct node *ts_linear_node(struct ts_op *o, struct value *x, struct value *weight, bool in_out,
                            struct py_value *bias);
/* Notes which elements of its base a view shows. */
bool ts_note_view(struct ts_import *ts, struct py_value *base, struct py_value *v, int64_t offset,
                  const int64_t *stride) BPU_CHECKED;
bool ts_view_of(struct py_value *v, struct py_view *out);
/* Weights as pickled by a packed-weights object; NULL with an error. */
struct py_value *ts_unpack_object(struct ts_import *ts, struct py_value *object);

#endif
