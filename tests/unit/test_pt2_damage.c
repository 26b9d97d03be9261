/* Damaged torch.export archives: each is refused by its place, or is harmless; allocations that
 * fail; quotas. */
#include <jansson.h>

#include "core/base/archive.h"
#include "tests/unit/pt2_fixture.h"

/* ── damage ── */

static void refused_fixtures_name_the_place(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum bpu_code code;
        const char *says, *where;
    } rows[] = {
        {"aotinductor", BPU_UNSUPPORTED, "AOTInductor", "data/aotinductor/"},
        {"archive_format", BPU_UNSUPPORTED, "\"pt3\"", "archive_format"},
        {"archive_version", BPU_UNSUPPORTED, "version \"1\"", "archive_version"},
        {"bomb", BPU_LIMIT, "would unpack", "models/model.json"},
        {"cond", BPU_UNSUPPORTED, "higher_order.cond is control flow", "node \""},
        {"cut_json", BPU_BAD_MODEL, "JSON cannot be read", "models/model.json\", line 1, column"},
        {"deep", BPU_LIMIT, "nested deeper", "models/model.json\", line 1, column"},
        {"no_program", BPU_BAD_MODEL, "holds no program", "models/"},
        {"no_state", BPU_BAD_MODEL, "is missing", "serialized_state_dict.pt"},
        {"order", BPU_BAD_MODEL, "nothing before makes it", "/graph_module/graph/nodes/0/inputs/0"},
        {"same_names", BPU_BAD_MODEL, "two values are named \"conv2d\"", "/nodes/2/outputs"},
        {"schema_ancient", BPU_UNSUPPORTED, "has version 1", "/schema_version"},
        {"schema_major", BPU_UNSUPPORTED, "has version 9", "/schema_version"},
        {"shape", BPU_BAD_MODEL, "\"conv2d\" is 1x5x4x4", "node \"conv2d\""},
        {"training", BPU_UNSUPPORTED, "for training", "/output_specs/0"},
        {"undescribed", BPU_BAD_MODEL, "not described in tensor_values", "/nodes/0/outputs"},
        {"union_of_two", BPU_BAD_MODEL, "2 fields", "/nodes/0/inputs/0/arg"},
        {"union_tag", BPU_BAD_MODEL, "\"as_tensr\"", "/nodes/0/inputs/0/arg/as_tensr"},
        {"unknown_name", BPU_BAD_MODEL, "\"nowhere\" is read", "/nodes/2/inputs/0"},
        {"weight_cut", BPU_BAD_MODEL, "reaches beyond its member", "model_weights_config.json"},
        {"weight_missing", BPU_BAD_MODEL, "\"fc.weight\" is not in the file",
         "weights_config.json"},
        {"weight_shape", BPU_BAD_MODEL, "\"fc.weight\" is 5x3", "weights_config.json"},
        {"wrong_type", BPU_BAD_MODEL, "a string; an integer", "/nodes/0/inputs/3/arg/as_ints/0"},
    };
    glob_t files;
    assert_int_equal(glob(FIXTURES "bad_*.pt2", 0, NULL, &files), 0);
    assert_int_equal(files.gl_pathc, sizeof rows / sizeof rows[0]);
    globfree(&files);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[300];
        struct arena a;
        struct bpu_error err;
        snprintf(path, sizeof path, FIXTURES "bad_%s.pt2", rows[i].name);
        struct bytes b = slurp(path);
        arena_init(&a, 64 << 20);
        if (read_with(&a, &b, NULL, 0, &err))
            fail_msg("%s is accepted", rows[i].name);
        if (err.code != rows[i].code || !strstr(err.message, rows[i].says) ||
            !strstr(err.where, rows[i].where))
            fail_msg("%s: [%s] %s: %s", rows[i].name, error_code_name(err.code), err.where,
                     err.message);
        arena_fini(&a);
        free(b.data);
    }
}

/* The members of a fixture, to be changed and packed again. */
struct unpacked {
    struct arena arena;
    struct bytes bytes;
    struct zip_part parts[64];
    size_t count;
};

static void unpack(struct unpacked *u, const char *file)
{
    char path[300];
    struct bpu_error err = {0};
    snprintf(path, sizeof path, FIXTURES "%s", file);
    u->bytes = slurp(path);
    arena_init(&u->arena, 64 << 20);
    struct archive *z = archive_open(&u->arena, u->bytes.data, u->bytes.size, &err);
    assert_non_null(z);
    assert_true(z->count <= 64);
    u->count = z->count;
    for (size_t i = 0; i < z->count; i++) {
        const struct archive_member *m = &z->members[i];
        u->parts[i] = (struct zip_part){m->name, archive_bytes(z, m, true, &err), (size_t)m->size};
        assert_non_null(u->parts[i].data);
    }
}

