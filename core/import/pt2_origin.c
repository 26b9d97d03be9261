/* Where a node comes from: the module path and the user's source line that torch.export notes.
 *
 * Paths of the machine that exported are nobody's business: of an absolute path the file's name is
 * kept. */
#include <stdlib.h>
#include <string.h>

#include "core/import/pt2.h"

enum { MAX_PATH = 200 };

static const char *text_of(const json_t *metadata, const char *key)
{
    return json_string_value(json_object_get(metadata, key));
}

/* One frame of a traceback, File "…", line 37, in forward; false if `at` begins none. */
static bool read_frame(const char *at, const char **path, size_t *length, int *line)
{
    if (strncmp(at, "File \"", 6) != 0)
        return false;
    *path = at + 6;
    const char *end = strchr(*path, '"');
    if (!end || strncmp(end, "\", line ", 8) != 0)
        return false;
    *length = (size_t)(end - *path);
    char *stop;
    long n = strtol(end + 8, &stop, 10);
    if (stop == end + 8 || n < 1 || n > INT32_MAX)
        return false;
    *line = (int)n;
    return *length > 0;
}

/* PyTorch's own modules stand between the user's line and the operator. */
static bool is_torch(const char *path, size_t length)
{
    static const char inside[] = "-packages/torch/";
    size_t n = sizeof inside - 1;
    if (length > 6 && memcmp(path, "torch/", 6) == 0)
        return true;
    for (size_t i = 0; i + n <= length; i++)
        if (memcmp(path + i, inside, n) == 0)
            return true;
    return false;
}

bool pt2_source_line(struct arena *a, const json_t *metadata, const char **file, int *line,
                     struct bpu_error *err)
{
    const char *trace = text_of(metadata, "stack_trace"), *best = NULL, *path;
    size_t best_length = 0, length;
    bool own = false;
    int n;
    *file = NULL;
    *line = -1;
    for (const char *at = trace; at && (at = strstr(at, "File \"")); at++) {
        if (!read_frame(at, &path, &length, &n) || (own && is_torch(path, length)))
            continue;
        best = path;
        best_length = length;
        own = !is_torch(path, length);
        *line = n;
    }
    if (!best)
        return true;
    bool absolute = best[0] == '/' || best[0] == '\\' || best[0] == '~' ||
                    (best_length > 1 && best[1] == ':') || best_length > MAX_PATH;
    for (size_t i = 0; i + 1 < best_length; i++)
        absolute = absolute || (best[i] == '.' && best[i + 1] == '.');
    for (size_t i = best_length; absolute && i-- > 0;)
        if (best[i] == '/' || best[i] == '\\') {
            best_length -= i + 1;
            best += i + 1;
            break;
        }
    if (best_length > MAX_PATH) {
        best_length = MAX_PATH;
        while (best_length > 0 && (best[best_length] & 0xC0) == 0x80)
            best_length--;
    }
    *file = arena_strndup(a, best, best_length, err);
    return *file != NULL;
}

/* "L['self']._modules['features'][0]" and "features.0@1" are both features.0. */
static void normalise(char *path)
{
    char *to = path;
    const char *from = path;
    if (strncmp(from, "L['self']", 9) == 0)
        from += 9;
    for (; *from && *from != '@'; from++) {
        if (strncmp(from, "._modules[", 10) == 0)
            from += 9;
        if (*from == '[')
            *to++ = '.';
        else if (*from != ']' && *from != '\'' && *from != '"')
            *to++ = *from;
    }
    *to = '\0';
    size_t dots = strspn(path, ".");
    memmove(path, path + dots, strlen(path + dots) + 1);
}

/* Entries "key,path,class" with ; between them, the innermost last. */
bool pt2_module_path(struct arena *a, const json_t *metadata, const char **path,
                     struct bpu_error *err)
{
    const char *stack = text_of(metadata, "nn_module_stack");
    *path = NULL;
    if (!stack)
        return true;
    const char *last = strrchr(stack, ';');
    last = last ? last + 1 : stack;
    const char *class = strrchr(last, ','), *from = class;
    while (from && from > last && from[-1] != ',')
        from--;
    if (!class || from == last)
        return true;
    char *text = arena_strndup(a, from, (size_t)(class - from), err);
    if (!text)
        return false;
    normalise(text);
    *path = text[0] ? text : NULL;
    return true;
}
