/* Decided on the address that is about to be connected to, after the name was resolved: a name proves nothing. */
#include "server/hook_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* RFC 6890 and its registry. */
static const struct {
    uint32_t network;
    int bits;
} closed[] = {
    {0x00000000, 8},  /* this network */
    {0x0a000000, 8},  /* private */
    {0x64400000, 10}, /* carriers' NAT */
    {0x7f000000, 8},  /* this machine */
    {0xa9fe0000, 16}, /* link-local, where clouds keep their credentials */
    {0xac100000, 12}, /* private */
    {0xc0000000, 24}, /* protocol assignments */
    {0xc0a80000, 16}, /* private */
    {0xc6120000, 15}, /* benchmarks */
    {0xe0000000, 3},  /* multicast, reserved, broadcast */
};

static bool v4_is_private(uint32_t a)
{
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++)
        if ((a ^ closed[i].network) >> (32 - closed[i].bits) == 0)
            return true;
    return false;
}

static uint32_t v4_in(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool v6_is_private(const unsigned char a[16])
{
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const unsigned char nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    static const unsigned char zero[12] = {0};
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 || memcmp(a, zero, 12) == 0)
        return memcmp(a, zero, 12) == 0 || v4_is_private(v4_in(a + 12)); /* ::, ::1, ::a.b.c.d */
    if (a[0] == 0x20 && a[1] == 0x02)
        return v4_is_private(v4_in(a + 2)); /* 6to4 */
    return (a[0] & 0xe0) != 0x20; /* all but 2000::/3: unique local, link-local, multicast … */
}

bool hook_address_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return v4_is_private(ntohl(in.sin_addr.s_addr));
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, address, sizeof in);
        return v6_is_private(in.sin6_addr.s6_addr);
    }
    return true;
}