static struct zip_part *part_like(struct unpacked *u, const char *end)
{
    for (size_t i = 0; i < u->count; i++) {
        size_t n = strlen(u->parts[i].name), m = strlen(end);
        if (n >= m && strcmp(u->parts[i].name + n - m, end) == 0)
            return &u->parts[i];
    }
    fail_msg("there is no member %s", end);
    return NULL;
}

static void discard(struct unpacked *u)
{
    arena_fini(&u->arena);
    free(u->bytes.data);
}

/* Reads damaged bytes: a graph that holds together, or an error that says something. */
static bool read_damaged(const struct bytes *b, const char *what, size_t at)
{
    struct arena a;
    struct bpu_error err, broken = {0};
    arena_init(&a, 64 << 20);
    struct graph *g = read_with(&a, b, NULL, 0, &err);
    if (g && !graph_verify(g, &broken))
        fail_msg("%s at %zu: %s", what, at, broken.message);
    if (!g && (err.code == BPU_NONE || err.code == BPU_SERVER || !err.message[0] || !err.where[0]))
        fail_msg("%s at %zu: code %d, \"%s\" (%s)", what, at, err.code, err.message, err.where);
    arena_fini(&a);
    return g != NULL;
}

/* Every so many bytes of a member are changed, in an archive that is whole otherwise. */
static void damage_member(const char *file, const char *member, size_t step)
{
    struct unpacked u;
    unpack(&u, file);
    struct zip_part *part = part_like(&u, member);
    const unsigned char *whole = part->data;
    size_t size = part->size, refused = 0, tried = 0;
    unsigned char *copy = malloc(size);
    static const unsigned char with[] = {'"', '{', ']', '9', '-', 0xFF, 0, ' '};
    part->data = copy;
    for (size_t at = 0; at < size; at += step, tried++) {
        struct bytes b;
        memcpy(copy, whole, size);
        copy[at] = with[at / step % sizeof with] == copy[at] ? '}' : with[at / step % sizeof with];
        b.data = zip_store(u.parts, u.count, &b.size);
        refused += !read_damaged(&b, member, at);
        free(b.data);
    }
    for (size_t at = 0; at < size; at += 7 * step, tried++) { /* and cut short */
        struct bytes b;
        memcpy(copy, whole, size);
        part->size = at;
        b.data = zip_store(u.parts, u.count, &b.size);
        refused += !read_damaged(&b, member, at);
        free(b.data);
    }
    assert_true(refused * 3 > tried);
    free(copy);
    discard(&u);
}

static void damaged_members_are_refused_or_harmless(void **state)
{
    (void)state;
    damage_member("conv.pt2", "models/model.json", 11);
    damage_member("quantized.pt2", "models/model.json", 23);
    damage_member("conv.pt2", "model_weights_config.json", 3);
    damage_member("conv.old.pt2", "serialized_exported_program.json", 23);
    damage_member("conv.old.pt2", "serialized_state_dict.pt", 5);
}

static void damaged_files_are_refused_or_harmless(void **state)
{
    (void)state;
    static const char *const files[] = {FIXTURES "conv.pt2", FIXTURES "several.old.pt2"};
    for (size_t i = 0; i < 2; i++) {
        struct bytes b = slurp(files[i]), part = {0};
        for (size_t at = 0; at < b.size; at += 97) {
            unsigned char was = b.data[at];
            b.data[at] ^= (unsigned char)(1 << at % 8);
            read_damaged(&b, files[i], at);
            b.data[at] = was;
            part = (struct bytes){b.data, at};
            if (at >= 4)
                assert_false(read_damaged(&part, files[i], at));
        }
        free(b.data);
    }
}

