/* Which addresses a webhook may lead to: the edges of the special ranges, in IPv4 and inside of IPv6. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include "server/hook_address.h"

static bool is_private(const char *text)
{
    struct sockaddr_storage a = {0};
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1)
        memcpy(&a, &in, sizeof in);
    else if (inet_pton(AF_INET6, text, &in6.sin6_addr) == 1)
        memcpy(&a, &in6, sizeof in6);
    else
        fail_msg("%s is no address", text);
    return hook_address_is_private((const struct sockaddr *)&a);
}

static void test_private(void **state)
{
    (void)state;
    static const char *const list[] = {
        "0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.1", "100.127.255.255", "127.0.0.1",
        "127.255.255.255", "169.254.169.254", "172.16.0.0", "172.31.255.255", "192.0.0.8", "192.168.0.1",
        "192.168.255.255", "198.18.0.1", "198.19.255.255", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:c0a8:101::1", "fe80::1", "fc00::1", "fdff::1", "ff02::1", "4000::1"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (!is_private(list[i]))
            fail_msg("%s may be reached", list[i]);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    assert_true(hook_address_is_private((const struct sockaddr *)&un));
}

static void test_public(void **state)
{
    (void)state;
    static const char *const list[] = {
        "1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
        "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
        "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8", "2001:4860:4860::8888", "2002:808:808::1", "3fff:ffff::1"};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (is_private(list[i]))
            fail_msg("%s may not be reached", list[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_private), cmocka_unit_test(test_public)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
