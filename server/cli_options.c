/* Options of the command line that are options of jobs as well: --KEY VALUE is KEY=VALUE, and where a word may be
 * about one input only, --KEY NAME=VALUE is KEY.NAME=VALUE. */
#include <stdio.h>
#include <string.h>

#include "server/cli.h"

bool cli_add_pair(struct cli *c, const char *key, const char *value, struct bpu_error *err)
{
    char all[512];
    if (snprintf(all, sizeof all, "%s=", key) >= (int)sizeof all)
        return error_set(err, BPU_USAGE, NULL, "a name is too long");
    if (!cli_add_option(c, all, err))
        return false;
    c->options[c->option_count - 1].value = value;
    return true;
}

bool cli_add_named(struct cli *c, const char *key, const char *text, struct bpu_error *err)
{
    char named[512];
    const char *eq = strrchr(text, '=');
    if (!eq)
        return cli_add_pair(c, key, text, err);
    if (snprintf(named, sizeof named, "%s.%.*s", key, (int)(eq - text), text) >= (int)sizeof named)
        return error_set(err, BPU_USAGE, key, "the name is too long");
    return cli_add_pair(c, named, eq + 1, err);
}