/* Changes of the program at a JSON path: fields that are missing or of another kind. */
static void changed_programs_are_refused_by_place(void **state)
{
    (void)state;
    static const struct {
        const char *path, *json; /* NULL: left out */
        enum bpu_code code;
        const char *says, *where;
    } rows[] = {
        {"graph_module", NULL, BPU_BAD_MODEL, "\"graph_module\" is missing", "model.json"},
        {"graph_module", "[]", BPU_BAD_MODEL, "is a list", "/graph_module"},
        {"schema_version", NULL, BPU_BAD_MODEL, "version of the schema is missing",
         "/schema_version"},
        {"schema_version/major", "\"8\"", BPU_BAD_MODEL, "\"major\" is a string",
         "/schema_version/major"},
        {"schema_version/major", "4000000000000", BPU_UNSUPPORTED, "has version 4000000000000", ""},
        {"graph_module/graph", NULL, BPU_BAD_MODEL, "\"graph\" is missing", "/graph_module"},
        {"graph_module/signature", NULL, BPU_BAD_MODEL, "\"signature\" is missing",
         "/graph_module"},
        {"graph_module/graph/nodes", "{}", BPU_BAD_MODEL, "is an object", "/nodes"},
        {"graph_module/graph/nodes", "[]", BPU_BAD_MODEL, "nothing before makes it",
         "/output_specs/0"},
        {"graph_module/graph/nodes/0", "7", BPU_BAD_MODEL, "an object is expected", "/nodes/0"},
        {"graph_module/graph/inputs", "[]", BPU_BAD_MODEL, "inputs, the graph 0", "/input_specs"},
        {"graph_module/graph/inputs/0", "{\"as_tensor\":{\"name\":\"other\"}}", BPU_BAD_MODEL,
         "\"other\" is read", "/graph/inputs/0"},
        {"graph_module/graph/outputs", "[]", BPU_BAD_MODEL, "the graph 0", "/output_specs"},
        {"graph_module/signature/output_specs", "[]", BPU_BAD_MODEL, "has 0 outputs",
         "/output_specs"},
        {"graph_module/signature/input_specs/0", "{\"user_input\":{}}", BPU_BAD_MODEL,
         "\"arg\" is missing", "/input_specs/0/user_input"},
        {"graph_module/signature/input_specs/0", "{\"present\":{}}", BPU_BAD_MODEL,
         "no kind of input", "/input_specs/0/present"},
        {"graph_module/signature/input_specs/0", "null", BPU_BAD_MODEL, "a union",
         "/input_specs/0"},
        {"graph_module/signature/output_specs/0", "{\"gift\":{}}", BPU_BAD_MODEL,
         "no kind of output", "/output_specs/0/gift"},
        {"graph_module/signature/output_specs/0", "{\"user_output\":{\"arg\":{\"as_none\":true}}}",
         BPU_BAD_MODEL, "returns no tensor", "/output_specs"},
        {"graph_module/graph/tensor_values", NULL, BPU_BAD_MODEL, "\"tensor_values\" is missing",
         "/graph"},
        {"graph_module/graph/tensor_values/x/dtype", "77", BPU_UNSUPPORTED,
         "element type number 77", "input \"x\""},
        {"graph_module/graph/tensor_values/x/dtype", "\"FLOAT\"", BPU_BAD_MODEL, "is a string",
         "/x/dtype"},
        {"graph_module/graph/tensor_values/x/sizes/0", "{\"as_int\":-1}", BPU_BAD_MODEL,
         "extent is -1", "/x/sizes/0"},
        {"graph_module/graph/tensor_values/x/sizes/0", "1", BPU_BAD_MODEL, "a union", "/x/sizes/0"},
        {"graph_module/graph/tensor_values/x/sizes", "[{\"as_int\":1},{\"as_int\":5}]",
         BPU_BAD_SHAPE, "", ""},
        {"graph_module/graph/tensor_values/x/sizes/1", "{\"as_int\":4}", BPU_BAD_SHAPE, "", ""},
        {"graph_module/graph/nodes/0/target", NULL, BPU_BAD_MODEL, "\"target\" is missing",
         "/nodes/0"},
        {"graph_module/graph/nodes/0/target", "\"torch.ops.aten\"", BPU_UNSUPPORTED,
         "called by name", "node \""},
        {"graph_module/graph/nodes/0/target", "\"#ext:thing\"", BPU_UNSUPPORTED, "called by name",
         "node \""},
        {"graph_module/graph/nodes/0/inputs", NULL, BPU_BAD_MODEL, "\"inputs\" is missing",
         "/nodes/0"},
        {"graph_module/graph/nodes/0/inputs", "[]", BPU_BAD_MODEL, "an input and a weight",
         "node \"conv2d\""},
        {"graph_module/graph/nodes/0/inputs/0/arg", "{}", BPU_BAD_MODEL, "0 fields",
         "/inputs/0/arg"},
        {"graph_module/graph/nodes/0/inputs/0/arg", "{\"as_graph\":{\"name\":\"g\"}}",
         BPU_UNSUPPORTED, "takes the graph \"g\"", "/inputs/0/arg/as_graph"},
        {"graph_module/graph/nodes/0/inputs/0/arg", "{\"as_none\":true}", BPU_BAD_MODEL,
         "an input and a weight", "node \"conv2d\""},
        {"graph_module/graph/nodes/0/inputs/3/arg", "{\"as_ints\":[1,2,3,4,5]}", BPU_BAD_MODEL,
         "stride is not a list", "node \"conv2d\""},
        {"graph_module/graph/nodes/0/outputs", "{}", BPU_BAD_MODEL, "is an object",
         "/nodes/0/outputs"},
        {"graph_module/graph/nodes/0/outputs/0", "{\"as_tensor\":{\"name\":\"\"}}", BPU_BAD_MODEL,
         "", "/nodes/0"},
        {"graph_module/graph/nodes/0/outputs/0", "{\"as_tensor\":{\"name\":\"x\"}}", BPU_BAD_MODEL,
         "two values are named \"x\"", "/nodes/0/outputs"},
    };
    struct unpacked u;
    unpack(&u, "conv.pt2");
    struct zip_part *part = part_like(&u, "models/model.json");
    const void *whole = part->data;
    size_t size = part->size;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char path[200], *last = path, *slash;
        json_t *root = json_loadb(whole, size, 0, NULL), *at = root;
        assert_non_null(root);
        snprintf(path, sizeof path, "%s", rows[i].path);
        for (; (slash = strchr(last, '/')); last = slash + 1) {
            *slash = '\0';
            at = json_is_array(at) ? json_array_get(at, (size_t)atoi(last))
                                   : json_object_get(at, last);
            assert_non_null(at);
        }
        json_t *with = rows[i].json ? json_loads(rows[i].json, JSON_DECODE_ANY, NULL) : NULL;
        if (!rows[i].json)
            assert_int_equal(json_object_del(at, last), 0);
        else if (json_is_array(at))
            assert_int_equal(json_array_set_new(at, (size_t)atoi(last), with), 0);
        else
            assert_int_equal(json_object_set_new(at, last, with), 0);
        char *text = json_dumps(root, JSON_COMPACT);
        part->data = text;
        part->size = strlen(text);
        struct bytes b;
        struct arena a;
        struct bpu_error err;
        b.data = zip_store(u.parts, u.count, &b.size);
        arena_init(&a, 64 << 20);
        if (read_with(&a, &b, NULL, 0, &err))
            fail_msg("%s = %s is accepted", rows[i].path, rows[i].json ? rows[i].json : "nothing");
        if (err.code != rows[i].code || !strstr(err.message, rows[i].says) ||
            !strstr(err.where, rows[i].where))
            fail_msg("%s = %s: [%s] %s: %s", rows[i].path, rows[i].json ? rows[i].json : "nothing",
                     error_code_name(err.code), err.where, err.message);
        arena_fini(&a);
        free(b.data);
        free(text);
        json_decref(root);
    }
    discard(&u);
}

/* The Nth allocation fails, for every N: a clean error each time, and in the end the graph. */
static void allocation_failures_are_clean(void **state)
{
    (void)state;
    static const char *const files[] = {"conv.pt2", "quantized.old.pt2", "dynamic.pt2"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[300];
        snprintf(path, sizeof path, FIXTURES "%s", files[i]);
        struct bytes b = slurp(path);
        struct graph *g = NULL;
        long n = 0;
        for (; !g && n < 100000; n += n < 200 ? 1 : 7) {
            struct arena a;
            struct bpu_error err;
            arena_init(&a, 256 << 20);
            a.fail_after = n;
            g = read_with(&a, &b, NULL, 0, &err);
            if (!g && err.code != BPU_NO_MEMORY)
                fail_msg("%s, allocation %ld: [%s] %s: %s", files[i], n, error_code_name(err.code),
                         err.where, err.message);
            arena_fini(&a);
        }
        assert_non_null(g);
        assert_true(n > 100);
        free(b.data);
    }
}

/* A quota that is too small is an error at any size. */
static void quotas_are_kept(void **state)
{
    (void)state;
    struct bytes b = slurp(FIXTURES "mobilenet_v2.pt2");
    for (size_t quota = 1 << 12; quota < (size_t)1 << 22; quota += quota / 3) {
        struct arena a;
        struct bpu_error err;
        arena_init(&a, quota);
        if (!read_with(&a, &b, NULL, 0, &err) && err.code != BPU_NO_MEMORY)
            fail_msg("%zu bytes: %s", quota, err.message);
        assert_true(a.used <= quota);
        arena_fini(&a);
    }
    free(b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refused_fixtures_name_the_place),
        cmocka_unit_test(changed_programs_are_refused_by_place),
        cmocka_unit_test(damaged_members_are_refused_or_harmless),
        cmocka_unit_test(damaged_files_are_refused_or_harmless),
        cmocka_unit_test(allocation_failures_are_clean),
        cmocka_unit_test(quotas_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
